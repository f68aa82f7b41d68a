"""Which findings of a run are reported: those that no baseline knows and that a change brings."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from torchmemlint.faces.adopting import Baselines
from torchmemlint.faces.check import Checker, Choice
from torchmemlint.faces.pool import Outcome

if TYPE_CHECKING:
    from torchmemlint.faces.since import Since


class Narrowing:
    """What was asked of a run besides linting, said once for all its files."""

    def __init__(self, asked: argparse.Namespace, checker: Checker, choice: Choice) -> None:
        self._asked = asked
        self._baselines = Baselines(checker, asked.write_baseline or "", asked.accept_new)
        self._since = _since(asked, choice)

    def prepare(self, folders: Iterable[str]) -> None:
        """Meets every mistake before anything is linted. Raises SettingsError."""
        for folder in folders:
            self._baselines.open(folder)
            if self._since:
                self._since.prepare(folder)

    def narrowed(self, outcomes: Sequence[Outcome], text: bytes | None = None) -> list[Outcome]:
        """The outcomes with the findings that are to be reported. Raises SettingsError."""
        new = self._baselines.narrowed(outcomes)
        return self._since.narrowed(new, text) if self._since else new

    def concluded(self) -> Iterator[str]:
        """Writes what was to be written; what there is to say of it. Raises SettingsError."""
        if self._asked.write_baseline:
            yield self._baselines.write()
            return
        yield from self._baselines.remarks()
        if self._since:
            yield from self._since.remarks()


def _since(asked: argparse.Namespace, choice: Choice) -> Since | None:
    if asked.diff_base is None:
        return None
    from torchmemlint.faces.since import Since  # asks git, which few runs need

    return Since(choice, asked.diff_base, asked.quiet)
