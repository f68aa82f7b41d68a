"""Which findings of a run are reported: those that no baseline knows. The one place where the command asks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence

from torchmemlint.disk import Target
from torchmemlint.faces.adopting import Baselines
from torchmemlint.faces.check import Checker
from torchmemlint.faces.pool import Outcome
from torchmemlint.model import Finding


class Narrowing:
    """What was asked of a run besides linting, said once for all its files."""

    def __init__(self, asked: argparse.Namespace, checker: Checker) -> None:
        self._asked = asked
        self._baselines = Baselines(checker, asked.write_baseline or "", asked.accept_new)

    def prepare(self, folders: Iterable[str]) -> None:
        """Meets every mistake before anything is linted. Raises SettingsError."""
        for folder in folders:
            self._baselines.open(folder)

    def narrowed(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes with the findings that are to be reported. Raises SettingsError."""
        return self._baselines.narrowed(outcomes)

    def new(self, target: Target, findings: Sequence[Finding]) -> list[Finding]:
        """The same for the findings of one file, judged by the file alone."""
        return self._baselines.new(target, findings)

    def concluded(self) -> Iterator[str]:
        """Writes what was to be written; what there is to say of it. Raises SettingsError."""
        if self._asked.write_baseline:
            yield self._baselines.write()
        else:
            yield from self._baselines.remarks()
