"""Findings as text or JSON. Pure apart from reading the flagged lines it is given; may not lint, decide or exit.

Every text report is a list of lines made of styled pieces. A terminal gets them with colour through rich,
which nothing else needs and which is therefore not imported for a pipe or a file.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TextIO

from torchmemlint.faces.pages import rule_url
from torchmemlint.model import Finding, Fix, Position, Span

Piece = tuple[str, str]
"""A piece of text and its style, in rich's words."""
Line = list[Piece]
Lines = Callable[[str], Sequence[str]]
"""The lines of a file that findings name, or nothing where it cannot be read."""
Notes = Mapping[Finding, str]
"""What was measured of findings, in one line each."""
NO_NOTES: Notes = MappingProxyType({})

STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
SHOWN_LINES = 6
TAB = 4


def as_object(finding: Finding, evidence: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A finding in ruff's JSON shape, with what ruff has no words for added; `evidence` only where there is any."""
    measured = {"evidence": dict(evidence)} if evidence is not None else {}
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "confidence": finding.confidence.value,
        "message": finding.message,
        "filename": finding.path,
        "cell": finding.cell,
        "location": _place(finding.span.start),
        "end_location": _place(finding.span.end),
        "why": [{"message": w.message, "filename": w.path, "location": _place(w.span.start)} for w in finding.why],
        "symbol": finding.symbol,
        "fix": _fix_object(finding.fix) if finding.fix else None,
        "url": rule_url(finding.code),
        "fingerprint": finding.fingerprint,
        **measured,
    }


def _fix_object(fix: Fix) -> dict[str, Any]:
    edits = [
        {"content": e.text, "location": _place(e.span.start), "end_location": _place(e.span.end)} for e in fix.edits
    ]
    return {"applicability": fix.applicability.value, "message": fix.title, "edits": edits}


def _place(position: Position) -> dict[str, int]:
    return {"row": position.line, "column": position.column + 1}


def as_json(objects: Iterable[dict[str, Any]]) -> str:
    """One array, an object a line, so that it reads well and diffs well."""
    rows = ",\n".join("  " + json.dumps(one) for one in objects)
    return f"[\n{rows}\n]\n" if rows else "[]\n"


def as_json_lines(objects: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


def concise(findings: Iterable[Finding], notes: Notes = NO_NOTES) -> list[Line]:
    """One line a finding."""
    return [
        [*_headline(finding), (f"; {notes[finding]}" if finding in notes else "", "magenta")] for finding in findings
    ]


def full(findings: Iterable[Finding], lines: Lines, notes: Notes = NO_NOTES) -> list[Line]:
    """Each finding with its code frame, its chain of reasons, its fix and what was measured of it."""
    report: list[Line] = []
    for finding in findings:
        report += [_headline(finding), *_frame(finding, lines(finding.path)), *_reasons(finding)]
        if finding in notes:
            report.append([("  = measured: ", "magenta"), (notes[finding], "")])
        report.append([])
    return report


def summary(findings: Sequence[Finding], checked: int) -> Line:
    """The closing line."""
    files = f"{checked} file{'s' * (checked != 1)}"
    if not findings:
        return [("All checks passed", "bold green"), (f" ({files})", "")]
    counts = Counter(finding.severity.value for finding in findings)
    parts = [f"{counts[word]} {_plural(word, counts[word])}" for word in ("error", "warning", "info") if counts[word]]
    return [(f"Found {len(findings)} finding{'s' * (len(findings) != 1)} ({', '.join(parts)}) in {files}", "bold")]


def _plural(word: str, count: int) -> str:
    return word if word == "info" or count == 1 else f"{word}s"


def counted(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """How often each rule fired, most often first."""
    counts = Counter((finding.code, finding.name) for finding in findings)
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"code": code, "name": name, "count": count} for (code, name), count in order]


def statistics(findings: Iterable[Finding]) -> list[Line]:
    return [
        [(f"{row['count']:>6}  ", ""), (row["code"], "bold"), (f"  {row['name']}", "")] for row in counted(findings)
    ]


def _headline(finding: Finding) -> Line:
    start = finding.span.start
    return [
        (finding.path, "bold"),
        (f":{start.line}:{start.column + 1}: ", "bright_black"),
        (finding.code, STYLES[finding.severity.value]),
        (f" [{finding.confidence.value}] ", ""),
        (" ".join(finding.message.split()), ""),
    ]


def _frame(finding: Finding, lines: Sequence[str]) -> Iterator[Line]:
    first, last = finding.span.start.line, max(finding.span.start.line, finding.span.end.line)
    if first > len(lines):
        return
    last = min(last, len(lines))
    width = len(str(last))
    shown = list(range(first, last + 1))
    if len(shown) > SHOWN_LINES:
        shown = [*shown[: SHOWN_LINES - 2], 0, last]
    yield [(" " * width + " |", "blue")]
    for number in shown:
        if number == 0:
            yield [("." * width + " |", "blue")]
            continue
        text = lines[number - 1].rstrip("\r\n\x0c")
        yield [(f"{number:>{width}} |", "blue"), (" " * bool(text) + _expanded(text), "")]
        if mark := _underline(text, number, finding.span):
            yield [(" " * width + " | ", "blue"), (mark, STYLES[finding.severity.value])]


def _underline(text: str, number: int, span: Span) -> str:
    """Carets under the flagged part of one line, at least one on the line where it starts."""
    indent = len(text) - len(text.lstrip())
    start = span.start.column if number == span.start.line else indent
    end = min(span.end.column if number == span.end.line else len(text), len(text))
    start = min(start, len(text))
    marked = _width(text[:end]) - _width(text[:start])
    if number == span.start.line:
        marked = max(marked, 1)
    return " " * _width(text[:start]) + "^" * marked if marked > 0 else ""


def _expanded(text: str) -> str:
    """The text as it is shown: tabs as blanks, other control characters as a mark of the same width."""
    return "".join(" " * TAB if c == "\t" else "\ufffd" if unicodedata.category(c) == "Cc" else c for c in text)


def _width(text: str) -> int:
    """How many cells a terminal gives to the text once it is expanded."""
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if character == "\t":
        return TAB
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _reasons(finding: Finding) -> Iterator[Line]:
    for why in finding.why:
        start = why.span.start
        yield [
            ("  = why: ", "blue"),
            (why.message, ""),
            (f" ({why.path}:{start.line}:{start.column + 1})", "bright_black"),
        ]
    if finding.fix:
        yield [("  = fix: ", "green"), (f"{finding.fix.title} ({finding.fix.applicability.value})", "")]


def write(lines: Iterable[Line], stream: TextIO) -> None:
    """Writes a text report, in colour where the stream is a terminal."""
    if not stream.isatty():
        stream.write("".join("".join(text for text, _ in line) + "\n" for line in lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, soft_wrap=True)  # honours NO_COLOR and TERM=dumb
    for line in lines:
        console.print(Text.assemble(*line))


def warn(message: str, kind: str = "error") -> None:
    """One line about the run itself."""
    print(f"{kind}: {' '.join(message.split())}", file=sys.stderr)
