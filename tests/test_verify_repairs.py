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
    record = runner.submit(order("import time\ntime.sleep(1000)\nx = 1"), timeout_s=4.0).result()
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
