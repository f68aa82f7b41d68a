"""What a mutation is: an edit of good code by whole lines, the effect that is claimed of it, and the truth."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Truth(str, enum.Enum):
    """What the verdict must be."""

    HARMFUL = "harmful"  # the effect is real: confirmed
    HARMLESS = "harmless"  # there is none: refuted


@dataclass(frozen=True, order=True)
class Change:
    """Lines `first` to before `last` (from 1) of the good text become `lines`; they are put in where both are equal."""

    first: int
    last: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Mutation:
    """One edit.

    kind     its name. code: the rule whose effect is claimed of it.
    changes  what makes the text as written of the good one.
    mark     line of the flagged statement in the text as written, from 1.
    fixed    what makes the text with the fix of the good one: mostly nothing.
    """

    kind: str
    truth: Truth
    code: str
    changes: tuple[Change, ...]
    mark: int
    fixed: tuple[Change, ...] = ()


def changed(lines: list[str], changes: Iterable[Change]) -> list[str]:
    """The lines with changes that do not overlap."""
    result = list(lines)
    for change in sorted(changes, reverse=True):
        result[change.first - 1 : change.last - 1] = change.lines
    return result


def inserted(line: int, *lines: str) -> Change:
    """Lines put in before a line."""
    return Change(line, line, lines)


def replacing(line: int, *lines: str) -> Change:
    """Lines in place of one."""
    return Change(line, line + 1, lines)


def moved(line: int, changes: Iterable[Change]) -> int:
    """Where a line that no change touches is afterwards."""
    return line + sum(len(one.lines) - (one.last - one.first) for one in changes if one.last <= line)
