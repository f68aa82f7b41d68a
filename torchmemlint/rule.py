"""What a rule is: the contract on one page, discovery and validation.

A rule is one file in `torchmemlint/rules/`: a module docstring that is its documentation, a constant
`RULE`, and a function `check(file)` that asks the `FileModel` questions and yields findings. Everything
a rule needs is imported from here. Rules may not import each other, walk trees, read files or print.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from torchmemlint.model import (
    Applicability,
    Confidence,
    Direction,
    Edit,
    Effect,
    Finding,
    Fix,
    Metric,
    Scene,
    Severity,
    Span,
    Why,
)

__all__ = [
    "Applicability",
    "Confidence",
    "Direction",
    "Edit",
    "Effect",
    "Finding",
    "Fix",
    "Metric",
    "Notice",
    "Rule",
    "RuleError",
    "Scene",
    "Severity",
    "Span",
    "Why",
    "load_rules",
]

SECTIONS = (
    "## Why it costs memory or time",
    "## Bad",
    "## Good",
    "## When it is fine",
    "## Questions",
    "## References",
)
INTERNAL_ERROR = "TML000"
BAD_FILE = "TML001"
UNUSED = "TML002"


@dataclass(frozen=True)
class Notice:
    """A code of ours that is no rule: what is said about a file or about ourselves. `summary` is a sentence."""

    code: str
    name: str
    summary: str
    advice: str


NOTICES = (
    Notice(
        INTERNAL_ERROR,
        "internal-error",
        "torchmemlint failed on a file or in a rule; its other findings stand.",
        "Please report it, with the message and, if it may be shown, the file.",
    ),
    Notice(
        BAD_FILE,
        "file-not-parsed",
        "A file cannot be read as Python, so nothing in it was checked.",
        "Mend what the message names, or leave the file out with `exclude` or `per-file-ignores`.",
    ),
    Notice(
        UNUSED,
        "unused-suppression",
        "A comment that silences findings silences none, or cannot be understood.",
        "Remove it; the fix does. Where it is wanted all the same: `# torchmemlint: file-ignore[TML002]`.",
    ),
)


class RuleError(Exception):
    """A rule file that does not keep the contract."""


@dataclass(frozen=True)
class Rule:
    """A rule's identity and promise.

    code      `TMLnnn`; `TML9nn` is opt-in.
    name      kebab-case, names the smell: it must read well after the word "allow".
    severity  what happens if the smell ships.
    effect    what `--verify` must be able to confirm; None only with a reason in `no_effect`.
    words     a file can only fire the rule if it contains one of these words; the gate in front of parsing.
    reaches   an effect that helpers of other files may carry: their names open the gate too.
    since     the release that brought the rule.
    uncovers  codes that a fix may bring to light: what they find was there before, and is told of only without this.
    doc, check  filled in by `load_rules` from the rule's module.
    """

    code: str
    name: str
    severity: Severity
    effect: Effect | None
    words: tuple[str, ...]
    since: str
    reaches: str = ""
    no_effect: str = ""
    uncovers: tuple[str, ...] = ()
    doc: str = ""
    check: Callable[..., Iterator[Finding]] | None = field(default=None, compare=False)

    @property
    def default(self) -> bool:
        """On without being selected."""
        return not self.code.startswith("TML9")

    @property
    def summary(self) -> str:
        """The first paragraph of the documentation, on one line."""
        return " ".join(self.doc.strip().split("\n\n")[0].split())


@lru_cache(maxsize=1)
def load_rules() -> tuple[Rule, ...]:
    """All rules, sorted by code. Raises RuleError naming the file that breaks the contract."""
    from torchmemlint import rules

    found: list[Rule] = []
    for info in pkgutil.iter_modules(rules.__path__):
        if re.match(r"tml\d{3}_", info.name):
            found.append(_bind(importlib.import_module(f"{rules.__name__}.{info.name}"), info.name))
    found.sort(key=lambda rule: rule.code)
    for one, two in itertools.pairwise(found):
        if one.code == two.code or one.name == two.name:
            raise RuleError(f"{one.code} {one.name} and {two.code} {two.name}: code or name used twice")
    return tuple(found)


def _bind(module: object, stem: str) -> Rule:
    rule, check, doc = (getattr(module, name, None) for name in ("RULE", "check", "__doc__"))
    if not isinstance(rule, Rule) or not callable(check):
        raise RuleError(f"{stem}.py: needs a RULE constant and a check(file) function")
    if stem != f"{rule.code.lower()}_{rule.name.replace('-', '_')}":
        raise RuleError(f"{stem}.py: the file must be called {rule.code.lower()}_{rule.name.replace('-', '_')}.py")
    if rule.effect is None and not rule.no_effect:
        raise RuleError(f"{stem}.py: no effect claimed and no reason given in no_effect")
    if doc is not None and (missing := [s for s in SECTIONS if s not in doc]):  # python -OO strips docstrings
        raise RuleError(f"{stem}.py: documentation lacks {', '.join(missing)}")
    return replace(rule, doc=(doc or "").strip(), check=check)
