"""A file as the linter sees it: its Python, and the way from places in that to places in the file.

A script is its own Python; a notebook has it in cells. May not read files, print, or know rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torchmemlint.model import Finding, Position
from torchmemlint.source import Source

NOTEBOOK_SUFFIX = ".ipynb"


@dataclass(frozen=True)
class BadCell:
    """A cell that is no Python: why, and where in the document's source."""

    number: int
    reason: str
    place: Position


class CannotWrite(Exception):
    """Why a change to a document's source cannot be one to its file."""


class Document(Protocol):
    """One file, opened."""

    @property
    def source(self) -> Source:
        """What is linted and fixed."""

    def placed(self, finding: Finding) -> Finding:
        """A finding in `source` as one in the file."""

    def standing(self, finding: Finding) -> Finding:
        """The way back: a finding in the file as one in `source`; its reasons stay as they are."""

    def lines(self, cell: int | None) -> Sequence[str]:
        """The lines that findings count: those of a cell, or of the file. Raises BadFile."""

    def fixable(self, source: Source, finding: Finding) -> Finding:
        """A finding in a source, this one or what fixes have made of it, without a fix that the file cannot take."""

    def with_source(self, data: bytes) -> bytes:
        """The file with this for its source, and all else as it is. Raises CannotWrite."""

    def texts(self) -> Sequence[tuple[str, bytes]]:
        """What people write in the file, each text with the name that places in it begin with."""

    def bad_cells(self) -> Sequence[BadCell]:
        """What keeps the source from being Python, where that can be told cell by cell."""

    def without(self, bad: Iterable[BadCell]) -> Document:
        """The same document with nothing in these cells."""


class Script:
    """A Python file."""

    def __init__(self, path: str, data: bytes) -> None:
        self.source = Source(path, data)

    def placed(self, finding: Finding) -> Finding:
        return finding

    def standing(self, finding: Finding) -> Finding:
        return finding

    def lines(self, cell: int | None) -> Sequence[str]:
        return self.source.lines

    def fixable(self, source: Source, finding: Finding) -> Finding:
        return finding

    def with_source(self, data: bytes) -> bytes:
        return data

    def texts(self) -> Sequence[tuple[str, bytes]]:
        return [(self.source.path, self.source.data)]

    def bad_cells(self) -> Sequence[BadCell]:
        return ()

    def without(self, bad: Iterable[BadCell]) -> Script:
        return self


def opened(path: str, data: bytes) -> Document:
    """The document in a file, by its name. Raises BadFile for a notebook that is none."""
    if not path.endswith(NOTEBOOK_SUFFIX):
        return Script(path, data)
    from torchmemlint.notebook.notebook import Notebook  # most runs meet none

    return Notebook(path, data)


def readable(path: str, data: bytes) -> Document:
    """The document without the cells that are no Python. Raises BadFile."""
    document = opened(path, data)
    return document.without(document.bad_cells())
