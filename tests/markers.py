"""Expectations written as comments in fixture files; the grammar is fixtures/README.md.

`read(text, home)` gives the markers of one file. A marker stands behind the line it is about, or alone on
a line above it. A comment that starts like a marker and cannot be read as one is an error, so that a
misspelt expectation never passes for prose.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

FIRES = ("expect", "false-alarm")  # asserted to be reported
SILENT = ("ok", "missed")  # asserted not to be reported
KINDS = (*FIRES, *SILENT, "names")

_START = re.compile(rf"#\s*(?={'|'.join(KINDS)}\b)(?!\s*(?:{'|'.join(KINDS)})\w)")
_MARKER = re.compile(rf"(?P<kind>{'|'.join(KINDS)})(?P<codes>(?:\s+TML\d{{3}})*)\s*(?::\s*(?P<rest>.*))?\Z", re.DOTALL)
_ITEM = re.compile(r'\s*(?P<code>TML\d{3})?\s*(?:"(?P<text>[^"]*)")?\s*(?:,|\Z)')
_LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.COMMENT}


class MarkerError(Exception):
    """A comment that starts like a marker and is none."""


@dataclass(frozen=True)
class Marker:
    """One marker: `line` is the line it speaks about, `text` what the message must contain, `why` its reason."""

    kind: str
    line: int
    code: str = ""
    text: str = ""
    why: str = ""


def read(text: str, home: str = "") -> list[Marker]:
    """All markers of a file in order of lines; `home` is the code that a marker without one means."""
    markers: list[Marker] = []
    waiting: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            bodies = _bodies(token.string)
            if token.line[: token.start[1]].strip():
                markers += _parse_all(bodies, token.start[0], home)
            else:
                waiting += bodies
                last = token.start[0]
        elif token.type not in _LAYOUT and waiting:
            if token.type == tokenize.ENDMARKER:
                raise MarkerError(f"line {last}: a marker with no line of code below it")
            markers += _parse_all(waiting, token.start[0], home)
            waiting = []
    return sorted(markers, key=lambda marker: marker.line)


def _bodies(comment: str) -> list[str]:
    """The markers in one comment (`# expect  # names: why` holds two), empty for ordinary prose."""
    if not _START.match(comment):
        return []
    return [part.strip() for part in _START.split(comment)[1:]]


def _parse_all(bodies: list[str], line: int, home: str) -> Iterator[Marker]:
    for body in bodies:
        yield from _parse(body, line, home)


def _parse(body: str, line: int, home: str) -> Iterator[Marker]:
    match = _MARKER.match(body)
    if not match:
        raise MarkerError(f"line {line}: cannot read the marker `# {body}`")
    kind, rest = match["kind"], (match["rest"] or "").strip()
    codes = match["codes"].split()
    if kind == "expect":
        if codes:
            raise MarkerError(f"line {line}: write `# expect: {' '.join(codes)}`, with a colon")
        yield from _expectations(rest, line, home)
        return
    if not rest:
        raise MarkerError(f"line {line}: `# {kind}` needs a reason: `# {kind}: why`")
    for code in codes or [home]:
        yield Marker(kind, line, code, why=rest)


def _expectations(rest: str, line: int, home: str) -> Iterator[Marker]:
    """`TML102 "text", TML101`; nothing at all means the folder's own rule."""
    at = 0
    while at < len(rest) or at == 0:
        item = _ITEM.match(rest, at)
        if not item or (item.end() == at and rest):
            raise MarkerError(f"line {line}: cannot read the expectation `{rest}`")
        code = item["code"] or home
        if not code:
            raise MarkerError(f"line {line}: `# expect` needs a code here: `# expect: TMLnnn`")
        yield Marker("expect", line, code, item["text"] or "")
        at = item.end()
        if at == 0:
            return
