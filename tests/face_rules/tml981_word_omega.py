"""Flags the word OMEGA.

## Why it costs memory or time
It does not.

## Bad
OMEGA

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

RULE = Rule("TML981", "word-omega", Severity.WARNING, None, ("OMEGA",), "0.1", no_effect="for tests")


def check(file: object) -> Iterator[Finding]:
    from words import flagged

    yield from flagged(file, RULE, "OMEGA", "high")
