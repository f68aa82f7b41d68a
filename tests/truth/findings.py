"""Plans the linter's findings in repositories: `python tests/truth/findings.py --trees DIR... --out findings.json.gz`.

Each finding of the rules on by default becomes a case, as `--verify` would make it; `run.py` runs them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from runtime_verify.case import as_json
from runtime_verify.on_disk import OnDisk
from runtime_verify.plan import Refused, plan_findings
from torchmemlint.disk import Filters, discover
from torchmemlint.faces.check import Checker, Choice
from torchmemlint.faces.pool import check_all


def planned(tree: Path) -> Iterator[dict[str, Any]]:
    """The cases of one repository; what cannot be planned is told on standard error."""
    os.chdir(tree)
    choice = Choice(isolated=True, otherwise=str(tree))
    checker = Checker(choice)
    targets = discover(["."], Filters(checker.excluded, lambda folder: False, lambda path: False)).targets
    found = [one for outcome in check_all(choice, targets, 0) for one in outcome.findings if one.fix is not None]
    for made in plan_findings(found, OnDisk(str(tree)), linted=True):
        if isinstance(made, Refused):
            print(f"{tree.name}: {made.finding.path}: {made.reason}", file=sys.stderr)
        else:
            yield {"repository": tree.name, "path": made.path, "line": made.line, "case": as_json(made)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    out = asked.out.absolute()
    cases = [case for tree in asked.trees for case in planned(tree.absolute())]
    with gzip.open(out, "wt", encoding="utf-8") as file:
        json.dump(cases, file)
    print(f"{len(cases)} findings planned")
    return 0


if __name__ == "__main__":
    sys.exit(main())
