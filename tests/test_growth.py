"""What linting costs grows in a straight line with what is written, however much of it stands in one function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from torchmemlint.engine import lint
from torchmemlint.facts import approach, releases
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


def deletions(n: int) -> str:
    one = "        y{i} = m(x)\n        del y{i}\n        torch.cuda.empty_cache()\n"
    return LOOP + "".join(one.replace("{i}", str(i)) for i in range(n))


def repeated(n: int) -> str:
    loop = "    while c[{i}]:\n        y = m(l)\n        y.sum().backward()\n        torch.cuda.empty_cache()\n"
    return HEAD + "def f(m: nn.Module, l, c):\n" + "".join(loop.replace("{i}", str(i)) for i in range(n))


def emptied(n: int) -> str:
    return HEAD + "def f(m: nn.Module):\n" + "    torch.cuda.empty_cache()\n" * n


def measured(n: int) -> str:
    one = "    y = m(x)\n    del y\n    torch.cuda.empty_cache()\n"
    return HEAD + "def f(m: nn.Module, x):\n" + one * n + "    print(torch.cuda.memory_allocated())\n"


def left(n: int) -> str:
    return LOOP + "        x.sum().backward()\n        torch.cuda.empty_cache()\n" * n + "        break\n"


def conditions(n: int) -> str:
    choice = "        if c:\n            y = m(y)\n        else:\n            y = y.detach()\n"
    return LOOP + "        y = m(x)\n" + choice * n + "        y.sum().backward()\n        torch.cuda.empty_cache()\n"


def rebound(n: int) -> str:
    return LOOP + "        x = m(x)\n" * n + "        x.sum().backward()\n        torch.cuda.empty_cache()\n"


def hooks(n: int) -> str:
    hook = "    h{i} = m.register_forward_hook(lambda module, given, out: K.append(out))\n"
    return HEAD + "K = []\ndef f(m: nn.Module):\n" + "".join(hook.replace("{i}", str(i)) for i in range(n))


def chained(n: int) -> str:
    body = "    t = 0\n    for x in l:\n        y = m(x)\n        y.sum().backward()\n        t += y\n"
    return HEAD + "def f(m: nn.Module, l):\n" + body + "    y = \\\n" * 20 * n + "        t\n    y.backward()\n"


def loops_one_after_another(n: int) -> str:
    loop = "    for x in loader:\n        y = model(x).sum()\n        y.backward()\n        total += y\n"
    return HEAD + "def train(loader, model: nn.Module):\n    total = 0\n" + loop * n


def sums_in_one_loop(n: int) -> str:
    body = "".join(f"        y{i} = model(x).sum()\n        total += y{i}\n" for i in range(n))
    start = HEAD + "def train(loader, model: nn.Module):\n    total = 0\n    for x in loader:\n"
    return f"{start}{body}        total.backward()\n"


def values_collected_in_one_loop(n: int) -> str:
    body = "".join(
        f"        y{i} = model(x).sum()\n        kept.append(y{i})\n        y{i}.backward()\n" for i in range(n)
    )
    return HEAD + f"def train(loader, model: nn.Module):\n    kept = []\n    for x in loader:\n{body}"


def lists_of_one_loop(n: int) -> str:
    lists = "".join(f"    kept{i} = []\n" for i in range(n))
    body = "".join(f"        y{i} = model(x).sum()\n        kept{i}.append(y{i})\n" for i in range(n))
    return HEAD + f"def train(loader, model: nn.Module):\n{lists}    for x in loader:\n{body}        y0.backward()\n"


def guards_in_one_loop(n: int) -> str:
    body = "        with torch.no_grad():\n            y = model(x)\n        z = model(x).argmax().item()\n"
    return HEAD + "def test(loader, model: nn.Module):\n    model.eval()\n    for x in loader:\n" + body * n


def loops_in_one_loop(n: int) -> str:
    body = "        for x in batches:\n            z = model(x).argmax().item()\n"
    return HEAD + "def test(loader, model: nn.Module):\n    model.eval()\n    for batches in loader:\n" + body * n


def classes_in_a_line(n: int) -> str:
    first = HEAD + "class A0(nn.Module):\n    def forward(self, x):\n        return x * 2\n"
    body = "    def forward(self, x):\n        self.last = super().forward(x)\n        return self.last\n"
    return first + "".join(f"class A{i}(A{i - 1}):\n{body}" for i in range(1, n))


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


OF_CACHES = (tries, deletions, repeated, emptied, measured, left, conditions, rebound, hooks, chained)
OF_GRAPHS = (
    loops_one_after_another,
    sums_in_one_loop,
    values_collected_in_one_loop,
    lists_of_one_loop,
    guards_in_one_loop,
    loops_in_one_loop,
    classes_in_a_line,
)
KINDS = {
    "step": """
class T{i}:
    def __init__(self):
        self.model = nn.Linear(3, 3)
    def training_step(self, x):
        self.out = self.model(x)
        self.out.sum().backward()
    def fit(self, loader):
        for x in loader:
            self.training_step(x)
""",
    "plain": """
class P{i}:
    def __init__(self):
        self.mask = torch.zeros(3, 3, device="cuda")
        self.model = nn.Linear(3, 3)
    def step(self, x):
        loss = (self.model(x) * self.mask).sum()
        loss.backward()
        self.losses.append(loss)
        self.last = loss
    def reset(self):
        self.losses = []
    def run(self, loader):
        for x in loader:
            self.step(x)
""",
    "hooked": """
class K{i}(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)
        self.acts = []
        self.lin.register_forward_hook(self.keep)
    def keep(self, module, given, out):
        self.acts.append(out)
def train{i}(loader):
    net = K{i}()
    for x in loader:
        net(x).sum().backward()
""",
    "evaluated": """
def ev{i}(loader):
    model = nn.Linear(3, 3)
    model.eval()
    total = 0
    for x in loader:
        total += model(x).sum().item()
    return total
""",
}


@pytest.mark.parametrize("kind", KINDS)
def test_so_it_does_with_many_findings_in_one_file(kind: str) -> None:
    def shape(n: int) -> str:
        return HEAD + "".join(KINDS[kind].replace("{i}", str(i)) for i in range(n))

    calls(shape, 1)
    assert calls(shape, 4 * FEW) < MOST * calls(shape, FEW)


@pytest.mark.parametrize("shape", OF_CACHES + OF_GRAPHS)
def test_four_times_as_much_costs_four_times_as_much(shape: Callable[[int], str]) -> None:
    calls(shape, 1)  # what is loaded once is not counted
    assert calls(shape, 4 * FEW) < MOST * calls(shape, FEW)


def test_a_way_that_is_too_long_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    first = "    k = 1\n" * 20 + "    torch.cuda.empty_cache()\n    y = torch.zeros(3, device='cuda')\n    return y\n"
    text = HEAD + "def f():\n" + first

    def found() -> list[str]:
        return [one.code for one in lint(Source("long.py", text.encode()), RULES, Project())]

    assert found() == ["TML102"]
    monkeypatch.setattr(approach, "MAX_MET", 15)
    assert found() == []


def test_more_names_and_calls_than_can_be_paired_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    held = "    y{i} = torch.zeros(3, device='cuda')\n    torch.cuda.empty_cache()\n"
    text = HEAD + "def f(x):\n" + "".join(held.replace("{i}", str(i)) for i in range(3)) + "    g(x)\n"

    def found() -> list[str]:
        return [one.code for one in lint(Source("many.py", text.encode()), RULES, Project())]

    assert found() == ["TML102"] * 3
    monkeypatch.setattr(releases, "MAX_PAIRS", 11)  # four names, the parameter among them, times three calls
    assert found() == []


def test_each_name_at_each_call_is_asked_for_once() -> None:
    """Which of many names are still held at each of many calls is a square, but it must not be a cube."""

    def read_at_the_end(n: int) -> str:
        held = "    y{i} = torch.zeros(3, device='cuda')\n    torch.cuda.empty_cache()\n"
        names = ", ".join(f"y{i}" for i in range(n))
        return HEAD + "def f():\n" + "".join(held.replace("{i}", str(i)) for i in range(n)) + f"    g({names})\n"

    calls(read_at_the_end, 1)
    assert calls(read_at_the_end, 4 * FEW) < 16 * calls(read_at_the_end, FEW)


def test_a_line_with_other_characters_is_encoded_once() -> None:
    """Python's parser counts bytes; each of the many nodes of a line is placed by the characters before it."""
    source = Source("wide.py", ("é = 1; " * 50).encode())
    assert source.screen is not None
    encoded: list[object] = []

    def counting(frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call" and getattr(argument, "__name__", "") == "encode":
            encoded.append(argument)

    before = sys.getprofile()
    sys.setprofile(counting)
    try:
        spans = [source.screen.places.span(node) for node in source.screen.module.body]
    finally:
        sys.setprofile(before)
    assert [span.start.column for span in spans] == [7 * number for number in range(50)]
    assert [span.end.column for span in spans] == [7 * number + 5 for number in range(50)]
    assert len(encoded) == 1
