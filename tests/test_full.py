"""The full text of findings: the head, frames across files, what a fix changes, what is said once a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torchmemlint.faces.frames import Line
from torchmemlint.faces.full import full
from torchmemlint.faces.report import concise, counted, statistics
from torchmemlint.model import Applicability, Confidence, Edit, Finding, Fix, Position, Severity, Span, Why

TEXTS = {
    "train.py": "for x in loader:\n    loss = step(x)\n    total += loss\n",
    "model.py": "import torch\n\n\ndef step(x):\n    return x.sum()\n",
}


def span(line: int, start: int, end: int, last: int = 0) -> Span:
    return Span(Position(line, start), Position(last or line, end))


DETACHED = Fix("detach it", Applicability.SAFE, (Edit(span(3, 17, 17), ".detach()"),))
FINDING = Finding(
    "train.py",
    span(3, 4, 17),
    "TML302",
    "loss-accumulated-with-graph",
    Severity.WARNING,
    Confidence.HIGH,
    "`total` sums `loss`",
    why=(
        Why("output of `sum`", "model.py", span(5, 11, 18)),
        Why("loop", "train.py", span(1, 0, 16)),
        Why("adds it", "train.py", span(3, 4, 17)),
    ),
    fix=DETACHED,
)


def lines(path: str, cell: int | None) -> Sequence[str]:
    return TEXTS.get(path, "").splitlines(keepends=True)


def plain(line: Line) -> str:
    return "".join(text for text, _ in line)


def told(*findings: Finding, width: int = 100, notes: dict[Finding, str] | None = None) -> list[str]:
    about = [("more", "see there")]
    rows = full(findings, lines, width, notes or {}, lambda finding: about)
    return [plain(row) for row in rows]


def test_a_finding_with_reasons_in_two_files() -> None:
    assert told(FINDING, notes={FINDING: "confirmed: 8 nodes"}) == [
        "TML302 `total` sums `loss`",
        " --> train.py:3:5 (warning, high confidence)",
        "  |",
        "1 | for x in loader:",
        "  | ---------------- loop",
        "2 |     loss = step(x)",
        "3 |     total += loss",
        "  |     ^^^^^^^^^^^^^ adds it",
        " ::: model.py:5:12",
        "  |",
        "5 |     return x.sum()",
        "  |            ------- output of `sum`",
        "  = fix: detach it (safe)",
        "3 -     total += loss",
        "3 +     total += loss.detach()",
        "  = measured: confirmed: 8 nodes",
        "  = more: see there",
        "",
    ]


def test_what_is_said_of_a_rule_is_said_once() -> None:
    other = replace(FINDING, code="TML101")
    rows = told(FINDING, FINDING, other, FINDING)
    assert sum(row == "  = more: see there" for row in rows) == 2


def fixed(fix: Fix) -> list[str]:
    rows = told(replace(FINDING, why=(), fix=fix))
    start = next(n for n, row in enumerate(rows) if "= fix:" in row)
    return rows[start : rows.index("  = more: see there")]


def test_only_a_fix_that_may_be_applied_is_shown() -> None:
    assert fixed(replace(DETACHED, applicability=Applicability.UNSAFE))[0] == "  = fix: detach it (unsafe)"
    assert fixed(replace(DETACHED, applicability=Applicability.PROOF)) == ["  = fix: detach it (by hand)"]


def test_lines_that_are_taken_away_or_put_in_before() -> None:
    gone = Fix("remove it", Applicability.SAFE, (Edit(Span(Position(3, 0), Position(4, 0)), ""),))
    assert fixed(gone)[1:] == ["3 -     total += loss"]
    put = Fix("guard it", Applicability.SAFE, (Edit(span(1, 0, 0), "import torch\n"), Edit(span(3, 13, 17), "0")))
    assert fixed(put)[1:] == ["1 + import torch", "3 -     total += loss", "4 +     total += 0"]


def test_lines_that_only_move_are_counted_where_a_change_is_long() -> None:
    TEXTS["long.py"] = "".join(f"    line{n}()\n" for n in range(20))
    edits = (Edit(span(1, 0, 0), "    with off:\n"), *(Edit(span(n, 0, 0), "    ") for n in range(2, 21)))
    edits = (Edit(span(1, 0, 0), "    with off:\n    "), *edits[1:])
    moved = Fix("run it with grad off", Applicability.UNSAFE, edits)
    finding = replace(FINDING, path="long.py", why=(), fix=moved)
    rows = told(finding)
    at = rows.index("   = fix: run it with grad off (unsafe, 20 lines re-indented)")
    assert rows[at + 1 :] == [" 1 +     with off:", "   = more: see there", ""]
    rewritten = Fix("rewrite it", Applicability.UNSAFE, tuple(Edit(span(n, 4, 8), "word") for n in range(1, 21)))
    rows = told(replace(finding, fix=rewritten))
    assert rows[rows.index("   = fix: rewrite it (unsafe, 40 lines)") + 1] == "   = more: see there"


def test_a_file_that_has_changed_since_or_is_gone() -> None:
    far = replace(FINDING, span=span(30, 4, 17), fix=replace(DETACHED, edits=(Edit(span(30, 0, 0), "x"),)))
    rows = told(replace(far, why=(Why("made here", "gone.py", span(5, 0, 1)),)))
    assert rows == [
        "TML302 `total` sums `loss`",
        "  --> train.py:30:5 (warning, high confidence)",
        "  ::: gone.py:5:1 made here",
        "   = fix: detach it (safe)",
        "   = more: see there",
        "",
    ]


def test_remarks_are_broken_to_the_screen_and_messages_are_not() -> None:
    finding = replace(FINDING, message="`x` " + "word " * 40, why=(), fix=None)
    rows = told(finding, width=60, notes={finding: "number " * 30})
    assert len(rows[0]) > 200
    assert all(len(row) <= 60 for row in rows[1:])
    assert [row for row in rows if row.startswith("              number")]


def test_names_cannot_steer_a_terminal() -> None:
    rows = told(replace(FINDING, path="a\x1b[2J.py", message="`\x1b]0;x\x07`", why=(), fix=None))
    assert not any(character in "".join(rows) for character in "\x1b\x07")


def test_cells_of_a_notebook_are_texts_of_their_own() -> None:
    cells = {1: "def step(x):\n    return x.sum()\n", 3: "for x in loader:\n    total += step(x)\n"}
    why = (Why("loop", "n.ipynb", span(1, 0, 16), 3), Why("output of `sum`", "n.ipynb", span(2, 11, 18), 1))
    finding = replace(FINDING, path="n.ipynb", cell=3, span=span(2, 4, 20), why=why, fix=None)
    rows = full([finding], lambda path, cell: cells[cell or 0].splitlines(keepends=True), 100)
    assert [plain(row) for row in rows] == [
        "TML302 `total` sums `loss`",
        " --> n.ipynb:cell 3:2:5 (warning, high confidence)",
        "  |",
        "1 | for x in loader:",
        "  | ---------------- loop",
        "2 |     total += step(x)",
        "  |     ^^^^^^^^^^^^^^^^",
        " ::: n.ipynb:cell 1:2:12",
        "  |",
        "2 |     return x.sum()",
        "  |            ------- output of `sum`",
        "",
    ]


def test_what_can_be_fixed_is_marked() -> None:
    other = replace(FINDING, fix=None, message="`other`")
    third = replace(FINDING, code="TML101", name="empty-cache-in-hot-path")
    findings, fixable = [FINDING, other, third, third], {FINDING}
    heads = [row for row in full(findings, lines, 100, fixable=fixable) if row and row[0][0].startswith("TML")]
    assert [plain(head)[:12] for head in heads] == ["TML302 [*] `", "TML302 `othe", *2 * ["TML101 `tota"]]
    assert plain(concise([FINDING], fixable=fixable)[0]).startswith("train.py:3:5: TML302 [*] [high] `")
    assert [row["fixable_count"] for row in counted(findings, fixable)] == [0, 1]
    shown = [plain(row) for row in statistics(findings, fixable)]
    assert shown == ["     2  TML101  [ ]  empty-cache-in-hot-path", "     2  TML302  [-]  loss-accumulated-with-graph"]
    assert plain(statistics([FINDING], fixable)[0])[8:19] == "TML302  [*]"
    assert plain(statistics([other])[0]) == "     1  TML302  loss-accumulated-with-graph"
