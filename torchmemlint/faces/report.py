"""Findings as JSON, as one line each, and counted. Pure; may not lint, decide or exit.

Every text report is a list of lines made of styled pieces; `terminal` knows what becomes of the styles.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torchmemlint.faces.frames import Line, printable
from torchmemlint.faces.pages import rule_url
from torchmemlint.model import Edit, Finding, Fix, Position, Why

Notes = Mapping[Finding, str]
"""What was measured of findings, in one line each."""
NO_NOTES: Notes = MappingProxyType({})
Fixable = Container[Finding]
"""The findings that `--fix` would fix as things are set."""
NONE: Fixable = ()
FIXABLE = "[*]"

STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}


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
        "why": [_step_object(step) for step in finding.why],
        "symbol": finding.symbol,
        "fix": _fix_object(finding.fix) if finding.fix else None,
        "url": rule_url(finding.code),
        "fingerprint": finding.fingerprint,
        **measured,
    }


def _step_object(step: Why) -> dict[str, Any]:
    place = {**_cell(step.cell), "location": _place(step.span.start)}
    return {"message": step.message, "filename": step.path, **place}


def _fix_object(fix: Fix) -> dict[str, Any]:
    return {
        "applicability": fix.applicability.value,
        "message": fix.title,
        "edits": [_edit_object(edit) for edit in fix.edits],
    }


def _edit_object(edit: Edit) -> dict[str, Any]:
    place = {"location": _place(edit.span.start), "end_location": _place(edit.span.end)}
    return {"content": edit.text, **_cell(edit.cell), **place}


def _cell(number: int | None) -> dict[str, int]:
    return {"cell": number} if number is not None else {}


def _place(position: Position) -> dict[str, int]:
    return {"row": position.line, "column": position.column + 1}


def as_json(objects: Iterable[dict[str, Any]]) -> str:
    """One array, an object a line, so that it reads well and diffs well."""
    rows = ",\n".join("  " + json.dumps(one) for one in objects)
    return f"[\n{rows}\n]\n" if rows else "[]\n"


def as_json_lines(objects: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


def concise(findings: Iterable[Finding], notes: Notes = NO_NOTES, fixable: Fixable = NONE) -> list[Line]:
    """One line a finding."""
    return [
        [*_headline(finding, fixable), (f"; {notes[finding]}" if finding in notes else "", "magenta")]
        for finding in findings
    ]


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


def counted(findings: Sequence[Finding], fixable: Fixable = NONE) -> list[dict[str, Any]]:
    """How often each rule fired, most often first, and how many of its findings `--fix` fixes."""
    counts = Counter((finding.code, finding.name) for finding in findings)
    marked = Counter(finding.code for finding in findings if finding in fixable)
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"code": code, "name": name, "count": count, "fixable_count": marked[code]} for (code, name), count in order
    ]


def statistics(findings: Sequence[Finding], fixable: Fixable = NONE) -> list[Line]:
    """The same in columns, with ruff's marks: `[*]` where all can be fixed, `[-]` where some can."""
    rows = counted(findings, fixable)
    marked = any(row["fixable_count"] for row in rows)
    return [
        [
            (f"{row['count']:>6}  ", ""),
            (row["code"], "bold"),
            (f"  {_share(row)}" if marked else "", "cyan"),
            (f"  {row['name']}", ""),
        ]
        for row in rows
    ]


def _share(row: dict[str, Any]) -> str:
    if row["fixable_count"] == row["count"]:
        return FIXABLE
    return "[-]" if row["fixable_count"] else "[ ]"


def coded(finding: Finding, fixable: Fixable = NONE) -> Line:
    """A finding's code, which leads to its page where the terminal can, and whether `--fix` fixes it."""
    mark = f"{FIXABLE} " if finding in fixable else ""
    return [
        (finding.code, f"{STYLES[finding.severity.value]} link {rule_url(finding.code)}"),
        (" ", ""),
        (mark, "cyan"),
    ]


def _headline(finding: Finding, fixable: Fixable) -> Line:
    return [
        (printable(finding.path), "bold"),
        (f"{finding.where.removeprefix(finding.path)}: ", "bright_black"),
        *coded(finding, fixable),
        (f"[{finding.confidence.value}] ", ""),
        (printable(" ".join(finding.message.split())), ""),
    ]
