"""Scores verdicts against the truth: `python tests/truth/score.py mutants.json.gz results.json.gz`.

A verdict is wrong where a harmful mutant is refuted or a harmless one confirmed; inconclusive is never wrong, but
decides nothing. Records are judged anew, so the score is that of the judge at hand.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from runtime_verify.case import from_json
from runtime_verify.judge import judge
from runtime_verify.verdict import Kind, Verdict
from truth.mutation import Truth
from truth.run import read, trial_from_json

RIGHT = {Truth.HARMFUL: Kind.CONFIRMED, Truth.HARMLESS: Kind.REFUTED}


@dataclass(frozen=True)
class Judged:
    """One mutant and its verdict. place: its repository, file and line."""

    truth: Truth
    rule: str
    kind: str
    place: str
    verdict: Verdict

    @property
    def wrong(self) -> bool:
        return self.verdict.decided and self.verdict.kind is not RIGHT[self.truth]


def judged(mutants: Iterable[Mapping[str, Any]], results: Iterable[Mapping[str, Any]]) -> list[Judged]:
    """The verdicts on the mutants that were run."""
    trials = {result["key"]: result["trial"] for result in results}
    found = []
    for one in mutants:
        trial = trials.get(one["case"]["key"])
        if trial is not None:
            case = from_json(one["case"])
            place = f"{one['repository']} {one['path']}:{one['line']}"
            verdict = judge(case, trial_from_json(trial))
            found.append(Judged(Truth(one["truth"]), case.code, one["kind"], place, verdict))
    return found


def report(found: list[Judged]) -> str:
    """The table by kind, the reasons of what was not decided, the share of wrong verdicts, and the list of them."""
    lines = [f"{'truth':9} {'rule':7} {'kind':24} {'all':>4} {'right':>6} {'wrong':>6} {'open':>5}  open for"]
    kinds: dict[tuple[str, str, str], list[Judged]] = defaultdict(list)
    for one in found:
        kinds[one.truth.value, one.rule, one.kind].append(one)
    for (truth, rule, kind), group in sorted(kinds.items()):
        lines.append(f"{truth:9} {rule:7} {kind:24} {_row(group)}")
    for truth in Truth:
        lines.append(f"{truth.value:9} {'':7} {'together':24} {_row([one for one in found if one.truth is truth])}")
    lines.append(f"{'all':9} {'':7} {'':24} {_row(found)}")
    wrong, decided = [one for one in found if one.wrong], [one for one in found if one.verdict.decided]
    lines.append(
        f"wrong: {len(wrong)} of {len(decided)} decided ({_share(wrong, decided)}), of {len(found)} in all "
        f"({_share(wrong, found)}); decided: {_share(decided, found)}"
    )
    lines += [f"WRONG {one.truth.value} {one.rule} {one.kind} {one.place}: {one.verdict.sentence}" for one in wrong]
    return "\n".join(lines)


def _row(group: list[Judged]) -> str:
    wrong = sum(one.wrong for one in group)
    decided = sum(one.verdict.decided for one in group)
    reasons = Counter(one.verdict.reason.value for one in group if not one.verdict.decided)
    told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return f"{len(group):4} {decided - wrong:6} {wrong:6} {len(group) - decided:5}  {told}"


def _share(part: list[Judged], whole: list[Judged]) -> str:
    return f"{100 * len(part) / len(whole):.1f} %" if whole else "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0] if __doc__ else None)
    parser.add_argument("mutants", help="what mutate.py wrote")
    parser.add_argument("results", nargs="+", help="what run.py wrote")
    parser.add_argument("--most-wrong", type=float, default=2.0, help="percent of decided verdicts; exit 1 above it")
    args = parser.parse_args()
    mutants = read(args.mutants)
    found = judged(mutants, [one for path in args.results for one in read(path)])
    print(report(found))
    decided = sum(one.verdict.decided for one in found)
    return int(100 * sum(one.wrong for one in found) > args.most_wrong * decided)


if __name__ == "__main__":
    sys.exit(main())
