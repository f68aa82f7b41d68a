"""What SARIF says of the rules: level, precision, help. The whole catalogue, whatever is selected."""

from __future__ import annotations

from typing import Any

from torchmemlint.faces.explain import effect_words, measured
from torchmemlint.faces.pages import rule_url
from torchmemlint.model import Severity
from torchmemlint.rule import BAD_FILE, INTERNAL_ERROR, NOTICES, Notice, Rule, load_rules

LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
PROBLEMS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "recommendation"}
TAGS = ("memory", "performance", "pytorch")
MAX_DESCRIPTION = 1024
"""GitHub refuses longer ones."""


def descriptors() -> list[dict[str, Any]]:
    """All rules by code, and what is said of files and of torchmemlint itself."""
    rows = [_of_notice(notice) for notice in NOTICES] + [_of_rule(rule) for rule in load_rules()]
    return sorted(rows, key=lambda row: str(row["id"]))


def _of_rule(rule: Rule) -> dict[str, Any]:
    effect = f"Effect: {effect_words(rule)}."
    figures = "".join(
        f"- {one['about']}: {one['sentence']} ({one['device']}, torch {one['torch']})\n" for one in measured(rule.code)
    )
    page = f"{rule.doc}\n\n## Effect\n\n{effect}\n" + (f"\n## Measured\n\n{figures}" if figures else "")
    return {
        "id": rule.code,
        "name": _pascal(rule.name),
        "shortDescription": {"text": _short(rule.summary)},
        "fullDescription": {"text": _short(f"{rule.summary} {effect}")},
        "helpUri": rule_url(rule.code),
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"enabled": rule.default, "level": LEVELS[rule.severity]},
        "properties": {
            "precision": "high" if rule.default else "medium",
            "problem.severity": PROBLEMS[rule.severity],
            "tags": list(TAGS),
        },
    }


def _of_notice(notice: Notice) -> dict[str, Any]:
    serious = notice.code in (BAD_FILE, INTERNAL_ERROR)
    return {
        "id": notice.code,
        "name": _pascal(notice.name),
        "shortDescription": {"text": notice.summary},
        "fullDescription": {"text": f"{notice.summary} {notice.advice}"},
        "helpUri": rule_url(notice.code),
        "help": {"text": notice.advice, "markdown": notice.advice},
        "defaultConfiguration": {"level": "error" if serious else "note"},
        "properties": {
            "precision": "very-high",
            "problem.severity": "error" if serious else "recommendation",
            "tags": ["maintainability"],
        },
    }


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def _short(text: str) -> str:
    return text if len(text) <= MAX_DESCRIPTION else f"{text[: MAX_DESCRIPTION - 3]}..."
