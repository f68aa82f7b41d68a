"""The catalogue of rules, `torchmemlint/rules/README.md`, made from the rules and their fixtures.

`python -m torchmemlint.faces.catalogue` writes it, `--check` only says whether it is current (exit 1 when
not). For people who work on the rules, in a checkout: the counts of known limits come from the fixtures.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from torchmemlint.faces.explain import effect_words
from torchmemlint.rule import Rule, load_rules

PACKAGE = Path(__file__).resolve().parent.parent
PAGE = PACKAGE / "rules" / "README.md"
FIXTURES = PACKAGE.parent / "fixtures"

FAMILIES = {
    "TML1": "The allocator and the collector",
    "TML2": "What keeps tensors alive",
    "TML3": "The autograd graph",
    "TML4": "Loading and measuring",
    "TML9": "Opt-in: advice, or only worth it when `--verify` confirms it",
}
HEAD = """# The rules

Written by `python -m torchmemlint.faces.catalogue`; do not edit. Each rule is one file that begins with its page:
what it costs, bad and good code, when it is fine, references (`torchmemlint --explain CODE` prints it). The effect is
what `--verify` must be able to confirm for each finding on a device. Known limits count the marked lines in
`fixtures/`: alarms that are known to be missed, and false ones that are known to be raised.
"""
_LIMIT = re.compile(r"#\s*(missed|false-alarm)((?:\s+TML\d{3})*)\s*:")

Limits = Counter[tuple[str, str]]


def known_limits(fixtures: Path) -> Limits:
    """How many fixture lines are marked, by (code, "missed" or "false-alarm")."""
    found: Limits = Counter()
    for path in sorted(fixtures.glob("*/**/*.py")):
        if path.name.endswith(".fixed.py"):  # a golden repeats the marks of its source
            continue
        folder = path.relative_to(fixtures).parts[0].upper()
        for kind, codes in _LIMIT.findall(path.read_text(encoding="utf-8")):
            found.update((code, kind) for code in codes.split() or [folder])
    return found


def page(rules: Iterable[Rule], limits: Limits) -> str:
    """The whole page."""
    parts = [HEAD]
    families: dict[str, list[Rule]] = {}
    for rule in rules:
        families.setdefault(rule.code[:4], []).append(rule)
    for family, members in sorted(families.items()):
        parts.append(f"\n## {FAMILIES[family]}\n\n| code | name | severity | what it flags | effect | known limits |\n")
        parts.append("|---|---|---|---|---|---|\n")
        parts += [_row(rule, limits) for rule in members]
    return "".join(parts)


def _row(rule: Rule, limits: Limits) -> str:
    file = f"{rule.code.lower()}_{rule.name.replace('-', '_')}.py"
    missed, false = limits[rule.code, "missed"], limits[rule.code, "false-alarm"]
    known = [f"{missed} missed"] * bool(missed) + [f"{false} false"] * bool(false)
    cells = (
        f"[{rule.code}]({file})",
        rule.name,
        rule.severity.value,
        rule.summary,
        effect_words(rule),
        ", ".join(known) or "none",
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m torchmemlint.faces.catalogue", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    chosen = parser.parse_args(arguments)
    if not FIXTURES.is_dir():
        print("no fixtures here: the catalogue is written in a checkout of the repository", file=sys.stderr)
        return 2
    new = page(load_rules(), known_limits(FIXTURES))
    current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if new == current:
        return 0
    if chosen.check:
        print(f"{PAGE.name} is out of date: run python -m torchmemlint.faces.catalogue", file=sys.stderr)
        return 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
