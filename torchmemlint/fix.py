"""Fixes to new bytes: order, overlap, line ends and encoding.

A fix is a set of edits to one text. Fixes that touch the same place are not merged: the first one is
applied, the others wait until the new text has been linted. Everything outside the edited spans stays
byte for byte as it was. Which fixes may be applied is the caller's decision; proof fixes are applied
like any other when they are handed in. May not read or write files, print, lint or know rules.
"""

from __future__ import annotations

import codecs
import io
import tokenize
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torchmemlint.model import Applicability, Edit, Fix, Position
from torchmemlint.source import BadFile, Source

SAFE_ONLY = frozenset({Applicability.SAFE})
ON_REQUEST = frozenset({Applicability.SAFE, Applicability.UNSAFE})


@dataclass(frozen=True)
class Applied:
    """What became of the fixes that were handed in, in their order.

    `waiting` fixes touch a place that an applied one has changed; lint the new text and ask again.
    `refused` fixes cannot be applied at all, each with the reason.
    """

    data: bytes
    applied: tuple[Fix, ...] = ()
    waiting: tuple[Fix, ...] = ()
    refused: tuple[tuple[Fix, str], ...] = ()


def apply(source: Source, fixes: Iterable[Fix]) -> Applied:
    """Apply all fixes that fit together. Raises BadFile for a file that cannot be decoded."""
    text = _Text(source)
    taken: list[Fix] = []
    waiting: list[Fix] = []
    refused: list[tuple[Fix, str]] = []
    edits: set[_Stretch] = set()
    for fix in fixes:
        try:
            mine = text.stretches(fix)
        except _Refused as error:
            refused.append((fix, str(error)))
            continue
        if _clash(mine - edits, edits):
            waiting.append(fix)
            continue
        taken.append(fix)
        edits |= mine
    if not taken:
        return Applied(source.data, (), tuple(waiting), tuple(refused))
    try:
        data = text.edited(edits)
    except _Refused:
        return _one_by_one(text, taken, waiting, refused)
    return Applied(data, tuple(taken), tuple(waiting), tuple(refused))


class _Refused(Exception):
    """Why a fix cannot be applied."""


@dataclass(frozen=True, order=True)
class _Stretch:
    """An edit by offsets into the decoded text, its own text with the file's line ends."""

    start: int
    end: int
    text: str


class _Text:
    """A source's text with its offsets, and the way back to bytes."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.encoding = _encoding(source.data)
        self.mark = codecs.BOM_UTF8 if source.data.startswith(codecs.BOM_UTF8) else b""
        self.starts = [0]
        for line in source.lines:
            self.starts.append(self.starts[-1] + len(line))

    def stretches(self, fix: Fix) -> set[_Stretch]:
        """The edits of one fix. Refuses those that leave the text or touch each other."""
        made = [self.stretch(edit) for edit in fix.edits]
        if not made:
            raise _Refused("the fix has no edits")
        if any(_touch(one, other) for one, other in pairwise(sorted(made))):
            raise _Refused("the edits of the fix overlap")
        alone = self.edited(made)
        if alone == self.source.data:
            raise _Refused("the fix changes nothing")
        return set(made)

    def stretch(self, edit: Edit) -> _Stretch:
        start, end = self.offset(edit.span.start), self.offset(edit.span.end)
        if end < start:
            raise _Refused("an edit ends before it begins")
        return _Stretch(start, end, self.with_line_ends(edit))

    def offset(self, place: Position) -> int:
        """A position as an offset; the end of the text is line count + 1, column 0."""
        if not 1 <= place.line <= len(self.starts):
            raise _Refused(f"line {place.line} is not in the text")
        last = self.starts[place.line] if place.line < len(self.starts) else self.starts[-1]
        offset = self.starts[place.line - 1] + place.column
        if place.column < 0 or offset > last:
            raise _Refused(f"column {place.column + 1} is not in line {place.line}")
        return offset

    def with_line_ends(self, edit: Edit) -> str:
        """New lines end like the line that the edit begins on, or like the file's first."""
        plain = edit.text.replace("\r\n", "\n").replace("\r", "\n")
        lines = self.source.lines
        here = lines[edit.span.start.line - 1] if edit.span.start.line <= len(lines) else ""
        for line in (here, *lines[:1]):
            if line.endswith(("\r", "\n")):
                return plain.replace("\n", line[len(line.rstrip("\r\n")) :])
        return plain

    def edited(self, edits: Iterable[_Stretch]) -> bytes:
        """The new bytes. Refuses a result that cannot be written or is no Python."""
        parts, at = [], 0
        for edit in sorted(edits):
            parts += [self.text[at : edit.start], edit.text]
            at = edit.end
        data = self.encoded("".join([*parts, self.text[at:]]))
        if self.encoded(self.text) != self.source.data:
            raise _Refused(f"text in {self.encoding} can be written in several ways: the rest of the file would change")
        _demand_python(self.source, data)
        return data

    def encoded(self, text: str) -> bytes:
        try:
            return self.mark + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise _Refused(f"the new text cannot be written in {self.encoding}") from error


def _one_by_one(text: _Text, fixes: Sequence[Fix], waiting: list[Fix], refused: list[tuple[Fix, str]]) -> Applied:
    """Each fix is fine alone and all together are not: take one after the other while it stays Python."""
    edits: set[_Stretch] = set()
    taken: list[Fix] = []
    data = text.source.data
    for fix in fixes:
        try:
            together = edits | text.stretches(fix)
            data = text.edited(together)
        except _Refused:
            waiting.append(fix)
            continue
        edits = together
        taken.append(fix)
    return Applied(data, tuple(taken), tuple(waiting), tuple(refused))


def _clash(mine: Collection[_Stretch], others: Collection[_Stretch]) -> bool:
    return any(_touch(*sorted((one, other))) for one in mine for other in others)


def _touch(one: _Stretch, other: _Stretch) -> bool:
    """Whether two edits, the first one not behind the second, meet; two insertions in one place do."""
    if one.start == other.start:
        return one.end == other.end or one.end > one.start
    return other.start < one.end


def _encoding(data: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return "utf-8" if encoding == "utf-8-sig" else encoding


def _demand_python(source: Source, data: bytes) -> None:
    """The new text must parse the way the old one did: by the running Python, or else by libcst."""
    new = Source(source.path, data)
    if new.screen is not None:
        return
    try:
        if source.screen is not None:
            raise BadFile("")
        _ = new.tree
    except BadFile as error:
        raise _Refused("the result would not be valid Python") from error
