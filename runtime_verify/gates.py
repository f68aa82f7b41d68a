"""Whether runs may be judged at all: did they end, was the line passed, how close to the user's program were they.

What decides where no graph node was seen although the claim is about a graph (`needs_graph`):

| objects | a counter shows the effect | no counter does |
|---|---|---|
| real (T0, T1) | confirmed | refuted, `no_graph`: the user's values carry none |
| stand-ins (T2, T3) | confirmed | inconclusive, `no_graph`: the real values may carry one |
| grad off at the line | confirmed | refuted, `no_graph`: it makes none, whatever the values |
| a node was seen, or nodes were not counted | as any other claim | refuted, `no_effect` |

(A peak can show a graph that is gone before and after the statement, so counters are asked first.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime_verify.case import Case
from runtime_verify.readings import Event, EventKind, Outcome, Record
from runtime_verify.trial import Trial, Variant
from runtime_verify.verdict import Reason, Tier
from torchmemlint.model import Metric, Scene

LEAST_PASSES = 3
"""How often the flagged line must have been passed: once may be chance or warm-up."""

ENDS = frozenset({Outcome.ENDED, Outcome.EXITED, Outcome.RAISED})
"""Ends after which what was read until then still counts, if both variants end alike."""
FULL = frozenset({Outcome.OUT_OF_MEMORY, Outcome.HOST_MEMORY})

MEMORY = frozenset(
    {
        Metric.PEAK_BYTES,
        Metric.RETAINED_BYTES,
        Metric.GROWTH_BYTES,
        Metric.HOST_GROWTH_BYTES,
        Metric.LIVE_GRAPH_NODES,
    }
)
"""Claims that running out of memory proves, where only the original does."""

_WHY = {
    Outcome.ENDED: Reason.TOO_FEW_PASSES,
    Outcome.RAISED: Reason.RAISED,
    Outcome.EXITED: Reason.EXITED,
    Outcome.OUT_OF_MEMORY: Reason.OOM_BOTH,
    Outcome.TIMEOUT: Reason.TIMEOUT,
    Outcome.HOST_MEMORY: Reason.HOST_MEMORY,
    Outcome.CRASHED: Reason.CRASH,
    Outcome.OUTPUT: Reason.OUTPUT,
    Outcome.BROKEN: Reason.HARNESS,
}


def tier(records: Iterable[Record], entry: bool) -> Tier:
    """How close to the user's program the farthest of the runs was."""
    records = list(records)
    events = [event for record in records for event in record.events]
    fallbacks = [event.on_slice for event in events if event.kind is EventKind.FALLBACK]
    if any(fallbacks):
        return Tier.T4
    if entry:
        return Tier.T0
    if fallbacks:
        return Tier.T3
    standins = [event.on_slice for event in events if event.kind is EventKind.STANDIN]
    real = not standins or (not any(standins) and any(record.own for record in records))
    return Tier.T1 if real else Tier.T2


def least_passes(case: Case) -> int:
    """How often the line must be passed: once where a script does it once, or where memory runs out there."""
    once = case.original.function == "" or case.effect.scene is Scene.OUT_OF_MEMORY
    return 1 if once else LEAST_PASSES


def reached(trial: Trial) -> bool:
    """Whether every run made passed the flagged line, and both variants were run."""
    both = [trial.memory(variant) for variant in Variant]
    return all(both) and all(record.passes for records in both for record in records)


def only_original_full(case: Case, originals: Sequence[Record], fixed: Sequence[Record]) -> bool:
    """Every original ran out of memory and no fixed one did, for a claim that this proves."""
    return (
        case.effect.metric in MEMORY
        and case.effect.scene is Scene.STEPS
        and all(record.outcome in FULL and record.passes for record in originals)
        and all(_sound(case, record) for record in fixed)
    )


def unfit(case: Case, originals: Sequence[Record], fixed: Sequence[Record]) -> tuple[Reason, str] | None:
    """Why runs of both variants cannot be compared, with the first detail there is; None where they can."""
    for record in (*originals, *fixed):
        if record.outcome is Outcome.BROKEN:
            return Reason.HARNESS, record.detail
    ill = [record for record in originals if not _sound(case, record)]
    if not ill and any(not _sound(case, record) for record in fixed):
        return _fixed_alone(next(record for record in fixed if not _sound(case, record)))
    if ill:
        return _failed(ill[0])
    if any(record.diverged for record in (*originals, *fixed)):
        return Reason.DIVERGED, next((r.detail for r in (*originals, *fixed) if r.diverged and r.detail), "")
    ends = {_end(record) for record in (*originals, *fixed)}
    if len(ends) > 1:
        return _ended_apart(originals, fixed)
    return None


def _sound(case: Case, record: Record) -> bool:
    return record.outcome in ENDS and len(record.passes) >= least_passes(case)


def _failed(record: Record) -> tuple[Reason, str]:
    if not record.passes and record.outcome in (Outcome.ENDED, Outcome.EXITED):
        return Reason.NOT_REACHED, record.detail
    return _WHY[record.outcome], record.detail


def _fixed_alone(record: Record) -> tuple[Reason, str]:
    """The original went well: what failed is the fix, or how it was run."""
    if record.outcome in (Outcome.RAISED, Outcome.OUT_OF_MEMORY, Outcome.HOST_MEMORY):
        return Reason.FIX_UNSAFE, record.detail
    return _failed(record)


def _ended_apart(originals: Sequence[Record], fixed: Sequence[Record]) -> tuple[Reason, str]:
    for records, reason in ((originals, None), (fixed, Reason.FIX_UNSAFE)):
        for record in records:
            if record.outcome is not Outcome.ENDED:
                return reason or _WHY[record.outcome], record.detail
    raise AssertionError("all ended alike")


def _end(record: Record) -> tuple[Outcome, str]:
    """How a run ended; an error counts by its type, as its words may name addresses and sizes."""
    return record.outcome, record.detail.split(":")[0] if record.outcome is Outcome.RAISED else ""


def needs_graph(case: Case) -> bool:
    """The claim is about what an autograd graph holds: nodes themselves, or the peak of a forward."""
    return case.effect.scene is Scene.STEPS and case.effect.metric in (Metric.LIVE_GRAPH_NODES, Metric.PEAK_BYTES)


def graph_absent(originals: Sequence[Record]) -> bool:
    """Nodes were counted, and never was there one."""
    counts = [s.nodes for record in originals for s in (*record.passes, *record.after, *record.steps)]
    return bool(counts) and max(counts) == 0


def on_slice_fallback(event: Event) -> bool:
    """A result that the flagged statement's data depends on was made up."""
    return event.kind is EventKind.FALLBACK and event.on_slice
