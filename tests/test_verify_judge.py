"""Judging, from records made by hand: every metric both ways, every reason, what is asked for next, the statistics."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest

from made_records import (
    HOT,
    MIB,
    NODES,
    PEAK,
    RECOVERY,
    RETAINED,
    RETURNED,
    SYNCS,
    TIME,
    case,
    event,
    failed,
    record,
    trial,
    twice,
)
from runtime_verify import verdict
from runtime_verify.decide import by_time
from runtime_verify.figures import COUNTERS, HELD, claimed
from runtime_verify.figures import TIME as TIME_FIGURE
from runtime_verify.intervals import median_interval, rising_share, signed_rank_p, theil_sen
from runtime_verify.judge import judge, unplanned, wants_more
from runtime_verify.readings import EventKind, Lane, Outcome, Record, Sample
from runtime_verify.trial import Run, Trial, Variant, Wanted
from runtime_verify.verdict import Answer, Kind, Reason, Tier, Verdict
from runtime_verify.wording import MEANINGS
from torchmemlint.model import Direction, Effect, Metric

CONFIRMED, REFUTED, OPEN = Kind.CONFIRMED, Kind.REFUTED, Kind.INCONCLUSIVE


def found(verdict: Verdict) -> tuple[Kind, Reason]:
    return verdict.kind, verdict.reason


# ---- each metric ----------------------------------------------------------------------------------

FLAT = record(peak=100 * MIB, allocated=50 * MIB, reserved=200 * MIB, nodes=7, host=1000, mallocs=3, syncs=0)


def leaky(**series: Any) -> Record:
    return record(**{"peak": 100 * MIB, "allocated": 50 * MIB, "nodes": 7, "host": 1000, "mallocs": 3, **series})


@pytest.mark.parametrize(
    ("effect", "kept", "original", "fixed", "expected"),
    [
        (PEAK, True, leaky(peak=280 * MIB), leaky(), (CONFIRMED, Reason.EFFECT_SHOWN)),
        (PEAK, True, leaky(peak=101 * MIB), leaky(), (OPEN, Reason.BELOW_THRESHOLD)),
        (PEAK, True, leaky(), leaky(), (REFUTED, Reason.NO_EFFECT)),
        (PEAK, True, leaky(), leaky(peak=150 * MIB), (REFUTED, Reason.OPPOSITE)),
        (RETAINED, True, leaky(last={"allocated": 80 * MIB}), leaky(), (CONFIRMED, Reason.EFFECT_SHOWN)),
        (RETAINED, True, leaky(last={"nodes": 15}), leaky(), (CONFIRMED, Reason.EFFECT_SHOWN)),
        (RETAINED, True, leaky(), leaky(), (REFUTED, Reason.NO_EFFECT)),
        (NODES, True, leaky(nodes=lambda n: 7 + 15 * n), leaky(), (CONFIRMED, Reason.EFFECT_SHOWN)),
        (NODES, True, leaky(allocated=lambda n: 5 * MIB * n), leaky(), (CONFIRMED, Reason.EFFECT_SHOWN)),
        (NODES, True, leaky(nodes=-1, host=lambda n: 6000 * n), leaky(nodes=-1), (CONFIRMED, Reason.EFFECT_SHOWN)),
        (NODES, True, leaky(nodes=lambda n: 400 * (n > 5)), leaky(), (REFUTED, Reason.NO_EFFECT)),  # one jump
        (NODES, True, leaky(), leaky(), (REFUTED, Reason.NO_EFFECT)),
        (HOT, False, leaky(mallocs=lambda n: 10 * n), leaky(), (CONFIRMED, Reason.EFFECT_SHOWN)),
        (HOT, False, leaky(), leaky(), (OPEN, Reason.TOO_FEW_PAIRS)),
        (SYNCS, True, leaky(syncs=lambda n: 2 * n), leaky(syncs=0), (CONFIRMED, Reason.EFFECT_SHOWN)),
        (SYNCS, True, leaky(syncs=0), leaky(syncs=0), (REFUTED, Reason.NO_EFFECT)),
        (SYNCS, True, leaky(), leaky(), (OPEN, Reason.NOT_READ)),
        (RECOVERY, True, leaky(allocated=90 * MIB), leaky(allocated=4 * MIB), (CONFIRMED, Reason.EFFECT_SHOWN)),
        (RECOVERY, True, leaky(), leaky(), (REFUTED, Reason.NO_EFFECT)),
    ],
)
def test_metrics(effect: Effect, kept: bool, original: Record, fixed: Record, expected: tuple[Kind, Reason]) -> None:
    assert found(judge(case(effect, kept), twice(original, fixed))) == expected


def test_host_growth_proves_a_graph_only_where_nodes_were_not_counted() -> None:
    host = Effect(Metric.HOST_GROWTH_BYTES)
    growing = leaky(host=lambda n: 6000 * n)
    assert found(judge(case(host), twice(growing, leaky()))) == (CONFIRMED, Reason.EFFECT_SHOWN)
    assert found(judge(case(NODES), twice(growing, leaky()))) == (REFUTED, Reason.NO_EFFECT)


@pytest.mark.parametrize(
    ("kept", "gives", "with_fix", "expected"),
    [
        (False, 2 * MIB, 0, (CONFIRMED, Reason.NOTHING_RETURNED)),
        (False, 384 * MIB, 0, (REFUTED, Reason.MEMORY_RETURNED)),
        (True, 2 * MIB, 384 * MIB, (CONFIRMED, Reason.EFFECT_SHOWN)),
        (True, 100 * MIB, 384 * MIB, (CONFIRMED, Reason.EFFECT_SHOWN)),
        (True, 384 * MIB, 384 * MIB, (REFUTED, Reason.MEMORY_RETURNED)),
        (True, 384 * MIB, 0, (REFUTED, Reason.MEMORY_RETURNED)),
        (True, 0, 0, (OPEN, Reason.NOTHING_TO_RETURN)),
    ],
)
def test_what_emptying_the_cache_gives_back(kept: bool, gives: int, with_fix: int, expected: Any) -> None:
    def emptied(size: int) -> Record:
        return record(reserved=500 * MIB, after_reserved=500 * MIB - size)

    said = judge(case(RETURNED, kept), twice(emptied(gives), emptied(with_fix)))
    assert found(said) == expected


def test_returned_memory_that_varies_is_open() -> None:
    runs = [record(reserved=500 * MIB, after_reserved=500 * MIB - size) for size in (0, 200 * MIB)]
    said = judge(case(RETURNED), trial(runs, [runs[1]] * 2))
    assert found(said) == (OPEN, Reason.AA_UNSTABLE)


def test_the_peak_leaves_the_warm_up_out_and_looks_at_every_sample() -> None:
    def spiked(place: str, at: int) -> Record:
        made = record(peak=10 * MIB, after_peak=10 * MIB, last={"peak": 10 * MIB})
        samples = getattr(made, place)
        samples[at] = replace(samples[at], peak=90 * MIB)
        return made

    flat = record(peak=10 * MIB, after_peak=10 * MIB, last={"peak": 10 * MIB})
    for place, at, expected in (("passes", 1, REFUTED), ("after", 1, REFUTED), ("passes", 5, CONFIRMED)):
        assert judge(case(PEAK), twice(spiked(place, at), flat)).kind is expected, (place, at)
    for place in ("after", "steps"):
        assert judge(case(PEAK), twice(spiked(place, -1), flat)).kind is CONFIRMED, place


def test_growth_within_a_step_is_seen_though_each_step_starts_afresh() -> None:
    samples = [Sample(float(n), nodes=7 + 15 * (n % 6)) for n in range(18)]
    steps = [Sample(n + 0.5, nodes=0) for n in (5, 11, 17)]
    sawtooth = Record(passes=samples, steps=steps)
    flat = Record(passes=[replace(sample, nodes=7) for sample in samples], steps=steps)
    said = judge(case(NODES), twice(sawtooth, flat))
    assert said.kind is CONFIRMED and said.metrics[0].original == 15


def test_growth_that_the_fix_halves_is_confirmed_where_runs_agree_and_open_where_not() -> None:
    """Two findings in one loop are fixed one at a time."""
    whole, half = leaky(nodes=lambda n: 30 * n), leaky(nodes=lambda n: 15 * n)
    said = judge(case(NODES), twice(whole, half))
    assert said.kind is CONFIRMED
    assert (
        "30 more graph nodes each iteration as written, 15 with the fix (the rest has another cause)" in said.sentence
    )
    restless = [leaky(nodes=lambda n: 30 * n), leaky(nodes=lambda n: 31 * n)]
    assert found(judge(case(NODES), trial(restless, [half] * 2))) == (OPEN, Reason.AA_UNSTABLE)


def test_costs_and_benefits_are_told_whichever_way_they_moved() -> None:
    original = leaky(mallocs=lambda n: 10 * n, peak_reserved=1000 * MIB)
    said = judge(case(HOT, kept=False), twice(original, leaky(peak_reserved=2400 * MIB, peak=130 * MIB)))
    beside = {one.metric: one.delta for one in said.metrics if not one.claimed}
    assert beside == {"peak bytes": -30 * MIB, "peak reserved bytes": -1400 * MIB}
    assert said.sentence == (
        "confirmed: 10 device allocations per iteration as written against 0 with the fix, 10 iterations, "
        "2+2 runs identical; also peak bytes 100.0 MiB, 130.0 MiB with the fix; "
        "peak reserved bytes 1000.0 MiB, 2.3 GiB with the fix"
    )


def test_a_verdict_in_one_sentence() -> None:
    said = judge(case(PEAK), twice(record(peak=96 * MIB), record(peak=int(33.5 * MIB))))
    assert said.sentence == (
        "confirmed: 96.0 MiB peak as written against 33.5 MiB with the fix (x2.87), 10 iterations, 2+2 runs identical"
    )
    assert [(one.metric, one.decisive) for one in said.metrics] == [("peak bytes", True)]
    assert (said.device, said.torch, said.iterations) == ("NVIDIA H200", "2.11", 10)
    assert said.runs == (("original", 2), ("fixed", 2)) and said.reached


# ---- A/A ------------------------------------------------------------------------------------------


def test_runs_of_one_program_that_differ_decide_nothing() -> None:
    restless = [leaky(peak=120 * MIB), leaky(peak=104 * MIB)]
    assert found(judge(case(PEAK), trial(restless, [leaky()] * 2))) == (OPEN, Reason.AA_UNSTABLE)
    assert found(judge(case(PEAK), trial([leaky(peak=120 * MIB)] * 2, restless))) == (OPEN, Reason.AA_UNSTABLE)


def test_a_restless_counter_decides_from_afar() -> None:
    high = [leaky(peak=900 * MIB), leaky(peak=904 * MIB)]
    assert found(judge(case(PEAK), trial(high, [leaky()] * 2))) == (CONFIRMED, Reason.EFFECT_SHOWN)
    near = [leaky(peak=100 * MIB), leaky(peak=int(100.2 * MIB))]
    assert found(judge(case(PEAK), trial(near, [leaky()] * 2))) == (REFUTED, Reason.NO_EFFECT)


def test_a_block_more_or_less_is_no_noise_and_no_effect() -> None:
    said = judge(case(PEAK), trial([leaky(), leaky(peak=100 * MIB + 512)], [leaky()] * 2))
    assert found(said) == (REFUTED, Reason.NO_EFFECT)


def test_restless_host_memory_does_not_keep_counted_nodes_from_speaking() -> None:
    runs = [leaky(host=lambda n, k=k: k * n) for k in (500, 9000)]
    assert found(judge(case(NODES), trial(runs, [leaky()] * 2))) == (REFUTED, Reason.NO_EFFECT)


# ---- whether anything may be judged -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("original", "fixed", "expected"),
    [
        (record(0), record(0), Reason.NOT_REACHED),
        (record(2), record(2), Reason.TOO_FEW_PASSES),
        (failed(Outcome.RAISED, "ValueError: 3"), FLAT, Reason.RAISED),
        (failed(Outcome.EXITED), FLAT, Reason.NOT_REACHED),
        (failed(Outcome.OUT_OF_MEMORY, passes=5), failed(Outcome.OUT_OF_MEMORY, passes=5), Reason.OOM_BOTH),
        (failed(Outcome.TIMEOUT, passes=5), FLAT, Reason.TIMEOUT),
        (failed(Outcome.HOST_MEMORY), failed(Outcome.HOST_MEMORY), Reason.HOST_MEMORY),
        (failed(Outcome.CRASHED, "SIGSEGV"), FLAT, Reason.CRASH),
        (failed(Outcome.OUTPUT), FLAT, Reason.OUTPUT),
        (FLAT, failed(Outcome.BROKEN, "KeyError: 'x'", passes=5), Reason.HARNESS),
        (FLAT, failed(Outcome.RAISED, "RuntimeError: no grad", passes=5), Reason.FIX_UNSAFE),
        (FLAT, failed(Outcome.OUT_OF_MEMORY, passes=5), Reason.FIX_UNSAFE),
        (FLAT, failed(Outcome.TIMEOUT, passes=5), Reason.TIMEOUT),
        (FLAT, record(0), Reason.NOT_REACHED),
        (FLAT, replace(FLAT, outcome=Outcome.EXITED), Reason.FIX_UNSAFE),
        (replace(FLAT, outcome=Outcome.EXITED), FLAT, Reason.EXITED),
        (FLAT, replace(FLAT, diverged=True), Reason.DIVERGED),
        (replace(FLAT, events=[event(EventKind.FALLBACK, True)]), FLAT, Reason.FALLBACK_ON_SLICE),
        (FLAT, replace(FLAT, events=[event(EventKind.FALLBACK, True)]), Reason.FALLBACK_ON_SLICE),
    ],
)
def test_runs_that_may_not_be_judged(original: Record, fixed: Record, expected: Reason) -> None:
    said = judge(case(PEAK), twice(original, fixed))
    assert found(said) == (OPEN, expected)
    assert said.sentence.startswith(f"inconclusive: {MEANINGS[expected]}")


def test_a_detail_goes_into_the_sentence() -> None:
    said = judge(case(PEAK), twice(failed(Outcome.CRASHED, "SIGSEGV"), FLAT))
    assert said.sentence == "inconclusive: its process died: SIGSEGV"
    made_up = replace(FLAT, events=[event(EventKind.FALLBACK, True)])
    assert judge(case(PEAK), twice(made_up, FLAT)).sentence.endswith("made up: line 5: something was made up")


def test_both_variants_that_end_alike_are_compared() -> None:
    """A script that leaves by sys.exit, or fails after the loop in question, has been read all the same."""
    for outcome, detail in ((Outcome.EXITED, ""), (Outcome.RAISED, "KeyError: 'x'")):
        ends = {"record_outcome": outcome, "record_detail": detail}
        said = judge(case(PEAK), twice(record(peak=90 * MIB, **ends), record(peak=30 * MIB, **ends)))
        assert said.kind is CONFIRMED
    one, other = (failed(Outcome.RAISED, detail, passes=9) for detail in ("KeyError: 'x'", "OSError: y"))
    assert judge(case(PEAK), twice(one, other)).reason is Reason.RAISED


def test_memory_that_runs_out_only_as_written_is_proof() -> None:
    for outcome in (Outcome.OUT_OF_MEMORY, Outcome.HOST_MEMORY):
        full = failed(outcome, "tried to allocate 2 GiB", passes=4)
        said = judge(case(NODES), twice(full, FLAT))
        assert found(said) == (CONFIRMED, Reason.ORIGINAL_OUT_OF_MEMORY)
        assert judge(case(TIME), twice(full, FLAT)).kind is OPEN
        assert judge(case(NODES), trial([full, FLAT], [FLAT] * 2)).kind is OPEN
        made_up = replace(FLAT, events=[event(EventKind.FALLBACK, True)])
        assert judge(case(NODES), twice(full, made_up)).reason is Reason.FALLBACK_ON_SLICE


def test_once_is_enough_for_a_script_and_for_recovery() -> None:
    once, more = record(1, peak=10 * MIB), record(1, peak=90 * MIB)
    assert judge(case(PEAK, function=""), twice(more, once)).kind is CONFIRMED
    assert judge(case(PEAK), twice(more, once)).reason is Reason.TOO_FEW_PASSES
    held = twice(record(1, allocated=90 * MIB), record(1, allocated=MIB))
    assert judge(case(RECOVERY), held).kind is CONFIRMED


@pytest.mark.parametrize(
    ("events", "own", "entry", "expected"),
    [
        ([], [], False, Tier.T1),
        ([event(EventKind.STANDIN)], ["Net"], False, Tier.T1),
        ([event(EventKind.STANDIN)], [], False, Tier.T2),
        ([event(EventKind.STANDIN, True)], ["Net"], False, Tier.T2),
        ([event(EventKind.REPAIR, True), event(EventKind.STEERED, True)], [], False, Tier.T1),
        ([event(EventKind.FALLBACK)], ["Net"], False, Tier.T3),
        ([event(EventKind.FALLBACK), event(EventKind.FALLBACK, True)], [], False, Tier.T4),
        ([event(EventKind.FALLBACK, True)], [], True, Tier.T4),
        ([event(EventKind.FALLBACK)], [], True, Tier.T0),
    ],
)
def test_tiers(events: list[Any], own: list[str], entry: bool, expected: Tier) -> None:
    run = replace(FLAT, events=events, own=own)
    assert judge(case(PEAK), twice(run, run, entry=entry)).tier is expected


def test_no_graph_refutes_on_real_objects_only() -> None:
    bare, standin = leaky(nodes=0), [event(EventKind.STANDIN, True)]
    for effect in (NODES, PEAK):
        assert found(judge(case(effect), twice(bare, bare))) == (REFUTED, Reason.NO_GRAPH)
        assert found(judge(case(effect), twice(bare, bare, entry=True))) == (REFUTED, Reason.NO_GRAPH)
        stood = replace(bare, events=standin)
        assert found(judge(case(effect), twice(stood, stood))) == (OPEN, Reason.NO_GRAPH)
        seen = leaky(record_events=standin)
        assert found(judge(case(effect), twice(seen, seen))) == (REFUTED, Reason.NO_EFFECT)
    stood = replace(bare, events=standin)
    assert found(judge(case(RETAINED), twice(stood, stood))) == (REFUTED, Reason.NO_EFFECT)
    transient = leaky(nodes=0, peak=300 * MIB, record_events=standin)
    assert found(judge(case(PEAK), twice(transient, stood))) == (CONFIRMED, Reason.EFFECT_SHOWN)


def test_the_cpu_says_what_it_cannot_show() -> None:
    for effect in (HOT, TIME, RETURNED, SYNCS):
        assert found(judge(case(effect), Trial("cpu"))) == (OPEN, Reason.NEEDS_CUDA)
        assert wants_more(case(effect), Trial("cpu")) == ()
    assert judge(case(NODES), twice(leaky(nodes=lambda n: 9 * n), leaky(), device="cpu")).kind is CONFIRMED
    partly = Effect(Metric.PEAK_BYTES, also=(Metric.DEVICE_ALLOCATIONS,))
    assert found(judge(case(partly), twice(FLAT, FLAT, device="cpu"))) == (OPEN, Reason.NEEDS_CUDA)
    assert judge(case(partly), twice(leaky(peak=900 * MIB), FLAT, device="cpu")).kind is CONFIRMED


def test_nothing_run_and_nothing_planned() -> None:
    assert found(judge(case(PEAK), Trial())) == (OPEN, Reason.NOT_RUN)
    assert found(judge(case(PEAK), trial([FLAT], [FLAT]))) == (OPEN, Reason.NOT_RUN)
    said = unplanned("no_fix", "the fix does not silence the finding")
    assert found(said) == (OPEN, Reason.UNPLANNED) and said.sentence.endswith("the fix does not silence the finding")


# ---- sizes ----------------------------------------------------------------------------------------


def larger(original: Record, fixed: Record) -> dict[str, Any]:
    return {"larger": ([original] * 2, [fixed] * 2)}


def peaks(original: float, fixed: float) -> tuple[Record, Record]:
    return leaky(peak=int(original * MIB)), leaky(peak=int(fixed * MIB))


@pytest.mark.parametrize(
    ("small", "large", "expected", "how"),
    [
        (peaks(130, 100), peaks(520, 400), (CONFIRMED, Reason.EFFECT_SHOWN), "grows"),
        (peaks(130, 100), peaks(430, 400), (CONFIRMED, Reason.EFFECT_SHOWN), "constant"),
        (peaks(130, 100), peaks(410, 400), (OPEN, Reason.DOES_NOT_SCALE), "shrinks"),
        (peaks(130, 100), (failed(Outcome.OUT_OF_MEMORY, passes=3),) * 2, (CONFIRMED, Reason.EFFECT_SHOWN), None),
        (peaks(101, 100), peaks(104, 100), (CONFIRMED, Reason.EFFECT_SHOWN), "grows"),  # weights, and a small batch
        (peaks(100.4, 100), peaks(101.6, 100), (OPEN, Reason.BELOW_THRESHOLD), "grows"),
        (peaks(101, 100), peaks(404, 400), (REFUTED, Reason.NO_EFFECT), "grows"),  # 1 % at every size
        (peaks(101, 100), peaks(401, 400), (REFUTED, Reason.NO_EFFECT), "constant"),
    ],
)
def test_a_second_size(small: Any, large: Any, expected: tuple[Kind, Reason], how: str | None) -> None:
    said = judge(case(PEAK), twice(*small, **larger(*large)))
    assert found(said) == expected
    assert (said.scaling.how if said.scaling else None) == how


def test_the_users_own_sizes_are_what_they_are() -> None:
    small = twice(*peaks(101, 100), entry=True)
    assert found(judge(case(PEAK), small)) == (REFUTED, Reason.NO_EFFECT)
    assert wants_more(case(PEAK), small) == ()


# ---- the fix --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("originals", "fixed", "answer"),
    [
        (({"loss": 1.0}, {"loss": 1.0}), {"loss": 1.00005}, Answer.YES),
        (({"loss": 1.0}, {"loss": 1.0}), {"loss": 1.001}, Answer.NO),
        (({"loss": 1.0}, {"loss": 1.005}), {"loss": 1.007}, Answer.YES),
        (({"loss": 1.0}, {"loss": 1.5}), {"loss": 1.2}, Answer.UNKNOWN),
        (({"loss": math.nan}, {"loss": math.nan}), {"loss": math.nan}, Answer.YES),
        (({"loss": math.nan}, {"loss": math.nan}), {"loss": 1.0}, Answer.NO),
        (({"loss": math.inf}, {"loss": math.inf}), {"loss": math.inf}, Answer.YES),
        (({"loss": 0.0}, {"loss": 0.0}), {"loss": 0.0}, Answer.YES),
        (({"loss": 1.0, "w": 2.0}, {"loss": 1.0, "w": 2.0}), {"loss": 1.0}, Answer.UNKNOWN),
        (({"loss": 1.0, "w": 2.0}, {"loss": 1.0, "w": 2.0}), {"loss": 2.0}, Answer.NO),
        (({}, {}), {}, Answer.UNKNOWN),
    ],
)
def test_whether_the_fix_is_safe(originals: Any, fixed: Any, answer: Answer) -> None:
    runs = [replace(FLAT, numbers=numbers) for numbers in originals]
    said = judge(case(PEAK), trial(runs, [replace(FLAT, numbers=fixed)] * 2))
    assert said.fix_safe.answer is answer, said.fix_safe.why


def test_a_fix_that_breaks_the_program_is_not_safe() -> None:
    broken = failed(Outcome.RAISED, "RuntimeError: element 0 does not require grad", passes=5)
    said = judge(case(PEAK), twice(FLAT, broken)).fix_safe
    assert said.answer is Answer.NO and "does not require grad" in said.why


# ---- time -----------------------------------------------------------------------------------------


def timed(chance: random.Random, pairs: int, effect: float, noise: float) -> tuple[list[Record], list[Record]]:
    """Pairs of runs whose times scatter by `noise` and differ by `effect`."""
    spread = noise / math.sqrt(2)
    originals = [record(6, 10.0 * (1 + effect) * math.exp(chance.gauss(0, spread))) for _ in range(pairs)]
    return originals, [record(6, 10.0 * math.exp(chance.gauss(0, spread))) for _ in range(pairs)]


@pytest.mark.parametrize(
    ("effect", "noise", "expected"),
    [
        (0.13, 0.002, (CONFIRMED, Reason.EFFECT_SHOWN)),
        (0.0, 0.002, (REFUTED, Reason.NO_EFFECT)),
        (-0.2, 0.002, (REFUTED, Reason.OPPOSITE)),
        (0.03, 0.3, (OPEN, Reason.CI_STRADDLES)),
    ],
)
def test_times(effect: float, noise: float, expected: tuple[Kind, Reason]) -> None:
    pairs = timed(random.Random(1), 20, effect, noise)
    assert found(judge(case(HOT, kept=False), twice(leaky(), leaky(), timed=pairs))) == expected


def test_a_time_in_one_sentence() -> None:
    pairs = timed(random.Random(1), 6, 0.13, 0.002)
    said = judge(case(TIME), twice(leaky(), leaky(), timed=pairs))
    assert said.sentence.startswith("confirmed: 11.3 ms per iteration as written against 9.99 ms with the fix (+13.1 %")
    assert said.sentence.endswith(", 10 iterations, 6 timed pairs, 2+2 runs")
    (measured,) = said.metrics
    assert measured.low and measured.high and 1.1 < measured.low < measured.high < 1.16
    assert measured.p == pytest.approx(1 / 64) and measured.decisive


def test_five_pairs_are_too_few() -> None:
    pairs = timed(random.Random(1), 5, 0.5, 0.001)
    assert found(judge(case(TIME), twice(leaky(), leaky(), timed=pairs))) == (OPEN, Reason.TOO_FEW_PAIRS)


def test_timed_runs_that_fail_are_the_reason() -> None:
    pairs = ([failed(Outcome.TIMEOUT, passes=5)], [FLAT])
    assert found(judge(case(TIME), twice(leaky(), leaky(), timed=pairs))) == (OPEN, Reason.TIMEOUT)
    assert wants_more(case(TIME), twice(leaky(), leaky(), timed=pairs)) == ()


def decided(trials: int, effect: float, noise: float = 0.028) -> dict[str, float]:
    """How often each answer comes out, looking after 6, 10 and 20 pairs as the driver does."""
    chance = random.Random(20260101)
    made = case(TIME if effect else HOT)
    counts: dict[str, int] = {}
    for _ in range(trials):
        says = by_time(made, *timed(chance, 20, effect, noise)).says.value
        counts[says] = counts.get(says, 0) + 1
    return {says: number / trials for says, number in counts.items()}


def test_no_effect_is_hardly_ever_confirmed_and_a_clear_one_nearly_always() -> None:
    assert decided(300, 0.0).get("shown", 0.0) <= 0.01
    assert decided(100, 0.0, noise=0.10).get("shown", 0.0) <= 0.01
    assert decided(60, 0.15)["shown"] >= 0.95
    assert decided(60, 0.0, noise=0.004)["against"] >= 0.95


# ---- what is asked for next -------------------------------------------------------------------------


def asked(trial: Trial, effect: Effect = PEAK, **more: Any) -> list[str]:
    return [f"{one.variant.value} {one.lane.value} x{one.scale}" for one in wants_more(case(effect, **more), trial)]


ONE, OTHER = "original memory x1", "fixed memory x1"


def test_first_one_original_then_the_rest() -> None:
    assert asked(Trial()) == [ONE]
    assert asked(trial([FLAT], [])) == [OTHER, OTHER, ONE]
    assert asked(trial([FLAT], [FLAT])) == [OTHER, ONE]
    assert asked(twice(FLAT, FLAT)) == []


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (failed(Outcome.TIMEOUT, passes=5), []),
        (failed(Outcome.CRASHED, passes=5), []),
        (record(0), []),
        (failed(Outcome.RAISED), []),
        (record(2), [OTHER]),
        (replace(FLAT, events=[event(EventKind.FALLBACK, True)]), [OTHER]),
        (failed(Outcome.OUT_OF_MEMORY, passes=5), [OTHER, OTHER, ONE]),
    ],
)
def test_what_cannot_be_judged_costs_no_more_runs(first: Record, then: list[str]) -> None:
    assert asked(trial([first], [])) == then
    if then == [OTHER]:
        assert asked(trial([first], [FLAT])) == []


def test_a_larger_size_where_it_tells_more() -> None:
    confirmed, visible = twice(*peaks(130, 100)), twice(*peaks(101, 100))
    assert asked(confirmed) == ["original memory x4", "fixed memory x4"]
    assert asked(visible) == ["original memory x4", "fixed memory x4"] * 2
    assert asked(twice(*peaks(130, 100), **larger(*peaks(520, 400)))) == []
    assert asked(twice(leaky(nodes=lambda n: 9 * n), leaky()), NODES) == []
    assert asked(twice(leaky(allocated=90 * MIB), leaky()), RECOVERY) == []


def test_times_only_where_no_counter_has_shown_the_effect() -> None:
    assert asked(twice(leaky(mallocs=lambda n: 10 * n), leaky()), HOT, kept=False) == []
    first = asked(twice(leaky(), leaky()), HOT, kept=False)
    a, b = "original time x1", "fixed time x1"
    assert first == [a, b, b, a] * 3
    for made, more in ((6, 4), (10, 10), (20, 0)):
        noisy = timed(random.Random(3), made, 0.03, 0.4)
        assert len(asked(twice(leaky(), leaky(), timed=noisy), HOT, kept=False)) == 2 * more
    clear = timed(random.Random(3), 6, 0.5, 0.01)
    assert asked(twice(leaky(), leaky(), timed=clear), HOT, kept=False) == []


def test_asking_comes_to_an_end() -> None:
    """Whatever comes back, a driver that does what it is told stops."""
    chance = random.Random(5)
    replies = [FLAT, leaky(peak=130 * MIB), record(0), failed(Outcome.TIMEOUT), failed(Outcome.OUT_OF_MEMORY, passes=4)]
    for effect in (PEAK, NODES, HOT, TIME, RETURNED, RECOVERY, RETAINED, SYNCS):
        for _ in range(25):
            runs: tuple[Run, ...] = ()
            for _round in range(12):
                wanted = wants_more(case(effect), Trial(runs=runs))
                if not wanted:
                    break
                runs += tuple(Run(one, chance.choice(replies)) for one in wanted)
            else:
                pytest.fail(f"{effect} still wants {wanted}")
            judge(case(effect), Trial(runs=runs))


# ---- values ---------------------------------------------------------------------------------------


def test_verdicts_go_through_json() -> None:
    told = [
        judge(case(PEAK), twice(*peaks(130, 100), **larger(*peaks(520, 400)))),
        judge(case(TIME), twice(leaky(), leaky(), timed=timed(random.Random(1), 6, 0.13, 0.002))),
        unplanned("no_fix", "no fix"),
    ]
    for one in told:
        assert verdict.from_json(json.loads(json.dumps(verdict.as_json(one)))) == one
    with pytest.raises((KeyError, ValueError, TypeError)):
        verdict.from_json({"verdict": "maybe"})


def test_every_reason_has_its_words() -> None:
    assert set(MEANINGS) == set(Reason)
    for words in MEANINGS.values():
        assert words[0].islower() and not words.endswith(".")


def test_every_metric_of_the_rules_can_be_read() -> None:
    for metric in Metric:
        assert claimed(Effect(metric)), metric
    assert {figure.metric for figure in (*COUNTERS, TIME_FIGURE)} == {*Metric, None}
    assert claimed(RECOVERY)[0] is HELD
    assert [figure.name for figure in claimed(RETAINED)][:3] == [
        "retained bytes",
        "live graph nodes per iteration",
        "live graph nodes retained",
    ]


def test_a_claim_the_other_way_round() -> None:
    lower = Effect(Metric.PEAK_BYTES, Direction.LOWER)
    assert judge(case(lower), twice(*peaks(100, 130))).kind is CONFIRMED
    assert found(judge(case(lower), twice(*peaks(130, 100)))) == (REFUTED, Reason.OPPOSITE)


def test_wanted_runs_are_told_apart() -> None:
    runs = tuple(
        Run(Wanted(variant, lane, scale), record(1, record_detail=f"{variant.value} {lane.value} {scale}"))
        for variant in Variant
        for lane, scale in ((Lane.MEMORY, 1), (Lane.MEMORY, 4), (Lane.TIME, 1))
    )
    made = Trial(runs=runs)
    assert [one.detail for one in made.memory(Variant.FIXED, 4)] == ["fixed memory 4"]
    assert [one.detail for one in made.timed(Variant.ORIGINAL)] == ["original time 1"]


# ---- statistics -----------------------------------------------------------------------------------


def test_slopes() -> None:
    assert theil_sen([1, 3, 5, 7]) == 2
    assert theil_sen([1, 3, 500, 7, 9]) == 2
    assert rising_share([1, 2, 2, 3]) == pytest.approx(2 / 3)
    assert rising_share([1]) == 0


def test_signed_ranks_by_hand() -> None:
    assert signed_rank_p([1, 2, 3, 4, 5, 6]) == 1 / 64
    assert signed_rank_p([-1, -2, -3]) == 1.0
    assert signed_rank_p([]) == signed_rank_p([0.0]) == 1.0
    assert signed_rank_p([1, 1, -1]) == pytest.approx(0.5)  # ranks 2, 2, 2: two of three positive, or all
    assert signed_rank_p([1, 1, 1, 0]) == 1 / 8


def test_signed_ranks_like_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy's values are the measure")
    chance = random.Random(7)
    for size in (6, 9, 10, 20):
        values = [chance.gauss(0.3, 1) for _ in range(size)]
        theirs = stats.wilcoxon(values, alternative="greater", method="exact").pvalue
        assert signed_rank_p(values) == pytest.approx(theirs, rel=1e-9)


def test_intervals_like_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy's values are the measure")
    numpy = pytest.importorskip("numpy")
    chance = random.Random(11)
    for size in (10, 20):
        values = [chance.gauss(0.05, 0.03) for _ in range(size)]
        theirs = stats.bootstrap(
            (values,), numpy.median, confidence_level=0.95, n_resamples=20000, method="BCa", rng=1
        ).confidence_interval
        mine = median_interval(values, 0.95, resamples=20000)
        assert mine == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_intervals() -> None:
    assert median_interval([2.0, 2.0, 2.0], 0.95) == (2.0, 2.0)
    low, high = median_interval([1.0, 2.0, 3.0, 4.0, 50.0], 0.95)
    assert 1.0 <= low <= 3.0 <= high <= 50.0
    assert median_interval([1.0, 2.0, 4.0], 0.9) == median_interval([1.0, 2.0, 4.0], 0.9)
    with pytest.raises(ValueError, match="no values"):
        median_interval([], 0.95)
