"""Made-up values that an operation does not take are adapted to it, and the true operation runs on them."""

from __future__ import annotations

import importlib.util
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


def order(body: str, scale: int = 1) -> Order:
    """An order of a function of `a`, `b`, `args` whose last line is marked."""
    lines = "".join(f"    {line}\n" for line in body.strip().split("\n"))
    text = f"import torch\nimport torch.nn.functional as F\n\ndef f(a, b, args, tree):\n{lines}    return 1\n"
    module = {"name": "user", "path": "user.py", "text": text, "package": False}
    mark = text.count("\n") - 1
    program = {"modules": [module], "function": "f", "mark": mark, "kept": True, "graphs": []}
    return Order(program, "steps", "cpu", scale=scale, passes=3, nodes=True)


def texts(record: Record, kind: EventKind) -> list[str]:
    return [event.text for event in record.events if event.kind is kind]


REPAIRED = {
    "a whole number for an index": "x = torch.randn(4, 9)\nassert x.gather(-1, torch.rand(4, 9) * 20).shape == (4, 9)",
    "an index of another shape": (
        "x = torch.randn(4, 7, 9)\nassert torch.gather(x, dim=-1, index=torch.rand(5, 8, 1)).shape == (4, 7, 1)"
    ),
    "one size for each letter": (
        "x = torch.einsum('bqc,bkc->bqk', torch.randn(2, 3, 4), torch.randn(5, 0, 4))\nassert x.shape == (5, 3, 1)"
    ),
    "an array's way backwards": "x = torch.arange(6.0).reshape(2, 3)[:, ::-1]\nassert x[0].tolist() == [2, 1, 0]",
    "an array's transpose": "x = torch.zeros(2, 3, 4).transpose(2, 0, 1)\nassert x.shape == (4, 2, 3)",
    "as many sizes as sides": (
        "x = F.interpolate(torch.zeros(1, 2, 3, 3), size=(9, 1, 8, 8))\nassert x.shape == (1, 2, 8, 8)"
    ),
    "sizes by name": "x = torch.randint(low=0, high=2, size=(torch.tensor(4.0), 3))\nassert x.shape == (4, 3)",
    "normalised over more than the last": (
        "x = F.layer_norm(torch.zeros(4, 32, 4), [4, 4, 4])\nassert x.shape == (16, 4, 4, 4)"
    ),
    "pooled by more than there is": "x = F.avg_pool2d(torch.zeros(1, 2, 4, 4), 8)\nassert x.shape == (1, 2, 1, 1)",
    "batches to multiply": "x = torch.bmm(torch.zeros(3, 4), torch.zeros(2, 5))\nassert x.shape == (1, 3, 5)",
    "batches to add to": "x = torch.baddbmm(a, torch.zeros(3, 4, 2), torch.zeros(5, 7))\nassert x.shape == (3, 4, 7)",
    "weights by name": (
        "x = F.conv_transpose2d(torch.zeros(5), weight=torch.zeros(3, 2, 4, 4))\nassert x.shape[1] == 2"
    ),
    "one number to show": "x = f'{torch.zeros(4):.2f}'\nassert x == '0.00'",
    "what is put in a place": "x = torch.zeros(4, 6)\nx[:, 1:3] = torch.ones(7, 5)\nassert x.sum() == 8",
    "sizes that are computed": "x = torch.zeros(3, torch.tensor([4.0, 2.0]).max())\nassert x.shape == (3, 4)",
    "a gradient of something else": (
        "x = torch.randn(3, requires_grad=True)\n"
        "y = (torch.randn(3, requires_grad=True) * 2).sum()\n"
        "(g,) = torch.autograd.grad(y, (x,), create_graph=True)\n"
        "assert g.shape == (3,) and g.requires_grad"
    ),
}


@pytest.mark.parametrize("body", REPAIRED.values(), ids=REPAIRED)
def test_a_misfit_is_repaired_not_made_up(runner: Runner, body: str) -> None:
    record = runner.submit(order(body)).result()
    assert record.outcome is Outcome.ENDED and len(record.passes) == 3, record.detail
    assert texts(record, EventKind.REPAIR)
    assert not texts(record, EventKind.FALLBACK) + texts(record, EventKind.STEERED)


def test_what_has_backward_and_is_no_tensor_is_handed_the_loss(runner: Runner) -> None:
    record = runner.submit(order("loss = args.model(a).mean()\nargs.accelerator.backward(loss)\nx = 1")).result()
    assert not texts(record, EventKind.FALLBACK)
    assert record.numbers["gradients"] > 0


def test_a_kept_shape_keeps_nothing_alive(runner: Runner) -> None:
    body = "kept = args.__dict__.setdefault('kept', [])\nkept.append(args.decoder(a).{})\nx = 1"
    grown = {}
    for what in ("shape", "detach()"):
        record = runner.submit(order(body.format(what))).result()
        assert not texts(record, EventKind.FALLBACK)
        grown[what] = record.passes[-1].allocated - record.passes[0].allocated
    assert grown["shape"] < 2**16 < grown["detach()"]


def test_settings_of_an_optimizer_are_numbers_and_made_up_names_are_left_out(runner: Runner) -> None:
    body = (
        "extra = {key: 1 for key in args.extra}\n"
        "net = torch.nn.Linear(2, 2)\n"
        "x = torch.optim.AdamW(net.parameters(), lr=args.lr, betas=(args.beta1, args.beta2), **extra)\n"
        "assert x.defaults['betas'] == (0.9, 0.999)"
    )
    record = runner.submit(order(body)).result()
    assert not texts(record, EventKind.FALLBACK) + texts(record, EventKind.STEERED)


def test_a_module_without_which_the_program_gives_up_is_stood_in_for(runner: Runner) -> None:
    body = "try:\n    import absent\nexcept ImportError:\n    {}\nx = absent"
    for end, there in (("raise", True), ("absent = None", False)):
        record = runner.submit(order(body.format(end))).result()
        assert record.outcome is Outcome.ENDED and len(record.passes) == 3, record.detail
        assert ("module absent" in texts(record, EventKind.STANDIN)) is there


def test_whether_gradients_were_off_at_the_line_is_told(runner: Runner) -> None:
    for body, off in (("x = 1", False), ("with torch.no_grad():\n    x = 1", True)):
        made = order(body)
        lines = made.program["modules"][0]["text"].split("\n")
        made.program["mark"] = next(n for n, line in enumerate(lines, 1) if line.strip() == "x = 1")
        assert runner.submit(made).result().grad_off is off


def test_what_is_stood_in_for_is_a_path_to_open_and_no_descriptor(runner: Runner) -> None:
    record = runner.submit(order("with open(args.annotations) as file:\n    x = len(file.read())")).result()
    assert record.outcome is Outcome.ENDED and len(record.passes) == 3, record.detail
    assert "open(...): its result (FileNotFoundError)" in texts(record, EventKind.STANDIN)


def test_a_walk_down_something_stood_in_for_ends(runner: Runner) -> None:
    walk = """
def walk(node):
    return 1 + sum(walk(child) for _, child in node.children.items()) + sum(walk(child) for child in node)
count = walk(tree)
"""
    record = runner.submit(order(walk)).result()
    assert record.outcome is Outcome.ENDED and len(record.passes) == 3, record.detail
    assert record.seconds < 20


def test_numbers_are_small_at_the_smallest_scale(runner: Runner) -> None:
    body = "x = args.grid_size + 0\nassert x == {}"
    for scale, expected in ((1, 64), (0, 4)):
        record = runner.submit(order(body.format(expected), scale)).result()
        assert not texts(record, EventKind.STEERED), texts(record, EventKind.STEERED)


def test_a_run_that_takes_too_long_says_where(runner: Runner) -> None:
    record = runner.submit(order("x = sum(range(10**12))\nx = 1"), timeout_s=4.0).result()
    assert record.outcome is Outcome.TIMEOUT
    assert record.detail.endswith("and was killed, at user.py:5")


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> object:
    """`within_bounds` that takes what the host holds for a device's."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed here")
    from runtime_verify.worker import bounds as module
    from runtime_verify.worker.world import World, enter

    enter(World(order("x = 1")))
    monkeypatch.setattr(module, "_on_device", lambda tensor: bool(tensor.numel()))
    return module


def test_what_a_device_would_die_of_is_brought_into_bounds(bounds: object) -> None:
    import torch

    within = bounds.within_bounds  # type: ignore[attr-defined]
    table, far = torch.randn(5, 7), torch.tensor([[3, 900]])
    (index, _), _ = within("embedding", (far, table), {})
    assert index.tolist() == [[3, 4]]
    _, named = within("gather", (table,), {"dim": -1, "index": far})
    assert named["index"].tolist() == [[3, 6]]
    _, named = within("cross_entropy", (table[:2],), {"target": torch.tensor([6, 9])})
    assert named["target"].tolist() == [6, 6]
    _, named = within("cross_entropy", (table[:2],), {"target": torch.tensor([6, -100])})
    assert named["target"].tolist() == [6, -100]
    (shares, _), _ = within("multinomial", (torch.tensor([float("nan"), -1.0]), 1), {})
    assert torch.multinomial(shares, 1).numel() == 1
    (chances, _), _ = within("binary_cross_entropy", (torch.tensor([1.5, -0.5]), table), {})
    assert chances.tolist() == [1.0, 0.0]
    kept, _ = within("index_select", (table, 0, torch.tensor([4])), {})
    assert kept[2].tolist() == [4]
