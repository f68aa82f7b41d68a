"""What would change in files, as a patch that `git apply -p0` and `patch -p0` take byte for byte. Pure.

A notebook's is for people: its cells are no files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from torchmemlint.document import opened
from torchmemlint.faces.frames import Line

STYLES = {b"---": "bold", b"+++": "bold", b"@@ ": "cyan"}
LINE_STYLES = {b"+": "green", b"-": "red"}
UNFINISHED = b"\n\\ No newline at end of file\n"


def patch(path: str, before: bytes, after: bytes) -> bytes:
    """The unified diff of one file, in a notebook of each of its cells; nothing where nothing changes."""
    if before == after:
        return b""
    pairs = zip(opened(path, before).texts(), opened(path, after).texts(), strict=True)
    return b"".join(_diff(name, old, new) for (name, old), (_, new) in pairs)


def _diff(path: str, before: bytes, after: bytes) -> bytes:
    import difflib  # most runs need none

    name = os.fsencode(path.replace(os.sep, "/"))
    if b" " in name:
        name += b"\t"  # ends a name that has blanks
    lines = difflib.diff_bytes(difflib.unified_diff, _lines(before), _lines(after), name, name)
    return b"".join(line if line.endswith(b"\n") else line + UNFINISHED for line in lines)


def in_colour(text: bytes) -> list[Line]:
    """The same for a terminal."""
    lines = text.decode("utf-8", "backslashreplace").split("\n")
    return [[(line.replace("\r", "\u240d"), _style(line))] for line in lines[:-1]]


def _style(line: str) -> str:
    start = line[:3].encode("utf-8", "replace")
    return STYLES.get(start) or LINE_STYLES.get(start[:1], "")


def _lines(data: bytes) -> Sequence[bytes]:
    """The lines as patches know them: they end with a line feed, and with nothing else."""
    return [line for line in _with_ends(data.split(b"\n")) if line]


def _with_ends(parts: list[bytes]) -> Iterable[bytes]:
    yield from (part + b"\n" for part in parts[:-1])
    yield parts[-1]
