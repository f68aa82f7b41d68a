"""Notebooks and the module of their cells: IPython's syntax, changes written back, damage."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notebooks import cell, notebook
from torchmemlint.document import CannotWrite
from torchmemlint.engine import lint_file
from torchmemlint.facts.project import Project
from torchmemlint.model import Applicability, Edit, Finding, Fix, Position, Severity, Span
from torchmemlint.model import Confidence as Sure
from torchmemlint.notebook.magics import stand_ins
from torchmemlint.notebook.notebook import Notebook
from torchmemlint.rule import load_rules
from torchmemlint.source import BadFile

# ---- IPython's syntax -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n", {}),
        ("%matplotlib inline\nx = 1", {0: "pass"}),
        ("x = 1\n!pip install a\n", {1: "pass"}),
        ("if x:\n    !ls {x}\n\t%cd ..\n", {1: "    pass", 2: "\tpass"}),
        ("!pip install \\\n  a \\\n  b\nx", {0: "pass", 1: "", 2: ""}),
        ("files = !ls", {0: "files = get_ipython()"}),
        ("  a, b = %lookup x", {0: "  a, b = get_ipython()"}),
        ("?print", {0: "pass"}),
        ("model.layers[0]??", {0: "pass"}),
        ("%time total = f(x)", {0: "0;    total = f(x)"}),
        ("%timeit -n 10 f(x)", {0: "pass"}),
        ("%time for", {0: "pass"}),
        ("pip install -q torch\nx = 1", {0: "pass"}),
        ("cd data\n", {0: "pass"}),
        ("pip = 3\nls\ncd(x)\n!a", {3: "pass"}),
        ("%%time\nx = !ls\n", {0: "pass", 1: "x = get_ipython()"}),
        ("# note\n\n%%capture out\nx = 1\n", {2: "pass"}),
        ("x = 1\n%%time\n", {1: "pass"}),
        ('text = """\n%time is money\n!bang\n"""\n%a', {4: "pass"}),
        ("x = (1\n  % 2\n)\ny = a % b\nz != y\n%a\n", {5: "pass"}),
        ("x = 'a' \\\n  % b\n%c\n", {2: "pass"}),
        ("# (\nx = '(' \"'\" # [\n!a\n", {2: "pass"}),
        ("x %= 3\nif a != b: pass\nc = d != e\n!z", {3: "pass"}),
    ],
)
def test_lines_of_ipython_are_replaced(text: str, expected: dict[int, str]) -> None:
    lines = text.splitlines(keepends=True)
    assert stand_ins(lines) == expected
    made = [expected.get(number, line.rstrip("\n")) for number, line in enumerate(lines)]
    if "\tpass" not in made:
        ast.parse("\n".join(["if 1:", *made] if made[0].startswith(" ") else made))


@pytest.mark.parametrize("magic", ["%%bash", "%%writefile a.py", "%%html --isolated", "\n%%R -i x", "%%", "# a\n%%sql"])
def test_cells_in_other_languages_are_no_python(magic: str) -> None:
    assert stand_ins(f"{magic}\nfor f in *; do\n".splitlines(keepends=True)) is None


# ---- changes written back -------------------------------------------------------------------------


def changed(text: str, old: str, new: str) -> str:
    """The notebook after its module was changed."""
    made = Notebook("nb.ipynb", text.encode())
    data = made.source.data
    assert data.count(old.encode()) == 1
    return made.with_source(data.replace(old.encode(), new.encode())).decode()


STYLES: list[dict[str, Any]] = [
    {},
    {"indent": 2},
    {"indent": None},
    {"indent": None, "separators": (",", ":")},
    {"ensure_ascii": True},
    {"sort_keys": True},
    {"indent": "\t"},
]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("listed", [True, False])
def test_only_the_changed_line_changes(style: dict[str, Any], listed: bool) -> None:
    rows = [cell("é = 1\n"), cell("%%time\nx = '日'\nloss = y  # ü\n!ls\nz = 3"), cell("# é", "markdown")]
    for row in rows:
        row["source"] = row["source"] if listed else "".join(row["source"])
    text = notebook(*rows, **style)
    assert changed(text, "loss = y", "loss = y.detach()") == text.replace("loss = y", "loss = y.detach()")
    assert changed(text, "x = '日'\n", "") == notebook(
        rows[0], rows[1] | {"source": without(rows[1]["source"], "x = '日'\n")}, rows[2], **style
    )
    added = changed(text, "z = 3", "z = 3\nw = 4")
    source = [*rows[1]["source"][:-1], "z = 3\n", "w = 4"] if listed else f"{rows[1]['source']}\nw = 4"
    assert added == notebook(rows[0], rows[1] | {"source": source}, rows[2], **style)


def without(source: Any, line: str) -> Any:
    return [one for one in source if one != line] if isinstance(source, list) else source.replace(line, "")


def test_odd_but_valid_json_is_kept() -> None:
    text = (
        '\ufeff{"nbformat":4 ,"cells": [ {"source" : ["a = \\u0031\\n" ,\r\n\t"b = \\"\\/x\\"\\n","", "c = ", '
        '"3\\nd = 4"],"outputs":[{"data":{"text/html":"<\\/script>\\ud83d\\ude00"}}], "cell_type":"code"} ]}\r\n'
    )
    assert changed(text, "d = 4", "d = 5") == text.replace("d = 4", "d = 5")
    assert changed(text, "d = 4", "d = 4\ne = 5") == text.replace("d = 4", "d = 4\\ne = 5")
    assert changed(text, "c = 3\n", "") == text.replace('"c = ", "3\\nd', '"d').replace('"", "d', '"", "d')


def test_a_cell_may_become_empty_and_lines_keep_their_ends() -> None:
    assert json.loads(changed(notebook("x = 1", "y = 2"), "x = 1\n", ""))["cells"][0]["source"] == []
    text = notebook(cell("x = 1\r\ny = 2\r\n"))
    assert changed(text, "x = 1", "x = 5") == text.replace("x = 1", "x = 5")


def test_an_indented_magic_moves_with_its_block() -> None:
    text = notebook("for x in y:\n    !nvidia-smi --query  \n    f(x)\n")
    made = Notebook("nb.ipynb", text.encode())
    lines = made.source.text.splitlines(keepends=True)
    moved = "".join([*lines[:2], "with z:\n", *(f"    {line}" for line in lines[2:])])
    source = json.loads(made.with_source(moved.encode()))["cells"][0]["source"]
    assert source == ["with z:\n", "    for x in y:\n", "        !nvidia-smi --query\n", "        f(x)\n"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("pass  #% line 1.1", "pass", "removes a line that is IPython's"),
        ("pass  #% line 1.1", "stop  #% line 1.1", "changes a line that is IPython's"),
        ("#% cell 2\n", "", "goes beyond its cell"),
        ("#% cell 1\n", "import torch\n#% cell 1\n", "writes above the first cell"),
        ("pass  #% line 2.1\n", "import torch\npass  #% line 2.1\n", "writes above the cell's magic"),
    ],
)
def test_what_cannot_be_written_is_refused(old: str, new: str, reason: str) -> None:
    with pytest.raises(CannotWrite, match=reason):
        changed(notebook("x = 1\n!ls\n", "%%time\ny = 2"), old, new)


def test_a_cell_that_is_no_python_is_not_written() -> None:
    made = Notebook("nb.ipynb", notebook("def (:", "x = 1").encode())
    bare = made.without(made.bad_cells())
    assert [one.number for one in made.bad_cells()] == [1]
    with pytest.raises(CannotWrite, match="changes a cell that is no Python"):
        bare.with_source(bare.source.data.replace(b"cell 1\n\n", b"cell 1\ny = 3\n"))
    assert json.loads(bare.with_source(bare.source.data.replace(b"x = 1", b"x = 2")))["cells"][1]["source"] == ["x = 2"]


def test_a_fix_to_a_line_of_ipythons_is_not_offered() -> None:
    made = Notebook("nb.ipynb", notebook("%time x = f()\nfor y in x:\n    !ls\n").encode())

    def offered(start: tuple[int, int], end: tuple[int, int], text: str) -> bool:
        span = Span(Position(*start), Position(*end))
        fix = Fix("mend it", Applicability.SAFE, (Edit(span, text),))
        found = Finding("nb.ipynb", span, "TML101", "a-smell", Severity.ERROR, Sure.HIGH, "`f` smells", fix=fix)
        return made.placed(found).fix is not None

    assert not offered((3, 13), (3, 13), ".detach()")
    assert not offered((3, 0), (5, 0), "")
    assert offered((3, 0), (3, 0), "import torch\n") and offered((5, 0), (5, 0), "    ")
    assert offered((4, 9), (4, 10), "range(3)")


# ---- made-up notebooks and damage -----------------------------------------------------------------

LINES = [
    "x = 1",
    "%time f(x)",
    "!ls \\",
    "  -la",
    "é = '日\U0001f600'",
    "if x:",
    "    !ls",
    '"""',
    "#% cell 1",
    "",
    "y?",
    "(",
    "%%time",
]
SOURCES = st.lists(st.sampled_from(LINES), max_size=6).map("\n".join) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=12
)
CELLS = st.tuples(SOURCES, st.sampled_from(["code", "code", "markdown"]), st.booleans())


@st.composite
def notebooks(draw: st.DrawFn) -> str:
    rows = []
    for source, kind, listed in draw(st.lists(CELLS, max_size=5)):
        row = cell(source, kind)
        rows.append(row if listed else row | {"source": source})
    return notebook(*rows, **draw(st.sampled_from(STYLES)))


@settings(max_examples=150, deadline=None)
@given(notebooks(), st.data())
def test_changes_come_back_and_nothing_else_changes(text: str, data: st.DataObject) -> None:
    made = Notebook("nb.ipynb", text.encode("utf-8", "surrogatepass"))
    before = made.source.data
    assert made.with_source(before) == made.data
    lines = made.source.lines
    free = [number for number, line in enumerate(lines) if "#%" not in line]
    if not free:
        return
    number = data.draw(st.sampled_from(free))
    new = data.draw(st.sampled_from(["", "z = 'ü\"'\n", "z\nw\n", lines[number] + "z\n"]))
    after = "".join([*lines[:number], new, *lines[number + 1 :]]).encode()
    try:
        changed = made.with_source(after)
    except CannotWrite:  # what is left reads otherwise: a string is no longer closed, an indented cell is empty
        return
    assert Notebook("nb.ipynb", changed).source.data == after
    one, two = json.loads(made.data), json.loads(changed)
    sources = [(a.pop("source"), b.pop("source")) for a, b in zip(one["cells"], two["cells"], strict=True)]
    assert one == two
    assert sum("".join(a) != "".join(b) for a, b in sources) <= 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_told_and_never_a_crash(data: st.DataObject) -> None:
    text = notebook(
        "import torch\nfor x in loader:\n    torch.cuda.empty_cache()\n", "%%time\n!ls\n", cell("é", "markdown")
    )
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        cut = data.draw(st.integers(0, 30))
        raw[at : at + cut] = data.draw(
            st.binary(max_size=5) | st.sampled_from([b'"', b"[", b"}", b"\\", b"\\ud83d", b"null"])
        )
    document, findings = lint_file("nb.ipynb", bytes(raw), load_rules(), Project())
    for finding in findings:
        placed = document.placed(finding)
        assert placed.code in ("TML001", "TML101", "TML102", "TML103") and placed.in_file.start.line >= 1


@pytest.mark.parametrize(("escape", "reason"), [("\\ud83d", "encoding"), ("\\u0000", "a NUL byte")])
def test_characters_that_no_file_can_hold(escape: str, reason: str) -> None:
    text = notebook("import torch", "x = 'HERE'", "for x in y:\n    torch.cuda.empty_cache()").replace("HERE", escape)
    document, findings = lint_file("nb.ipynb", text.encode(), load_rules(), Project())
    bad = [document.placed(one) for one in findings if one.code == "TML001"]
    assert [one.cell for one in bad] == [2] and reason in bad[0].message
    assert document.with_source(document.source.data) == text.encode()


def test_not_a_notebook() -> None:
    with pytest.raises(BadFile):
        Notebook("nb.ipynb", b"[]")
