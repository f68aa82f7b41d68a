"""--show-settings: every setting that counts for a folder, and where it comes from. May not read files or lint."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from torchmemlint.disk import as_shown
from torchmemlint.faces.frames import Line
from torchmemlint.rule import Rule
from torchmemlint.settings import Settings


def settings_shown(settings: Settings, root: str, rules: Iterable[Rule]) -> list[Line]:
    """Every setting with its value in the words of the configuration file and, as a comment, its origin."""
    on = [rule.code for rule in rules if settings.enabled(rule.code)]
    rows: dict[str, Any] = {
        "configuration": settings.place or "none",
        "project": root,
        "rules": " ".join(on) or "none",
    }
    chosen: dict[str, Any] = {
        "select": list(settings.select),
        "extend-select": list(settings.extend_select),
        "ignore": list(settings.ignore),
        "per-file-ignores": {pattern: list(codes) for pattern, codes in settings.per_file_ignores},
        "severity": {code: severity.value for code, severity in settings.severity},
        "min-confidence": settings.min_confidence.value,
        "fail-on": settings.fail_on.value,
        "require-reason": settings.require_reason,
        "baseline": as_shown(settings.baseline) if settings.baseline else "none",
        "output-format": settings.output_format,
        "exclude": list(settings.exclude),
        "extend-exclude": list(settings.extend_exclude),
        "force-exclude": settings.force_exclude,
        "respect-gitignore": settings.respect_gitignore,
        "jobs": settings.jobs or "auto",
        "unsafe-fixes": settings.unsafe_fixes,
        "fixable": list(settings.fixable),
        "unfixable": list(settings.unfixable),
    }
    lines = [_row(key, value, "") for key, value in rows.items()]
    return lines + [_row(key, value, settings.origins.get(key, "default")) for key, value in chosen.items()]


def _row(key: str, value: object, origin: str) -> Line:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [(f"{key}: ", "bold"), (shown, ""), (f"  # {origin}" if origin else "", "bright_black")]
