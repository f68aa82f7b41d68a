"""IPython's own syntax in a cell, as lines of Python that stand for it: as many, in the same columns.

No IPython is needed: what it adds to Python is never valid Python, so a cell that parses has none of it. May not
read files, print, or know notebooks.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

NOTHING = "pass"
UNKNOWN = "get_ipython()"
"""What a magic hands over: a value that nobody knows."""

_AS_PYTHON = ("capture", "debug", "local", "lprun", "memit", "mprun", "prun", "pyinstrument", "scalene", "snakeviz")
TRANSPARENT = frozenset((*_AS_PYTHON, "time", "timeit", "wandb"))
"""Cell magics whose body is Python and shares the notebook's names."""
_CELL_MAGIC = re.compile(r"\s*%%(?P<name>\w*)")
_TIMED = re.compile(r"%(?:time|timeit|prun|memit)[ \t]+(?=[^\s-])")
_ASSIGNED = re.compile(r"(?P<target>\s*[^\W\d][\w.,\s*\[\]'\"]*=\s*)(?:!|%\s*\w)")
_HELP = re.compile(r"[^#'\"]*\?\s*$")
_COMMAND = re.compile(
    r"(?:pip3?|conda|mamba|uv|cd|ls|ll|cat|cp|mv|rm|mkdir|rmdir|pwd|env|load_ext|reload_ext|autoreload|matplotlib)"
    r"(?:[ \t]+[^\s=(\[.,:].*)?$"
)
_TOKENS = re.compile(
    r"""(?P<long>\"{3}|'{3})|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|\#.*|(?P<opens>[(\[{])|(?P<closes>[)\]}])""",
    re.DOTALL,
)


def stand_ins(lines: Sequence[str]) -> Mapping[int, str] | None:
    """Python for the lines that are none, by index, without line ends; None for a cell in another language."""
    found: dict[int, str] = {}
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), 0)
    if lines and (magic := _CELL_MAGIC.match(lines[first])):
        if magic["name"] not in TRANSPARENT:
            return None
        found[first] = NOTHING
    rest = ["\n" if number in found else line for number, line in enumerate(lines)]
    if not is_python("".join(rest)):
        found.update(_of_lines(rest))
    return found


def _of_lines(lines: Sequence[str]) -> Mapping[int, str]:
    """Stand-ins for the lines on which a statement begins with a magic."""
    found: dict[int, str] = {}
    text = _Text()
    number = 0
    while number < len(lines):
        line = lines[number].rstrip("\r\n")
        stand_in = _stand_in(line) if text.at_statement else None
        if stand_in is None:
            text.take(lines[number])
        else:
            found[number] = stand_in
            while line.endswith("\\") and number + 1 < len(lines):
                number += 1
                line = lines[number].rstrip("\r\n")
                found[number] = ""
        number += 1
    return found


def _stand_in(line: str) -> str | None:
    """What stands for a line, None for one that may be Python."""
    stripped = line.strip()
    indent = line[: len(line) - len(line.lstrip())]
    if timed := _TIMED.match(stripped):
        shown = f"{indent}{'0;':{timed.end()}}{stripped[timed.end() :]}"
        return shown if is_python(shown.strip()) else f"{indent}{NOTHING}"
    if stripped.startswith(("%", "!", "?")) or _HELP.match(stripped):
        return f"{indent}{NOTHING}"
    if assigned := _ASSIGNED.match(line):
        return f"{assigned['target']}{UNKNOWN}"
    if _COMMAND.match(stripped) and not is_python(stripped):
        return f"{indent}{NOTHING}"
    return None


def is_python(text: str) -> bool:
    """Whether the running Python can parse a text."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


class _Text:
    """Where a text stands: inside a string, inside brackets, behind a backslash, or where a statement may begin."""

    def __init__(self) -> None:
        self._quote = ""
        self._depth = 0
        self._continued = False

    @property
    def at_statement(self) -> bool:
        return not (self._quote or self._depth or self._continued)

    def take(self, line: str) -> None:
        """Reads on by one line."""
        at = 0
        while at < len(line):
            at = self._end_of_string(line, at) if self._quote else self._next_token(line, at)
        self._continued = not self._quote and line.rstrip("\r\n").endswith("\\")

    def _end_of_string(self, line: str, at: int) -> int:
        for found in re.finditer(rf"\\.|{self._quote}", line[at:], re.DOTALL):
            if found[0] == self._quote:
                self._quote = ""
                return at + found.end()
        return len(line)

    def _next_token(self, line: str, at: int) -> int:
        found = _TOKENS.search(line, at)
        if found is None:
            return len(line)
        if found.lastgroup == "long":
            self._quote = found[0]
        elif found.lastgroup == "opens":
            self._depth += 1
        elif found.lastgroup == "closes":
            self._depth = max(self._depth - 1, 0)
        return found.end()
