"""What came of linting, from the first finding to what is said at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torchmemlint.model import Finding

if TYPE_CHECKING:
    from torchmemlint.disk import Target


@dataclass
class Run:
    """What came of the files: findings in order, what could not be checked, how many could.

    failing  the findings at or above --fail-on.
    target, standard_input  what was read instead of files.
    notes, evidence  what was measured of findings: a line for people, an object for programs.
    warnings  what stops nothing.
    patch  what would be fixed, where that was asked for.
    fixed, offer, fixable  what has been fixed and what could be, in words, and which findings.
    stopped, status  what to say where somebody stopped it, and how to exit then.
    started  when it began, in seconds of the epoch.
    """

    findings: list[Finding]
    problems: list[str]
    checked: int
    failing: list[Finding]
    target: Target | None = None
    standard_input: bytes | None = None
    notes: dict[Finding, str] = field(default_factory=dict)
    evidence: dict[Finding, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    patch: bytes | None = None
    fixed: str = ""
    offer: str = ""
    fixable: frozenset[Finding] = frozenset()
    stopped: str = ""
    status: int = 0
    started: float = 0.0
