"""A notebook as one Python module: its code cells one below the other, so that what one binds another finds.

Above each cell stands a comment of ours with its number, and behind what stands for a magic another one, so the
way back from the module, also from a changed one, is in its text. May not read files, print, or know rules.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torchmemlint.document import BadCell, CannotWrite
from torchmemlint.model import Edit, Finding, Fix, Position, Span, Why
from torchmemlint.notebook.magics import is_python, stand_ins
from torchmemlint.notebook.stored import Cell, Stored
from torchmemlint.notebook.writing import rewritten
from torchmemlint.source import BadFile, Source

COOKIE = "-*- coding: utf-8 -*-"


@dataclass(frozen=True)
class _Section:
    """One cell's part of the module, below its head. `bare` cells stand there as empty lines."""

    cell: Cell
    head: str
    lines: tuple[str, ...]
    own: tuple[str, ...]
    magics: Mapping[str, int]
    bare: bool = False

    @property
    def closed(self) -> bool:
        """Whether a line end was added that the cell does not have."""
        return bool(self.own) and not self.own[-1].endswith(("\n", "\r"))


class Notebook:
    """One notebook. `path` is what the caller calls it. Raises BadFile for what is none."""

    def __init__(self, path: str, data: bytes, bare: Iterable[int] = ()) -> None:
        self.path = path
        self.data = data
        self._stored = Stored(data)
        self._bare = frozenset(bare)
        self._mark = "#%"
        while any(self._mark in cell.text for cell in self._stored.cells):
            self._mark += "_"

    # ---- the module -------------------------------------------------------------------------------

    @cached_property
    def source(self) -> Source:
        """The module, under the notebook's own name."""
        parts = [f"{self._mark} notebook {COOKIE}\n"]
        for section in self._sections:
            parts += [section.head, *section.lines]
        return Source(self.path, "".join(parts).encode("utf-8", "surrogatepass"))

    @cached_property
    def _sections(self) -> list[_Section]:
        return [section for cell in self._stored.cells if (section := self._section(cell)) is not None]

    def _section(self, cell: Cell) -> _Section | None:
        """What a cell gives to the module; nothing where its magic says that it is in another language."""
        own = tuple(io.StringIO(cell.text, newline="").readlines())
        replaced = stand_ins(own)
        if replaced is None:
            return None
        head = f"{self._mark} cell {cell.number}\n"
        if cell.number in self._bare:
            return _Section(cell, head, ("\n",) * len(own), own, {}, bare=True)
        magics: dict[str, int] = {}
        lines = []
        for row, line in enumerate(own):
            text, end = _parted(line)
            if row in replaced:
                mark = f"{self._mark} line {cell.number}.{len(magics) + 1}"
                magics[mark] = row
                text = f"{replaced[row]}  {mark}"
            lines.append(text + (end or "\n"))
        return _Section(cell, _opened(head, lines), tuple(lines), own, magics)

    @cached_property
    def _heads(self) -> list[int]:
        """The module's line of each section's head."""
        heads, line = [], 2
        for section in self._sections:
            heads.append(line)
            line += 1 + len(section.lines)
        return heads

    def bad_cells(self) -> list[BadCell]:
        """The cells that are no Python by themselves."""
        found = []
        for section, head in zip(self._sections, self._heads, strict=True):
            text = "".join([section.head, *section.lines])
            alone = Source(self.path, text.encode("utf-8", "surrogatepass"))
            try:
                _ = alone.screen or alone.tree
            except BadFile as error:
                line = head + min(max(error.place.line - 1, 1), len(section.lines))
                found.append(BadCell(section.cell.number, error.reason, Position(line, error.place.column)))
        return found

    def without(self, bad: Iterable[BadCell]) -> Notebook:
        """The same notebook with nothing but empty lines for some cells."""
        return Notebook(self.path, self.data, self._bare | {one.number for one in bad})

    # ---- places -----------------------------------------------------------------------------------

    def lines(self, cell: int | None) -> Sequence[str]:
        """The lines of a code cell; none where the finding is not in one."""
        return next((section.own for section in self._sections if section.cell.number == cell), ())

    def placed(self, finding: Finding) -> Finding:
        """A finding in the module as one in its cell."""
        finding = self.fixable(self.source, finding)
        start = self._located(finding.span.start)
        if start is None:
            return finding
        number, first = start
        span = Span(first, self._within(number, finding.span.end))
        return replace(
            finding,
            span=span,
            cell=self._sections[number].cell.number,
            stored=self._in_file(number, span),
            why=tuple(self._placed_step(step) for step in finding.why),
            fix=self._placed_fix(finding.fix) if finding.fix else None,
        )

    def standing(self, finding: Finding) -> Finding:
        """The way back: a finding in its cell as one in the module; its reasons stay as they are."""
        fix = finding.fix
        if fix is not None:
            fix = replace(fix, edits=tuple(Edit(self._in_module(one.cell, one.span), one.text) for one in fix.edits))
        span = self._in_module(finding.cell, finding.span)
        return replace(finding, span=span, fix=fix, cell=None, stored=None)

    def _in_module(self, cell: int | None, span: Span) -> Span:
        for section, head in zip(self._sections, self._heads, strict=True):
            if section.cell.number == cell:
                start, end = span.start, span.end
                return Span(Position(head + start.line, start.column), Position(head + end.line, end.column))
        return span

    def _placed_step(self, step: Why) -> Why:
        start = self._located(step.span.start) if step.path == self.path else None
        if start is None:
            return step
        number, first = start
        span = Span(first, self._within(number, step.span.end))
        return replace(step, span=span, cell=self._sections[number].cell.number, stored=self._in_file(number, span))

    def _placed_fix(self, fix: Fix) -> Fix:
        edits = []
        for edit in fix.edits:
            start = self._located(edit.span.start)
            if start is not None:
                number, first = start
                span = Span(first, self._within(number, edit.span.end))
                edit = Edit(span, edit.text, self._sections[number].cell.number)
            edits.append(edit)
        return replace(fix, edits=tuple(edits))

    def _located(self, place: Position) -> tuple[int, Position] | None:
        """The section of a place in the module; the line of the next head is the end of the cell above."""
        number = bisect_left(self._heads, place.line) - 1
        return (number, Position(place.line - self._heads[number], place.column)) if number >= 0 else None

    def _within(self, number: int, place: Position) -> Position:
        """The end of a stretch that begins in a section, in this section."""
        rows = len(self._sections[number].lines)
        line = place.line - self._heads[number]
        return Position(line, place.column) if line <= rows else Position(rows + 1, 0)

    def _in_file(self, number: int, span: Span) -> Span:
        """A stretch of a section's cell in the file's text."""
        cell = self._sections[number].cell
        first, last = (self._index(number, place) for place in (span.start, span.end))
        start, end = self._stored.offset(cell, first), self._stored.offset(cell, last, end=last > first)
        return Span(self._stored.place(start), self._stored.place(end))

    def _index(self, number: int, place: Position) -> int:
        """A place in a section's cell as a number of characters of it."""
        own = self._sections[number].own
        above = sum(len(line) for line in own[: place.line - 1])
        return above + (min(place.column, len(own[place.line - 1])) if place.line <= len(own) else 0)

    # ---- changes ----------------------------------------------------------------------------------

    def texts(self) -> Sequence[tuple[str, bytes]]:
        """The code cells; Jupyter stores no line end behind the last line."""
        made = []
        for cell in self._stored.cells:
            text = cell.text if cell.text.endswith(("\n", "\r")) or not cell.text else f"{cell.text}\n"
            made.append((f"{self.path}:cell {cell.number}", text.encode("utf-8", "surrogatepass")))
        return made

    def fixable(self, source: Source, finding: Finding) -> Finding:
        """A finding in the module, or in what has become of it, without a fix that changes a line of IPython's."""
        touched = finding.fix is not None and any(self._touches_magic(source, edit) for edit in finding.fix.edits)
        return replace(finding, fix=None) if touched else finding

    def _touches_magic(self, source: Source, edit: Edit) -> bool:
        first, last = edit.span.start, edit.span.end
        if first == last and first.column == 0 and (not edit.text.strip() or edit.text.endswith("\n")):
            return False  # a line above it, or its indentation
        lines = source.lines[first.line - 1 : last.line - (last.column == 0 and last > first)]
        return any(f"{self._mark} line " in line for line in lines)

    def with_source(self, data: bytes) -> bytes:
        """The notebook's file with its module changed to this; all else stays as it is. Raises CannotWrite."""
        changes = []
        for section, new in zip(self._sections, self._by_section(data.decode()), strict=True):
            if tuple(new) != section.lines:
                changes.append((section.cell, self._restored(section, new)))
        made = self._stored.bom + rewritten(self._stored, changes).encode()
        if Notebook(self.path, made, self._bare).source.data != data:
            raise CannotWrite("the cells would not hold what the fix made of them")
        return made

    def _by_section(self, text: str) -> list[list[str]]:
        """A changed module's lines by section."""
        first, *lines = io.StringIO(text, newline="").readlines()
        if first != self.source.lines[0]:
            raise CannotWrite("the fix writes above the first cell")
        parts: list[list[str]] = []
        for line in lines:
            if len(parts) < len(self._sections) and line == self._sections[len(parts)].head:
                parts.append([])
            elif not parts:
                raise CannotWrite("the fix writes above the first cell")
            else:
                parts[-1].append(line)
        if len(parts) != len(self._sections):
            raise CannotWrite("the fix goes beyond its cell")
        return parts

    def _restored(self, section: _Section, lines: list[str]) -> str:
        """The text of a cell with its magics in their places again."""
        if section.bare:
            raise CannotWrite("the fix changes a cell that is no Python")
        left = dict(section.magics)
        made: list[str] = []
        for line in lines:
            bare, end = _parted(line)
            if found := re.search(rf"{re.escape(self._mark)} line \d+\.\d+$", bare):
                line = _again(section, left.pop(found[0], None), bare, made) + end
            made.append(line)
        if left:
            raise CannotWrite("the fix removes a line that is IPython's")
        text = "".join(made)
        return _parted(text)[0] if section.closed else text


def _opened(head: str, lines: Sequence[str]) -> str:
    """The head of a cell; IPython takes off the indentation that a whole cell has, here it is a block's."""
    first = next((line for line in lines if line.strip()), "")
    block = f"if True:  {head}"
    return block if first[:1] in (" ", "\t") and is_python("".join([block, *lines])) else head


def _again(section: _Section, row: int | None, stand_in: str, above: list[str]) -> str:
    """The line that a stand-in stands for, perhaps indented."""
    if row is None or stand_in.strip() != section.lines[row].strip():
        raise CannotWrite("the fix changes a line that is IPython's")
    old = section.own[row].strip()
    indent = stand_in[: len(stand_in) - len(stand_in.lstrip())]
    before = list(section.own[:row])
    opens = old.startswith("%%") and not any(line.strip() and not line.lstrip().startswith("#") for line in before)
    if opens and (indent or above != before):
        raise CannotWrite("the fix writes above the cell's magic")
    return indent + old


def _parted(line: str) -> tuple[str, str]:
    """A text without its last line end, and that."""
    for end in ("\r\n", "\n", "\r"):
        if line.endswith(end):
            return line.removesuffix(end), end
    return line, ""
