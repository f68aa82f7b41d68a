"""Many files to findings, over worker processes where that pays. May not print or choose what is linted.

The result is the same for any number of processes: each file is answered on its own, in the order asked.
"""

from __future__ import annotations

import gc
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torchmemlint.disk import Target
from torchmemlint.faces.check import Checker, Choice
from torchmemlint.model import Finding

WORTH_A_POOL = 1_000_000
"""Bytes below which starting processes takes longer than they save."""
LARGEST_BATCH = 32

_checker: Checker | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one file; `problem` says why it could not be linted."""

    target: Target
    findings: tuple[Finding, ...] = ()
    problem: str = ""


def check_all(choice: Choice, targets: Sequence[Target], jobs: int) -> list[Outcome]:
    """The outcome of every file, in order; `jobs` 0 means as many processes as pay."""
    processes = min(_processes(jobs, targets), len(targets))
    if processes <= 1:
        _start(choice, worker=False)
        return _batch(targets)
    return _pooled(choice, targets, processes)


def check_one(checker: Checker, target: Target) -> Outcome:
    """Reads and lints one file."""
    try:
        with open(target.path, "rb") as file:
            data = file.read()
    except OSError as error:
        return Outcome(target, problem=f"{target.shown}: {error.strerror or error}")
    return Outcome(target, tuple(checker.check(target, data)))


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


def _start(choice: Choice, worker: bool = True) -> None:
    global _checker
    if worker:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides what Ctrl-C means
        warnings.simplefilter("ignore")  # as in the main process
    gc.set_threshold(100_000, 20, 20)  # trees are large, short-lived and mostly free of cycles
    _checker = Checker(choice)


def _batch(targets: Sequence[Target]) -> list[Outcome]:
    assert _checker is not None
    return [check_one(_checker, target) for target in targets]


def _pooled(choice: Choice, targets: Sequence[Target], processes: int) -> list[Outcome]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    batches = list(_batches(targets, processes))
    pool = ProcessPoolExecutor(processes, initializer=_start, initargs=(choice,))
    try:
        futures = [pool.submit(_batch, batch) for batch in batches]
        answers = [None if isinstance(future.exception(), BrokenProcessPool) else future.result() for future in futures]
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    pool.shutdown()
    outcomes: list[Outcome] = []
    for batch, answer in zip(batches, answers, strict=True):
        outcomes += _alone(choice, batch) if answer is None else answer
    return outcomes


def _batches(targets: Sequence[Target], processes: int) -> Iterator[Sequence[Target]]:
    size = max(1, min(LARGEST_BATCH, len(targets) // (processes * 4)))
    for start in range(0, len(targets), size):
        yield targets[start : start + size]


def _alone(choice: Choice, targets: Sequence[Target]) -> list[Outcome]:
    """Lints in a process of its own; where that dies, halves the files until the one that kills it is known."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    try:
        with ProcessPoolExecutor(1, initializer=_start, initargs=(choice,)) as pool:
            return pool.submit(_batch, targets).result()
    except BrokenProcessPool:
        if len(targets) == 1:
            return [Outcome(targets[0], problem=f"{targets[0].shown}: the process that analysed it died")]
        half = len(targets) // 2
        return _alone(choice, targets[:half]) + _alone(choice, targets[half:])
