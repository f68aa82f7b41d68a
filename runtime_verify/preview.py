"""What verifying a finding would run, without running anything: for `--dry-run`. Needs no torch and no device."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from runtime_verify.case import Case, Program
from runtime_verify.decide import LOOKS
from runtime_verify.report import Line
from runtime_verify.trial import PASSES, TIMED_PASSES
from torchmemlint import fix as fixing
from torchmemlint.model import Finding, Metric
from torchmemlint.source import BadFile, Source

DENIED = "writes outside a temporary folder, sockets, other processes"


def difference(finding: Finding, source: Source) -> list[str]:
    """The fix as a unified diff of the user's file, without line ends."""
    if finding.fix is None:
        return []
    try:
        fixed = Source(source.path, fixing.apply(source, [finding.fix]).data)
        lines = difflib.unified_diff(
            list(source.lines), list(fixed.lines), f"a/{finding.path}", f"b/{finding.path}", n=2, lineterm=""
        )
        return [line.rstrip("\r\n\x0c") for line in lines]
    except BadFile:
        return []


def preview_object(case: Case, change: Sequence[str], device: str, entry: str) -> dict[str, Any]:
    """The preview for programs."""
    return {
        "key": case.key,
        "device": device,
        "function": case.original.function,
        "entry": entry,
        "watched_line": case.original.mark,
        "modules": [
            {"name": module.name, "filename": module.path, "lines": _lines(module.text)}
            for module in case.original.modules
        ],
        "effect": case.effect.words,
        "fix": {"applicability": case.applicability.value, "message": case.fix_title},
        "diff": list(change),
        "runs": planned_runs(case),
        "denied": DENIED,
    }


def previewed(case: Case, finding: Finding, change: Sequence[str], device: str, entry: str) -> list[Line]:
    """The preview for people."""
    modules = ", ".join(f"{m.name} ({m.path}, {_count(_lines(m.text), 'line')})" for m in case.original.modules)
    runs = f"{entry}, " if entry else f"{_what(case.original)}, "
    rows = (
        ("runs", f"{runs}line {case.original.mark} watched, on {device}"),
        ("modules", modules),
        ("to prove", case.effect.words),
        ("fix", f"{case.fix_title} ({case.applicability.value})"),
    )
    lines: list[Line] = [
        [
            (finding.path, "bold"),
            (f"{finding.where.removeprefix(finding.path)}: ", "bright_black"),
            (finding.code, "bold yellow"),
            (f" {finding.message}", ""),
        ]
    ]
    lines += [[(f"  {name:<9}", "bold"), (text, "")] for name, text in rows]
    lines += [[("    ", ""), (line, _shade(line))] for line in change]
    lines += [[("  planned  ", "bold"), (planned_runs(case), "")], [("  denied   ", "bold"), (DENIED, "")], []]
    return lines


def planned_runs(case: Case) -> str:
    """Which runs are made at most, in words."""
    words = f"2 as written and 2 with the fix, {PASSES} passes each; as many at a larger size where that tells more"
    if Metric.TIME_MS in (case.effect.metric, *case.effect.also):
        words += f"; {LOOKS[0]} to {LOOKS[-1]} timed pairs of {TIMED_PASSES} passes, alone on the device"
    return words


def _what(program: Program) -> str:
    if not program.function:
        return f"{program.modules[0].path} as a script"
    return f"{program.modules[0].name}.{program.function}"


def _lines(text: str) -> int:
    """Lines that are left of a module once what is not needed was blanked."""
    return sum(1 for line in text.splitlines() if line.strip())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _shade(line: str) -> str:
    if line.startswith(("+++", "---", "@@")):
        return "bright_black"
    return {"+": "green", "-": "red"}.get(line[:1], "")
