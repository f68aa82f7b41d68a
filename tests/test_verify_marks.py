"""Where the flagged statement stands once the fix is in: moved, indented, changed, or gone."""

from __future__ import annotations

import ast

import pytest

from runtime_verify.marks import line_of, lines_beside, mark_in, statement_at
from torchmemlint.model import Edit, Position, Span

TEXT = """\
def train(model, batches):
    total = 0
    for batch in batches:
        loss = model(batch)
        loss.backward()
        total += loss
        sweep()
    sweep()
    return total
"""


def edit(start: tuple[int, int], end: tuple[int, int], text: str) -> Edit:
    return Edit(Span(Position(*start), Position(*end)), text)


def spliced(text: str, edits: list[Edit]) -> str:
    lines = text.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    for one in sorted(edits, reverse=True):
        first = starts[one.span.start.line - 1] + one.span.start.column
        last = starts[one.span.end.line - 1] + one.span.end.column
        text = text[:first] + one.text + text[last:]
    return text


def marked(line: int, *edits: Edit, text: str = TEXT) -> tuple[str, bool]:
    """The text at the mark after some edits, and whether the statement is said to be still there."""
    place = Position(line, len(text.splitlines()[line - 1]) - len(text.splitlines()[line - 1].lstrip()))
    tree = ast.parse(text)
    found = statement_at(tree, place)
    assert found is not None
    own = line_of(found[0], place)
    fixed = spliced(text, list(edits)).splitlines()
    mark = mark_in(text.splitlines(), fixed, edits, lines_beside(tree, place, own), own)
    return fixed[mark.line - 1].strip(), mark.kept


def test_a_line_before_the_edits_stays() -> None:
    assert marked(2, edit((6, 0), (7, 0), "")) == ("total = 0", True)


def test_a_statement_that_goes_with_the_if_around_it() -> None:
    text = TEXT.replace("        sweep()\n", "        if ready:\n            if able:\n                sweep()\n")
    assert marked(9, edit((7, 0), (10, 0), ""), text=text) == ("total += loss", False)
    assert marked(9, edit((7, 0), (10, 0), "        sweep(1)\n"), text=text)[0] == "sweep(1)"


def test_a_line_behind_the_edits_moves() -> None:
    assert marked(6, edit((2, 0), (2, 0), "    import torch\n")) == ("total += loss", True)
    assert marked(6, edit((4, 0), (5, 0), "")) == ("total += loss", True)


def test_a_changed_line() -> None:
    assert marked(6, edit((6, 21), (6, 21), ".detach()")) == ("total += loss.detach()", True)


def test_indented_lines() -> None:
    text = "        with torch.no_grad():\n            loss = model(batch)\n"
    assert marked(4, edit((4, 0), (5, 0), text)) == ("loss = model(batch)", True)


def test_a_whole_loop_indented() -> None:
    body = "".join(f"    {line}\n" for line in TEXT.splitlines()[2:7])
    assert marked(6, edit((3, 0), (8, 0), "    with torch.no_grad():\n" + body)) == ("total += loss", True)


def test_a_moved_line_is_not_the_one_that_took_its_place() -> None:
    edits = [edit((7, 0), (8, 0), "        flag = True\n"), edit((9, 0), (9, 0), "    if flag:\n        sweep()\n")]
    assert marked(7, *edits) == ("sweep()", True)


def test_a_removed_line_is_marked_by_what_follows() -> None:
    assert marked(4, edit((4, 0), (5, 0), "")) == ("loss.backward()", False)


def test_the_last_line_of_a_block_is_marked_by_what_precedes() -> None:
    assert marked(7, edit((7, 0), (8, 0), "")) == ("total += loss", False)


def test_the_same_line_further_down_is_not_taken_for_the_removed_one() -> None:
    text, kept = marked(8, edit((8, 0), (9, 0), ""))
    assert (text, kept) == ("return total", False)


def test_a_line_that_became_nothing() -> None:
    assert marked(5, edit((5, 8), (5, 23), "pass")) == ("pass", False)


def test_a_statement_put_before_it_on_its_own_line() -> None:
    assert marked(8, edit((8, 4), (8, 4), "del loss\n    ")) == ("sweep()", True)


@pytest.mark.parametrize("line", range(2, 10))
def test_every_line_is_found_again_around_an_insertion(line: int) -> None:
    text, kept = marked(line, edit((1, 0), (1, 0), "import torch\n"), edit((10, 0), (10, 0), "\n\nend = 1\n"))
    assert kept and text == TEXT.splitlines()[line - 1].strip()


def test_the_innermost_statement_counts() -> None:
    found = statement_at(ast.parse("if a:\n    x = (1,\n         call())\n"), Position(3, 9))
    assert found is not None and found[0].lineno == 2
