"""Runs of a case to a verdict, and which runs are still missing for one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from runtime_verify import gates
from runtime_verify.case import Case
from runtime_verify.decide import Ruling, Says, by_counter, by_time, compare, more_pairs, sign
from runtime_verify.figures import (
    COUNTERS,
    HOST_GROWTH,
    NEEDS_CUDA,
    NODES,
    PEAK_RESERVED,
    TIME,
    Figure,
    claimed,
)
from runtime_verify.readings import Lane, Outcome, Record
from runtime_verify.safety import fix_safe
from runtime_verify.trial import TIMED_PASSES, Trial, Variant, Wanted
from runtime_verify.verdict import FixSafe, Kind, Measured, Reason, Scaling, Tier, Verdict
from runtime_verify.wording import sentence
from torchmemlint.model import Scene

LARGER = 4
"""The second size: far enough from the first to tell an effect from a constant, and it still fits."""
GROWS, CONSTANT = 1.5, 0.8
"""A difference this many times as large at the larger size grows with it; down to the second it is constant."""
ONE = Wanted(Variant.ORIGINAL)
OTHER = Wanted(Variant.FIXED)


def judge(case: Case, trial: Trial) -> Verdict:
    """The verdict on what has been run so far.

    In order: can the device show it at all; did the runs end and pass the flagged line; how close to the user's
    program were they (T4 never decides); then each claimed figure. One that shows the effect confirms, all of them
    against it refute, and anything else is inconclusive with the reason of the first that is open.
    """
    return _Judgement(case, trial).verdict()


def wants_more(case: Case, trial: Trial) -> tuple[Wanted, ...]:
    """The runs to make next, in this order; none when the verdict stands.

    First one run of the original, which the others are decided alike with; then the fixed ones and the second
    original; where the effect depends on sizes, both at a larger one; timed pairs only where the claim is about time
    and no counter has shown it. A case that cannot be judged any more asks for nothing.
    """
    return tuple(_Judgement(case, trial).missing())


def unplanned(code: str, message: str) -> Verdict:
    """The verdict on a finding that no case could be made of, and why: in short and in words."""
    said = sentence(Kind.INCONCLUSIVE, Reason.UNPLANNED, (), message)
    return Verdict(Kind.INCONCLUSIVE, Reason.UNPLANNED, said, detail=code)


@dataclass(frozen=True)
class _Outcome:
    """What the claimed figures come to together."""

    kind: Kind
    reason: Reason
    rulings: tuple[Ruling, ...] = ()
    decisive: tuple[Ruling, ...] = ()
    scaling: Scaling | None = None
    detail: str = ""


class _Judgement:
    """One case with its runs; every question that judging asks of them."""

    def __init__(self, case: Case, trial: Trial) -> None:
        self.case, self.trial = case, trial
        self.originals = trial.memory(Variant.ORIGINAL)
        self.fixed = trial.memory(Variant.FIXED)
        self.timed = trial.timed(Variant.ORIGINAL), trial.timed(Variant.FIXED)
        self.cpu = trial.device == "cpu"
        self.records = [*self.originals, *self.fixed, *self.timed[0], *self.timed[1]]
        self.tier = gates.tier(self.records, trial.entry) if self.records else None
        self.figures = [figure for figure in claimed(case.effect) if self._shows(figure)]

    def _shows(self, figure: Figure) -> bool:
        return not (self.cpu and (figure.metric in NEEDS_CUDA or figure is PEAK_RESERVED))

    # ---- the verdict ------------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        outcome = self._outcome()
        metrics = tuple(self._metrics(outcome))
        both = bool(self.originals) and bool(self.fixed)
        first = self.records[0] if self.records else Record()
        iterations = min((len(record.passes) for record in (*self.originals, *self.fixed)), default=0)
        return Verdict(
            outcome.kind,
            outcome.reason,
            sentence(outcome.kind, outcome.reason, metrics, outcome.detail, self._basis(iterations), outcome.scaling),
            self.tier,
            fix_safe(self.originals, self.fixed) if both else FixSafe(),
            metrics,
            outcome.scaling,
            iterations,
            self._counts(),
            gates.reached(self.trial),
            first.device,
            first.torch,
            outcome.detail,
        )

    def _basis(self, iterations: int) -> str:
        timed = min(len(records) for records in self.timed)
        parts = [f"{iterations} iteration{'s' * (iterations != 1)}"]
        if timed:
            parts.append(f"{timed} timed pairs")
        parts.append(f"{len(self.originals)}+{len(self.fixed)} runs")
        return ", ".join(parts)

    def _counts(self) -> tuple[tuple[str, int], ...]:
        counts: dict[str, int] = {}
        for run in self.trial.runs:
            lane = "timed " if run.wanted.lane is Lane.TIME else ""
            scale = f" x{run.wanted.scale}" if run.wanted.scale != 1 else ""
            name = f"{lane}{run.wanted.variant.value}{scale}"
            counts[name] = counts.get(name, 0) + 1
        return tuple(counts.items())

    def _metrics(self, outcome: _Outcome) -> Iterator[Measured]:
        """The claimed figures, then all others that moved: costs and benefits both."""
        for ruling in outcome.rulings:
            if ruling.measured is not None:
                yield replace(ruling.measured, decisive=ruling in outcome.decisive)
        if not outcome.rulings:
            return
        told = {ruling.figure.name for ruling in outcome.rulings}
        for figure in COUNTERS:
            if figure.name not in told and self._shows(figure):
                yield from self._moved(compare(self.case, figure, self.originals, self.fixed))
        if TIME.name not in told:
            yield from self._moved(by_time(self.case, *self.timed).measured)

    def _moved(self, measured: Measured | None) -> Iterator[Measured]:
        if measured is not None and measured.moved and abs(measured.delta) > measured.spread:
            yield replace(measured, claimed=False)

    # ---- what the claimed figures come to ------------------------------------------------------------

    def _outcome(self) -> _Outcome:
        ill = self._ill()
        if ill is not None:
            return ill
        if gates.only_original_full(self.case, self.originals, self.fixed):
            return _Outcome(Kind.CONFIRMED, Reason.ORIGINAL_OUT_OF_MEMORY, detail=self.originals[0].detail)
        rulings = tuple(self._rulings())
        votes = _votes(rulings)
        if shown := [ruling for ruling in votes if ruling.says is Says.SHOWN]:
            return self._confirmed(rulings, shown[0])
        if opened := [ruling for ruling in votes if ruling.says is Says.OPEN]:
            return _Outcome(Kind.INCONCLUSIVE, opened[0].reason, rulings)
        if len(self.figures) < len(claimed(self.case.effect)):
            return _Outcome(Kind.INCONCLUSIVE, Reason.NEEDS_CUDA, rulings)
        return self._refuted(rulings)

    def _ill(self) -> _Outcome | None:
        """Why nothing can be decided whatever was read; None where something can."""
        if not self.figures or self.figures[0] is not claimed(self.case.effect)[0]:
            return _Outcome(Kind.INCONCLUSIVE, Reason.NEEDS_CUDA)
        if not self.originals:
            return _Outcome(Kind.INCONCLUSIVE, Reason.NOT_RUN)
        full = self.fixed and gates.only_original_full(self.case, self.originals, self.fixed)
        if not full and (why := gates.unfit(self.case, self.originals, self.fixed)):
            return _Outcome(Kind.INCONCLUSIVE, why[0], detail=why[1])
        if self.tier is Tier.T4:
            return _Outcome(Kind.INCONCLUSIVE, Reason.FALLBACK_ON_SLICE, detail=self._fallback())
        if len(self.originals) < 2 or len(self.fixed) < 2:
            return _Outcome(Kind.INCONCLUSIVE, Reason.NOT_RUN)
        return None

    def _fallback(self) -> str:
        events = (event for record in self.records for event in record.events)
        return next(f"line {event.line}: {event.text}" for event in events if gates.on_slice_fallback(event))

    def _rulings(self) -> Iterator[Ruling]:
        for figure in self.figures:
            if figure is not TIME:
                yield by_counter(self.case, figure, self.originals, self.fixed)
            elif why := self._timing_failed():
                yield Ruling(figure, Says.OPEN, why[0])
            else:
                yield by_time(self.case, *self.timed)

    def _timing_failed(self) -> tuple[Reason, str] | None:
        ones, others = self.timed
        return gates.unfit(self.case, ones, others) if ones and others else None

    def _confirmed(self, rulings: tuple[Ruling, ...], shown: Ruling) -> _Outcome:
        scaling = self._scaling(shown)
        if scaling is not None and scaling.how == "shrinks":
            return _Outcome(Kind.INCONCLUSIVE, Reason.DOES_NOT_SCALE, rulings, (shown,), scaling)
        return _Outcome(Kind.CONFIRMED, shown.reason, rulings, (shown,), scaling)

    def _refuted(self, rulings: tuple[Ruling, ...]) -> _Outcome:
        if small := self._visible(rulings):
            return self._larger(rulings, small)
        if gates.needs_graph(self.case) and gates.graph_absent(self.originals):
            real = self.tier in (Tier.T0, Tier.T1) or all(record.grad_off for record in self.originals)
            return _Outcome(Kind.REFUTED if real else Kind.INCONCLUSIVE, Reason.NO_GRAPH, rulings)
        return _Outcome(Kind.REFUTED, rulings[0].reason, rulings)

    # ---- the second size ---------------------------------------------------------------------------

    def _sized(self, ruling: Ruling) -> bool:
        """Whether a larger size of the values would tell more about it."""
        return ruling.figure.sized and self.case.effect.scene is Scene.STEPS and not self.trial.entry

    def _visible(self, rulings: Sequence[Ruling]) -> Ruling | None:
        """A difference the way that is claimed, too small to count at this size."""
        way = sign(self.case.effect)
        return next((ruling for ruling in rulings if self._sized(ruling) and way * ruling.margin > 0), None)

    def _at_larger(self, figure: Figure) -> Ruling | None:
        """The same figure at the larger size, where it was run there and can be judged."""
        ones, others = (self.trial.memory(variant, LARGER) for variant in Variant)
        if not ones or not others or gates.unfit(self.case, ones, others):
            return None
        if gates.tier((*ones, *others), self.trial.entry) is Tier.T4:
            return None
        ruling = by_counter(self.case, figure, ones, others)
        return ruling if ruling.measured is not None else None

    def _scaling(self, ruling: Ruling) -> Scaling | None:
        larger = self._at_larger(ruling.figure) if self._sized(ruling) else None
        if larger is None or larger.measured is None or ruling.measured is None:
            return None
        small, large = ruling.measured.delta, larger.measured.delta
        ratio = large / small
        how = "grows" if ratio >= GROWS else "constant" if ratio >= CONSTANT else "shrinks"
        return Scaling(ruling.figure.name, 1, LARGER, small, large, how)

    def _larger(self, rulings: tuple[Ruling, ...], small: Ruling) -> _Outcome:
        """A visible difference below the threshold: it is refuted only if larger sizes bring it no nearer."""
        scaling = self._scaling(small)
        large = self._at_larger(small.figure)
        if scaling is None or large is None:
            return _Outcome(Kind.INCONCLUSIVE, Reason.BELOW_THRESHOLD, rulings, (small,))
        if large.says is Says.SHOWN:
            swapped = tuple(large if ruling is small else ruling for ruling in rulings)
            return _Outcome(Kind.CONFIRMED, large.reason, swapped, (large,), scaling)
        if large.margin >= GROWS * small.margin:
            return _Outcome(Kind.INCONCLUSIVE, Reason.BELOW_THRESHOLD, rulings, (small,), scaling)
        return _Outcome(Kind.REFUTED, rulings[0].reason, rulings, (), scaling)

    # ---- what is missing ----------------------------------------------------------------------------

    def missing(self) -> Sequence[Wanted]:
        if not self.figures or self.figures[0] is not claimed(self.case.effect)[0]:
            return ()
        if not self.originals:
            return (ONE,)
        if len(self.originals) < 2 or len(self.fixed) < 2:
            return self._first_round()
        if self._ill() or gates.only_original_full(self.case, self.originals, self.fixed):
            return ()
        rulings = tuple(self._rulings())
        votes = _votes(rulings)
        if shown := [ruling for ruling in votes if ruling.says is Says.SHOWN]:
            return self._sizes(1) if self._sized(shown[0]) else ()
        if TIME in self.figures and (pairs := self._pairs(rulings)):
            return pairs
        if all(ruling.says is Says.AGAINST for ruling in votes) and self._visible(rulings):
            return self._sizes(2)
        return ()

    def _first_round(self) -> Sequence[Wanted]:
        """After the first original: all the rest, or one fixed run, or nothing, by how it went."""
        first = self.originals[0]
        if not first.passes or first.outcome in (Outcome.TIMEOUT, Outcome.CRASHED, Outcome.OUTPUT, Outcome.BROKEN):
            return ()
        if self.tier is Tier.T4 or (first.outcome in gates.ENDS and gates.unfit(self.case, [first], [])):
            return () if self.fixed else (OTHER,)
        return (*(OTHER,) * (2 - len(self.fixed)), *(ONE,) * (2 - len(self.originals)))

    def _sizes(self, runs: int) -> Sequence[Wanted]:
        """Runs at the larger size; what has been tried there is not tried again."""
        if self.trial.memory(Variant.ORIGINAL, LARGER):
            return ()
        return tuple(replace(one, scale=LARGER) for _ in range(runs) for one in (ONE, OTHER))

    def _pairs(self, rulings: Sequence[Ruling]) -> Sequence[Wanted]:
        """Timed pairs up to the next look, the first of each pair changing: A B, B A, A B, ..."""
        made = min(len(records) for records in self.timed)
        time = next(ruling for ruling in rulings if ruling.figure is TIME)
        if time.says is not Says.OPEN or time.reason not in (Reason.CI_STRADDLES, Reason.TOO_FEW_PAIRS):
            return ()
        if time.reason is Reason.TOO_FEW_PAIRS and made:
            return ()  # they were made and tell no time
        wanted: list[Wanted] = []
        for number in range(made, made + more_pairs(made)):
            pair = (ONE, OTHER) if number % 2 == 0 else (OTHER, ONE)
            wanted += [replace(one, lane=Lane.TIME, passes=TIMED_PASSES) for one in pair]
        return wanted


def _votes(rulings: Sequence[Ruling]) -> Sequence[Ruling]:
    """Without host growth where nodes were counted: it is only their shadow, and a restless one."""
    counted = any(ruling.figure is NODES and ruling.measured is not None for ruling in rulings)
    return [ruling for ruling in rulings if not (counted and ruling.figure is HOST_GROWTH)]
