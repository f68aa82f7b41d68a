"""Names accuse nobody: a fixture whose own names are neutral gets the same findings on the same lines.

A line marked `# names: why` may be decided by a name; the finding there must then be below high confidence.
"""

from __future__ import annotations

import ast
import re

import pytest

from cases import Case, all_cases, lint_files
from renaming import rename
from torchmemlint.model import Confidence, Finding


def places(path: str, findings: list[Finding]) -> set[tuple[int, str]]:
    return {
        (finding.span.start.line, finding.code)
        for finding in findings
        if finding.path == path and finding.confidence.rank >= Confidence.MEDIUM.rank
    }


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_neutral_names_change_nothing(case: Case) -> None:
    renamed = rename(case.files)
    found = lint_files(renamed, case.rules())
    wrong = []
    for path in sorted(case.files):
        free = {marker.line for marker in case.markers(path) if marker.kind == "names"}
        before, after = places(path, case.findings()), places(path, found)
        lines = renamed[path].decode().split("\n")
        for line, code in sorted(before ^ after):
            if line not in free:
                change = "vanishes" if (line, code) in before else "appears"
                wrong.append(f"{path}:{line}: {code} {change} with neutral names: {lines[line - 1].strip()}")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_what_rests_on_a_name_is_not_certain(case: Case) -> None:
    for path in case.files:
        free = {marker.line for marker in case.markers(path) if marker.kind == "names"}
        for finding in case.findings():
            if finding.path == path and finding.span.start.line in free:
                assert finding.confidence is not Confidence.HIGH, f"{path}:{finding.span.start.line} {finding.code}"


# --- the renamer itself
# ruff: noqa: E501  (a case and its answer on one line)


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_renaming_keeps_the_shape(case: Case) -> None:
    """Same lines, same tree but for identifiers, and renaming again finds the same things to rename."""
    for path, data in rename(case.files).items():
        assert data.count(b"\n") == case.files[path].count(b"\n")
        assert shape(data) == shape(case.files[path])


def shape(data: bytes) -> str:
    tree = ast.parse(data)
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if isinstance(value, str) and not isinstance(node, ast.Constant):
                setattr(node, name, "")
            if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
                setattr(node, name, [""] * len(value))
    return ast.dump(tree)


def renamed(text: str, **others: str) -> str:
    files = {"main.py": text.encode(), **{f"{name}.py": other.encode() for name, other in others.items()}}
    return rename(files)["main.py"].decode()


def normal(text: str) -> str:
    """Renamed text with the names numbered in order of appearance, to compare with what is written here."""
    order: dict[str, str] = {}
    out, at = "", 0
    for match in re.finditer(r"\b[a-z]\d+\b", text):
        out += text[at : match.start()] + order.setdefault(match[0], f"n{len(order) + 1}")
        at = match.end()
    return out + text[at:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loss = 1\nprint(loss)\n", "n1 = 1\nprint(n1)\n"),
        ("def f(a, *b, c=1, **d):\n    return a, b, c, d\n", "def n1(n2, *n3, n4=1, **n5):\n    return n2, n3, n4, n5\n"),
        ("import torch\nx = torch.cuda.empty_cache\n", "import torch\nn1 = torch.cuda.empty_cache\n"),
        ("import torch.nn as nn\nx = nn.Linear(1, bias=2)\n", "import torch.nn as n1\nn2 = n1.Linear(1, bias=2)\n"),
        ("from torch import nn\nx = nn.Linear\n", "from torch import nn\nn1 = nn.Linear\n"),
        ("def f(size): pass\nf(size=1)\ng(size=2)\n", "def n1(n2): pass\nn1(n2=1)\ng(size=2)\n"),
        ("def f(x):\n    return x.sum().item()\n", "def n1(n2):\n    return n2.sum().item()\n"),
        ("class A:\n    def go(self): return self.go()\n", "class n1:\n    def n2(self): return self.n2()\n"),
        ("class A:\n    def __init__(self, w): self.w = w\nA(w=1)\n", "class n1:\n    def __init__(self, n2): self.n2 = n2\nn1(n2=1)\n"),
        ("class A(nn.Module):\n    def forward(self, x): pass\n", "class n1(nn.Module):\n    def forward(self, n2): pass\n"),
        ("class A(nn.Module):\n    def half(self): pass\n", "class n1(nn.Module):\n    def half(self): pass\n"),
        ("class A:\n    def step(self): pass\na = A()\na.step()\nopt.step()\n", "class n1:\n    def n2(self): pass\nn3 = n1()\nn3.n2()\nopt.step()\n"),
        ("class A:\n    limit = 3\n    def f(self): return A.limit\n", "class n1:\n    n2 = 3\n    def n3(self): return n1.n2\n"),
        ("class A(B): pass\nclass B:\n    def go(self): pass\nA().go()\n", "class n1(n2): pass\nclass n2:\n    def n3(self): pass\nn1().n3()\n"),
        ("x = f'{loss} {x:{w}} loss'\nloss = w = 1\n", "n1 = f'{n2} {n1:{n3}} loss'\nn2 = n3 = 1\n"),
        ("for i, (a, b) in enumerate(z): pass\n", "for n1, (n2, n3) in enumerate(z): pass\n"),
        ("try:\n    pass\nexcept E as err:\n    print(err)\n", "try:\n    pass\nexcept E as n1:\n    print(n1)\n"),
        ("with a as b, c as (d, e): b, d, e\n", "with a as n1, c as (n2, n3): n1, n2, n3\n"),
        ("def f():\n    global g\n    g = 1\n", "def n1():\n    global n2\n    n2 = 1\n"),
        ("[x for x in y if (z := x)]\n", "[n1 for n1 in y if (n2 := n1)]\n"),
        ("f = lambda kept=1: kept\n", "n1 = lambda n2=1: n2\n"),
        ("match v:\n    case P(x=0, y=k): k\n", "match v:\n    case P(x=0, y=n1): n1\n"),
        ("obj.mine = 1\nobj.grad = None\nobj.mine\n", "obj.n1 = 1\nobj.grad = None\nobj.n1\n"),
        ("def compute(id, type=int): return id\n", "def n1(id, type=int): return id\n"),
        ("from functools import partial\ndef f(a): pass\npartial(f, a=1)\n", "from functools import partial\ndef n1(n2): pass\npartial(n1, n2=1)\n"),
        ("x = 'x'  # x\n", "n1 = 'x'  # x\n"),
    ],
)  # fmt: skip
def test_renaming(text: str, expected: str) -> None:
    assert normal(renamed(text)) == expected


def test_renaming_across_files() -> None:
    helper = "def clean(hard): pass\nclass Meter:\n    def add(self, value): pass\n"
    text = (
        "import helper\nfrom helper import clean, Meter as M\nclean(hard=1)\nhelper.clean(hard=2)\nm = M()\n"
        "from lib import other\nother.clean(hard=3)\n"
    )
    files = rename({"main.py": text.encode(), "helper.py": helper.encode()})
    assert normal(files["helper.py"].decode() + files["main.py"].decode()) == (
        "def n1(n2): pass\nclass n3:\n    def add(self, n4): pass\n"
        "import helper\nfrom helper import n1, n3 as n5\nn1(n2=1)\nhelper.n1(n2=2)\nn6 = n5()\n"
        "from lib import other\nother.clean(hard=3)\n"
    ).replace("def add", "def n4").replace("(self, n4)", "(self, n5)").replace("as n5", "as n6").replace(
        "n6 = n5()", "n7 = n6()"
    )
