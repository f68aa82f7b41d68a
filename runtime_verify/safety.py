"""The second verdict, whether the program computes the same with the fix under the same seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from runtime_verify.readings import Outcome, Record
from runtime_verify.verdict import Answer, FixSafe

FLOOR = 1e-4
"""Relative difference that reordered sums of float32 may well make."""
NOT_REPEATED = 1e-2
"""Where two runs of one program differ by more than this, its numbers show nothing."""


def fix_safe(originals: Sequence[Record], fixed: Sequence[Record]) -> FixSafe:
    """Compares losses, gradients and parameters; what two runs of the original differ by is allowed for."""
    if all(record.outcome is Outcome.ENDED for record in originals) and any(
        record.outcome is Outcome.RAISED for record in fixed
    ):
        detail = next(record.detail for record in fixed if record.outcome is Outcome.RAISED)
        return FixSafe(Answer.NO, f"with the fix it raises {detail}")
    if not originals or not fixed or not originals[0].numbers:
        return FixSafe()
    names = set(originals[0].numbers).intersection(*(record.numbers for record in (*originals, *fixed)))
    lost = len(originals[0].numbers) - len(names)
    unsteady, different = 0, []
    for name in sorted(names):
        before = [record.numbers[name] for record in originals]
        after = [record.numbers[name] for record in fixed]
        if not _steady(before):
            unsteady += 1
        elif not all(_same(before, value) for value in after):
            different.append((name, before[0], after[0]))
    if different:
        name, one, other = different[0]
        return FixSafe(Answer.NO, f"{name} is {one:.6g} as written, {other:.6g} with the fix")
    if lost:
        return FixSafe(Answer.UNKNOWN, f"{lost} of {len(originals[0].numbers)} numbers are only in some runs")
    if unsteady:
        return FixSafe(Answer.UNKNOWN, f"{unsteady} of {len(names)} numbers differ between two runs of the original")
    return FixSafe(Answer.YES, _compared(originals[0].numbers))


def _compared(numbers: Mapping[str, float]) -> str:
    return f"{len(numbers)} number{'s' * (len(numbers) != 1)} the same"


def _steady(values: Sequence[float]) -> bool:
    if any(math.isnan(value) for value in values):
        return all(math.isnan(value) for value in values)
    if any(math.isinf(value) for value in values):
        return len(set(values)) == 1
    return max(values) - min(values) <= NOT_REPEATED * max(map(abs, values))


def _same(before: Sequence[float], value: float) -> bool:
    if any(not math.isfinite(one) for one in before) or not math.isfinite(value):
        return any(one == value or (math.isnan(one) and math.isnan(value)) for one in before)
    room = max(FLOOR * max(map(abs, before)), max(before) - min(before))
    return min(before) - room <= value <= max(before) + room
