"""Pieces of source as a terminal shows them, with marks and labels under what is spoken of. Pure.

Works in cells, what a terminal gives to a character: tabs are expanded, wide characters take two cells,
what would move the cursor or turn the text round is replaced, and a long line is cut around its marks.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

from torchmemlint.model import Span

Piece = tuple[str, str]
"""A piece of text and its style, in rich's words."""
Line = list[Piece]

GUTTER = "blue"
SHOWN_LINES = 6
"""Lines of a stretch that are all shown; of a longer one only its head and its last line."""
TAB = 4
CUT = "..."
UNSHOWABLE = "\ufffd"
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Label:
    """Words about a stretch of source; `mark` is repeated under it."""

    span: Span
    words: str
    style: str
    mark: str = "-"

    @property
    def lines(self) -> list[int]:
        """The numbers of the lines that are shown of it; words about a longer stretch stand at its first line."""
        first, last = self.span.start.line, self.span.end.line
        if self.mark == "-" or last <= first:
            return [first]
        shown = list(range(first, last + 1))
        return shown if len(shown) <= SHOWN_LINES else [*shown[: SHOWN_LINES - 2], last]


def frame(lines: Sequence[str], labels: Iterable[Label], gutter: int, limit: int) -> Iterator[Line]:
    """The lines that labels are about in the order of the text, marks below them; line numbers in `gutter` cells."""
    below: dict[int, list[Label]] = {}
    inside: set[int] = set()
    for label in labels:
        shown = [number for number in label.lines if number <= len(lines)]
        for number in shown:
            below.setdefault(number, []).append(label)
        inside.update(range(shown[0], shown[-1]) if shown else ())
    numbers = sorted(below)
    for before, number in pairwise([*numbers[:1], *numbers]):
        if number == before + 2 and before not in inside:
            yield _numbered(before + 1, cut(lines[before], limit), gutter)
        elif number > before + 1:
            yield [(CUT, GUTTER)]
        row = _Row(lines[number - 1], [_columns(label, number, lines) for label in below[number]], limit)
        yield _numbered(number, row.text, gutter)
        yield from _marks(row, number, below[number], lines, gutter)


def printable(text: str) -> str:
    """Text on one line in which nothing but what is seen reaches a terminal."""
    return "".join(" " * TAB if c == "\t" else UNSHOWABLE if _dangerous(c) else c for c in text)


def bar(gutter: int, text: str = "") -> Line:
    """A line of the frame without a number."""
    return [(f"{' ' * gutter} |{' ' if text else ''}{text}", GUTTER)]


def cut(text: str, limit: int) -> str:
    """A line of source without its end, expanded, and cut where it is longer than the limit."""
    return _Row(text, [], limit).text


def _numbered(number: int, text: str, gutter: int) -> Line:
    return [(f"{number:>{gutter}} |", GUTTER), (f" {text}" if text else "", "")]


def _marks(row: _Row, number: int, labels: Sequence[Label], lines: Sequence[str], gutter: int) -> Iterator[Line]:
    """Marks and words below a line, those of the finding itself first."""
    for label in sorted(labels, key=lambda one: (one.mark == "-", one.span)):
        start, end = (row.cell(column) for column in _columns(label, number, lines))
        first, last = number == label.span.start.line, number == label.lines[-1]
        marks = label.mark * max(end - start, 1 if first else 0)
        if not marks:
            continue
        words = f" {label.words}" if label.words and (last or number == len(lines)) else ""
        yield [*bar(gutter), (f" {' ' * start}", ""), (f"{marks}{words}", label.style)]


def _columns(label: Label, number: int, lines: Sequence[str]) -> tuple[int, int]:
    """From where to where a label is about a line, in characters."""
    text, _ = _laid_out(lines[number - 1])
    start = label.span.start.column if number == label.span.start.line else len(text) - len(text.lstrip())
    end = label.span.end.column if number == label.span.end.line else len(text)
    end = min(end, max(len(text), label.span.start.column))
    return min(start, end), end


class _Row:
    """One line of source as it is shown, and which cell each of its characters begins at."""

    def __init__(self, source: str, marked: Sequence[tuple[int, int]], limit: int) -> None:
        source, self._starts = _laid_out(source)
        self._first, self._last = self._window(marked, limit)
        head, tail = CUT * (self._first > 0), CUT * (self._last < len(source))
        self.text = f"{head}{printable(source[self._first : self._last])}{tail}"
        self._shift = len(head) - self._starts[self._first]

    def cell(self, column: int) -> int:
        """Where a character is shown; one that is cut off, at the cut."""
        return self._starts[min(max(column, self._first), self._last)] + self._shift

    def _window(self, marked: Sequence[tuple[int, int]], limit: int) -> tuple[int, int]:
        """The characters to show of a line: all, or what is marked with something before and behind it."""
        count = len(self._starts) - 1
        if self._starts[-1] <= limit:
            return 0, count
        room = max(limit - 2 * len(CUT), 1)
        from_, to = min(marked, default=(0, 0))
        first = 0
        if self._starts[min(to, count)] > room:
            lead = max(self._starts[min(from_, count)] - room // 4, 0)
            back = max(self._starts[-1] - room, 0)  # no further than shows the end of the line
            first = bisect_left(self._starts, min(lead, back))
        return first, bisect_right(self._starts, self._starts[first] + room) - 1


@lru_cache(maxsize=4)
def _laid_out(source: str) -> tuple[str, Sequence[int]]:
    """A line without its end, and the cell that each of its characters begins at, for all that it holds."""
    source = source.rstrip()
    return source, [0, *accumulate(_cells(character) for character in source)]


def _cells(character: str) -> int:
    if character == "\t":
        return TAB
    if _dangerous(character):
        return 1
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def width(text: str) -> int:
    """How many cells a terminal gives to a text."""
    return sum(_cells(character) for character in text)


def _dangerous(character: str) -> bool:
    """Whether a terminal would do something instead of showing it, or show others in another order."""
    return character in _TURNS or unicodedata.category(character) in ("Cc", "Zl", "Zp")


def gutter_of(numbers: Iterable[int]) -> int:
    """How many cells line numbers take."""
    return max((len(str(number)) for number in numbers), default=1)
