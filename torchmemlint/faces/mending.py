"""One file and the findings to fix in it, to its new bytes. May not write or print.

Each attempt is linted with the whole project seeing the edited text, so that a fix is judged by what it
does to findings that rest on other files too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from torchmemlint.disk import Target
from torchmemlint.document import CannotWrite, readable
from torchmemlint.faces.check import Checker, Choice
from torchmemlint.faces.pool import for_each
from torchmemlint.fix_rounds import fix_until_quiet
from torchmemlint.model import Finding
from torchmemlint.rule import UNUSED, load_rules
from torchmemlint.source import BadFile, Source

CHANGED = "the file has changed since it was linted"


@dataclass(frozen=True)
class Wish:
    """A file and those of its findings that are to be fixed."""

    target: Target
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Mended:
    """What became of a wish.

    before, after  the file's content; the same where nothing was to be done.
    fixed, left    findings that are gone, and that are there afterwards.
    refused        findings whose fix was not kept, each with the reason.
    problem        why nothing could be tried at all.
    """

    target: Target
    before: bytes = b""
    after: bytes = b""
    fixed: tuple[Finding, ...] = ()
    left: tuple[Finding, ...] = ()
    refused: tuple[tuple[Finding, str], ...] = ()
    problem: str = ""


def mend(checker: Checker, wish: Wish, data: bytes) -> Mended:
    """Fixes what is wished for in a file with this content. Raises SettingsError."""
    target, missed = wish.target, {_which(finding): finding for finding in wish.findings}
    try:
        document = readable(target.shown, data)
    except BadFile:
        return Mended(target, data, data, refused=tuple((finding, CHANGED) for finding in wish.findings))

    settings = checker.settings_of(target)

    def lint(source: Source) -> list[Finding]:
        found = checker.check_edited(target, source)
        return [document.fixable(source, one) if settings.fixes(one.code) else replace(one, fix=None) for one in found]

    def wanted(finding: Finding) -> bool:
        return missed.pop(_which(document.placed(finding)), None) is not None

    done = fix_until_quiet(document.source, lint, settings.applicable, wanted, uncovers)
    try:
        after = document.with_source(done.data)
    except CannotWrite as error:
        return Mended(target, data, data, problem=f"{target.shown}: not fixed: {error}")
    there = readable(target.shown, after)
    refused = [(there.placed(finding), reason) for finding, reason in done.refused]
    left = tuple(there.placed(finding) for finding in done.left)
    changed = [(finding, CHANGED) for finding in missed.values()]
    return Mended(target, data, after, done.fixed, left, (*refused, *changed))


def mend_files(
    choice: Choice, wishes: Sequence[Wish], jobs: int, done: Callable[[int], None] = lambda files: None
) -> list[Mended]:
    """Fixes what is wished for in files on disk, all of them as they are now, and writes nothing."""
    mended = []
    with closing(_results(choice, wishes, jobs)) as results:
        for wish, result in zip(wishes, results, strict=True):
            died = f"{wish.target.shown}: not fixed: the process that tried to died"
            mended.append(result if result is not None else Mended(wish.target, problem=died))
            done(1)
    return mended


def _results(choice: Choice, wishes: Sequence[Wish], jobs: int) -> Generator[Mended | None, None, None]:
    return for_each(choice, _mend_file, wishes, [wish.target for wish in wishes], jobs)


def _mend_file(checker: Checker, wish: Wish) -> Mended:
    shown = wish.target.shown
    try:
        with open(wish.target.path, "rb") as file:
            data = file.read()
        return mend(checker, wish, data)
    except OSError as error:
        return Mended(wish.target, problem=f"{shown}: not fixed: {error.strerror or error}")
    except Exception as error:  # a bug of ours in one file must not keep the others from being fixed
        what = f"{type(error).__name__}: {error}"
        return Mended(wish.target, problem=f"{shown}: not fixed: internal error: {what}; please report it")


def uncovers(fixed: Finding, found: Finding) -> bool:
    """Whether the fix of one finding may bring another: what is fixed may be what a comment silenced."""
    if found.code == UNUSED:
        return True
    return any(rule.code == fixed.code and found.code in rule.uncovers for rule in load_rules())


def _which(finding: Finding) -> tuple[object, ...]:
    return finding.span, finding.cell, finding.code
