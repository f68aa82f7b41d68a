"""Runs the rules' probes and says whether each comes out as it must: `python -m runtime_verify.probes [CODE ...]`.

Through the same runner and judge as `--verify`. `--write` keeps the verdicts as `fixtures/tmlNNN/evidence.json`. For
people who work on the rules, in a checkout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runtime_verify import evidence
from runtime_verify.campaign import Submits, Terms, carry_out, order_of
from runtime_verify.case import Case
from runtime_verify.decide import LOOKS
from runtime_verify.judge import judge
from runtime_verify.probe_files import FIXTURES, BadProbe, Probe, evidence_file, probes
from runtime_verify.readings import Lane
from runtime_verify.run import CannotRun, Runner
from runtime_verify.trial import TIMED_PASSES, Run, Trial, Variant, Wanted
from runtime_verify.verdict import Answer, Kind, Measured, Reason, Verdict
from runtime_verify.wording import amount
from torchmemlint.model import Metric

AT_A_TIME = 6
"""Memory runs at a time: a probe takes a few GiB at most."""
TIMEOUT_S = 120.0
SAME = {Answer.YES: "same numbers", Answer.NO: "OTHER NUMBERS", Answer.UNKNOWN: ""}


@dataclass(frozen=True)
class Result:
    """A probe and what came of it. `device` is "cuda" or "cpu"."""

    probe: Probe
    verdict: Verdict
    device: str

    @property
    def open(self) -> bool:
        """Not to be settled here: the claim, or the probe itself, needs CUDA."""
        return self.device == "cpu" and (self.verdict.reason is Reason.NEEDS_CUDA or not self.probe.runs_on_cpu)

    @property
    def right(self) -> bool:
        return self.open or self.verdict.kind is self.probe.expected


def run(wanted: Sequence[Probe], device: str, runner: Submits) -> Iterator[Result]:
    """The verdicts as they come. `device`: "cuda:0" or "cpu"."""
    kind = device.partition(":")[0]
    here = [probe for probe in wanted if kind == "cuda" or probe.runs_on_cpu]
    for probe in wanted:
        if probe not in here:
            yield Result(probe, judge(probe.case, Trial(kind)), kind)
    cases = [probe.case for probe in here]
    for number, trial, verdict in carry_out(cases, lambda: runner, Terms((device,), "", 2 * AT_A_TIME)):
        if _wants_time(here[number], trial):
            verdict = judge(cases[number], _timed(cases[number], trial, device, runner))
        yield Result(here[number], verdict, kind)


def _wants_time(probe: Probe, trial: Trial) -> bool:
    """A rule's first probe shows what the pattern costs in time, also where a counter has settled the claim."""
    return (
        probe.name == "probe"
        and probe.case.effect.metric is Metric.TIME_MS
        and bool(trial.runs)
        and not trial.timed(Variant.ORIGINAL)
    )


def _timed(case: Case, trial: Trial, device: str, runner: Submits) -> Trial:
    """The trial with as many timed pairs as the first look at them needs, the first of each pair changing."""
    pair = [Wanted(variant, Lane.TIME, passes=TIMED_PASSES) for variant in Variant]
    order = [one for number in range(LOOKS[0]) for one in (pair if number % 2 == 0 else reversed(pair))]
    decisions = trial.runs[0].record.decisions
    futures = [runner.submit(order_of(case, one, device, "", decisions)) for one in order]
    made = tuple(Run(one, future.result()) for one, future in zip(order, futures, strict=True))
    return replace(trial, runs=trial.runs + made)


# ---- what is shown and kept ---------------------------------------------------------------------


def told(result: Result) -> str:
    """A row of the table."""
    verdict, probe = result.verdict, result.probe
    kind = "needs CUDA" if result.open else f"{verdict.kind.value}{'' if result.right else ' (!)'}"
    counts = dict(verdict.runs)
    runs = f"{counts.get('original', 0)}+{counts.get('fixed', 0)}"
    if timed := counts.get("timed original", 0):
        runs += f"+{timed} pairs"
    numbers = "; ".join(_number(one) for one in verdict.metrics)
    if not result.right and not verdict.decided:
        numbers = verdict.sentence.partition(": ")[2]
    head = f"{probe.case.code}  {probe.name:<22}  {kind:<16}  {verdict.tier.value if verdict.tier else '--':<4}"
    return f"{head}  {runs:<12}  {SAME[verdict.fix_safe.answer]:<13}  {numbers}".rstrip()


def _shown(wanted: Sequence[Probe], coming: Iterable[Result]) -> Iterator[Result]:
    """Prints the rows in order of the probes, each as soon as those before it are there."""
    ready: dict[str, Result] = {}
    rest = list(wanted)
    for result in coming:
        ready[result.probe.case.key] = result
        while rest and rest[0].case.key in ready:
            following = ready.pop(rest.pop(0).case.key)
            print(told(following), flush=True)
            yield following


def _number(one: Measured) -> str:
    star = "*" if one.decisive else ""
    return f"{one.metric}{star} {amount(one.original, one.unit)} / {amount(one.fixed, one.unit)}"


HEAD = (
    f"{'rule':<6}  {'probe':<22}  {'verdict':<16}  {'tier':<4}  {'runs':<12}  {'the fix':<13}  "
    "as written / with the fix (* decides)"
)


def summed_up(results: Sequence[Result]) -> str:
    """The last line: how many came out as they must."""
    right = [result for result in results if result.right and not result.open]
    wrong = [result for result in results if not result.right]
    waiting = [result for result in results if result.open]
    where = next((f" on {one.verdict.device}, torch {one.verdict.torch}" for one in results if one.verdict.device), "")
    counts = {kind: sum(one.verdict.kind is kind for one in right) for kind in (Kind.CONFIRMED, Kind.REFUTED)}
    parts = [f"{number} {kind.value}" for kind, number in counts.items()]
    parts += [f"{len(waiting)} need CUDA"] * bool(waiting)
    parts += [f"{len(wrong)} NOT AS EXPECTED: {', '.join(_name(one) for one in wrong)}"] * bool(wrong)
    return f"{len(results)} probes{where}: {', '.join(parts)}"


def _name(result: Result) -> str:
    return f"{result.probe.case.code} {result.probe.name}"


def keep(results: Iterable[Result], fixtures: Path = FIXTURES) -> list[Path]:
    """Writes each rule's evidence file anew, with what its probes gave now; the paths."""
    entries: dict[str, dict[str, evidence.Entry]] = {}
    for result in results:
        case = result.probe.case
        entries.setdefault(case.code, {})[case.key] = evidence.entry_of(case, result.verdict)
    paths = {code: evidence_file(code, fixtures) for code in entries}
    for code, path in paths.items():
        evidence.write(str(path), entries[code])
    return list(paths.values())


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when all came out as expected, 1 when one did not, 2 when nothing could be run."""
    parser = argparse.ArgumentParser(prog="python -m runtime_verify.probes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("codes", nargs="*", metavar="CODE", help="rules to run the probes of; all by default")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--write", action="store_true", help="keep the verdicts as the rules' evidence")
    asked = parser.parse_args(arguments)
    try:
        results = _run_all([code.upper() for code in asked.codes], asked.device, asked.write)
    except (BadProbe, CannotRun, evidence.BadEvidence) as error:
        print(f"probes: {error}", file=sys.stderr)
        return 2
    return 0 if all(result.right for result in results) else 1


def _run_all(codes: list[str], device: str, write: bool) -> list[Result]:
    """Runs, prints, keeps. Raises what `main` turns into exit status 2."""
    if not FIXTURES.is_dir():
        raise BadProbe("no fixtures here: the probes are run in a checkout of the repository")
    if write and device == "cpu":
        raise BadProbe("--write keeps what a CUDA device showed; run it without --device cpu")
    wanted = probes(codes)
    if unknown := set(codes) - {probe.case.code for probe in wanted}:
        raise BadProbe(f"no probes of {', '.join(sorted(unknown))}")
    device = "cuda:0" if device == "cuda" else device
    with Runner((device,), memory_lane=AT_A_TIME, timeout_s=TIMEOUT_S) as runner:
        print(HEAD, flush=True)
        results: list[Result] = []
        for result in _shown(wanted, run(wanted, device, runner)):
            results.append(result)
            rules_own = [one for one in results if one.probe.case.code == result.probe.case.code]
            if write and len(rules_own) == sum(one.case.code == result.probe.case.code for one in wanted):
                for path in keep(rules_own):  # as soon as a rule is done: an interruption loses no other
                    print(f"wrote {path.relative_to(FIXTURES.parent).as_posix()}", flush=True)
    print(summed_up(results))
    if write:
        print("now: python -m torchmemlint.faces.catalogue")
    return results


if __name__ == "__main__":
    raise SystemExit(main())
