"""A run's fixes: which findings may be fixed, what is written or would be, and what is told of it.

New bytes of all files are made before the first one is written, so that every fix is judged in the same
project; then what is left is linted again, and fixed again where one file's fix has changed another's findings.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from torchmemlint.disk import Target, rewrite
from torchmemlint.faces.check import Checker, Choice
from torchmemlint.faces.mending import Mended, Wish, mend, mend_files
from torchmemlint.faces.patch import patch
from torchmemlint.faces.waiting import Waiting
from torchmemlint.model import Applicability, Finding
from torchmemlint.rule import UNUSED
from torchmemlint.settings import Settings

ROUNDS = 5


class Fixer:
    """Fixes the findings of a run and remembers what became of them; `problems` says what could not be done."""

    def __init__(self, checker: Checker, choice: Choice, jobs: int, quiet: bool = False) -> None:
        self._checker = checker
        self._choice = choice
        self._jobs = jobs
        self._quiet = quiet
        self._rounds = 0
        self._before: Sequence[Finding] | None = None
        self._tried: set[tuple[object, ...]] = set()
        self._fixed: Counter[str] = Counter()
        self._refused: list[str] = []
        self._brought: list[str] = []
        self.problems: list[str] = []

    # ---- what is done -----------------------------------------------------------------------------

    def fix_files(self, findings: Sequence[Finding]) -> bool:
        """Fixes what may be fixed of these; whether a file has changed, and is to be linted again."""
        self._notice(findings)
        self._rounds += 1
        written = [self._write(one) for one in self._mended(findings)] if self._rounds <= ROUNDS else []
        return any(written)

    def fix_text(self, target: Target, findings: Sequence[Finding], data: bytes) -> bytes:
        """The new bytes of a text that is not on disk."""
        return self._taken(self._mended_text(target, findings, data))

    def patches(self, findings: Sequence[Finding], target: Target | None = None, data: bytes | None = None) -> bytes:
        """What fixing would change, as one patch: in the files, or in a text that is not on disk."""
        if target is not None and data is not None:
            mended = [self._mended_text(target, findings, data)]
        else:
            mended = self._mended(findings)
        return b"".join(patch(one.target.shown, one.before, self._taken(one)) for one in mended)

    def _mended(self, findings: Sequence[Finding]) -> list[Mended]:
        wishes = list(self._wishes(findings))
        self._refused.clear()  # what stands in the way now will do so in the last round too
        self.problems.clear()
        self._tried = {_which(finding) for wish in wishes for finding in wish.findings}
        with Waiting(len(wishes), self._quiet, "fixing") as waiting:
            return mend_files(self._choice, wishes, self._jobs, waiting.advance)

    def _mended_text(self, target: Target, findings: Sequence[Finding], data: bytes) -> Mended:
        wanted = self._ready(target, findings)
        self._tried = {_which(finding) for finding in wanted}
        return mend(self._checker, Wish(target, tuple(wanted)), data) if wanted else Mended(target, data, data)

    def _wishes(self, findings: Iterable[Finding]) -> Iterator[Wish]:
        by_path: dict[str, list[Finding]] = {}
        for finding in findings:
            by_path.setdefault(finding.path, []).append(finding)
        for path, found in by_path.items():
            target = Target(os.path.abspath(path), path)
            if wanted := self._ready(target, found):
                yield Wish(target, tuple(wanted))

    def _ready(self, target: Target, findings: Iterable[Finding]) -> list[Finding]:
        settings = self._checker.settings_of(target)
        return [finding for finding in findings if _ready(settings, finding)]

    def _write(self, one: Mended) -> bool:
        if one.after != one.before and (problem := rewrite(one.target.path, one.before, one.after)):
            self.problems.append(f"{one.target.shown}: not fixed: {problem}")
            return False
        return self._taken(one) != one.before

    def _taken(self, one: Mended) -> bytes:
        """Counts what has been done with a file; its new bytes."""
        if one.problem:
            self.problems.append(one.problem)
        if one.fixed:
            self._fixed[one.target.shown] += len(one.fixed)
        for finding, reason in one.refused:
            self._refused.append(f"{finding.where}: {finding.code} not fixed: {reason}")
        return one.after

    def _notice(self, findings: Sequence[Finding]) -> None:
        """Within its file no fix is kept that brings a finding; in another file nobody has looked until now."""
        if self._before is not None:
            old = Counter(_about(finding) for finding in self._before)
            for finding in findings:
                old[_about(finding)] -= 1
                if old[_about(finding)] < 0 and finding.code != UNUSED:
                    self._brought.append(f"{finding.where}: {finding.code} came with a fix in another file")
        self._before = findings

    # ---- what is told -----------------------------------------------------------------------------

    @property
    def warnings(self) -> list[str]:
        """Fixes that were not kept, and findings that came with others, as lines."""
        return [*self._refused, *self._brought]

    def words(self, findings: Iterable[Finding], only: bool) -> str:
        """How much has been fixed, or `only` would be; nothing where nothing has."""
        count, files = self._fixed.total(), len(self._fixed)
        done = f"{count} finding{'s' * (count != 1)} in {files} file{'s' * (files != 1)}"
        if not only:
            return f"Fixed {done}" if count else ""
        more = len(self._open(findings)[1])
        rest = f" ({more} more with --unsafe-fixes)" if more else ""
        return f"Would fix {done}{rest}" if count else f"Nothing to fix{rest}"

    def offer(self, findings: Iterable[Finding]) -> str:
        """What could be fixed and has not been tried; nothing where nothing could."""
        now, more = self._open(findings)
        unsafe = any(one.fix and one.fix.applicability is Applicability.UNSAFE for one in now)
        if not now:
            return f"{len(more)} fixable with --fix --unsafe-fixes" if more else ""
        flags = "--fix --unsafe-fixes" if unsafe else "--fix"
        return f"[*] {len(now)} fixable with {flags}" + (f", {len(more)} more with --unsafe-fixes" if more else "")

    def fixable(self, findings: Iterable[Finding]) -> frozenset[Finding]:
        """The findings that may be fixed and have not been tried, for reports to mark."""
        return frozenset(self._open(findings)[0])

    def _open(self, findings: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
        """Findings whose fix has not been tried: those that may be fixed, and those that may with --unsafe-fixes."""
        now, more = [], []
        for finding in findings:
            settings = self._checker.settings(os.path.dirname(os.path.abspath(finding.path)))
            if _which(finding) in self._tried:
                continue
            if _ready(settings, finding):
                now.append(finding)
            elif _ready(replace(settings, unsafe_fixes=True), finding):
                more.append(finding)
        return now, more


def _ready(settings: Settings, finding: Finding) -> bool:
    """Whether the settings let a finding be fixed."""
    return finding.fix is not None and finding.fix.applicability in settings.applicable and settings.fixes(finding.code)


def _about(finding: Finding) -> tuple[str, str, str]:
    return finding.path, finding.code, finding.symbol


def _which(finding: Finding) -> tuple[object, ...]:
    return finding.path, finding.cell, finding.span, finding.code
