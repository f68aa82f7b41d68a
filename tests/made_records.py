"""Cases and records made by hand, for judging without a device. Asserts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from runtime_verify.case import Case, Module, Program
from runtime_verify.readings import Event, EventKind, Lane, Outcome, Record, Sample
from runtime_verify.trial import Run, Trial, Variant, Wanted
from torchmemlint.model import Applicability, Direction, Effect, Metric, Scene

MIB = 2**20

PEAK = Effect(Metric.PEAK_BYTES, least=0.02, relative=True)
RETAINED = Effect(Metric.RETAINED_BYTES, also=(Metric.LIVE_GRAPH_NODES, Metric.GROWTH_BYTES))
RETURNED = Effect(Metric.RESERVED_BYTES_RETURNED, Direction.LOWER)
RECOVERY = Effect(Metric.RETAINED_BYTES, also=(Metric.PEAK_BYTES,), scene=Scene.OUT_OF_MEMORY)
NODES = Effect(Metric.LIVE_GRAPH_NODES, least=1, also=(Metric.GROWTH_BYTES, Metric.HOST_GROWTH_BYTES))
HOT = Effect(Metric.TIME_MS, least=0.02, relative=True, also=(Metric.DEVICE_ALLOCATIONS,))
TIME = Effect(Metric.TIME_MS, least=0.05, relative=True)
SYNCS = Effect(Metric.HOST_SYNCS)


def case(effect: Effect, kept: bool = True, function: str = "train") -> Case:
    """A case that claims the effect."""
    module = Module("train", "train.py", "import torch\n\n\ndef train():\n    work()\n")
    program = Program((module,), function, 5)
    return Case(
        "0123456789abcdef",
        "TML999",
        "made-up",
        "train.py",
        5,
        4,
        "`work()` is made up",
        effect,
        "do it well",
        Applicability.SAFE,
        program,
        replace(program, kept=kept),
    )


def record(passes: int = 10, lap: float = 10.0, **series: Any) -> Record:
    """A run of one long step that passes the line every `lap` ms.

    A series is a value for every pass, or a function of the pass's number: `allocated`, `peak`, `reserved`,
    `mallocs`, `host`, `nodes`, `syncs`, and `after_reserved` for the samples after the line. `last` is a dictionary
    for the sample after the step; `record_` prefixed names go into the Record.
    """
    own = {name.removeprefix("record_"): series.pop(name) for name in list(series) if name.startswith("record_")}
    last = series.pop("last", {})

    def at(number: int, prefix: str = "") -> dict[str, Any]:
        values = {}
        for name, value in series.items():
            if name.startswith("after_") == bool(prefix):
                values[name.removeprefix("after_")] = value(number) if callable(value) else value
        return values

    before = [Sample((n + 1) * lap, **at(n)) for n in range(passes)]
    after = [replace(sample, ms=sample.ms + lap / 2, **at(n, "after_")) for n, sample in enumerate(before)]
    end = Sample((passes + 1) * lap, **{**at(passes), "nodes": 0 if "nodes" in series else -1, **last})
    found: dict[str, Any] = {"passes": before, "after": after, "steps": [end], "device": "NVIDIA H200", "torch": "2.11"}
    return Record(**{**found, **own})


def event(kind: EventKind, on_slice: bool = False) -> Event:
    return Event(kind, "train.py", 5, "something was made up", on_slice)


def trial(
    originals: Sequence[Record],
    fixed: Sequence[Record],
    timed: tuple[Sequence[Record], Sequence[Record]] = ((), ()),
    larger: tuple[Sequence[Record], Sequence[Record]] = ((), ()),
    device: str = "cuda",
    entry: bool = False,
) -> Trial:
    runs = [
        Run(Wanted(variant, lane, scale), one)
        for lane, scale, pair in (
            (Lane.MEMORY, 1, (originals, fixed)),
            (Lane.TIME, 1, timed),
            (Lane.MEMORY, 4, larger),
        )
        for variant, records in zip(Variant, pair, strict=True)
        for one in records
    ]
    return Trial(device, entry, tuple(runs))


def twice(original: Record, fixed: Record, **more: Any) -> Trial:
    """Two like runs of each."""
    return trial([original] * 2, [fixed] * 2, **more)


def failed(outcome: Outcome, detail: str = "", passes: int = 0) -> Record:
    return record(passes, record_outcome=outcome, record_detail=detail)
