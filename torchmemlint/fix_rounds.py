"""Fixing and linting again, until nothing is left to fix that does what it promises.

A fix is kept if its finding is gone afterwards and no other has come in its place, but for such as it may
uncover; else the text goes back to what it was, and the fix is refused with the reason. No text comes twice,
so the loop ends. Pure: how to lint is handed in.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from torchmemlint.fix import apply
from torchmemlint.model import Applicability, Finding, Fix
from torchmemlint.source import Source

Lint = Callable[[Source], Iterable[Finding]]
Uncovers = Callable[[Finding, Finding], bool]


@dataclass(frozen=True)
class Outcome:
    """The end of the loop: the new bytes, the findings fixed on the way, those left, and why some fixes were refused.

    Each finding has its place in the text that it was last found in.
    """

    data: bytes
    fixed: tuple[Finding, ...]
    left: tuple[Finding, ...]
    refused: tuple[tuple[Finding, str], ...]


@dataclass(frozen=True)
class _Known:
    """A finding of the text as it is now; `refused` says why its fix will not be tried again."""

    finding: Finding
    wanted: bool
    refused: str = ""


class _Unkept(Exception):
    """Why fixes are not kept: what they promised did not come about."""


def fix_until_quiet(
    source: Source,
    lint: Lint,
    allowed: Collection[Applicability],
    wanted: Callable[[Finding], bool] = lambda finding: True,
    uncovers: Uncovers = lambda fixed, found: False,
) -> Outcome:
    """Lint, apply what is allowed, and again.

    wanted    picks what is to be fixed among the findings of the text as it is first.
    uncovers  whether the fix of one finding may bring another; that is then to be fixed too.
    """
    known = [_Known(finding, wanted(finding)) for finding in lint(source)]
    fixed: list[Finding] = []
    seen = {source.data}
    most = len(known)
    while offered := [one for one in known if one.wanted and not one.refused and _fix(one, allowed)]:
        fixes = [fix for one in offered if (fix := _fix(one, allowed))]
        result = apply(source, fixes[:most])
        reasons = {id(fix): reason for fix, reason in result.refused}
        known = [replace(one, refused=reasons.get(id(one.finding.fix), one.refused)) for one in known]
        done = {id(fix) for fix in result.applied}
        if not done:
            continue
        taken = [one.finding for one in known if id(one.finding.fix) in done]
        new = Source(source.path, result.data)
        try:
            kept = [one for one in known if id(one.finding.fix) not in done]
            after = _after(source, kept, taken, new, lint(new), uncovers)
            if new.data in seen:
                raise _Unkept("it undoes what another fix has done")
        except _Unkept as error:
            if len(taken) == 1:
                known = [replace(one, refused=str(error)) if one.finding is taken[0] else one for one in known]
            most = max(1, len(taken) // 2)  # one of these it was: halve them until it is known which
            continue
        source, known, most = new, after, 2 * most
        fixed += taken
        seen.add(source.data)
    left = tuple(one.finding for one in known)
    return Outcome(source.data, tuple(fixed), left, tuple((one.finding, one.refused) for one in known if one.refused))


def _fix(one: _Known, allowed: Collection[Applicability]) -> Fix | None:
    fix = one.finding.fix
    return fix if fix is not None and fix.applicability in allowed else None


def _after(
    old: Source,
    kept: Sequence[_Known],
    taken: Sequence[Finding],
    new: Source,
    found: Iterable[Finding],
    uncovers: Uncovers,
) -> list[_Known]:
    """The findings of the new text as those they were before. Raises _Unkept where one of `taken` or a new one is.

    A finding is known again by what is flagged; where an edit has changed that, by its order within its function.
    """
    found = list(found)
    kept_flags = Counter(_flagged(old, one.finding) for one in kept)
    still = Counter(_flagged(new, finding) for finding in found) - kept_flags
    for finding in taken:
        if still[_flagged(old, finding)]:
            raise _Unkept(f"{finding.code} would still be reported")
    same: defaultdict[Hashable, deque[_Known]] = defaultdict(deque)
    for one in kept:
        same[_flagged(old, one.finding)].append(one)
    again = [same[flag].popleft() if same[flag := _flagged(new, finding)] else None for finding in found]
    near: defaultdict[Hashable, deque[_Known]] = defaultdict(deque)
    for rest in (one for ones in same.values() for one in ones):
        near[_about(rest.finding)].append(rest)
    after = []
    for finding, known in zip(found, again, strict=True):
        others = near[_about(finding)]
        if known is None and not others and not any(uncovers(one, finding) for one in taken):
            raise _Unkept(_surplus(finding, taken))
        before = known or (others.popleft() if others else _Known(finding, wanted=True))
        after.append(replace(before, finding=finding))
    return after


def _surplus(finding: Finding, taken: Iterable[Finding]) -> str:
    if any(_about(one) == _about(finding) for one in taken):
        return f"{finding.code} would still be reported"
    return f"it would bring {finding.code} in line {finding.span.start.line}: {finding.message}"


def _about(finding: Finding) -> tuple[str, str]:
    return finding.code, finding.symbol


def _flagged(source: Source, finding: Finding) -> tuple[str, str, str]:
    """Which finding it is, wherever it has moved to: rule, function and flagged text without its layout."""
    return finding.code, finding.symbol, "".join(source.slice(finding.span).split())
