"""Runs cases to their verdicts: asks the judge what is missing, orders it, and hands back what comes.

Knows the runner only as something to submit orders to. Many cases are under way at a time, so that those which need
a device alone, for its time, can wait until the others are done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Any, Protocol

from runtime_verify.case import Case, as_json
from runtime_verify.judge import judge, wants_more
from runtime_verify.readings import Lane, Order, Outcome, Record
from runtime_verify.trial import Run, Trial, Variant, Wanted
from runtime_verify.verdict import Reason, Verdict
from torchmemlint.model import Metric, Scene

GRAPHLESS = frozenset({Metric.TIME_MS, Metric.DEVICE_ALLOCATIONS, Metric.HOST_SYNCS, Metric.RESERVED_BYTES_RETURNED})
"""Claims for which nobody need count graph nodes, which is slow."""


ILL_SIZED = frozenset({Reason.OOM_BOTH, Reason.HOST_MEMORY, Reason.TIMEOUT, Reason.CRASH, Reason.FALLBACK_ON_SLICE})
"""What comes of made-up sizes that are too large, or that do not go together."""
SMALL = 0
"""The scale of values that are a fraction of the usual ones."""


class Submits(Protocol):
    """The part of a runner that is needed here."""

    def submit(self, order: Order) -> Future[Record]:
        """Queues an order; the future's result is a Record whatever the order does."""


@dataclass(frozen=True)
class Terms:
    """How a campaign's runs are made.

    devices  the devices to spread cases over; all runs of a case go to the same one.
    entry    the user's own entry point, "" for none.
    at_once  cases under way at a time.
    """

    devices: tuple[str, ...] = ("cuda",)
    entry: str = ""
    at_once: int = 64


class _Course:
    """One case on its way."""

    def __init__(self, number: int, case: Case, device: str, terms: Terms) -> None:
        self.number, self.case = number, case
        self._device, self._terms = device, terms
        self._decisions: dict[int, dict[str, Any]] = {}  # by scale
        self._small = False
        self.trial = Trial(device.partition(":")[0], bool(terms.entry))
        self._wanted: list[Wanted] = []
        self._records: list[Record | None] = []
        self._sent: set[int] = set()
        self._ask()

    @property
    def done(self) -> bool:
        return not self._wanted

    def ready(self) -> Iterator[tuple[int, Order]]:
        """What can be ordered now: the first original of a size goes ahead, the others do as it decided."""
        leading = {self._wanted[place].scale for place in self._sent if self._records[place] is None}
        for place, wanted in enumerate(self._wanted):
            if place in self._sent:
                continue
            decided = wanted.scale in self._decisions
            leads = wanted.variant is Variant.ORIGINAL and wanted.lane is Lane.MEMORY
            if not decided and (not leads or wanted.scale in leading):
                continue
            leading.add(wanted.scale)
            self._sent.add(place)
            decisions = self._decisions.get(wanted.scale)
            order = order_of(self.case, wanted, self._device, self._terms.entry, decisions)
            yield place, replace(order, scale=SMALL if wanted.scale == 1 else 1) if self._small else order

    def take(self, place: int, record: Record) -> None:
        """A run has come back; when it was the last that was wanted, what is wanted next is asked.

        A case that cannot be decided for its made-up sizes is begun again with smaller ones.
        """
        self._records[place] = record
        self._decisions.setdefault(self._wanted[place].scale, record.decisions)
        if None in self._records:
            return
        runs = tuple(Run(one, made) for one, made in zip(self._wanted, self._records, strict=True) if made is not None)
        self.trial = replace(self.trial, runs=self.trial.runs + runs)
        self._ask()
        own = bool(self._terms.entry)  # the user's own program has its own sizes
        if self.done and not (self._small or own) and judge(self.case, self.trial).reason in ILL_SIZED:
            self._small, self._decisions = True, {}
            self.trial = replace(self.trial, runs=())
            self._ask()

    def _ask(self) -> None:
        self._wanted = list(wants_more(self.case, self.trial))
        self._records, self._sent = [None] * len(self._wanted), set()


def order_of(case: Case, wanted: Wanted, device: str, entry: str, decisions: dict[str, Any] | None) -> Order:
    """The order of one run of a case."""
    effect = case.effect
    return Order(
        as_json(case)[wanted.variant.value],
        effect.scene.value,
        device,
        wanted.lane,
        wanted.scale,
        wanted.passes,
        wanted.lane is Lane.MEMORY and effect.scene is Scene.STEPS and effect.metric not in GRAPHLESS,
        decisions=decisions,
        fresh=effect.metric is Metric.RESERVED_BYTES_RETURNED,
        syncs=wanted.lane is Lane.MEMORY and Metric.HOST_SYNCS in (effect.metric, *effect.also),
        entry=entry,
        root=os.getcwd() if entry else "",
    )


def carry_out(
    cases: Iterable[Case], runner: Callable[[], Submits], terms: Terms
) -> Iterator[tuple[int, Trial, Verdict]]:
    """Verdicts as they come: the case's number in `cases`, its runs, the verdict.

    `cases` is read as the campaign goes on; `runner` is asked for only when there is something to run.
    """
    waiting = enumerate(cases)
    under_way: dict[Future[Record], tuple[_Course, int]] = {}
    courses: set[int] = set()

    def send(course: _Course) -> None:
        for place, order in course.ready():
            under_way[runner().submit(order)] = (course, place)

    more = True
    while more or under_way:
        while more and len(courses) < terms.at_once:
            number, case = next(waiting, (-1, None))
            if case is None:
                more = False
                break
            course = _Course(number, case, terms.devices[number % len(terms.devices)], terms)
            if course.done:
                yield number, course.trial, judge(case, course.trial)
                continue
            courses.add(number)
            send(course)
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            course, place = under_way.pop(future)
            course.take(place, _result(future))
            send(course)
            if course.done:
                courses.discard(course.number)
                yield course.number, course.trial, judge(course.case, course.trial)


def _result(future: Future[Record]) -> Record:
    """The record; a run that was cancelled or that our side failed at is one, too."""
    try:
        return future.result()
    except Exception as error:
        return Record(Outcome.BROKEN, f"{type(error).__name__}: {error}")
