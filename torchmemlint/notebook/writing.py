"""New text for cells, written into a notebook's JSON: lines that stay the same stay the same byte for byte.

May not read files, print, or know Python.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from torchmemlint.notebook.stored import Cell, Stored


@dataclass(frozen=True)
class _Line:
    """One line of a cell: its text, the JSON of it, and the JSON between it and the next one."""

    text: str
    raw: str
    gap: str = ""


def rewritten(stored: Stored, changes: Iterable[tuple[Cell, str]]) -> str:
    """The file's text with new sources for some cells."""
    parts, at = [], 0
    for cell, text in changes:
        parts += [stored.text[at : cell.start], _source(stored, cell, text)]
        at = cell.end
    return "".join([*parts, stored.text[at:]])


def _source(stored: Stored, cell: Cell, text: str) -> str:
    """The JSON of a cell's source that says `text`, in the cell's own style."""
    ascii_only = stored.text.isascii()
    if not cell.pieces:
        return json.dumps(_split(text) if cell.listed else text, ensure_ascii=ascii_only)
    old = list(_lines(stored, cell))
    gap = _gap(stored, cell)
    new = [
        kept if kept is not None else _Line(line, json.dumps(line, ensure_ascii=ascii_only)[1:-1], gap)
        for line, kept in _matched(old, _split(text))
    ]
    if not new and cell.listed:
        return "[]"
    opening = stored.text[cell.start : cell.pieces[0].start]
    closing = stored.text[cell.pieces[-1].end : cell.end]
    inside = "".join(line.raw + (line.gap or gap if number < len(new) else "") for number, line in enumerate(new, 1))
    return f"{opening}{inside}{closing}"


def _matched(old: Sequence[_Line], new: Sequence[str]) -> Iterator[tuple[str, _Line | None]]:
    """The new lines, each with the old one that it is."""
    from difflib import SequenceMatcher  # most runs change nothing

    matcher = SequenceMatcher(None, [line.text for line in old], new, autojunk=False)
    for kind, i1, _, j1, j2 in matcher.get_opcodes():
        for number in range(j1, j2):
            yield new[number], old[i1 + number - j1] if kind == "equal" else None


def _lines(stored: Stored, cell: Cell) -> Iterator[_Line]:
    texts = _split(cell.text)
    ends = list(accumulate(len(text) for text in texts))
    for number, (text, end) in enumerate(zip(texts, ends, strict=True)):
        first = stored.offset(cell, end - len(text))
        last = stored.offset(cell, end, end=True)
        following = stored.offset(cell, end) if number + 1 < len(texts) else last
        yield _Line(text, stored.text[first:last], stored.text[last:following])


def _gap(stored: Stored, cell: Cell) -> str:
    """What stands between two lines of a cell that are strings of their own; nothing where lines share a string."""
    if not cell.listed or any("\n" in piece.text[:-1] for piece in cell.pieces):
        return ""
    if len(cell.pieces) > 1:
        one, two = cell.pieces[:2]
        return stored.text[one.end : two.start]
    lead = stored.text[cell.start + 1 : cell.pieces[0].start - 1]
    return f'",{lead}"'


def _split(text: str) -> list[str]:
    """Lines as Jupyter stores them, each with its end."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
