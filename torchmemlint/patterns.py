"""Patterns that name files, as users of ruff know them: `*` also crosses slashes, `**/` stands for no folder too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_PARTS = re.compile(
    r"""(?P<between>/\*\*/)|(?P<before>^\*\*/)|(?P<below>/\*\*$)|(?P<any>\*+)|(?P<one>\?)
    |\[(?P<not>[!^]?)(?P<set>\]?[^\]]*)\]|(?P<open>\{(?=[^{}]*\}))|(?P<comma>,)|(?P<close>\})|(?P<text>.)""",
    re.VERBOSE | re.DOTALL,
)
_MEANING = {"between": "/(?:.*/)?", "before": "(?:.*/)?", "below": "/.+", "any": ".*", "one": "[^/]"}


def matches(patterns: Iterable[str], path: str, whole: bool = False) -> bool:
    """Whether a pattern names the path or, unless `whole`, one of the folders above it.

    A pattern without a slash names a file or folder anywhere; one with a slash is relative to the base.
    """
    parts = path.split("/")
    heads = [path] if whole else ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for pattern in patterns:
        pattern = pattern.removeprefix("./").rstrip("/")
        compiled = _compiled(pattern)
        if any(compiled.fullmatch(head if "/" in pattern else head.rsplit("/", 1)[-1]) for head in heads):
            return True
    return False


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    made, open_ = [], False
    for part in _PARTS.finditer(pattern):
        kind = part.lastgroup or "text"
        if kind in _MEANING:
            made.append(_MEANING[kind])
        elif kind == "set":
            inside = part["set"].replace("\\", "\\\\").replace("[", "\\[")
            made.append(f"[{'^' * bool(part['not'])}{inside}]")
        elif kind == "open":
            open_ = True
            made.append("(?:")
        elif kind == "comma" and open_:
            made.append("|")
        elif kind == "close" and open_:
            open_ = False
            made.append(")")
        else:
            made.append(re.escape(part[0]))
    try:
        return re.compile("".join(made), re.DOTALL)
    except re.error:  # a set such as `[z-a]`
        return re.compile(re.escape(pattern))
