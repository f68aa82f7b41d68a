"""Where a rule's page is on the web."""

from __future__ import annotations

HOME = "https://github.com/torchmemlint/torchmemlint"
CATALOGUE = f"{HOME}/blob/main/torchmemlint/rules/README.md"


def rule_url(code: str) -> str:
    """The place of a code in the published catalogue; `anchor` makes the place."""
    return f"{CATALOGUE}#{code.lower()}"


def anchor(code: str) -> str:
    """What `rule_url` jumps to, as HTML that Markdown lets through."""
    return f'<a id="{code.lower()}"></a>'
