"""Runs mutants to their verdicts: `python tests/truth/run.py mutants.json.gz --out results.json.gz --device cuda`.

The runs are those of `--verify` itself: its campaign, its fork servers, its judge. Every record is kept, so that a
changed judge can be scored (`score.py`) without running anything again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from runtime_verify import readings, verdict
from runtime_verify.campaign import Terms, carry_out
from runtime_verify.case import from_json
from runtime_verify.readings import Lane, Order, Record
from runtime_verify.run import Runner
from runtime_verify.trial import Run, Trial, Variant, Wanted


class Fewer:
    """A runner that passes the flagged line less often, where time is short."""

    def __init__(self, runner: Runner, passes: int) -> None:
        self._runner, self._passes = runner, passes

    def submit(self, order: Order) -> Future[Record]:
        return self._runner.submit(replace(order, passes=min(order.passes, self._passes)))


def trial_as_json(trial: Trial) -> dict[str, Any]:
    """A trial as JSON values."""
    runs = []
    for run in trial.runs:
        wanted = {**vars(run.wanted), "variant": run.wanted.variant.value, "lane": run.wanted.lane.value}
        record = readings.as_json(run.record) | {"decisions": {}}
        runs.append({"wanted": wanted, "record": record})
    return {"device": trial.device, "entry": trial.entry, "runs": runs}


def trial_from_json(data: dict[str, Any]) -> Trial:
    """The trial that `trial_as_json` wrote."""
    runs = []
    for run in data["runs"]:
        one = run["wanted"]
        wanted = Wanted(**{**one, "variant": Variant(one["variant"]), "lane": Lane(one["lane"])})
        runs.append(Run(wanted, readings.record_from_json(run["record"])))
    return Trial(data["device"], data["entry"], tuple(runs))


def read(path: str) -> Any:
    """What a .json.gz holds."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


class OutOfTime(BaseException):
    """The time that was given is over."""


@contextmanager
def out_of_time(seconds: int) -> Iterator[None]:
    """Raises OutOfTime in the block after so many seconds; 0 for never."""

    def stop(*_: object) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def verdicts(
    mutants: Sequence[dict[str, Any]], submits: Fewer, device: str
) -> Iterator[tuple[int, dict[str, Any], str]]:
    """As they come: the number among `mutants`, what is kept of it, and the verdict in words."""
    cases = (from_json(one["case"]) for one in mutants)
    for number, trial, found in carry_out(cases, lambda: submits, Terms((device,))):
        key = mutants[number]["case"]["key"]
        yield number, {"key": key, "trial": trial_as_json(trial), "verdict": verdict.as_json(found)}, found.sentence


def named(mutant: dict[str, Any]) -> str:
    """What it is and where it was found."""
    kind = f"{mutant['truth']} {mutant['kind']}" if "kind" in mutant else mutant["case"]["code"]
    return f"{kind} {mutant['repository']} {mutant['path']}:{mutant['line']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0] if __doc__ else None)
    parser.add_argument("mutants", help="what mutate.py or findings.py wrote")
    parser.add_argument("--out", required=True, help="a .json.gz of what came out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=6, help="memory runs side by side")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one run")
    parser.add_argument("--passes", type=int, default=1000, help="of the flagged line in a run, at most")
    parser.add_argument("--kind", action="append", help="only these kinds")
    parser.add_argument("--every", type=int, default=1, help="only one in so many")
    parser.add_argument("--after", nargs="*", default=[], help="results of earlier runs: what is in them is left out")
    parser.add_argument("--seconds", type=int, default=0, help="stop after so long, with what there is by then")
    args = parser.parse_args()
    done = {one["key"] for path in args.after for one in read(path)}
    mutants = [one for one in read(args.mutants) if not args.kind or one["kind"] in args.kind]
    mutants = [one for one in mutants[:: args.every] if one["case"]["key"] not in done]
    results: list[dict[str, Any]] = []
    began = time.monotonic()
    try:
        with (
            out_of_time(args.seconds),
            Runner((args.device,), memory_lane=args.processes, timeout_s=args.timeout) as run,
        ):
            for number, result, sentence in verdicts(mutants, Fewer(run, args.passes), args.device):
                results.append(result | {"at": round(time.monotonic() - began, 2)})
                print(f"{len(results)}/{len(mutants)} {named(mutants[number])}: {sentence}", flush=True)
    except OutOfTime:
        print(f"stopped; {len(mutants) - len(results)} are left")
    finally:
        with gzip.open(args.out, "wt", encoding="utf-8") as file:
            json.dump(results, file)
    print(f"{len(results)} in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
