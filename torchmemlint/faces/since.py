"""What a change brings: findings that are there now and were not before it. May not print.

Lines that a change touches are a poor answer: an edited helper brings findings in callers that nobody touched,
and an edit beside an old finding brings none. So the files with findings are linted as they were too, in their
project as it was, with the rules and settings of now, and a finding is new where the past does not have it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from torchmemlint.baseline import Entry, entry, recognise
from torchmemlint.disk import Target, read_bytes
from torchmemlint.faces.check import STDIN, Checker, Choice
from torchmemlint.faces.pool import Outcome
from torchmemlint.faces.waiting import Waiting
from torchmemlint.history import Changes, HistoryError, PastFiles, changes_since, work_tree
from torchmemlint.model import Finding
from torchmemlint.rule import INTERNAL_ERROR
from torchmemlint.settings import SettingsError
from torchmemlint.source import BadFile, Source


class Since:
    """The findings that came since a revision; the past of each file is linted once a run."""

    def __init__(self, choice: Choice, revision: str, quiet: bool = False) -> None:
        self._choice = choice
        self._revision = revision
        self._quiet = quiet
        self._trees: dict[str, str] = {}
        self._pasts: dict[str, _Past] = {}
        self._left_out = 0

    def prepare(self, folder: str) -> None:
        """Meets every mistake before anything is linted. Raises SettingsError."""
        self._past(folder)

    def _past(self, folder: str) -> _Past:
        try:
            if folder not in self._trees:
                self._trees[folder] = next((top for top in self._pasts if _inside(folder, top)), "") or work_tree(
                    folder
                )
            top = self._trees[folder]
            if top not in self._pasts:
                self._pasts[top] = _Past(self._choice, changes_since(top, self._revision))
        except HistoryError as error:
            raise SettingsError(f"--diff-base: {error}") from None
        return self._pasts[top]

    def narrowed(self, outcomes: Sequence[Outcome], text: bytes | None = None) -> list[Outcome]:
        """The outcomes with what the change brings; `text` is standard input's. Raises SettingsError."""
        self._left_out = 0
        groups: dict[int, tuple[_Past, list[Outcome]]] = {}
        for one in outcomes:
            past = self._past(os.getcwd() if one.target.path == STDIN else os.path.dirname(one.target.path))
            groups.setdefault(id(past), (past, []))[1].append(one)
        done: dict[Target, Outcome] = {}
        with Waiting(sum(bool(one.findings) for one in outcomes), self._quiet, "comparing") as waiting:
            for past, group in groups.values():
                done.update({one.target: one for one in past.brought(group, text, waiting.advance)})
        self._left_out = sum(len(one.findings) - len(done[one.target].findings) for one in outcomes)
        return [done[one.target] for one in outcomes]

    def remarks(self) -> Iterator[str]:
        """What is to be said of the findings left out."""
        if self._left_out:
            bases = ", ".join(sorted({past.changes.base[:10] for past in self._pasts.values()}))
            yield f"{self._left_out} finding{'s' * (self._left_out != 1)} left out: there at the merge base {bases}"


class _Past:
    """One work tree as it was."""

    def __init__(self, choice: Choice, changes: Changes) -> None:
        self.changes = changes
        self._checker = Checker(choice, lambda root: PastFiles(root, changes))
        self._entries: dict[str, list[Entry]] = {}

    def brought(
        self, outcomes: Sequence[Outcome], text: bytes | None, done: Callable[[int], None]
    ) -> Iterator[Outcome]:
        """The outcomes with what was not there."""
        found = {
            one.target.path: [finding for finding in one.findings if finding.code != INTERNAL_ERROR]
            for one in outcomes
            if one.findings
        }
        if not (self.changes.before or self.changes.added) and text is None:
            known: Mapping[str, Sequence[Finding]] = found
        else:
            entries: dict[str, list[Entry]] = {}
            for one in outcomes:
                if one.findings:
                    entries[one.target.path] = self._there(one.target)
                    done(1)
            lines = _Lines(self.changes, text)
            judged = recognise(entries, found, renamed=lines)
            if any(judged.new.values()):
                entries |= dict(self._emptied(outcomes))
                judged = recognise(entries, found, lambda path: True, lines)
            known = judged.known
        for one in outcomes:
            old = {id(finding) for finding in known.get(one.target.path, ())}
            yield replace(one, findings=tuple(finding for finding in one.findings if id(finding) not in old))

    def _emptied(self, outcomes: Iterable[Outcome]) -> Iterator[tuple[str, list[Entry]]]:
        """The entries of changed files that have no findings now, or are gone: code may have moved out of them."""
        for one in outcomes:
            if not one.findings and not one.problem and self.changes.called(one.target.path) in self.changes.before:
                yield one.target.path, self._there(one.target)
        for name in self.changes.before:
            path = self.changes.found(name)
            if not os.path.lexists(path):
                yield path, self._there(Target(path, path))

    def _there(self, target: Target) -> list[Entry]:
        """What was found in a file."""
        if target.path not in self._entries:
            name = self.changes.called(target.path)
            data = self.changes.read(name) if name is not None else None
            found = self._checker.check(target, data) if data is not None else []
            self._entries[target.path] = [entry(one) for one in found]
        return self._entries[target.path]


class _Lines:
    """Whether a finding may be an old one in a function of another name: its line or no such function was there."""

    def __init__(self, changes: Changes, text: bytes | None) -> None:
        self._changes = changes
        self._text = text
        self._files: dict[str, tuple[str, set[int]] | None] = {}

    def __call__(self, path: str, finding: Finding) -> bool:
        if path not in self._files:
            self._files[path] = self._compared(path)
        compared = self._files[path]
        if compared is None or finding.in_file.start.line in compared[1]:
            return True
        function = re.escape(finding.symbol.rpartition(".")[2])
        return not re.search(rf"\b(?:def|class)\s+{function}\b", compared[0])

    def _compared(self, path: str) -> tuple[str, set[int]] | None:
        """What a file held and which of its lines, from 1, were there."""
        name = self._changes.called(path)
        now = read_bytes(path) if self._text is None else self._text
        then = self._changes.read(name) if name is not None else None
        try:
            before, after = ([line.rstrip() for line in Source(path, data or b"").lines] for data in (then, now))
        except BadFile:
            return None
        blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
        return "\n".join(before), {line + 1 for block in blocks for line in range(block.b, block.b + block.size)}


def _inside(folder: str, top: str) -> bool:
    return f"{os.path.realpath(folder)}{os.sep}".startswith(top.rstrip(os.sep) + os.sep)
