"""Runs mutants to their verdicts: `python tests/truth/run.py mutants.json.gz --out results.json.gz --device cuda`.

The runs are those of `--verify` itself: its campaign, its fork servers, its judge. Every record is kept, so that a
changed judge can be scored (`score.py`) without running anything again.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import sys
import time
from concurrent.futures import Future
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
    parser.add_argument("--seconds", type=float, default=1e9, help="after so long no further mutant is begun")
    args = parser.parse_args()
    done = {one["key"] for path in args.after for one in read(path)}
    mutants = [one for one in read(args.mutants) if not args.kind or one["kind"] in args.kind]
    mutants = [one for one in mutants[:: args.every] if one["case"]["key"] not in done]
    results: list[dict[str, Any]] = []
    began = time.monotonic()
    with Runner((args.device,), memory_lane=args.processes, timeout_s=args.timeout) as runner:
        submits = Fewer(runner, args.passes)
        in_time = itertools.takewhile(lambda _: time.monotonic() - began < args.seconds, mutants)
        cases = (from_json(one["case"]) for one in in_time)
        terms = Terms((args.device,), at_once=args.processes + 2)
        for number, trial, found in carry_out(cases, lambda: submits, terms):
            one = mutants[number]
            results.append(
                {"key": one["case"]["key"], "trial": trial_as_json(trial), "verdict": verdict.as_json(found)}
            )
            kind = f"{one['truth']} {one['kind']}" if "kind" in one else one["case"]["code"]
            place = f"{kind} {one['repository']} {one['path']}:{one['line']}"
            print(f"{len(results)}/{len(mutants)} {place}: {found.sentence}", flush=True)
    print(f"{len(results)} in {time.monotonic() - began:.0f} s")
    with gzip.open(args.out, "wt", encoding="utf-8") as file:
        json.dump(results, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
