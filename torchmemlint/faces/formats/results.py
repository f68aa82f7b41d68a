"""What a report for programs is made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from torchmemlint.faces.formats.texts import Texts
from torchmemlint.model import Finding, Severity
from torchmemlint.rule import INTERNAL_ERROR


@dataclass(frozen=True)
class Results:
    """A run's findings in order, and what else there is to say of it.

    problems   what could not be checked and no finding says, one line each.
    checked    how many files could.
    named      a path of a finding as its repository calls it, with forward slashes; absolute where it lies outside.
    texts      the texts of the files that findings name, as they are on disk.
    notes, evidence  what was measured of findings: a line for people, an object for programs.
    started    when the run began, in UTC.
    """

    findings: Sequence[Finding]
    problems: Sequence[str]
    checked: int
    named: Callable[[str], str]
    texts: Texts
    started: datetime
    notes: Mapping[Finding, str] = field(default_factory=dict)
    evidence: Mapping[Finding, Mapping[str, Any]] = field(default_factory=dict)

    def address(self, path: str) -> str:
        """The name of a file as the end of an address: all bytes but the plainest encoded."""
        return quote(os.fsencode(self.named(path)))

    @property
    def failed(self) -> bool:
        """Whether the gate did not really run: the exit status is 2."""
        return bool(self.problems) or any(finding.code == INTERNAL_ERROR for finding in self.findings)

    @property
    def worst_first(self) -> list[Finding]:
        """The most severe and surest first: some consumers show only so many."""
        return sorted(self.findings, key=lambda one: (-one.severity.rank, -one.confidence.rank, one.order))

    def by_severity(self) -> dict[Severity, int]:
        """How many findings there are of each severity, the worst first."""
        counts = {severity: sum(one.severity is severity for one in self.findings) for severity in Severity}
        return {severity: count for severity, count in counts.items() if count}
