"""reviewdog's diagnostic format: diagnostics with suggestions that are applied by a click.

Columns count bytes of UTF-8 from 1. Each suggestion is applied by itself, so a fix of several edits is one
suggestion that spans them all; where they lie too far apart to be shown in a review it is only told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchmemlint.faces.formats.results import Results
from torchmemlint.faces.formats.strict_json import strict_json
from torchmemlint.faces.formats.wording import details, one_line, said
from torchmemlint.faces.pages import HOME, rule_url
from torchmemlint.model import Applicability, Edit, Finding, Fix, Position, Severity, Span

SEVERITIES = {Severity.ERROR: "ERROR", Severity.WARNING: "WARNING", Severity.INFO: "INFO"}
MAX_SUGGESTED_LINES = 20


def as_rdjson(results: Results) -> str:
    report = {
        "source": {"name": "torchmemlint", "url": HOME},
        "diagnostics": [_diagnostic(finding, results) for finding in results.findings],
    }
    return strict_json(report)


def _diagnostic(finding: Finding, results: Results) -> dict[str, Any]:
    diagnostic: dict[str, Any] = {
        "message": "\n".join([said(finding), *details(finding, results)]),
        "location": _location(finding.path, finding.in_file, results),
        "severity": SEVERITIES[finding.severity],
        "code": {"value": finding.code, "url": rule_url(finding.code)},
    }
    if finding.why:
        diagnostic["related_locations"] = [
            {"message": one_line(why.message), "location": _location(why.path, why.in_file, results)}
            for why in finding.why
        ]
    if suggestion := _suggestion(finding, results):
        diagnostic["suggestions"] = [suggestion]
    return diagnostic


def _suggestion(finding: Finding, results: Results) -> dict[str, Any] | None:
    fix = finding.fix
    if fix is None or fix.applicability is Applicability.PROOF or not fix.edits or finding.cell is not None:
        return None
    whole = _together(finding.path, fix, results)
    if whole is None:
        return None
    text = results.texts.inserted(finding.path, whole)
    return {"range": _range(finding.path, whole.span, results), "text": text}


def _together(path: str, fix: Fix, results: Results) -> Edit | None:
    """The edits of a fix as one, with the text between them."""
    edits = sorted(fix.edits)
    span = Span(edits[0].span.start, max(edit.span.end for edit in edits))
    if span.end.line - span.start.line >= MAX_SUGGESTED_LINES:
        return None
    lines = results.texts.lines(path)
    text, at = "", span.start
    for edit in edits:
        text += _between(lines, at, edit.span.start) + edit.text
        at = edit.span.end
    return Edit(span, text)


def _between(lines: Sequence[str], start: Position, end: Position) -> str:
    stretch = [*lines[start.line - 1 : end.line]]
    if not stretch:
        return ""
    if len(stretch) == end.line - start.line + 1:
        stretch[-1] = stretch[-1][: end.column]
    stretch[0] = stretch[0][start.column :]
    return "".join(stretch)


def _location(path: str, span: Span, results: Results) -> dict[str, Any]:
    return {"path": results.named(path), "range": _range(path, span, results)}


def _range(path: str, span: Span, results: Results) -> dict[str, Any]:
    return {"start": _position(path, span.start, results), "end": _position(path, span.end, results)}


def _position(path: str, place: Position, results: Results) -> dict[str, int]:
    return {"line": place.line, "column": results.texts.utf8_column(path, place)}
