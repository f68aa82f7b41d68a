"""Counts verdicts on findings: `python tests/truth/tally.py findings.json.gz results.json.gz`.

By rule: how many, how many passed the flagged line in both variants, how many are decided, and by tier; then why the
others are not.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

if __package__ in (None, ""):
    sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from runtime_verify.case import from_json
from runtime_verify.judge import judge
from runtime_verify.verdict import Kind, Verdict
from truth.run import read, trial_from_json


def table(verdicts: list[tuple[str, Verdict]]) -> list[str]:
    """Lines to print, of pairs of a rule's code and a verdict."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    open_: Counter[str] = Counter()
    for code, verdict in verdicts:
        for row in (rows[code], rows["all"]):
            row["n"] += 1
            row["reached"] += verdict.reached
            row[verdict.kind.value] += 1
            row[verdict.tier.value if verdict.tier is not None else "-"] += 1
        if verdict.kind is Kind.INCONCLUSIVE:
            open_[verdict.reason.value] += 1
    columns = ("n", "reached", "confirmed", "refuted", "inconclusive", "T1", "T2", "T3", "T4")
    lines = ["rule    " + "".join(f"{name:>13}" for name in columns)]
    lines += [f"{code:8}" + "".join(f"{rows[code][name]:>13}" for name in columns) for code in sorted(rows)]
    everything = rows["all"]
    if everything["n"]:
        decided = everything["confirmed"] + everything["refuted"]
        lines.append(f"reached {everything['reached'] / everything['n']:.1%}, decided {decided / everything['n']:.1%}")
    return [*lines, *(f"{count:5} {reason}" for reason, count in open_.most_common())]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("findings")
    parser.add_argument("results", nargs="+")
    asked = parser.parse_args()
    cases = {item["case"]["key"]: from_json(item["case"]) for item in read(asked.findings)}
    verdicts = []
    for path in asked.results:
        for result in read(path):
            case = cases[result["key"]]
            verdicts.append((case.code, judge(case, trial_from_json(result["trial"]))))
    print("\n".join(table(verdicts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
