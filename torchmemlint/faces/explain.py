"""What the command line says about rules and settings: --explain, --list-rules, --show-settings. May not lint."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torchmemlint.faces.pages import rule_url
from torchmemlint.faces.report import STYLES, Line
from torchmemlint.rule import Rule
from torchmemlint.settings import Settings


def effect_words(rule: Rule) -> str:
    """A rule's measurable promise as a sentence."""
    return rule.effect.words if rule.effect is not None else f"none is claimed: {rule.no_effect}"


def measured(code: str) -> list[dict[str, str]]:
    """What the rule's probes gave on a device: the probe's file, what it is about, a sentence, device, torch.

    The file goes with the package and is written by `torchmemlint.faces.catalogue` from the probes' evidence.
    """
    path = Path(__file__).resolve().parent.parent / "rules" / "measured.json"
    try:
        figures: dict[str, list[dict[str, str]]] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return []
    return figures.get(code, [])


def explained(rule: Rule) -> list[Line]:
    """A rule's page."""
    default = "on by default" if rule.default else "opt-in: select it by name"
    return [
        [(rule.code, STYLES[rule.severity.value]), (f" {rule.name}", "bold")],
        [(f"{rule.severity.value}, {default}, since {rule.since}", "")],
        [(f"Effect: {effect_words(rule)}", "")],
        [],
        *_evidence(measured(rule.code)),
        *[[(line, "bold" if line.startswith("#") else "")] for line in rule.doc.splitlines()],
    ]


def _evidence(rows: list[dict[str, str]]) -> list[Line]:
    """The measurements, device by device: what was run, then its verdict."""
    lines: list[Line] = []
    where = ""
    for one in rows:
        here = f"Measured on {one['device']}, torch {one['torch']}, as written and with the fix:"
        if here != where:
            lines.append([(here, "bold")])
            where = here
        lines.append([(f"- {one['about']}: ", ""), (one["sentence"], "")])
    return [*lines, []] if lines else []


def as_objects(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """The rules for programs."""
    return [
        {
            "code": rule.code,
            "name": rule.name,
            "severity": rule.severity.value,
            "default": rule.default,
            "summary": rule.summary,
            "effect": effect_words(rule),
            "measured": measured(rule.code),
            "since": rule.since,
            "url": rule_url(rule.code),
            "explanation": rule.doc,
        }
        for rule in rules
    ]


def listed(rules: Iterable[Rule]) -> list[Line]:
    """The rules as a table."""
    rules = list(rules)
    width = max((len(rule.name) for rule in rules), default=0)
    return [
        [
            (rule.code, STYLES[rule.severity.value]),
            (f"  {rule.name:<{width}}", ""),
            (f"  {rule.severity.value:<7}  {'on ' if rule.default else 'off'}  ", ""),
            (rule.summary, ""),
        ]
        for rule in rules
    ]


def settings_shown(settings: Settings, root: str, rules: Iterable[Rule]) -> list[Line]:
    """Every setting with the value that counts, in the words of the configuration file."""
    on = [rule.code for rule in rules if settings.enabled(rule.code)]
    rows = {
        "configuration": settings.place or "none",
        "project": root,
        "rules": " ".join(on) or "none",
        "select": list(settings.select),
        "extend-select": list(settings.extend_select),
        "ignore": list(settings.ignore),
        "per-file-ignores": {pattern: list(codes) for pattern, codes in settings.per_file_ignores},
        "min-confidence": settings.min_confidence.value,
        "fail-on": settings.fail_on.value,
        "output-format": settings.output_format,
        "exclude": list(settings.exclude),
        "extend-exclude": list(settings.extend_exclude),
        "force-exclude": settings.force_exclude,
        "respect-gitignore": settings.respect_gitignore,
        "jobs": settings.jobs or "auto",
    }
    return [
        [(f"{key}: ", "bold"), (value if isinstance(value, str) else json.dumps(value), "")]
        for key, value in rows.items()
    ]
