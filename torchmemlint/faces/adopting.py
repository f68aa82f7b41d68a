"""What is new: findings that no baseline knows, and the baseline written anew. May not lint or print.

Which baseline counts for a file its settings say. Writing one that exists takes out what is no longer found and
takes nothing in unless told to, so that a baseline only grows where somebody wants it to.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from torchmemlint.baseline import BaselineError, Entry, entry, read, recognise, written
from torchmemlint.disk import Target, as_shown, read_bytes
from torchmemlint.faces.check import STDIN, Checker
from torchmemlint.faces.pool import Outcome
from torchmemlint.model import Confidence, Finding
from torchmemlint.rule import BAD_FILE, INTERNAL_ERROR
from torchmemlint.settings import Settings, SettingsError


@dataclass
class _Baseline:
    """One baseline: its entries now, and what this run says of them. Paths are relative to its folder."""

    path: str
    entries: dict[str, list[Entry]]
    kept: dict[str, list[Entry]]
    new: dict[str, list[Entry]] = field(default_factory=dict)
    known: int = 0
    fixed: int = 0

    def called(self, path: str) -> str:
        """What it calls a file."""
        try:
            return os.path.relpath(path, os.path.dirname(self.path)).replace(os.sep, "/")
        except ValueError:  # another drive
            return path.replace(os.sep, "/")

    def found(self, called: str) -> str:
        """Where a file is that it calls so."""
        return os.path.normpath(os.path.join(os.path.dirname(self.path), called.replace("/", os.sep)))


class Baselines:
    """The baselines of a run, each read when the first of its files is met.

    written  the one that is to be written, "" for none; it need not exist.
    accept   whether it takes in what is new; one that does not exist yet takes in everything.
    """

    def __init__(self, checker: Checker, written: str = "", accept: bool = False) -> None:
        self._checker = checker
        self._written = os.path.realpath(written) if written else ""
        self._baselines: dict[str, _Baseline] = {}
        self._fresh = bool(written) and not os.path.lexists(self._written)
        self._accept = accept or self._fresh
        if written and not os.path.isdir(os.path.dirname(self._written)):
            raise SettingsError(f"--write-baseline: {written}: no such folder")

    def open(self, folder: str) -> _Baseline | None:
        """The baseline that counts for the files of a folder. Raises SettingsError."""
        path = self._written or self._checker.settings(folder).baseline
        if not path:
            return None
        if path not in self._baselines:
            entries = {} if self._written and self._fresh else _load(path)
            self._baselines[path] = _Baseline(path, entries, entries)
        return self._baselines[path]

    def new(self, target: Target, findings: Sequence[Finding]) -> list[Finding]:
        """Those of one file's findings that are new, judged by the file alone."""
        known = self.open(_folder(target))
        if known is None or target.path == STDIN:
            return list(findings)
        called = known.called(target.path)
        judged = recognise(known.entries, {called: findings}, lambda path: not os.path.lexists(known.found(path)))
        old = {id(finding) for finding in judged.known[called]}
        return [finding for finding in findings if id(finding) not in old]

    def narrowed(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes of a run with the findings that are new. Raises SettingsError."""
        groups: dict[str, list[Outcome]] = {}
        done = {}
        for outcome in outcomes:
            known = self.open(_folder(outcome.target))
            if known is None or outcome.target.path == STDIN:
                done[outcome.target] = outcome
            else:
                groups.setdefault(known.path, []).append(outcome)
        for path, group in groups.items():
            done.update({one.target: one for one in self._hold(self._baselines[path], group)})
        return [done[outcome.target] for outcome in outcomes]

    def _hold(self, baseline: _Baseline, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Holds the findings of some files against their baseline; our own failures are no findings to accept."""
        names = {one.target: baseline.called(one.target.path) for one in outcomes}
        found = {names[one.target]: [f for f in one.findings if f.code != INTERNAL_ERROR] for one in outcomes}
        whole = {names[one.target]: one.target for one in outcomes if _whole(one)}
        judged = recognise(
            baseline.entries, found, lambda path: path in whole or not os.path.lexists(baseline.found(path))
        )
        baseline.new = {path: [entry(one) for one in new] for path, new in judged.new.items()}
        baseline.kept = {path: [entry(one) for one in known] for path, known in judged.known.items()}
        baseline.known = sum(map(len, judged.known.values()))
        baseline.fixed = 0
        for path, entries in judged.unneeded.items():
            lasting = [one for one in entries if not self._fixed(one, baseline.found(path), whole.get(path))]
            baseline.fixed += len(entries) - len(lasting)
            baseline.kept.setdefault(path, []).extend(lasting)
        for one in outcomes:
            taken = found if self._accept else judged.known
            known = {id(finding) for finding in taken[names[one.target]]}
            yield replace(one, findings=tuple(finding for finding in one.findings if id(finding) not in known))

    def _fixed(self, one: Entry, path: str, target: Target | None) -> bool:
        """Whether an entry that no finding needs is done with: its file is gone, or has been asked and says no."""
        if target is None:
            return not os.path.lexists(path)
        settings = self._checker.settings(_folder(target))
        if settings.ignored_in(self._checker.inside(target), one.code) or not _asked(settings, one.code):
            return False
        return Confidence(one.confidence).rank >= settings.min_confidence.rank

    # ---- afterwards -------------------------------------------------------------------------------

    def write(self) -> str:
        """Writes the baseline that is to be written; says what was done. Raises SettingsError."""
        baseline = self.open(os.getcwd())
        assert baseline is not None
        entries = {path: list(kept) for path, kept in baseline.kept.items()}
        new = sum(map(len, baseline.new.values()))
        if self._accept:
            for path, those in baseline.new.items():
                entries.setdefault(path, []).extend(those)
        _write(baseline.path, written(entries))
        changes = [f"{new} added"] * bool(self._accept and new and not self._fresh)
        changes += [f"{baseline.fixed} dropped"] * bool(baseline.fixed)
        said = f"Wrote {as_shown(baseline.path)}: {_count(sum(map(len, entries.values())), 'finding')}"
        said += f" ({', '.join(changes)})" if changes else ""
        return (
            said
            if self._accept or not new
            else f"{said}; {_count(new, 'new one')} left out: --accept-new takes {_them(new)} in"
        )

    def remarks(self) -> Iterator[str]:
        """What is to be said of baselines that were only read."""
        for baseline in self._baselines.values():
            shown = as_shown(baseline.path)
            if baseline.known:
                yield f"{_count(baseline.known, 'finding')} known to {shown}"
            if baseline.fixed:
                entries = _count(baseline.fixed, "entry" if baseline.fixed == 1 else "entries", "")
                them = _them(baseline.fixed)
                yield f"{entries} of {shown} no longer found: --write-baseline {shown} takes {them} out"


def _folder(target: Target) -> str:
    return os.getcwd() if target.path == STDIN else os.path.dirname(target.path)


def _whole(outcome: Outcome) -> bool:
    """Whether all that can be found in a file has been looked for."""
    return not outcome.problem and all(one.code not in (INTERNAL_ERROR, BAD_FILE) for one in outcome.findings)


def _count(number: int, word: str, plural: str = "s") -> str:
    return f"{number} {word}{plural * (number != 1)}"


def _asked(settings: Settings, code: str) -> bool:
    """Whether a code would have been reported; one that no rule has any more counts as asked for."""
    return not settings.ignored(code) if code == BAD_FILE else settings.enabled(code)


def _load(path: str) -> dict[str, list[Entry]]:
    shown = as_shown(path)
    data = read_bytes(path)
    if os.path.isdir(path):
        raise SettingsError(f"baseline {shown} is a folder")
    if data is None:
        missing = "cannot be read" if os.path.lexists(path) else "does not exist"
        raise SettingsError(f"baseline {shown} {missing}; --write-baseline {shown} makes one")
    try:
        return read(data.decode("utf-8"))
    except (BaselineError, UnicodeDecodeError) as error:
        why = error if isinstance(error, BaselineError) else "is no baseline, or damaged"
        raise SettingsError(f"{shown} {why}; remove it and write it anew with --write-baseline {shown}") from None


def _write(path: str, text: str) -> None:
    """Writes a file whole or not at all. Raises SettingsError."""
    draft = f"{path}.{os.getpid()}.part"
    try:
        with open(draft, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise SettingsError(f"--write-baseline: {as_shown(path)}: {error.strerror}") from None


def _them(count: int) -> str:
    return "it" if count == 1 else "them"
