"""Files as they are on disk, in the units that consumers count in. Pure: the bytes are handed in."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from torchmemlint.document import NOTEBOOK_SUFFIX
from torchmemlint.faces.formats.line_hash import line_hashes
from torchmemlint.model import Edit, Position
from torchmemlint.source import BadFile, Source

Read = Callable[[str], bytes | None]


class Texts:
    """The lines of files, the last file remembered: findings of one file come one after the other."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._path: str | None = None
        self._data = b""
        self._lines: Sequence[str] = ()
        self._hashes: Sequence[str] | None = None

    def lines(self, path: str) -> Sequence[str]:
        """The lines with their ends; none where the file cannot be read."""
        self._open(path)
        return self._lines

    def line_hash(self, path: str, line: int) -> str:
        """GitHub's fingerprint of a line, "" where there is no such line."""
        self._open(path)
        if self._hashes is None:
            self._hashes = line_hashes(self._data.decode("utf-8", "replace"))  # whatever the file says it is in
        return self._hashes[line - 1] if 0 < line <= len(self._hashes) else ""

    def utf16_column(self, path: str, place: Position) -> int:
        """A column from 1 in UTF-16 code units."""
        return len(self._before(path, place).encode("utf-16-le", "surrogatepass")) // 2 + 1

    def utf8_column(self, path: str, place: Position) -> int:
        """A column from 1 in bytes of UTF-8."""
        return len(self._before(path, place).encode("utf-8", "surrogatepass")) + 1

    def inserted(self, path: str, edit: Edit) -> str:
        """The text of an edit with the line ends of the line that it begins on, or of the file's first."""
        lines = self.lines(path)
        plain = edit.text.replace("\r\n", "\n").replace("\r", "\n")
        here = lines[edit.span.start.line - 1 : edit.span.start.line]
        for line in (*here, *lines[:1]):
            if line.endswith(("\r", "\n")):
                return plain.replace("\n", line[len(line.rstrip("\r\n")) :])
        return plain

    def _before(self, path: str, place: Position) -> str:
        """The part of a line before a place; as many blanks where the line is not known."""
        lines = self.lines(path)
        if not 0 < place.line <= len(lines):
            return " " * place.column
        return lines[place.line - 1].rstrip("\r\n")[: place.column]

    def _open(self, path: str) -> None:
        if path == self._path:
            return
        data = self._read(path)
        self._path, self._data, self._hashes = path, data or b"", None
        self._lines = _split(path, self._data) if data is not None else ()


def _split(path: str, data: bytes) -> Sequence[str]:
    """Lines as whoever placed the findings counted them: a notebook's JSON knows no line end but LF."""
    notebook = path.endswith(NOTEBOOK_SUFFIX)
    if not notebook:
        try:
            return Source(path, data).lines
        except BadFile:
            pass
    return io.StringIO(data.decode("utf-8-sig", "replace"), newline="\n" if notebook else "").readlines()
