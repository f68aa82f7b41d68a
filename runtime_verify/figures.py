"""What each metric comes to in one run: how it is read off a record, and how much of it counts.

| figure | read off |
|---|---|
| peak | highest `peak` of any sample after the warm-up |
| retained | `allocated` after the last whole step |
| held when recovery runs | where memory runs out, instead: `allocated` at the flagged line, median of the passes |
| returned | `reserved` before minus after the flagged statement, median; 0 where the fix removed it |
| growth: device, host, graph nodes | slope from pass to pass (Theil-Sen); 0 where it does not rise steadily |
| graph nodes retained | `nodes` after the last whole step |
| time | median time from pass to pass |
| device allocations, host syncs | mean from pass to pass |

The first passes warm up: kernels are loaded, workspaces allocated, gradients made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from runtime_verify.intervals import rising_share, theil_sen
from runtime_verify.readings import Record, Sample
from runtime_verify.verdict import Unit
from torchmemlint.model import Effect, Metric, Scene

WARM_UP = 2
LEAST_FOR_WARM_UP = 4
LEAST_FOR_SLOPE = 3
RISING = 0.8
"""Share of the passes that must add to a reading for it to be growth: one jump is none."""

MIB = float(2**20)
BLOCK = 512.0
"""The allocator hands out device memory in blocks of this size."""


@dataclass(frozen=True)
class Figure:
    """One number of a run.

    name    as shown and filed.
    metric  the metric of rules' effects that it reads; None for what is only reported at the side.
    unit    of the number.
    least, share  it counts when it differs by at least `least`, and by at least this share of the original's.
    read    the number in a record, None where the record does not tell. Says whether the statement is there.
    noise   how far two runs of the same program may lie apart before their difference is noise.
    grows   whether it is growth: with the fix there must be none left.
    sized   whether it is expected to grow with the sizes of the values.
    """

    name: str
    metric: Metric | None
    unit: Unit
    least: float
    share: float
    read: Callable[[Record, bool], float | None]
    noise: float
    grows: bool = False
    sized: bool = False


def _warm(record: Record) -> list[Sample]:
    """The passes after the warm-up."""
    skip = WARM_UP if len(record.passes) >= LEAST_FOR_WARM_UP else 0
    return record.passes[skip:]


def _peak(of: Callable[[Sample], int]) -> Callable[[Record, bool], float | None]:
    """The highest reading of any sample after the warm-up; each sample's covers the time since the one before."""

    def read(record: Record, kept: bool) -> float | None:
        samples = [*record.passes, *record.after, *record.steps]
        start = -1.0
        if len(record.passes) >= LEAST_FOR_WARM_UP:
            ends = record.after if len(record.after) == len(record.passes) else record.passes
            start = ends[WARM_UP - 1].ms
        return float(max((of(sample) for sample in samples if sample.ms > start), default=0)) if samples else None

    return read


def _retained(record: Record, kept: bool) -> float | None:
    return float(record.steps[-1].allocated) if record.steps else None


def _retained_nodes(record: Record, kept: bool) -> float | None:
    return float(record.steps[-1].nodes) if record.steps and record.steps[-1].nodes >= 0 else None


def _held_at_recovery(record: Record, kept: bool) -> float | None:
    return float(median(sample.allocated for sample in record.passes)) if record.passes else None


def _returned(record: Record, kept: bool) -> float | None:
    if not kept:
        return 0.0
    pairs = list(zip(record.passes, record.after, strict=False))
    pairs = pairs[WARM_UP:] if len(pairs) >= LEAST_FOR_WARM_UP else pairs
    return float(median(before.reserved - after.reserved for before, after in pairs)) if pairs else None


def _growth(of: Callable[[Sample], int]) -> Callable[[Record, bool], float | None]:
    """The slope per pass of what rises steadily, else 0."""

    def read(record: Record, kept: bool) -> float | None:
        values = [of(sample) for sample in _stretch(record)]
        if min(values, default=-1) < 0:
            return None  # not counted
        values = values[min(WARM_UP, len(values) - LEAST_FOR_SLOPE) :]
        if len(values) < LEAST_FOR_SLOPE:
            return None
        return theil_sen(values) if rising_share(values) >= RISING else 0.0

    return read


def _stretch(record: Record) -> Sequence[Sample]:
    """The passes that growth is looked for in: where a step passes the line often, those of one step.

    A running sum that starts afresh with each step would be a saw's teeth otherwise.
    """
    stretches: list[list[Sample]] = [[]]
    ends = [sample.ms for sample in record.steps]
    for sample in record.passes:
        while ends and ends[0] <= sample.ms:
            ends.pop(0)
            stretches.append([])
        stretches[-1].append(sample)
    longest = max(reversed(stretches), key=len)
    return longest if len(longest) >= LEAST_FOR_WARM_UP else record.passes


def _per_pass(of: Callable[[Sample], int]) -> Callable[[Record, bool], float | None]:
    """The mean increase of a running count from pass to pass."""

    def read(record: Record, kept: bool) -> float | None:
        passes = _warm(record)
        if len(passes) < 2 or min(of(sample) for sample in passes) < 0:
            return None
        return (of(passes[-1]) - of(passes[0])) / (len(passes) - 1)

    return read


def _time(record: Record, kept: bool) -> float | None:
    laps = [later.ms - sample.ms for sample, later in pairwise(_warm(record))]
    return median(laps) if laps else None


PEAK = Figure("peak bytes", Metric.PEAK_BYTES, Unit.BYTES, MIB, 0.01, _peak(lambda s: s.peak), BLOCK, sized=True)
RETAINED = Figure("retained bytes", Metric.RETAINED_BYTES, Unit.BYTES, MIB, 0.01, _retained, BLOCK, sized=True)
HELD = Figure(
    "bytes held when recovery runs", Metric.RETAINED_BYTES, Unit.BYTES, MIB, 0.01, _held_at_recovery, BLOCK, sized=True
)
# The allocator returns whole segments, of 2 MiB at least: one may go even where nothing of note was released.
RETURNED = Figure("reserved bytes returned", Metric.RESERVED_BYTES_RETURNED, Unit.BYTES, 4 * MIB, 0.0, _returned, BLOCK)
# More than the one block that a kept scalar costs with or without its graph.
GROWTH = Figure(
    "device bytes per iteration",
    Metric.GROWTH_BYTES,
    Unit.BYTES,
    2 * BLOCK,
    0.0,
    _growth(lambda s: s.allocated),
    BLOCK,
    grows=True,
    sized=True,
)
# More than the few hundred bytes of a tensor object; a graph node with its functions is 1 KiB and more.
HOST_GROWTH = Figure(
    "host bytes per iteration",
    Metric.HOST_GROWTH_BYTES,
    Unit.BYTES,
    1024.0,
    0.0,
    _growth(lambda s: s.host),
    512.0,
    grows=True,
)
NODES = Figure(
    "live graph nodes per iteration",
    Metric.LIVE_GRAPH_NODES,
    Unit.COUNT,
    1.0,
    0.0,
    _growth(lambda s: s.nodes),
    0.5,
    grows=True,
)
NODES_RETAINED = Figure(
    "live graph nodes retained", Metric.LIVE_GRAPH_NODES, Unit.COUNT, 1.0, 0.0, _retained_nodes, 0.5
)
TIME = Figure("milliseconds per iteration", Metric.TIME_MS, Unit.MS, 0.0, 0.02, _time, 0.0)
ALLOCATIONS = Figure(
    "device allocations per iteration",
    Metric.DEVICE_ALLOCATIONS,
    Unit.COUNT,
    1.0,
    0.0,
    _per_pass(lambda s: s.mallocs),
    0.5,
)
SYNCS = Figure("host syncs per iteration", Metric.HOST_SYNCS, Unit.COUNT, 1.0, 0.0, _per_pass(lambda s: s.syncs), 0.5)
# Only ever a cost or a benefit at the side: what emptying the cache is done for.
PEAK_RESERVED = Figure("peak reserved bytes", None, Unit.BYTES, 4 * MIB, 0.01, _peak(lambda s: s.peak_reserved), BLOCK)

COUNTERS = (
    PEAK,
    RETAINED,
    RETURNED,
    GROWTH,
    HOST_GROWTH,
    NODES,
    NODES_RETAINED,
    ALLOCATIONS,
    SYNCS,
    PEAK_RESERVED,
)
"""All but time, which has runs of its own."""

NEEDS_CUDA = frozenset({Metric.RESERVED_BYTES_RETURNED, Metric.DEVICE_ALLOCATIONS, Metric.HOST_SYNCS, Metric.TIME_MS})
"""What a run on the CPU cannot tell about a run on a device."""


def claimed(effect: Effect) -> tuple[Figure, ...]:
    """The figures that may prove an effect, the claimed one first.

    Retained bytes are those held at the flagged line where memory runs out: recovery is judged by what it finds.
    Graph nodes count as retained, too, where the claim is about what is retained: a holder that is overwritten
    each step does not grow.
    """
    found: list[Figure] = []
    for metric in (effect.metric, *effect.also):
        if metric is Metric.RETAINED_BYTES:
            found.append(HELD if effect.scene is Scene.OUT_OF_MEMORY else RETAINED)
        elif metric is Metric.TIME_MS:
            found.append(TIME)
        else:
            found += [figure for figure in COUNTERS if figure.metric is metric and figure is not NODES_RETAINED]
        if metric is Metric.LIVE_GRAPH_NODES and effect.metric is Metric.RETAINED_BYTES:
            found.append(NODES_RETAINED)
    return tuple(found)


def threshold(effect: Effect, figure: Figure, original: float, fixed: float) -> float:
    """The least difference that counts: the effect's own for the metric it claims, else the figure's default."""
    if figure.metric is effect.metric and effect.least:
        if not effect.relative:
            return effect.least
        floor = 2 * BLOCK if figure.unit is Unit.BYTES else 0.0  # one block more or less is rounding
        return max(effect.least * abs(fixed), floor)
    return max(figure.least, figure.share * abs(original))
