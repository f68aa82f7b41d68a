"""What the command line says about rules and settings: --explain, --list-rules, --show-settings. May not lint."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from torchmemlint.faces.report import STYLES, Line
from torchmemlint.model import Direction, Effect, Metric
from torchmemlint.rule import Rule
from torchmemlint.settings import Settings


def effect_words(rule: Rule) -> str:
    """A rule's measurable promise as a sentence."""
    effect = rule.effect
    if effect is None:
        return f"none is claimed: {rule.no_effect}"
    direction = "higher" if effect.direction is Direction.HIGHER else "lower"
    least = f", by at least {_amount(effect)}" if effect.least else ""
    also = f"; or {' or '.join(metric.value for metric in effect.also)}" if effect.also else ""
    return f"{effect.metric.value} {direction} than in the fixed code{least}{also}"


def _amount(effect: Effect) -> str:
    if effect.relative:
        return f"{effect.least:.0%}"
    if effect.metric is Metric.TIME_MS:
        return f"{effect.least:g} ms"
    if "bytes" in effect.metric.value:
        return f"{effect.least / 2**20:g} MiB" if effect.least >= 2**20 else f"{effect.least:g} bytes"
    return f"{effect.least:g}"


def explained(rule: Rule) -> list[Line]:
    """A rule's page."""
    default = "on by default" if rule.default else "opt-in: select it by name"
    return [
        [(rule.code, STYLES[rule.severity.value]), (f" {rule.name}", "bold")],
        [(f"{rule.severity.value}, {default}, since {rule.since}", "")],
        [(f"Effect: {effect_words(rule)}", "")],
        [],
        *[[(line, "bold" if line.startswith("#") else "")] for line in rule.doc.splitlines()],
    ]


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
            "since": rule.since,
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
