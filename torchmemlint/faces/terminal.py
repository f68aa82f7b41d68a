"""What a stream can show, colour, links, width and characters, and writing lines of styled pieces to it.

The environment is asked as ruff asks it: `FORCE_COLOR` and `CLICOLOR_FORCE` switch colour on anywhere, `NO_COLOR`,
`CLICOLOR=0` and `TERM=dumb` off, `FORCE_HYPERLINK` decides on links; otherwise it is for terminals.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TextIO

from torchmemlint.faces.frames import Line, width

COLUMNS = 120
"""What is written to no terminal is as wide as this, and nothing is made wider."""
LINKING = frozenset({"Hyper", "WarpTerminal", "WezTerm", "ghostty", "iTerm.app", "rio", "terminology", "vscode", "zed"})
LINKING_TERMS = ("alacritty", "foot", "ghostty", "kitty", "wezterm")
_CODES = {
    "bold": "1",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bright_black": "90",
}


class Colour(enum.Enum):
    """When the user wants colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True)
class Looks:
    """What a stream can show."""

    colour: bool = False
    links: bool = False
    columns: int = COLUMNS
    encoding: str = "utf-8"


def _columns() -> int:
    from shutil import get_terminal_size  # imports what unpacks archives

    return get_terminal_size((COLUMNS, 24)).columns


def looks(stream: TextIO, chosen: Colour = Colour.AUTO, environment: Mapping[str, str] = os.environ) -> Looks:
    """What a stream can show, and the user wants to see on it."""
    screen = stream.isatty()
    columns = min(_columns(), COLUMNS) if screen else COLUMNS
    colour = chosen is Colour.ALWAYS or (chosen is Colour.AUTO and _coloured(screen, environment))
    wanted = screen and chosen is not Colour.NEVER and _linking(environment)
    links = _on(environment, "FORCE_HYPERLINK") if environment.get("FORCE_HYPERLINK") else wanted
    return Looks(colour, links, columns, stream.encoding or "utf-8")


def write(lines: Iterable[Line], stream: TextIO, how: Looks | None = None) -> None:
    """Writes a text report, with what the stream can show of its styles."""
    how = how or looks(stream)
    stream.write("".join(_written(line, how) for line in lines))


def warn(message: str, kind: str = "error") -> None:
    """One line about the run itself."""
    print(f"{kind}: {' '.join(message.split())}", file=sys.stderr)


def _written(line: Line, how: Looks) -> str:
    written = []
    for text, style in line:
        words, _, link = style.partition(" link ")
        text = _fitting(text, how.encoding)
        if how.colour and words and text:
            text = f"\x1b[{';'.join(_CODES[word] for word in words.split())}m{text}\x1b[0m"
        if how.links and link:
            text = f"\x1b]8;;{link}\x1b\\{text}\x1b]8;;\x1b\\"
        written.append(text)
    return "".join(written) + "\n"


def _fitting(text: str, encoding: str) -> str:
    """The text in characters that the encoding has, so that marks stay below what they mark.

    What no encoding has, a byte of a file's name that is no text, is left to the stream to escape.
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(c if _has(encoding, c) or "\ud800" <= c <= "\udfff" else "?" * width(c) for c in text)
    return text


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _coloured(screen: bool, environment: Mapping[str, str]) -> bool:
    if _on(environment, "FORCE_COLOR") or _on(environment, "CLICOLOR_FORCE"):
        return True
    if environment.get("NO_COLOR") or environment.get("CLICOLOR") == "0":
        return False
    return screen and environment.get("TERM") != "dumb"


def _linking(environment: Mapping[str, str]) -> bool:
    """Whether a terminal is one that is known to make links of OSC 8; others may print it."""
    if environment.get("CI") or environment.get("TERM") == "dumb":
        return False
    vte = environment.get("VTE_VERSION", "")
    return (
        environment.get("TERM_PROGRAM") in LINKING
        or any(name in environment.get("TERM", "") for name in LINKING_TERMS)
        or any(environment.get(name) for name in ("DOMTERM", "KONSOLE_VERSION", "WT_SESSION"))
        or (vte.isdecimal() and int(vte) >= 5000)
    )


def _on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "") not in ("", "0", "false")
