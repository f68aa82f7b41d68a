"""What the user sees while findings are verified: lines, or on a terminal a table that fills up and a bar."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from runtime_verify.report import STYLES, Line, summary, told
from runtime_verify.verdict import Kind, Verdict
from torchmemlint.model import Finding

if TYPE_CHECKING:
    from rich.console import Group


class Progress:
    """Writes each verdict as it comes, and the summary in the end; as plain text.

    quiet  says nothing of single verdicts: the report that follows does.
    """

    def __init__(self, stream: TextIO, quiet: bool = False) -> None:
        self.stream, self.quiet = stream, quiet
        self.found: list[tuple[Finding, Verdict]] = []
        self.total = 0
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def begin(self, findings: list[Finding]) -> None:
        """These are going to be verified."""
        self.total, self._began = len(findings), time.monotonic()

    def machine(self, words: str) -> None:
        """What they are going to run on."""
        if not self.quiet:
            self.write([(words, "bright_black")])

    def settled(self, finding: Finding, verdict: Verdict) -> None:
        """A verdict has come."""
        self.found.append((finding, verdict))
        if not self.quiet:
            self.write(told(finding, verdict))

    def end(self) -> None:
        """All verdicts have come."""
        for line in summary(self.found, time.monotonic() - self._began):
            self.write(line)

    def write(self, line: Line) -> None:
        self.stream.write("".join(text for text, _ in line) + "\n")
        self.stream.flush()


class Live(Progress):
    """The same on a terminal: verdicts scroll by above a table of the rules and a bar."""

    def __init__(self, stream: TextIO, quiet: bool = False, coloured: bool = True) -> None:
        from rich.console import Console
        from rich.live import Live as Screen
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        super().__init__(stream, quiet)
        self._console = Console(file=stream, highlight=False, soft_wrap=True, no_color=not coloured)
        columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Bar(*columns, console=self._console)
        self._task = self._bar.add_task("verifying", total=None)
        self._codes: list[str] = []
        self._screen = Screen(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Progress:
        self._screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._screen.stop()

    def begin(self, findings: list[Finding]) -> None:
        super().begin(findings)
        self._codes = [finding.code for finding in findings]
        self._show()

    def settled(self, finding: Finding, verdict: Verdict) -> None:
        super().settled(finding, verdict)
        self._show()

    def end(self) -> None:
        self._screen.stop()
        super().end()

    def write(self, line: Line) -> None:
        from rich.text import Text

        self._console.print(Text.assemble(*line))

    def _show(self) -> None:
        self._bar.update(self._task, total=self.total, completed=len(self.found))
        self._screen.update(self._table(), refresh=True)

    def _table(self) -> Group:
        from rich.console import Group
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        table.add_column("rule")
        for kind in Kind:
            table.add_column(kind.value, justify="right", style=STYLES[kind])
        table.add_column("to come", justify="right")
        counts = Counter((finding.code, verdict.kind) for finding, verdict in self.found)
        for code, number in sorted(Counter(self._codes).items()):
            mine = [counts[code, kind] for kind in Kind]
            table.add_row(code, *(str(one) if one else "" for one in (*mine, number - sum(mine))))
        return Group(table, self._bar)


def watching(stream: TextIO, quiet: bool = False, coloured: bool = True) -> Progress:
    """What fits the stream."""
    return Live(stream, quiet, coloured) if stream.isatty() else Progress(stream, quiet)
