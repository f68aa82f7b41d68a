"""What the command line says about rules: --explain, --list-rules. May not lint."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from torchmemlint.faces.frames import Line
from torchmemlint.faces.pages import rule_url
from torchmemlint.faces.report import STYLES
from torchmemlint.faces.terminal import COLUMNS
from torchmemlint.rule import NOTICES, Notice, Rule
from torchmemlint.settings import SettingsError, meant_code


def effect_words(rule: Rule) -> str:
    """A rule's measurable promise as a sentence."""
    return rule.effect.words if rule.effect is not None else f"none is claimed: {rule.no_effect}"


def measured(code: str) -> list[dict[str, str]]:
    """What the rule's probes gave on a device: the probe's file, what it is about, a sentence, device, torch.

    The file goes with the package and is written by `torchmemlint.faces.catalogue` from the probes' evidence.
    """
    from pathlib import Path

    path = Path(__file__).resolve().parent.parent / "rules" / "measured.json"
    try:
        figures: dict[str, list[dict[str, str]]] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return []
    return figures.get(code, [])


def chosen(asked: Iterable[str], rules: Iterable[Rule]) -> list[Rule | Notice]:
    """The rules that codes, prefixes, names or `all` ask for, each once. Raises SettingsError."""
    every: list[Rule | Notice] = [*rules, *NOTICES]
    found: dict[str, Rule | Notice] = {}
    for word in asked:
        near = [one for one in every if _names(word, one)]
        if not near:
            known = {one.code: one.name for one in every}
            raise SettingsError(f"--explain: unknown rule code `{word}`{meant_code(word, known)}")
        found.update((one.code, one) for one in near)
    return list(found.values())


def _names(word: str, rule: Rule | Notice) -> bool:
    if word.lower() == "all":
        return isinstance(rule, Rule)
    return word.lower() == rule.name or (word.upper().startswith("TML") and rule.code.startswith(word.upper()))


def explained(rules: Iterable[Rule | Notice]) -> list[Line]:
    """The rules' pages, one below the other."""
    pages: list[Line] = []
    for rule in rules:
        pages += [*([[], []] if pages else []), *(_page(rule) if isinstance(rule, Rule) else _notice(rule))]
    return pages


def _page(rule: Rule) -> list[Line]:
    default = "on by default" if rule.default else "opt-in: select it by name"
    return [
        [(rule.code, f"{STYLES[rule.severity.value]} link {rule_url(rule.code)}"), (f" {rule.name}", "bold")],
        [(f"{rule.severity.value}, {default}, since {rule.since}", "")],
        [(f"Effect: {effect_words(rule)}", "")],
        [],
        *_evidence(measured(rule.code)),
        *_document(rule.doc),
    ]


def _notice(notice: Notice) -> list[Line]:
    return [
        [(notice.code, f"{STYLES['error']} link {rule_url(notice.code)}"), (f" {notice.name}", "bold")],
        [(notice.summary, "")],
        [(notice.advice, "")],
    ]


def _document(text: str) -> Iterator[Line]:
    """Markdown as it is written, headings, questions and code told apart by colour."""
    code = False
    for line in text.splitlines():
        fence = line.startswith("```")
        code ^= fence
        if fence or code:
            yield [(line, "bright_black" if fence else "cyan")]
        else:
            yield [(line, "bold" if line.startswith(("#", "**")) else "")]


def once(code: str, scaled: bool) -> list[tuple[str, str]]:
    """What a report says of a rule with its first finding: a price on a known workload if `scaled`, and where more is.

    The price is the first that was confirmed of the rule's probes.
    """
    price = next((one for one in measured(code) if one["sentence"].startswith("confirmed: ")), None)
    said = []
    if price and scaled:
        figures = re.split(r", \d+ iterations?\b|;", price["sentence"].removeprefix("confirmed: "))[0]
        figures = re.sub(r", between [^)]*", "", figures)
        about = re.split(r"[;:]", price["about"])[0]
        where = f"{price['device']}, torch {price['torch']}"
        said.append(("for scale", f"{about[0].lower()}{about[1:]}: {figures}; {where}"))
    return [*said, ("more", f"`torchmemlint --explain {code}`")]


def _evidence(rows: list[dict[str, str]]) -> list[Line]:
    """The measurements, device by device: what was run, then its verdict."""
    lines: list[Line] = []
    where = ""
    for one in rows:
        here = f"Measured on {one['device']}, torch {one['torch']}, as written and with the fix:"
        if here != where:
            lines.append([(here, "bold")])
            where = here
        lines.append([(f"- {one['about']}:", "")])
        lines += [[(f"  {row}", "")] for row in textwrap.wrap(one["sentence"], COLUMNS - 2, break_on_hyphens=False)]
    return [*lines, []] if lines else []


def as_objects(rules: Iterable[Rule | Notice]) -> list[dict[str, Any]]:
    """The rules for programs."""
    return [_rule_object(rule) if isinstance(rule, Rule) else _notice_object(rule) for rule in rules]


def _rule_object(rule: Rule) -> dict[str, Any]:
    return {
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


def _notice_object(notice: Notice) -> dict[str, Any]:
    return {
        "code": notice.code,
        "name": notice.name,
        "severity": "error",
        "default": True,
        "summary": notice.summary,
        "effect": None,
        "measured": [],
        "since": None,
        "url": rule_url(notice.code),
        "explanation": notice.advice,
    }


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
