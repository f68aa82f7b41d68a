"""Which runs are to be made of a case, and which have been made. Plain values."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from runtime_verify.readings import Lane, Record

PASSES = 10
"""How often the flagged line is passed in a memory run: enough for a slope once the warm-up is left out."""
TIMED_PASSES = 40
"""And in a timed run, where more passes make its median steadier and cost milliseconds."""


class Variant(str, enum.Enum):
    """Which of a case's two programs."""

    ORIGINAL = "original"
    FIXED = "fixed"


@dataclass(frozen=True)
class Wanted:
    """One run that is asked for.

    scale   factor on the sizes of stand-in values.
    passes  how often the flagged line is to be passed.
    """

    variant: Variant
    lane: Lane = Lane.MEMORY
    scale: int = 1
    passes: int = PASSES


@dataclass(frozen=True)
class Run:
    """One run that was made."""

    wanted: Wanted
    record: Record


@dataclass(frozen=True)
class Trial:
    """All that was run of one case, in the order it was asked for.

    device  as the user asked: "cuda", "cuda:1" or "cpu".
    entry   whether the user's own entry point was run.
    """

    device: str = "cuda"
    entry: bool = False
    runs: tuple[Run, ...] = ()

    def memory(self, variant: Variant, scale: int = 1) -> list[Record]:
        """The memory runs of a variant at one scale."""
        wanted = (variant, Lane.MEMORY, scale)
        return [run.record for run in self.runs if (run.wanted.variant, run.wanted.lane, run.wanted.scale) == wanted]

    def timed(self, variant: Variant) -> list[Record]:
        """The timed runs of a variant; the n-th original and the n-th fixed one are a pair."""
        return [run.record for run in self.runs if (run.wanted.variant, run.wanted.lane) == (variant, Lane.TIME)]
