"""The lines that findings speak of, for reports that show them. May not lint or print."""

from __future__ import annotations

from collections.abc import Sequence

from torchmemlint.disk import read_bytes
from torchmemlint.document import Document, opened
from torchmemlint.source import BadFile


class Excerpts:
    """The lines of a file, or of a cell of it; none where it cannot be read. The last file is remembered."""

    def __init__(self, standard_input: bytes | None) -> None:
        self._standard_input = standard_input
        self._path = ""
        self._document: Document | None = None

    def __call__(self, path: str, cell: int | None) -> Sequence[str]:
        try:
            if path != self._path:
                self._path, self._document = path, None
                data = read_bytes(path) if self._standard_input is None else self._standard_input
                self._document = opened(path, data or b"")
            return self._document.lines(cell) if self._document is not None else ()
        except BadFile:
            return ()
