"""Flags the word BETA.

## Why it costs memory or time
It does not.

## Bad
BETA

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

RULE = Rule("TML182", "word-beta", Severity.ERROR, None, ("BETA",), "0.1", no_effect="for tests")


def check(file: object) -> Iterator[Finding]:
    from words import flagged

    yield from flagged(file, RULE, "BETA", "medium")
