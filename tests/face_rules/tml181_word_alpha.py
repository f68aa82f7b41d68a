"""Flags the word ALPHA.

## Why it costs memory or time
It does not.

## Bad
ALPHA

## Good
Any other word.

## When it is fine
Always.

## Questions
None.

## References
None.
"""

from __future__ import annotations

from collections.abc import Iterator

from torchmemlint.rule import Finding, Rule, Severity

RULE = Rule("TML181", "word-alpha", Severity.WARNING, None, ("ALPHA",), "0.1", no_effect="for tests")


def check(file: object) -> Iterator[Finding]:
    from words import flagged

    yield from flagged(file, RULE, "ALPHA", "high")
