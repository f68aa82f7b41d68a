"""What a large function or a long line of classes costs: four times as much of it, about four times the work.

Work is counted as calls of functions, which is the same on every machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from torchmemlint.engine import lint
from torchmemlint.facts.project import Project
from torchmemlint.rule import load_rules
from torchmemlint.source import Source

MOST = 6  # a straight line gives 4, all pairs give 16
HEAD = "import torch\nfrom torch import nn\n"
SHAPES: dict[str, Callable[[int], str]] = {}


def shape(make: Callable[[int], str]) -> Callable[[int], str]:
    """A program with so many of something."""
    SHAPES[make.__name__] = make
    return make


@shape
def loops_one_after_another(many: int) -> str:
    loop = "    for x in loader:\n        y = model(x).sum()\n        y.backward()\n        total += y\n"
    return "def train(loader, model: nn.Module):\n    total = 0\n" + loop * many


@shape
def sums_in_one_loop(many: int) -> str:
    body = "".join(f"        y{i} = model(x).sum()\n        total += y{i}\n" for i in range(many))
    return (
        f"def train(loader, model: nn.Module):\n    total = 0\n    for x in loader:\n{body}        total.backward()\n"
    )


@shape
def values_collected_in_one_loop(many: int) -> str:
    body = "".join(
        f"        y{i} = model(x).sum()\n        kept.append(y{i})\n        y{i}.backward()\n" for i in range(many)
    )
    return f"def train(loader, model: nn.Module):\n    kept = []\n    for x in loader:\n{body}"


@shape
def lists_of_one_loop(many: int) -> str:
    lists = "".join(f"    kept{i} = []\n" for i in range(many))
    body = "".join(f"        y{i} = model(x).sum()\n        kept{i}.append(y{i})\n" for i in range(many))
    return f"def train(loader, model: nn.Module):\n{lists}    for x in loader:\n{body}        y0.backward()\n"


@shape
def guards_in_one_loop(many: int) -> str:
    body = "        with torch.no_grad():\n            y = model(x)\n        z = model(x).argmax().item()\n"
    return "def test(loader, model: nn.Module):\n    model.eval()\n    for x in loader:\n" + body * many


@shape
def loops_in_one_loop(many: int) -> str:
    body = "        for x in batches:\n            z = model(x).argmax().item()\n"
    return "def test(loader, model: nn.Module):\n    model.eval()\n    for batches in loader:\n" + body * many


@shape
def classes_in_a_line(many: int) -> str:
    first = "class A0(nn.Module):\n    def forward(self, x):\n        return x * 2\n"
    body = "    def forward(self, x):\n        self.last = super().forward(x)\n        return self.last\n"
    return first + "".join(f"class A{i}(A{i - 1}):\n{body}" for i in range(1, many))


def calls_to_lint(text: str) -> int:
    """How many functions are called to lint a program."""
    source, rules, project = Source("many.py", (HEAD + text).encode()), load_rules(), Project()
    found = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        lint(source, rules, project)
    finally:
        sys.setprofile(before)
    return found


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_cost_is_a_straight_line(name: str) -> None:
    _, few, many = (calls_to_lint(SHAPES[name](size)) for size in (12, 12, 48))  # at first, modules are imported
    assert many < MOST * few, f"{few} calls, and {many} for four times as much"
