"""Lints whole trees in every way that must make no difference: `python benchmarks/sturdiness.py TREE...`.

In one process and in two, the files in another order, with the cache empty and full: the findings must be the same at
every confidence, no rule may fail, and every fix must leave Python behind. Exits with 1 where one of that is not so.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torchmemlint.disk import Filters, Target, discover
from torchmemlint.faces.check import Checker, Choice
from torchmemlint.faces.pool import Outcome, check_all
from torchmemlint.fix import apply
from torchmemlint.model import Finding
from torchmemlint.rule import BAD_FILE, INTERNAL_ERROR
from torchmemlint.source import Source

Findings = dict[str, tuple[Finding, ...]]


@dataclass(frozen=True)
class Fault:
    """Something that must not be."""

    path: str
    what: str


def linted(choice: Choice, targets: Sequence[Target], jobs: int = 1) -> tuple[Findings, list[Fault]]:
    """The findings of each file, and what went wrong."""
    outcomes: list[Outcome] = check_all(choice, targets, jobs)
    found = {one.target.path: one.findings for one in outcomes}
    faults = [Fault(one.target.path, one.problem) for one in outcomes if one.problem]
    faults += [Fault(f.path, f.message) for one in outcomes for f in one.findings if f.code == INTERNAL_ERROR]
    return found, faults


def differences(name: str, once: Findings, again: Findings) -> Iterator[Fault]:
    for path in once:
        if once[path] != again.get(path):
            yield Fault(path, f"{name}: other findings")


def faulty_fixes(findings: Findings) -> Iterator[Fault]:
    """Fixes of files that are refused: for their places, or because no Python would be left."""
    for path, found in findings.items():
        for finding in found:
            if finding.fix is None or finding.cell is not None:  # a notebook's text is not what is on disk
                continue
            source = Source(path, Path(path).read_bytes())
            done = apply(source, [finding.fix])
            if done.refused or not done.applied:
                why = "; ".join(reason for _, reason in done.refused)
                yield Fault(path, f"{finding.code} at line {finding.span.start.line}: fix refused: {why}")


def checked(tree: str, jobs: int, seed: int) -> tuple[Counter[str], list[Fault]]:
    """One tree in every way: counts, and what is wrong."""
    start = time.perf_counter()
    choice = Choice({"min-confidence": "low"}, isolated=True, otherwise=os.path.abspath(tree))
    checker = Checker(choice)
    targets = discover([tree], Filters(checker.excluded, lambda folder: False, lambda path: False)).targets
    once, faults = linted(choice, targets)
    shuffled = random.Random(seed).sample(targets, len(targets))
    with tempfile.TemporaryDirectory() as folder:
        cached = replace(choice, cached=True, cache_folder=folder)
        ways = (
            (f"with {jobs} processes", choice, targets, jobs),
            ("in another order", choice, shuffled, jobs),
            ("with an empty cache", cached, targets, jobs),
            ("with a full cache", cached, targets, 1),
        )
        for name, way, files, processes in ways:
            again, wrong = linted(way, files, processes)
            faults += [*differences(name, once, again), *wrong]
    faults += faulty_fixes(once)
    everything = [finding for found in once.values() for finding in found]
    counts = Counter(
        files=len(targets),
        lines=sum(Path(target.path).read_bytes().count(b"\n") for target in targets if os.path.isfile(target.path)),
        findings=sum(finding.code not in (BAD_FILE, INTERNAL_ERROR) for finding in everything),
        unreadable=sum(finding.code == BAD_FILE for finding in everything),
        fixes=sum(finding.fix is not None for finding in everything),
        seconds=round(time.perf_counter() - start),
    )
    return counts, faults


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument(
        "trees", nargs="*", metavar="TREE", help="folders (default: the standard library with its site-packages)"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the other order")
    asked = parser.parse_args(arguments)
    failed = False
    for tree in asked.trees or [sysconfig.get_path("stdlib")]:
        counts, faults = checked(tree, asked.jobs, asked.seed)
        print(f"{tree}: " + ", ".join(f"{count} {name}" for name, count in counts.items()), flush=True)
        print(f"  {len(faults)} faults", *(f"  {fault.path}: {fault.what}" for fault in faults), sep="\n", flush=True)
        failed = failed or bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
