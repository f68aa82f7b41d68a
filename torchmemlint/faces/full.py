"""Findings with all that is known of them: code frames, the chain of reasons, the fix, figures. Pure.

A frame shows the flagged code and the reasons beside it, in the order of the text, one file or cell below the other.
What is worth saying once about a rule, its price on a known workload and when the pattern is fine, is said
with its first finding.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence

from torchmemlint.faces import frames
from torchmemlint.faces.frames import GUTTER, Label, Line
from torchmemlint.faces.report import NO_NOTES, NONE, STYLES, Fixable, Notes, coded
from torchmemlint.model import Applicability, Edit, Finding, Fix, where

Lines = Callable[[str, int | None], Sequence[str]]
"""The lines of a file, or of a cell of it, that findings name; nothing where it cannot be read."""
About = Callable[[Finding], Sequence[tuple[str, str]]]
"""What is said once about a rule, with its first finding: each time a word or two, and a sentence."""

REASON = "cyan"
FIX_LINES = 8
"""A change of more lines is told and not shown."""
OFFERED = {
    Applicability.SAFE: "safe",
    Applicability.UNSAFE: "unsafe",
    Applicability.PROOF: "by hand",
}


def full(
    findings: Iterable[Finding],
    lines: Lines,
    width: int,
    notes: Notes = NO_NOTES,
    about: About = lambda finding: (),
    fixable: Fixable = NONE,
) -> list[Line]:
    """The report, for a screen of so many cells."""
    report: list[Line] = []
    met: set[str] = set()
    for finding in findings:
        once = about(finding) if finding.code not in met else ()
        met.add(finding.code)
        message = frames.printable(" ".join(finding.message.split()))
        report.append([*coded(finding, fixable), (message, "bold")])
        report += [*_Told(finding, lines, width).told(notes.get(finding, ""), once), []]
    return report


class _Told:
    """One finding on its way to lines of text, those below its headline."""

    def __init__(self, finding: Finding, lines: Lines, width: int) -> None:
        self._finding = finding
        self._lines = lines
        self._width = width
        spans = [finding.span, *(why.span for why in finding.why)]
        edits = finding.fix.edits if finding.fix else ()
        put_in = max((edit.span.end.line for edit in edits), default=0) + sum(edit.text.count("\n") for edit in edits)
        self._gutter = frames.gutter_of([put_in, *(span.end.line for span in spans)])
        self._room = max(width - self._gutter - 3, 20)

    def told(self, measured: str, once: Iterable[tuple[str, str]]) -> Iterator[Line]:
        finding = self._finding
        sure = f" ({finding.severity.value}, {finding.confidence.value} confidence)"
        yield [*self._arrow("-->", finding.where), (sure, "bright_black")]
        yield from self._frames()
        if finding.fix:
            yield from self._fix(finding.fix)
        if measured:
            yield from self._note("measured", measured, "magenta")
        for word, sentence in once:
            yield from self._note(word, sentence, "bright_black")

    def _frames(self) -> Iterator[Line]:
        finding = self._finding
        home = (finding.path, finding.cell)
        labels: dict[tuple[str, int | None], list[Label]] = {home: []}
        flagged = []
        for why in finding.why:
            if (why.path, why.cell) == home and why.span.start == finding.span.start:
                flagged.append(why.message)
            else:
                label = Label(why.span, frames.printable(why.message), REASON)
                labels.setdefault((why.path, why.cell), []).append(label)
        mine = Label(finding.span, frames.printable("; ".join(flagged)), STYLES[finding.severity.value], "^")
        labels[home].insert(0, mine)
        for (path, cell), found in labels.items():
            text = self._lines(path, cell)
            if any(label.span.start.line > len(text) for label in found):  # it has changed since, or is gone
                told = [(where(path, cell, label.span.start), label.words) for label in found if label.words]
                yield from (self._arrow(":::", place, f" {words}") for place, words in told)
                continue
            if (path, cell) != home:
                yield self._arrow(":::", where(path, cell, found[0].span.start))
            yield frames.bar(self._gutter)
            yield from frames.frame(text, found, self._gutter, self._room)

    def _arrow(self, arrow: str, place: str, words: str = "") -> Line:
        return [(f"{' ' * self._gutter}{arrow} ", GUTTER), (frames.printable(place), ""), (words, REASON)]

    def _fix(self, fix: Fix) -> Iterator[Line]:
        cell = self._finding.cell
        edits = [edit for edit in fix.edits if edit.cell == cell]
        change = _Change(edits, self._lines(self._finding.path, cell))
        rows = [] if fix.applicability is Applicability.PROOF else change.rows
        size = ""
        if len(rows) > FIX_LINES:
            rows, moved = change.but_for_indents
            size = f", {moved} line{'s' * (moved != 1)} re-indented" if moved else f", {len(rows)} lines"
        offered = f"{frames.printable(fix.title)} ({OFFERED[fix.applicability]}{size})"
        yield from self._note("fix", offered, "green")
        for sign, number, text in rows if len(rows) <= FIX_LINES else ():
            style = "red" if sign == "-" else "green"
            row = f"{sign} {frames.cut(text, self._room)}".rstrip()
            yield [(f"{number:>{self._gutter}} ", GUTTER), (row, style)]

    def _note(self, word: str, sentence: str, style: str) -> Iterator[Line]:
        """A remark below the frame, broken into lines where it is longer than the screen is wide."""
        head = f"{' ' * (self._gutter + 1)}= {word}: "
        room = max(self._width - len(head), 40)
        rows = textwrap.wrap(sentence, room, break_long_words=False, break_on_hyphens=False)
        yield [(head, style), (rows[0] if rows else "", "")]
        for row in rows[1:]:
            yield [(" " * len(head) + row, "")]


class _Change:
    """What edits do to a text: the lines they touch as they were and as they will be."""

    def __init__(self, edits: Iterable[Edit], lines: Sequence[str]) -> None:
        edits = sorted(edits)
        self._first = edits[0].span.start.line if edits else 1
        last = max((edit.span.end.line for edit in edits), default=0)
        fits = last <= len(lines) + 1  # not where the file has changed since
        self._old = [line.rstrip("\r\n") for line in lines[self._first - 1 : last]] if fits else []
        new = io.StringIO(_edited(lines, edits, self._first, last), newline="") if fits else ()
        self._new = [line.rstrip("\r\n") for line in new]

    @property
    def rows(self) -> list[tuple[str, int, str]]:
        """Lines taken away and put in, each with its number."""
        return self._compared(self._old, self._new)

    @property
    def but_for_indents(self) -> tuple[list[tuple[str, int, str]], int]:
        """The same without the lines that only move to the right or left, and how many those are."""
        old, new = ([line.strip() for line in lines] for lines in (self._old, self._new))
        rows = self._compared(old, new)
        return rows, len(self.rows) // 2 - len(rows) // 2

    def _compared(self, old: list[str], new: list[str]) -> list[tuple[str, int, str]]:
        import difflib

        found: list[tuple[str, int, str]] = []
        for kind, *at in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if kind != "equal":
                found += [("-", self._first + n, self._old[n]) for n in range(at[0], at[1])]
                found += [("+", self._first + n, self._new[n]) for n in range(at[2], at[3])]
        return found


def _edited(lines: Sequence[str], edits: Sequence[Edit], first: int, last: int) -> str:
    """The new text of the lines from `first` to `last`."""
    parts = []
    line, column = first, 0
    for edit in edits:
        start, end = edit.span.start, edit.span.end
        parts += [_between(lines, (line, column), (start.line, start.column)), edit.text]
        line, column = end.line, end.column
    return "".join([*parts, _between(lines, (line, column), (last + 1, 0))])


def _between(lines: Sequence[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text from one place to another; the end of the text is line count + 1."""
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]] if start[0] <= len(lines) else ""
    whole = "".join(lines[start[0] : end[0] - 1])
    tail = lines[end[0] - 1][: end[1]] if end[0] <= len(lines) else ""
    return (lines[start[0] - 1][start[1] :] if start[0] <= len(lines) else "") + whole + tail
