"""How far a long run is, for somebody who watches a terminal; says nothing to others, or where it is soon over."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

PATIENCE_S = 2.0
"""A run that is over by then needs no bar, and rich need not be imported."""


class Waiting:
    """A bar on standard error, from when it takes long until the block ends."""

    def __init__(self, total: int, quiet: bool = False, what: str = "checking") -> None:
        self._what = what
        self._total = total
        self._wanted = not quiet and sys.stderr.isatty() and not _unattended(os.environ)
        self._done = 0
        self._began = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Waiting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, files: int) -> None:
        """So many more files have been answered."""
        self._done += files
        if self._bar is None and self._wanted and time.monotonic() - self._began > PATIENCE_S:
            self._start()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(self._what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=self._total)
        self._bar.start()


def _unattended(environment: Mapping[str, str]) -> bool:
    """Whether nobody watches, though it looks like a terminal: some CI services and pre-commit make one."""
    set_to = [environment.get(name, "") for name in ("CI", "PRE_COMMIT")]
    return environment.get("TERM") == "dumb" or any(value not in ("", "0", "false") for value in set_to)
