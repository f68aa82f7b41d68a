"""SARIF 2.1.0 as GitHub's code scanning reads it and `sarif-multitool validate --rule-kind "Sarif;Gh"` passes it.

Paths are relative to the repository, columns count UTF-16 units, each result has the line hash by which
GitHub knows an alert again. There is no `automationDetails`: it would overrule the category of the upload.
"""

from __future__ import annotations

import re
from typing import Any

from torchmemlint import __version__
from torchmemlint.faces.formats.results import Results
from torchmemlint.faces.formats.sarif_rules import LEVELS, descriptors
from torchmemlint.faces.formats.strict_json import strict_json
from torchmemlint.faces.formats.wording import one_line, said
from torchmemlint.faces.pages import HOME
from torchmemlint.model import Applicability, Edit, Finding, Fix, Span, Why
from torchmemlint.rule import BAD_FILE, INTERNAL_ERROR

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
BASE = "SRCROOT"

_LINK = re.compile(r"\[(?=[^\]]*\]\()")


def as_sarif(results: Results) -> str:
    return strict_json({"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(results)]})


def _run(results: Results) -> dict[str, Any]:
    rules = descriptors()
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    driver = {
        "name": "torchmemlint",
        "fullName": "torchmemlint: PyTorch memory anti-patterns",
        "version": __version__,
        "semanticVersion": __version__,
        "informationUri": HOME,
        "rules": rules,
    }
    return {
        "tool": {"driver": driver},
        "invocations": [_invocation(results)],
        "originalUriBaseIds": {BASE: {"description": {"text": "The root of the repository."}}},
        "columnKind": "utf16CodeUnits",
        "newlineSequences": ["\r\n", "\n", "\r"],
        "results": [_result(finding, index, results) for finding in results.findings],
    }


def _invocation(results: Results) -> dict[str, Any]:
    """How the run went; where it failed, the exit status is 2."""
    told: list[dict[str, Any]] = [{"level": "error", "message": {"text": _sentence(one)}} for one in results.problems]
    told += [_notification(one, results) for one in results.findings if one.code in (BAD_FILE, INTERNAL_ERROR)]
    return {
        "executionSuccessful": not results.failed,
        "startTimeUtc": results.started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "toolExecutionNotifications": told,
    }


def _notification(finding: Finding, results: Results) -> dict[str, Any]:
    level = "warning" if finding.code == BAD_FILE else "error"
    location = {"physicalLocation": _physical(finding.path, finding.in_file, results)}
    return {"level": level, "message": {"text": _sentence(finding.message)}, "locations": [location]}


def _result(finding: Finding, index: dict[str, int], results: Results) -> dict[str, Any]:
    properties: dict[str, Any] = {"confidence": finding.confidence.value}
    if finding in results.evidence:
        properties["evidence"] = dict(results.evidence[finding])
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index[finding.code],
        "level": LEVELS[finding.severity],
        "message": {"text": _message(finding, results)},
        "locations": [_location(finding, results)],
        "partialFingerprints": _fingerprints(finding, results),
        "properties": properties,
    }
    if finding.why:
        result["relatedLocations"] = [_related(number, why, results) for number, why in enumerate(finding.why, 1)]
    if fixes := _fixes(finding, results):
        result["fixes"] = fixes
    return result


def _message(finding: Finding, results: Results) -> str:
    """The first sentence is the alert's title; the reasons are links to where they stand."""
    parts = [_sentence(_LINK.sub(r"\\[", said(finding)))]
    if finding.why:
        reasons = (f"[{_link_text(why.message)}]({number})" for number, why in enumerate(finding.why, 1))
        parts.append(f"Why: {'; '.join(reasons)}.")
    if finding.fix:
        parts.append(_sentence(f"Fix: {finding.fix.title} ({finding.fix.applicability.value})"))
    if finding in results.notes:
        parts.append(_sentence(f"Measured: {results.notes[finding]}"))
    return " ".join(parts)


def _sentence(text: str) -> str:
    return f"{one_line(text).rstrip('.')}."


def _link_text(text: str) -> str:
    return re.sub(r"([\\\[\]])", r"\\\1", one_line(text))


def _location(finding: Finding, results: Results) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": _physical(finding.path, finding.in_file, results)}
    logical = []
    if finding.symbol:
        logical.append({"fullyQualifiedName": finding.symbol, "kind": "function"})
    if finding.cell is not None:
        logical.append({"name": f"cell {finding.cell}", "kind": "module"})
    if logical:
        location["logicalLocations"] = logical
    return location


def _related(number: int, why: Why, results: Results) -> dict[str, Any]:
    message = {"text": _sentence(why.message)}
    return {"id": number, "physicalLocation": _physical(why.path, why.in_file, results), "message": message}


def _physical(path: str, span: Span, results: Results) -> dict[str, Any]:
    return {"artifactLocation": _artifact(path, results), "region": _region(path, span, results)}


def _artifact(path: str, results: Results) -> dict[str, Any]:
    uri = results.address(path)
    return {"uri": f"file://{uri}"} if uri.startswith("/") else {"uri": uri, "uriBaseId": BASE}


def _region(path: str, span: Span, results: Results) -> dict[str, int]:
    return {
        "startLine": span.start.line,
        "startColumn": results.texts.utf16_column(path, span.start),
        "endLine": span.end.line,
        "endColumn": results.texts.utf16_column(path, span.end),
    }


def _fingerprints(finding: Finding, results: Results) -> dict[str, str]:
    """GitHub's own, and ours, which also knows findings of one line from each other."""
    hashed = results.texts.line_hash(finding.path, finding.in_file.start.line)
    theirs = {"primaryLocationLineHash": hashed} if hashed else {}
    return {**theirs, "torchmemlint/v1": finding.fingerprint} if finding.fingerprint else theirs


def _fixes(finding: Finding, results: Results) -> list[dict[str, Any]]:
    fix = finding.fix
    if fix is None or fix.applicability is Applicability.PROOF or finding.cell is not None:
        return []
    return [_fix(finding.path, fix, results)]


def _fix(path: str, fix: Fix, results: Results) -> dict[str, Any]:
    replacements = [_replacement(path, edit, results) for edit in fix.edits]
    change = {"artifactLocation": _artifact(path, results), "replacements": replacements}
    return {
        "description": {"text": _sentence(fix.title)},
        "artifactChanges": [change],
        "properties": {"applicability": fix.applicability.value},
    }


def _replacement(path: str, edit: Edit, results: Results) -> dict[str, Any]:
    replaced = {"deletedRegion": _region(path, edit.span, results)}
    text = results.texts.inserted(path, edit)
    return {**replaced, "insertedContent": {"text": text}} if text else replaced
