"""GitLab's code quality report: the subset of Code Climate's issues that GitLab reads.

GitLab keeps one finding for each fingerprint, so the file's name goes into it; it compares the reports of
two branches by it, so nothing does that moves.
"""

from __future__ import annotations

import hashlib
from typing import Any

from torchmemlint.faces.formats.results import Results
from torchmemlint.faces.formats.strict_json import strict_json
from torchmemlint.faces.formats.wording import details, said
from torchmemlint.model import Finding, Position, Severity

SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.INFO: "minor"}


def as_gitlab(results: Results) -> str:
    return strict_json([_issue(finding, results) for finding in results.findings])


def _issue(finding: Finding, results: Results) -> dict[str, Any]:
    span, path = finding.in_file, results.named(finding.path)
    known = f"{path}\0{finding.fingerprint or finding.code + finding.message}"
    return {
        "type": "issue",
        "check_name": finding.code,
        "description": f"{finding.code} {said(finding)}",
        "content": {"body": "\n".join(details(finding, results))},
        "categories": ["Performance"],
        "severity": SEVERITIES[finding.severity],
        "fingerprint": hashlib.sha256(known.encode("utf-8", "surrogatepass")).hexdigest(),
        "location": {
            "path": path,
            "lines": {"begin": span.start.line, "end": max(span.end.line, span.start.line)},
            "positions": {"begin": _position(span.start), "end": _position(span.end)},
        },
    }


def _position(position: Position) -> dict[str, int]:
    return {"line": position.line, "column": position.column + 1}
