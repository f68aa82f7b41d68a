"""Where the flagged statement stands: in the text as written, and in the text with the fix.

Outside the lines that the fix edits, a line has simply moved by what was put in or taken out before it. Within
them, lines are matched without their indentation. May not lint or apply anything.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from runtime_verify.outline import first_line, last_line
from torchmemlint.model import Edit, Position

_ALIKE = 0.6
"""Share of characters in common from which a line is the flagged one, changed."""
_NOTHING = ("pass", "...")


@dataclass(frozen=True)
class Mark:
    """A line from 1, and whether the flagged statement is what stands there."""

    line: int
    kept: bool


def statement_at(tree: ast.Module, place: Position) -> tuple[ast.stmt, Sequence[ast.stmt]] | None:
    """The innermost statement around a place, and the block that it stands in."""
    found: tuple[ast.stmt, Sequence[ast.stmt]] | None = None
    blocks: list[Sequence[ast.stmt]] = [tree.body]
    while blocks:
        block = blocks.pop()
        node = next((one for one in block if _holds(one, place)), None)
        if node is not None:
            found = (node, block)
            blocks = list(_blocks(node))
    return found


def lines_beside(tree: ast.Module, place: Position, line: int) -> list[int]:
    """First lines of the statements of a block, the one around the place, on `line`, among them.

    Where that is all that its block has, it stands for the statement around it: they go together.
    """
    beside: list[int] = []
    around = 0
    blocks: list[Sequence[ast.stmt]] = [tree.body]
    while blocks:
        block = blocks.pop()
        node = next((one for one in block if _holds(one, place)), None)
        if node is not None:
            lines = [first_line(one) for one in block]
            alone = len(block) == 1 and around in beside
            beside = [first_line(node) if one == around else one for one in beside] if alone else lines
            around, blocks = first_line(node), list(_blocks(node))
    return [line if one == around else one for one in beside]


def line_of(statement: ast.stmt, place: Position) -> int:
    """The line of a flagged statement; for a decorator, the decorator's own."""
    return min(statement.lineno, place.line)


def mark_in(lines: Sequence[str], fixed: Sequence[str], edits: Sequence[Edit], block: Sequence[int], line: int) -> Mark:
    """Where the flagged statement stands in the fixed text.

    lines, fixed  both texts by lines.
    edits         of the fix, in the text as written.
    block         first lines of the statements of the flagged one's block, its own among them.
    line          the flagged statement's line.
    """
    hunks = list(_hunks(lines, edits))
    here = _moved(lines, fixed, hunks, line)
    if here is not None:
        return Mark(here, fixed[here - 1].partition("#")[0].strip() not in _NOTHING)
    at = block.index(line)
    for other in chain(block[at + 1 :], reversed(block[:at])):
        there = _moved(lines, fixed, hunks, other)
        if there is not None:
            return Mark(there, False)
    hunk = next(hunk for hunk in hunks if hunk.first <= line < hunk.last)
    return Mark(max(1, min(hunk.first + hunk.shift, len(fixed))), False)


@dataclass(frozen=True)
class _Hunk:
    """Lines `first` to before `last` become as many lines, plus `grows`, `shift` further down."""

    first: int
    last: int
    shift: int
    grows: int

    @property
    def new(self) -> tuple[int, int]:
        return self.first + self.shift, self.last + self.shift + self.grows


def _hunks(lines: Sequence[str], edits: Sequence[Edit]) -> Iterator[_Hunk]:
    """The stretches of whole lines that edits touch, those that share a line together."""
    first = last = grows = shift = 0
    for edit in sorted(edits):
        start, end = edit.span.start, edit.span.end
        begin = start.line
        stop = end.line + (0 if end.column == 0 and (start.column == 0 or end.line > start.line) else 1)
        stop = max(stop, begin + (1 if start.column else 0))
        more = edit.text.replace("\r\n", "\n").replace("\r", "\n").count("\n") - (end.line - start.line)
        if first and begin < last:
            last, grows = max(last, stop), grows + more
            continue
        if first:
            yield _Hunk(first, last, shift, grows)
            shift += grows
        first, last, grows = begin, stop, more
    if first:
        yield _Hunk(first, last, shift, grows)


def _moved(lines: Sequence[str], fixed: Sequence[str], hunks: Sequence[_Hunk], line: int) -> int | None:
    """Where one line of the text as written is in the fixed one; None where it is gone."""
    shift = 0
    for hunk in hunks:
        if line < hunk.first:
            break
        if line < hunk.last:
            return _within(lines, fixed, hunks, hunk, line)
        shift = hunk.shift + hunk.grows
    return line + shift


def _within(lines: Sequence[str], fixed: Sequence[str], hunks: Sequence[_Hunk], hunk: _Hunk, line: int) -> int | None:
    """A line of an edited stretch: unchanged but for its indentation, moved, or changed."""
    text = lines[line - 1].strip()
    old = [one.strip() for one in lines[hunk.first - 1 : hunk.last - 1]]
    start, stop = hunk.new
    new = [one.strip() for one in fixed[start - 1 : stop - 1]]
    at = line - hunk.first
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for kind, i1, i2, j1, _ in codes:
        if kind == "equal" and i1 <= at < i2:
            return start + j1 + at - i1
    elsewhere = [number for other in hunks for number in range(*other.new) if fixed[number - 1].strip() == text]
    if elsewhere:
        return elsewhere[0]
    for kind, i1, i2, j1, j2 in codes:
        if kind == "replace" and i1 <= at < i2:
            if i2 - i1 == j2 - j1:
                return start + j1 + at - i1
            near = max(range(j1, j2), key=lambda number: _alike(text, new[number]))
            if _alike(text, new[near]) >= _ALIKE:
                return start + near
    return None


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def _holds(node: ast.stmt, place: Position) -> bool:
    if not first_line(node) <= place.line <= last_line(node):
        return False
    after = place.line > node.lineno or place.column >= node.col_offset or place.line < node.lineno
    return after and (place.line < last_line(node) or place.column < (node.end_col_offset or 0))


def _blocks(node: ast.AST) -> Iterator[Sequence[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block:
            yield block
    for part in [*getattr(node, "handlers", ()), *getattr(node, "cases", ())]:
        yield part.body
