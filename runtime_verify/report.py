"""Verdicts as lines of text and as JSON. Pure; may not print.

A line is a list of pieces, each a text and its style in rich's words, as in the linter's own report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runtime_verify import verdict as verdicts
from runtime_verify.verdict import Answer, Kind, Reason, Verdict
from torchmemlint.model import Finding

Line = list[tuple[str, str]]

STYLES = {Kind.CONFIRMED: "bold red", Kind.REFUTED: "bold green", Kind.INCONCLUSIVE: "bold yellow"}
MOST_REASONS = 5
"""Causes of inconclusive verdicts that a summary names."""


def evidence_object(verdict: Verdict) -> dict[str, Any]:
    """What a finding carries as `evidence` in JSON."""
    return verdicts.as_json(verdict)


def told(finding: Finding, verdict: Verdict) -> Line:
    """One finding with its verdict, on one line."""
    return [
        (finding.path, "bold"),
        (f"{finding.where.removeprefix(finding.path)}: ", "bright_black"),
        (finding.code, "bold"),
        (" ", ""),
        *pieces(verdict),
    ]


def pieces(verdict: Verdict) -> Line:
    """A verdict's sentence, its kind in colour, then how faithful the run was and whether the fix is safe."""
    kind, _, rest = verdict.sentence.partition(": ")
    tier = f" [{verdict.tier.value}]" if verdict.tier else ""
    return [(kind, STYLES[verdict.kind]), (f"{tier}: {rest}{_fix(verdict)}", "")]


def _fix(verdict: Verdict) -> str:
    if not verdict.decided or verdict.fix_safe.answer is Answer.UNKNOWN:
        return ""
    if verdict.fix_safe.answer is Answer.YES:
        return "; the fix computes the same"
    return f"; THE FIX COMPUTES SOMETHING ELSE: {verdict.fix_safe.why}"


def note(verdict: Verdict) -> str:
    """The line under a finding of a lint report that evidence is known of."""
    where = ", ".join(part for part in (verdict.device, f"torch {verdict.torch}" if verdict.torch else "") if part)
    return f"{verdict.sentence}{f' ({where})' if where else ''}"


def summary(found: Sequence[tuple[Finding, Verdict]], seconds: float) -> list[Line]:
    """What came of it all: by rule, the most frequent causes of what stayed open, the sum."""
    if not found:
        return [[("Nothing to verify", "bold")]]
    lines = [[("", "")], *_by_rule(found)]
    causes = Counter(_cause(v) for _, v in found if not v.decided)
    if causes:
        named = ", ".join(f"{number} {cause}" for cause, number in causes.most_common(MOST_REASONS))
        lines.append([("Inconclusive because of: ", ""), (named, "")])
    unsafe = sum(v.fix_safe.answer is Answer.NO for _, v in found)
    if unsafe:
        lines.append([(f"{unsafe} fix{'es' * (unsafe != 1)} would change what is computed", "bold red")])
    where = next((f" on {v.device}, torch {v.torch}" for _, v in found if v.device), "")
    counts = Counter(v.kind for _, v in found)
    sums = ", ".join(f"{counts[kind]} {kind.value}" for kind in Kind if counts[kind])
    number = f"{len(found)} finding{'s' * (len(found) != 1)}"
    lines.append([(f"Verified {number}{where} in {seconds:.0f} s: {sums}", "bold")])
    return lines


def _cause(verdict: Verdict) -> str:
    """Why a verdict is inconclusive, in short; what cannot be planned has many reasons."""
    return f"unplanned ({verdict.detail})" if verdict.reason is Reason.UNPLANNED else verdict.reason.value


def _by_rule(found: Sequence[tuple[Finding, Verdict]]) -> list[Line]:
    head = f"{'rule':<8}" + "".join(f"{kind.value:>14}" for kind in Kind) + "   tiers"
    lines: list[Line] = [[(head, "bold")]]
    for code, verdicts_of in sorted(grouped(found).items()):
        counts = Counter(one.kind for one in verdicts_of)
        row: Line = [(f"{code:<8}", "bold")]
        row += [(f"{counts[kind] or '.':>14}", STYLES[kind] if counts[kind] else "") for kind in Kind]
        lines.append([*row, (f"   {tiers(verdicts_of)}", "")])
    return lines


def grouped(found: Iterable[tuple[Finding, Verdict]]) -> Mapping[str, list[Verdict]]:
    """Verdicts by the rule's code."""
    groups: dict[str, list[Verdict]] = {}
    for finding, verdict in found:
        groups.setdefault(finding.code, []).append(verdict)
    return groups


def tiers(of: Iterable[Verdict]) -> str:
    """How many verdicts stand on which tier: "3 T1, 1 T2"."""
    counts = Counter(verdict.tier.value for verdict in of if verdict.tier)
    return ", ".join(f"{number} {tier}" for tier, number in sorted(counts.items()))
