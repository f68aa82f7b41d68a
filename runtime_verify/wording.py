"""Verdicts in plain words: amounts, one sentence a verdict, what each reason means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime_verify.decide import LEFT
from runtime_verify.figures import (
    ALLOCATIONS,
    GROWTH,
    HELD,
    HOST_GROWTH,
    NODES,
    NODES_RETAINED,
    PEAK,
    RETAINED,
    RETURNED,
    SYNCS,
    TIME,
)
from runtime_verify.verdict import Kind, Measured, Reason, Scaling, Unit

MEANINGS: Mapping[Reason, str] = {
    Reason.EFFECT_SHOWN: "the difference that the rule claims was measured",
    Reason.ORIGINAL_OUT_OF_MEMORY: "as written it runs out of memory, with the fix it does not",
    Reason.NOTHING_RETURNED: "the call gives nothing back to the device",
    Reason.NO_EFFECT: "as written and with the fix make no difference that counts",
    Reason.OPPOSITE: "the fix makes it worse, not better",
    Reason.MEMORY_RETURNED: "the call does give memory back, and the fix no more",
    Reason.NO_GRAPH: "no autograd graph was seen",
    Reason.UNPLANNED: "no runnable piece of code could be made of it",
    Reason.NEEDS_CUDA: "what the rule claims cannot be measured without a CUDA device",
    Reason.NOT_RUN: "it was not run",
    Reason.NOT_REACHED: "the flagged line was not reached",
    Reason.TOO_FEW_PASSES: "the flagged line was passed too seldom to judge",
    Reason.RAISED: "it raised an error",
    Reason.EXITED: "the program left before it could be judged",
    Reason.OOM_BOTH: "it ran out of device memory",
    Reason.TIMEOUT: "it took too long and was stopped",
    Reason.HOST_MEMORY: "it took more host memory than it may and was stopped",
    Reason.CRASH: "its process died",
    Reason.OUTPUT: "it printed more than it may and was stopped",
    Reason.HARNESS: "the verifier itself failed; please report it",
    Reason.FIX_UNSAFE: "it fails with the fix, and not as written",
    Reason.DIVERGED: "the two variants took different ways through what was stood in for",
    Reason.FALLBACK_ON_SLICE: "a result that the flagged statement depends on had to be made up",
    Reason.NOT_READ: "what the rule claims could not be read off the runs",
    Reason.AA_UNSTABLE: "two runs of the same program differ too much",
    Reason.CI_STRADDLES: "the times scatter around the least difference that counts",
    Reason.TOO_FEW_PAIRS: "too few timed runs to judge",
    Reason.BELOW_THRESHOLD: "there is a difference, too small to count at these sizes and growing with them",
    Reason.DOES_NOT_SCALE: "the difference shrinks as the sizes grow",
    Reason.NOTHING_TO_RETURN: "at these sizes there was nothing to give back either way",
}

_APART = {
    PEAK.name: "{o} peak as written against {f} with the fix{x}",
    RETAINED.name: "{o} still allocated after the last step as written against {f} with the fix{x}",
    HELD.name: "{o} allocated when recovery runs as written against {f} with the fix{x}",
    RETURNED.name: "{o} given back by a call as written, {f} with the fix",
    GROWTH.name: "{o} more allocated each iteration as written, {f} with the fix{x}",
    HOST_GROWTH.name: "{o} more host memory each iteration as written, {f} with the fix{x}",
    NODES.name: "{o} more graph nodes each iteration as written, {f} with the fix{x}",
    NODES_RETAINED.name: "{o} graph nodes alive after the last step as written against {f} with the fix",
    TIME.name: "{o} per iteration as written against {f} with the fix{x}",
    ALLOCATIONS.name: "{o} device allocations per iteration as written against {f} with the fix",
    SYNCS.name: "{o} host syncs per iteration as written against {f} with the fix",
}
_GROWING = frozenset({GROWTH.name, HOST_GROWTH.name, NODES.name})


def amount(value: float, unit: Unit) -> str:
    """A number with its unit: "33.5 MiB", "1.72 ms", "15"."""
    if unit is Unit.MS:
        return f"{value:.3g} ms" if abs(value) < 100 else f"{value:.0f} ms"
    if unit is Unit.COUNT:
        return f"{value:.0f}" if abs(value - round(value)) < 0.05 else f"{value:.1f}"
    for size, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(value) >= size:
            return f"{value / size:.1f} {name}"
    return f"{value:.0f} B"


def apart(one: Measured) -> str:
    """A figure of both variants as a clause."""
    ratio = ""
    if one.low is not None and one.high is not None and one.fixed:
        ratio = f" ({_percent(one.original / one.fixed)}, between {_percent(one.low)} and {_percent(one.high)})"
    elif one.metric in _GROWING:
        ratio = " (the rest has another cause)" if one.original > one.fixed > LEFT * one.original else ""
    elif one.fixed > 0 and one.original / one.fixed >= 1.05:
        ratio = f" (x{one.original / one.fixed:.3g})"
    pattern = _APART.get(one.metric, f"{one.metric} {{o}} as written against {{f}} with the fix")
    return pattern.format(o=amount(one.original, one.unit), f=amount(one.fixed, one.unit), x=ratio)


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def aside(one: Measured) -> str:
    """A figure at the side, short: "peak reserved bytes 5.1 GiB, 2.4 GiB with the fix"."""
    return f"{one.metric} {amount(one.original, one.unit)}, {amount(one.fixed, one.unit)} with the fix"


def sentence(
    kind: Kind,
    reason: Reason,
    metrics: Sequence[Measured],
    detail: str = "",
    basis: str = "",
    scaling: Scaling | None = None,
) -> str:
    """The verdict in one line.

    detail  what the run itself said, such as an error's text.
    basis   iterations and runs: "10 iterations, 2+2 runs".
    """
    decisive = [one for one in metrics if one.decisive]
    claimed = [one for one in metrics if one.claimed]
    beside = [one for one in metrics if not one.claimed or (decisive and not one.decisive and _shows(one))]
    told = "; ".join(apart(one) for one in decisive)
    if not told and kind is Kind.REFUTED:
        told = "; ".join(apart(one) for one in claimed)
    if reason is Reason.NOTHING_RETURNED:  # the call is gone with the fix: there is nothing to compare it with
        told = "; ".join(f"{amount(one.original, one.unit)} a call" for one in decisive)
    parts = [told] if told and reason is Reason.EFFECT_SHOWN else [MEANINGS[reason], *([told] if told else [])]
    if detail:
        parts.append(" ".join(detail.split())[:200])
    text = ": ".join(parts)
    if basis and kind is not Kind.INCONCLUSIVE:
        text += f", {basis}{_steadiness(decisive or claimed)}"
    if scaling is not None and kind is not Kind.INCONCLUSIVE:
        text += f"; {_scaling(scaling)}"
    if beside:
        text += f"; also {'; '.join(aside(one) for one in beside)}"
    return f"{kind.value}: {text}"


def _shows(one: Measured) -> bool:
    """Whether a figure differs by what counts, and by more than two runs of one program do."""
    return one.moved and abs(one.delta) > one.spread


def _steadiness(measured: Sequence[Measured]) -> str:
    counted = [one for one in measured if one.low is None]
    if not counted:
        return ""
    if any(one.spread for one in counted):
        return ", not all identical"
    return " identical"


def _scaling(scaling: Scaling) -> str:
    if scaling.how == "grows":
        return "the difference grows with the sizes"
    return "the difference does not depend on the sizes"
