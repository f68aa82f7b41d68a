"""What linting costs grows in a straight line with what is written, however much of it stands in one function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from torchmemlint.engine import lint
from torchmemlint.facts.project import Project
from torchmemlint.rule import load_rules
from torchmemlint.source import Source

HEAD = "import torch\nfrom torch import nn\n"
LOOP = HEAD + "def f(m: nn.Module, l, c):\n    for x in l:\n"
RULES = [rule for rule in load_rules() if rule.default]
FEW = 10
MOST = 6  # four times as much may cost so many times as much: four is a straight line, sixteen a square


def tries(n: int) -> str:
    attempt = "        try:\n            y = m(x)\n        except RuntimeError:\n"
    return LOOP + (attempt + "            torch.cuda.empty_cache()\n            y = m(x)\n") * n


def conditions(n: int) -> str:
    choice = "        if c:\n            y = m(y)\n        else:\n            y = y.detach()\n"
    return LOOP + "        y = m(x)\n" + choice * n + "        y.sum().backward()\n        torch.cuda.empty_cache()\n"


def rebound(n: int) -> str:
    return LOOP + "        x = m(x)\n" * n + "        x.sum().backward()\n        torch.cuda.empty_cache()\n"


def calls(shape: Callable[[int], str], n: int) -> int:
    """How many calls linting makes: what it costs, the same on every machine."""
    source = Source("growing.py", shape(n).encode())
    count = 0

    def counting(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counting)
    try:
        found = lint(source, RULES, Project())
    finally:
        sys.setprofile(before)
    assert not any(one.code in ("TML000", "TML001") for one in found)
    return count


@pytest.mark.parametrize("shape", [tries, conditions, rebound])
def test_four_times_as_much_costs_four_times_as_much(shape: Callable[[int], str]) -> None:
    calls(shape, 1)  # what is loaded once is not counted
    assert calls(shape, 4 * FEW) < MOST * calls(shape, FEW)
