"""Code that nobody can run as it is: stand-ins, steering, repairs, recovery, on the CPU in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime_verify.readings import EventKind, Order, Outcome, Record
from runtime_verify.run import NoTorch, Runner, Unsupported


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    try:
        with Runner(("cpu",), memory_lane=2, timeout_s=60) as made:
            yield made
    except (NoTorch, Unsupported) as reason:
        pytest.skip(str(reason))


def run(runner: Runner, text: str, function: str = "f", scene: str = "steps", passes: int = 5) -> Record:
    """The record of a function; the marked statement ends in `# mark`."""
    mark = next(n for n, line in enumerate(text.split("\n"), 1) if line.endswith("# mark"))
    module = {"name": "user", "path": "user.py", "text": text, "package": False}
    program = {"modules": [module], "function": function, "mark": mark, "kept": True, "graphs": []}
    return runner.submit(Order(program, scene, "cpu", passes=passes, nodes=True)).result()


def texts(record: Record, kind: EventKind) -> list[str]:
    return [event.text for event in record.events if event.kind is kind]


def nodes(record: Record) -> list[int]:
    return [sample.nodes for sample in record.passes]


TRAINING = """
import apex
from missing.models import build_model

def f(args, loader):
    model = build_model(args.arch)
    criterion = apex.Loss(args.smoothing)
    optimizer = apex.Adam(model.parameters(), lr=args.lr)
    total = 0
    for x, y in loader:
        loss = criterion(model(x.to(args.device)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += KEPT  # mark
    return total / len(loader)
"""


def test_a_training_loop_of_nothing_but_absent_things_keeps_what_its_code_keeps(runner: Runner) -> None:
    kept, let_go = (run(runner, TRAINING.replace("KEPT", how)) for how in ("loss", "loss.item()"))
    for record in (kept, let_go):
        assert record.outcome is Outcome.ENDED and len(record.passes) == 5, record.detail
        assert not texts(record, EventKind.FALLBACK)
        assert "loss 0" in record.numbers and record.numbers["gradients"] > 0
    growth = [late - early for early, late in zip(nodes(kept), nodes(kept)[1:], strict=False)]
    assert all(step > 5 for step in growth)
    assert len(set(nodes(let_go)[1:])) == 1
    assert kept.numbers["loss 0"] == let_go.numbers["loss 0"]


EVALUATION = """
import torch

def f(model, data):
    GUARD
    for batch in data:
        out = model(batch["image"], mask=batch["mask"])  # mark
        print(out.argmax(-1).tolist()[:1])
"""


def test_grad_off_takes_the_saved_activations_off_the_peak(runner: Runner) -> None:
    on, off = (run(runner, EVALUATION.replace("GUARD", guard)) for guard in ("pass", "torch.set_grad_enabled(False)"))
    assert max(sample.peak for sample in on.passes[2:]) > max(sample.peak for sample in off.passes[2:]) + 2**20
    assert max(nodes(off)) == 0 < max(nodes(on))


def test_a_decorator_of_the_function_counts(runner: Runner) -> None:
    text = EVALUATION.replace("    GUARD\n", "").replace("def f", "@torch.no_grad()\ndef f")
    assert max(nodes(run(runner, text))) == 0


def test_steered_past_returns_and_into_branches(runner: Runner) -> None:
    record = run(
        runner,
        """
def f(args, rank):
    if not args.enabled:
        return None
    if rank != 0:
        raise RuntimeError("not here")
    while True:
        if args.done:
            break
        if args.mode == "train":
            count = 0
        elif args.mode == "eval":
            count = 1  # mark
        else:
            raise ValueError(args.mode)
""",
    )
    assert record.outcome is Outcome.ENDED and len(record.passes) == 5
    assert texts(record, EventKind.STEERED)


def test_shapes_come_from_the_layers_that_use_them(runner: Runner) -> None:
    record = run(
        runner,
        """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed = nn.Embedding(50, width)
        self.conv = nn.Conv2d(3, width, 3)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, 7)

    def forward(self, image, tokens, labels):
        b, c, h, w = image.shape
        seen = self.conv(image).mean((2, 3))
        words, _ = self.lstm(self.embed(tokens))
        out = self.head(seen + words[:, -1])
        return nn.functional.cross_entropy(out, labels)  # mark
""",
        "Net.forward",
    )
    assert record.outcome is Outcome.ENDED and len(record.passes) == 5, record.detail
    assert not texts(record, EventKind.FALLBACK)
    assert record.own == ["Net"] and record.numbers["gradients"] > 0


RECOVERY = """
import torch

def work(model, batch):
    hidden = model(batch)
    return model(hidden).sum()

def f(model, batch):
    failed = False
    try:
        return work(model, batch)
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        INSIDE
        failed = True
    if failed:
        AFTER
"""


def test_recovery_inside_the_handler_sees_what_the_failed_frames_hold(runner: Runner) -> None:
    call = "torch.cuda.empty_cache()  # mark"
    inside = run(runner, RECOVERY.replace("INSIDE", call).replace("AFTER", "pass"), scene="out of memory", passes=10)
    after = run(runner, RECOVERY.replace("AFTER", call).replace("INSIDE", "pass"), scene="out of memory", passes=10)
    assert inside.passes and after.passes
    held = min(sample.allocated for sample in inside.passes[1:]) - max(s.allocated for s in after.passes[1:])
    assert held > 2**20, "the traceback holds the activations of the work that failed"


def test_what_fails_is_told_with_its_place_and_whether_the_mark_depends_on_it(runner: Runner) -> None:
    record = run(
        runner,
        """
def broken(x):
    return [x][5]

def f(model, xs):
    for x in xs:
        other = [1][7]
        loss = model(broken(x)).mean()
        loss.backward()
        print(loss)  # mark
""",
    )
    told = {(event.line, event.on_slice) for event in record.events if event.kind is EventKind.FALLBACK}
    assert len(record.passes) == 5
    assert (8, True) in told, told
    assert all(not on_slice for line, on_slice in told if line == 7) and any(line == 7 for line, _ in told)


def test_expected_errors_reach_the_handlers_that_wait_for_them(runner: Runner) -> None:
    record = run(
        runner,
        """
try:
    import no_such_library
except ImportError:
    no_such_library = None

def f(values):
    found = iter([1])
    turns = 0
    while turns < 3:
        try:
            next(found)
        except StopIteration:
            turns = turns + 1
            if no_such_library is None:
                print("as it should be")  # mark
            found = iter([1])
""",
    )
    assert len(record.passes) == 5 and "as it should be" in record.printed
    assert not texts(record, EventKind.FALLBACK)


def test_hooks_are_run_by_running_what_they_hang_on(runner: Runner) -> None:
    record = run(
        runner,
        """
def f(model):
    kept = []
    model.register_forward_hook(lambda module, args, out: kept.append(out))  # mark
    return kept
""",
    )
    growth = [late.allocated - early.allocated for early, late in zip(record.steps, record.steps[1:], strict=False)]
    assert sum(step > 2**18 for step in growth) >= 4, "one more output with each pass"


def test_a_script_is_run_whole(runner: Runner) -> None:
    record = run(
        runner,
        """
import argparse
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--data", required=True)
args = parser.parse_args()
weights = torch.zeros(8, requires_grad=True)
history = []
if __name__ == "__main__":
    for step in range(args.steps):
        history.append((weights * step).sum())  # mark
""",
        "",
    )
    assert record.outcome is Outcome.ENDED and len(record.passes) == 4
    assert nodes(record)[-1] > nodes(record)[0]


def test_two_runs_decide_alike(runner: Runner) -> None:
    one, other = (run(runner, TRAINING.replace("KEPT", "loss")) for _ in range(2))
    assert one.decisions == other.decisions and one.decisions
    assert one.numbers == other.numbers
