"""The statistics that judging needs, with the standard library alone: slopes, signed ranks, bootstrap intervals."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist, fmean, median

RESAMPLES = 2000
"""Bootstrap samples: the ends of a 98 % interval then rest on some twenty of them."""
_NORMAL = NormalDist()


def theil_sen(values: Sequence[float]) -> float:
    """The median of the slopes between all pairs of equally spaced values, per step. Needs two values."""
    slopes = [(later - value) / (j - i) for i, value in enumerate(values) for j, later in enumerate(values) if j > i]
    return median(slopes)


def rising_share(values: Sequence[float]) -> float:
    """The share of steps that go up; 0 for fewer than two values."""
    steps = [later > value for value, later in pairwise(values)]
    return sum(steps) / len(steps) if steps else 0.0


def signed_rank_p(values: Sequence[float]) -> float:
    """Wilcoxon's signed-rank test, one-sided and exact: how probable such high values are around a median of 0.

    Zeros are left out, equal sizes share their ranks. 1.0 where nothing is left.
    """
    sizes = sorted((abs(value), value > 0) for value in values if value)
    ranks = _doubled_ranks([size for size, _ in sizes])
    reached = sum(rank for rank, (_, positive) in zip(ranks, sizes, strict=True) if positive)
    ways = [1] + [0] * sum(ranks)  # ways[s]: in how many choices of signs the positive ranks come to s
    for rank in ranks:
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    return sum(ways[reached:]) / sum(ways)


def _doubled_ranks(ordered: Sequence[float]) -> list[int]:
    """Ranks times two, so that the mean rank of equal values stays whole."""
    ranks: list[int] = []
    while len(ranks) < len(ordered):
        start = len(ranks)
        alike = sum(1 for value in ordered if value == ordered[start])
        ranks += [2 * start + alike + 1] * alike
    return ranks


def median_interval(
    values: Sequence[float], coverage: float, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The interval that holds the median with probability `coverage`: bootstrap, bias-corrected and accelerated.

    The same values give the same interval. Raises ValueError for no values.
    """
    if not values:
        raise ValueError("an interval of no values")
    centre = median(values)
    if min(values) == max(values):
        return centre, centre
    chance = random.Random(seed)
    size = len(values)
    drawn = sorted(median(chance.choices(values, k=size)) for _ in range(resamples))
    below = (sum(one < centre for one in drawn) + sum(one <= centre for one in drawn)) / (2 * resamples)
    bias = _NORMAL.inv_cdf(min(max(below, 0.5 / resamples), 1 - 0.5 / resamples))
    push = _acceleration(values)
    tail = (1 - coverage) / 2
    low, high = (_quantile(drawn, _adjusted(level, bias, push)) for level in (tail, 1 - tail))
    return low, high


def _acceleration(values: Sequence[float]) -> float:
    """How the spread of the median changes with the median: from the medians that leave one value out."""
    left = [median([*values[:i], *values[i + 1 :]]) for i in range(len(values))]
    centre = fmean(left)
    squares = sum((centre - one) ** 2 for one in left)
    return float(sum((centre - one) ** 3 for one in left) / (6 * squares**1.5)) if squares else 0.0


def _adjusted(level: float, bias: float, push: float) -> float:
    turned = bias + _NORMAL.inv_cdf(level)
    room = 1 - push * turned
    return _NORMAL.cdf(bias + turned / room) if room > 0 else float(turned > 0)


def _quantile(ordered: Sequence[float], level: float) -> float:
    place = level * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
