"""What one figure of both variants says about the claim: it shows it, speaks against it, or leaves it open."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from runtime_verify.case import Case
from runtime_verify.figures import BLOCK, RETURNED, TIME, Figure, threshold
from runtime_verify.intervals import median_interval, signed_rank_p
from runtime_verify.readings import Record
from runtime_verify.verdict import Measured, Reason, Unit
from torchmemlint.model import Direction, Effect

LOOKS = (6, 10, 20)
"""After how many pairs of timed runs their times are looked at. Five could never reach a p below 0.03."""
CHANCE = 0.05
"""Of confirming what is not there, over all looks together."""
LEFT = 0.05
"""Share of the original's growth that may be left with the fix."""
STEADY_SHARE = 0.001
FAR_APART = 5.0
"""Noisy counters decide when the variants' ranges lie this many ranges apart."""


class Says(enum.Enum):
    """What a figure says about the claim."""

    SHOWN = "shown"
    AGAINST = "against"
    OPEN = "open"


@dataclass(frozen=True)
class Ruling:
    """What one figure says, why, and its numbers (None where it could not be read)."""

    figure: Figure
    says: Says
    reason: Reason
    measured: Measured | None = None

    @property
    def margin(self) -> float:
        """The difference in units of what would count; 0 where there is none to speak of."""
        one = self.measured
        if one is None or abs(one.delta) < max(2 * BLOCK if one.unit is Unit.BYTES else 0.0, one.spread):
            return 0.0
        return one.delta / one.threshold if one.threshold else 0.0


def sign(effect: Effect) -> int:
    """+1 where the original's metric is claimed to be the higher one."""
    return 1 if effect.direction is Direction.HIGHER else -1


def compare(case: Case, figure: Figure, originals: Sequence[Record], fixed: Sequence[Record]) -> Measured | None:
    """A figure of both variants from runs in pairs; None where any run does not tell it."""
    ones = [figure.read(record, True) for record in originals]
    others = [figure.read(record, case.fixed.kept) for record in fixed]
    before, after = [x for x in ones if x is not None], [x for x in others if x is not None]
    if not before or len(before) < len(ones) or len(after) < len(others) or not after:
        return None
    deltas = [one - other for one, other in zip(before, after, strict=False)]
    original, with_fix = median(before), median(after)
    least = threshold(case.effect, figure, original, with_fix)
    return Measured(
        figure.name, figure.unit, original, with_fix, median(deltas), max(before) - min(before), least, claimed=True
    )


def by_counter(case: Case, figure: Figure, originals: Sequence[Record], fixed: Sequence[Record]) -> Ruling:
    """Judges a figure that a steady program repeats exactly, from two runs of each variant.

    Shown: both pairs differ by the threshold, in the claimed direction. Against: both differ by less, or the other
    way. A counter that two runs of one program disagree on decides only from afar.
    """
    measured = compare(case, figure, originals, fixed)
    if measured is None:
        return Ruling(figure, Says.OPEN, Reason.NOT_READ)
    before = [figure.read(record, True) or 0.0 for record in originals]
    after = [figure.read(record, case.fixed.kept) or 0.0 for record in fixed]
    noise = max(_noise(figure, before), _noise(figure, after))
    if figure is RETURNED:
        says, reason = _returned(case, measured, noise)
    else:
        says, reason = _differs(case, figure, before, after, measured.threshold, noise)
    return Ruling(figure, says, reason, measured)


def _noise(figure: Figure, values: Sequence[float]) -> float:
    """How far runs of one program lie apart, 0 where that is within what is allowed."""
    apart = max(values) - min(values)
    return apart if apart > max(figure.noise, STEADY_SHARE * max(map(abs, values))) else 0.0


def _differs(
    case: Case, figure: Figure, before: Sequence[float], after: Sequence[float], least: float, noise: float
) -> tuple[Says, Reason]:
    way = sign(case.effect)
    deltas = [way * (one - other) for one, other in zip(before, after, strict=False)]
    if noise:
        gap = min(before) - max(after) if way > 0 else min(after) - max(before)
        if gap >= max(least, FAR_APART * noise) and _gone(figure, before, after):
            return Says.SHOWN, Reason.EFFECT_SHOWN
        if all(abs(delta) + noise < least for delta in deltas):
            return Says.AGAINST, Reason.NO_EFFECT
        return Says.OPEN, Reason.AA_UNSTABLE
    if all(delta >= least for delta in deltas):
        return Says.SHOWN, Reason.EFFECT_SHOWN
    if all(delta <= -least for delta in deltas):
        return Says.AGAINST, Reason.OPPOSITE
    if all(abs(delta) < least for delta in deltas):
        return Says.AGAINST, Reason.NO_EFFECT
    return Says.OPEN, Reason.AA_UNSTABLE


def _gone(figure: Figure, before: Sequence[float], after: Sequence[float]) -> bool:
    """Whether the fix leaves next to no growth.

    Asked of noisy counters only: where runs agree exactly, a difference has no other cause than the fix, also
    where something else in the code goes on growing (its own finding, perhaps).
    """
    return not figure.grows or median(after) <= LEFT * median(before)


def _returned(case: Case, measured: Measured, noise: float) -> tuple[Says, Reason]:
    """Emptying the cache: what did the call give back as written, and what with the fix?

    | as written | with the fix | |
    |---|---|---|
    | less than counts | call removed | shown: there was nothing to return |
    | less than counts | more, by what counts | shown |
    | less than counts | no more | open: at these sizes there was nothing to return either way |
    | what counts | more, by what counts | shown |
    | what counts | no more, or call removed | against |
    """
    if noise >= measured.threshold:
        return Says.OPEN, Reason.AA_UNSTABLE
    gave = measured.original >= measured.threshold
    if case.fixed.kept and -measured.delta >= measured.threshold:
        return Says.SHOWN, Reason.EFFECT_SHOWN
    if gave:
        return Says.AGAINST, Reason.MEMORY_RETURNED
    if not case.fixed.kept:
        return Says.SHOWN, Reason.NOTHING_RETURNED
    return Says.OPEN, Reason.NOTHING_TO_RETURN


def by_time(case: Case, originals: Sequence[Record], fixed: Sequence[Record]) -> Ruling:
    """Judges times from interleaved pairs: shown or against at the first look that decides.

    The median of the pairs' log ratios must lie beyond the threshold with its whole interval (shown) or short of it
    with its whole interval (against: the effect is too small, not merely unproven). Coverage and p are shared out
    evenly over the looks.
    """
    pairs = _ratios(originals, fixed)
    if len(pairs) < LOOKS[0]:
        return Ruling(TIME, Says.OPEN, Reason.TOO_FEW_PAIRS)
    ruling = Ruling(TIME, Says.OPEN, Reason.CI_STRADDLES)
    for look in LOOKS:
        if len(pairs) >= look:
            ruling = _look(case, pairs[:look], originals[:look], fixed[:look])
            if ruling.says is not Says.OPEN:
                break
    return ruling


def _ratios(originals: Sequence[Record], fixed: Sequence[Record]) -> list[float]:
    """The logarithms of original over fixed, pair by pair, as far as all runs tell a time."""
    ratios = []
    for one, other in zip(originals, fixed, strict=False):
        before, after = TIME.read(one, True), TIME.read(other, True)
        if not before or not after or before < 0 or after < 0:
            break
        ratios.append(math.log(before / after))
    return ratios


def _look(case: Case, pairs: Sequence[float], originals: Sequence[Record], fixed: Sequence[Record]) -> Ruling:
    compared = compare(case, TIME, originals, fixed)
    assert compared is not None
    way, share = sign(case.effect), CHANCE / len(LOOKS)
    least = math.log1p(compared.threshold / compared.fixed)
    low, high = median_interval(pairs, 1 - share)
    toward = (low, high) if way > 0 else (-high, -low)
    p = signed_rank_p([way * pair for pair in pairs])
    measured = Measured(**{**vars(compared), "low": math.exp(low), "high": math.exp(high), "p": p})
    if toward[0] > least and p < share:
        return Ruling(TIME, Says.SHOWN, Reason.EFFECT_SHOWN, measured)
    if toward[1] < least:
        reason = Reason.OPPOSITE if toward[1] < -least else Reason.NO_EFFECT
        return Ruling(TIME, Says.AGAINST, reason, measured)
    return Ruling(TIME, Says.OPEN, Reason.CI_STRADDLES, measured)


def more_pairs(made: int) -> int:
    """How many pairs the next look needs beyond those made; 0 after the last."""
    return next((look - made for look in LOOKS if look > made), 0)
