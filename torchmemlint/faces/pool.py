"""Many files to findings, over worker processes where that pays. May not print or choose what is linted.

The result is the same for any number of processes: each file is answered on its own, in the order asked.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from torchmemlint.disk import Target
from torchmemlint.faces.check import Checker, Choice
from torchmemlint.faces.remembering import Carriers, Learnt, Remembered
from torchmemlint.faces.stopping import serve_the_main_process, status
from torchmemlint.facts.consulted import Basis
from torchmemlint.model import Finding

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

Item = TypeVar("Item")
Result = TypeVar("Result")

WORTH_A_POOL = 1_000_000
"""Bytes below which starting processes takes longer than they save."""
LARGEST_BATCH = 32
SMALL_BATCH = 8
"""Files after which a run in one process tells how far it is."""

NOTHING = Basis()
_checker: Checker | None = None
_told: dict[str, set[str]] = {}
"""In a worker: the words of each project that have been told of."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file; `problem` says why it could not be linted.

    name   of its content and of all that its findings were asked with; "" where they were not asked for now.
    basis  what they rest on.
    """

    target: Target
    findings: tuple[Finding, ...] = ()
    problem: str = ""
    name: str = ""
    basis: Basis = NOTHING


@dataclass(frozen=True)
class Batch:
    """Outcomes of some files, and what was learnt of their projects on the way, by root."""

    outcomes: list[Outcome]
    learnt: dict[str, Learnt]


class Interrupted(Exception):
    """Somebody wanted it to stop; `outcomes` are those there were by then, `status` is how to exit."""

    def __init__(self, outcomes: list[Outcome], status: int) -> None:
        super().__init__()
        self.outcomes = outcomes
        self.status = status


def check_all(
    choice: Choice, targets: Sequence[Target], jobs: int, done: Callable[[int], None] = lambda files: None
) -> list[Outcome]:
    """The outcome of every file, in order; `jobs` 0 means as many processes as pay.

    `done` is told how many files have been answered since it was called last. Raises Interrupted.
    """
    known: dict[Target, Outcome] = {}
    batches: list[Batch] = []
    try:
        remembered = Remembered(Checker(choice), choice.cache_folder) if choice.cached else None
        if remembered is not None:
            recalled = ((target, remembered.recall(target)) for target in targets)
            known = {target: Outcome(target, found) for target, found in recalled if found is not None}
        done(len(known))
        rest = [target for target in targets if target not in known]
        with closing(_linted(choice, rest, jobs, remembered.carriers() if remembered is not None else {})) as coming:
            for batch in coming:
                batches.append(batch)
                done(len(batch.outcomes))
    except KeyboardInterrupt as stopped:
        raise Interrupted([*known.values(), *_outcomes(batches)], status(stopped)) from None
    if remembered is not None:
        made = ((one.target, one.name, one.findings, one.basis) for one in _outcomes(batches) if one.name)
        remembered.keep(made, (learnt for batch in batches for learnt in batch.learnt.items()))
    known.update({one.target: one for one in _outcomes(batches)})
    return [known[target] for target in targets]


def _outcomes(batches: Iterable[Batch]) -> Iterator[Outcome]:
    return (outcome for batch in batches for outcome in batch.outcomes)


def _linted(
    choice: Choice, targets: Sequence[Target], jobs: int, carriers: dict[str, Carriers]
) -> Generator[Batch, None, None]:
    """The outcomes as they come."""
    processes = min(_processes(jobs, targets), len(targets))
    if processes > 1:
        yield from _pooled(choice, targets, processes, carriers)
    elif targets:
        _start(choice, carriers, worker=False)
        for first in range(0, len(targets), SMALL_BATCH):
            yield _batch(targets[first : first + SMALL_BATCH])


def check_one(checker: Checker, target: Target) -> Outcome:
    """Reads and lints one file."""
    try:
        with open(target.path, "rb") as file:
            data = file.read()
    except OSError as error:
        return Outcome(target, problem=f"{target.shown}: {error.strerror or error}")
    with checker.project(checker.root(os.path.dirname(target.path))).shared.recording() as asked:
        findings = tuple(checker.check(target, data))
    return Outcome(target, findings, "", checker.named(target, data), asked.basis())


def _processes(jobs: int, targets: Sequence[Target]) -> int:
    if jobs:
        return jobs
    size = 0
    for target in targets:
        try:
            size += os.path.getsize(target.path)
        except OSError:
            continue
        if size > WORTH_A_POOL:
            return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1


def _start(choice: Choice, carriers: dict[str, Carriers], worker: bool = True) -> None:
    global _checker
    if worker:
        serve_the_main_process()
        warnings.simplefilter("ignore")  # as in the main process
    gc.set_threshold(100_000, 20, 20)  # trees are large, short-lived and mostly free of cycles
    _checker = Checker(choice)
    for root, known in carriers.items():
        _checker.project(root).shared.carriers.update(known)
    _told.clear()


def _batch(targets: Sequence[Target]) -> Batch:
    assert _checker is not None
    done = Batch([check_one(_checker, target) for target in targets], dict(_learnt(_checker)))
    _checker.let_go()
    return done


def _learnt(checker: Checker) -> Iterator[tuple[str, Learnt]]:
    """What has not been told with an earlier batch."""
    for root, project in checker.projects.items():
        told = _told.setdefault(root, set())
        mentions = {word: paths for word, paths in project.shared.mentions.items() if word not in told}
        told.update(mentions)
        yield root, Learnt(dict(project.shared.carriers), mentions)


def _pooled(
    choice: Choice, targets: Sequence[Target], processes: int, carriers: dict[str, Carriers]
) -> Iterator[Batch]:
    from concurrent.futures import as_completed
    from concurrent.futures.process import BrokenProcessPool

    broken: list[Sequence[Target]] = []
    with _workers(choice, processes, carriers) as pool:
        futures = {pool.submit(_batch, batch): batch for batch in _batches(targets, processes)}
        for future in as_completed(futures):
            if isinstance(future.exception(), BrokenProcessPool):
                broken.append(futures[future])
            else:
                yield future.result()
    for batch in broken:
        yield from _alone(choice, batch, carriers)


@contextmanager
def _workers(choice: Choice, processes: int, carriers: dict[str, Carriers]) -> Iterator[ProcessPoolExecutor]:
    """Processes that can check; when something goes wrong they are stopped at once."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    pool = ProcessPoolExecutor(processes, initializer=_start, initargs=(choice, carriers))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    pool.shutdown()


def _batches(targets: Sequence[Target], processes: int) -> Iterator[Sequence[Target]]:
    size = max(1, min(LARGEST_BATCH, len(targets) // (processes * 4)))
    for start in range(0, len(targets), size):
        yield targets[start : start + size]


def _alone(choice: Choice, targets: Sequence[Target], carriers: dict[str, Carriers]) -> list[Batch]:
    """Lints in a process of its own; where that dies, halves the files until the one that kills it is known."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        with _workers(choice, 1, carriers) as pool:
            return [pool.submit(_batch, targets).result()]
    except BrokenProcessPool:
        if len(targets) == 1:
            return [Batch([Outcome(targets[0], problem=f"{targets[0].shown}: the process that analysed it died")], {})]
        half = len(targets) // 2
        return _alone(choice, targets[:half], carriers) + _alone(choice, targets[half:], carriers)


# ---- anything else that is done file by file -------------------------------------------------------


def for_each(
    choice: Choice, work: Callable[[Checker, Item], Result], items: Sequence[Item], targets: Sequence[Target], jobs: int
) -> Generator[Result | None, None, None]:
    """The results of `work` on each item, in order, in as many processes as pay; None where its process died.

    targets  the files that the items are about.
    """
    processes = min(_processes(jobs, targets), len(items))
    if processes > 1:
        yield from _spread(choice, work, items, processes)
    elif items:
        checker = Checker(choice)
        yield from (work(checker, item) for item in items)


def _spread(
    choice: Choice, work: Callable[[Checker, Item], Result], items: Sequence[Item], processes: int
) -> Iterator[Result | None]:
    from concurrent.futures.process import BrokenProcessPool

    with _workers(choice, processes, {}) as pool:
        futures = [pool.submit(_worked, work, item) for item in items]
        for item, future in zip(items, futures, strict=True):
            if isinstance(future.exception(), BrokenProcessPool):
                yield _worked_alone(choice, work, item)
            else:
                yield future.result()


def _worked(work: Callable[[Checker, Item], Result], item: Item) -> Result:
    assert _checker is not None
    return work(_checker, item)


def _worked_alone(choice: Choice, work: Callable[[Checker, Item], Result], item: Item) -> Result | None:
    """Once more in a process of its own: another file may have killed the one before."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        with _workers(choice, 1, {}) as pool:
            return pool.submit(_worked, work, item).result()
    except BrokenProcessPool:
        return None
