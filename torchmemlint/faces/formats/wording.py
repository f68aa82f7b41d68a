"""What is said of a finding in the formats that hold plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torchmemlint.faces.formats.results import Results
from torchmemlint.model import Finding, where

COUNTS = {"error": "errors", "warning": "warnings", "info": "infos"}


def one_line(text: str) -> str:
    return " ".join(text.split())


def said(finding: Finding) -> str:
    """The message; in a notebook with the cell, since what the format calls a line is one of the notebook's JSON."""
    inside = f" (cell {finding.cell}, line {finding.span.start.line})" if finding.cell is not None else ""
    return one_line(finding.message) + inside


def place(finding: Finding, results: Results) -> str:
    """Where it is, as a person would look it up."""
    return where(results.named(finding.path), finding.cell, finding.span.start)


def details(finding: Finding, results: Results) -> Iterator[str]:
    """The chain of reasons, the fix, and what was measured, a line each."""
    for why in finding.why:
        yield f"why: {one_line(why.message)} ({where(results.named(why.path), why.cell, why.span.start)})"
    if finding.fix:
        yield f"fix: {one_line(finding.fix.title)} ({finding.fix.applicability.value})"
    if finding in results.notes:
        yield f"measured: {one_line(results.notes[finding])}"


def counts(results: Results) -> str:
    """How many findings there are in how many files."""
    files = f"{results.checked} file{'s' * (results.checked != 1)}"
    if not results.findings:
        return f"No findings in {files}"
    by_severity: Mapping[str, int] = {one.value: number for one, number in results.by_severity().items()}
    parts = [f"{number} {word if number == 1 else COUNTS[word]}" for word, number in by_severity.items()]
    number = len(results.findings)
    return f"{number} finding{'s' * (number != 1)} ({', '.join(parts)}) in {files}"
