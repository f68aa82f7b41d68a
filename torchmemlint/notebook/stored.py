"""A notebook's JSON, with the place of every string that a code cell's source is made of.

The standard library decodes the values; only the way down to the sources is walked here, because decoded JSON
no longer knows where anything stood. May not read files, print, or know Python.
"""

from __future__ import annotations

import codecs
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from torchmemlint.model import Position
from torchmemlint.source import BadFile

MAX_BYTES = 100_000_000
_BLANKS = re.compile(r"[ \t\n\r]*")
_UNITS = re.compile(r"(?P<pair>\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w)|(?P<code>\\u\w{4}|\\.)|[^\\]+")


@dataclass(frozen=True)
class Piece:
    """One JSON string: what it says, and where its inside begins and ends in the file's text."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Cell:
    """A code cell. `number` counts all cells from 1; `start` and `end` enclose the JSON value of its source."""

    number: int
    pieces: tuple[Piece, ...]
    listed: bool
    start: int
    end: int

    @cached_property
    def text(self) -> str:
        """The cell's source."""
        return "".join(piece.text for piece in self.pieces)

    @cached_property
    def ends(self) -> list[int]:
        """Where each piece ends in the cell's source."""
        return list(accumulate(len(piece.text) for piece in self.pieces))


class Stored:
    """A notebook as it is stored. Raises BadFile for what is none."""

    def __init__(self, data: bytes) -> None:
        self.bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        self.text = _decoded(data)
        self.cells = _code_cells(self.text) if self.text.strip() else ()

    def place(self, offset: int) -> Position:
        """An offset into the text as a line and column of the file."""
        return Position(self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset) - 1)

    def offset(self, cell: Cell, index: int, end: bool = False) -> int:
        """Where a character of a cell's source stands in the text; with `end` what is right behind the one before."""
        if not cell.pieces:
            return cell.start
        number = bisect_right(cell.ends, index - end)
        number = min(number, len(cell.pieces) - 1)
        piece = cell.pieces[number]
        rest = index - (cell.ends[number] - len(piece.text))
        return piece.start + _encoded_length(self.text[piece.start : piece.end], rest)


def _encoded_length(raw: str, characters: int) -> int:
    """How much of the inside of a JSON string stands for so many characters."""
    if "\\" not in raw:
        return min(characters, len(raw))
    at = 0
    for unit in _UNITS.finditer(raw):
        if characters <= 0:
            break
        escaped = unit.lastgroup is not None
        at = unit.end() if escaped else unit.start() + min(characters, unit.end() - unit.start())
        characters -= 1 if escaped else unit.end() - unit.start()
    return at


def _decoded(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise BadFile(f"notebook is larger than {MAX_BYTES // 1_000_000} MB")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadFile("notebook is not valid utf-8", line) from error


def _code_cells(text: str) -> tuple[Cell, ...]:
    """The cells whose code is Python. Raises BadFile."""
    try:
        notebook = _Walk(text).notebook()
    except json.JSONDecodeError as error:
        raise BadFile(f"not valid JSON: {error.msg}", error.lineno, error.colno - 1) from None
    except RecursionError:
        raise BadFile("the notebook's JSON is nested too deeply") from None
    if not isinstance(notebook, dict) or not isinstance(cells := _cells(notebook), list):
        raise BadFile("not a notebook: its JSON has no list of cells")
    if not _speaks_python(notebook.get("metadata")):
        return ()
    found = []
    for number, cell in enumerate(cells, 1):
        if isinstance(cell, dict) and cell.get("cell_type") == "code" and _is_python(cell):
            source = cell.get("source", cell.get("input"))
            if isinstance(source, _Source):
                found.append(Cell(number, source.pieces, source.listed, source.start, source.end))
    return tuple(found)


def _cells(notebook: Mapping[str, Any]) -> Any:
    """All cells; before format 4 they were kept by worksheet."""
    sheets = notebook.get("worksheets")
    if "cells" not in notebook and isinstance(sheets, list):
        lists = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
        return [cell for cells in lists if isinstance(cells, list) for cell in cells]
    return notebook.get("cells")


def _speaks_python(metadata: Any) -> bool:
    """Whether the kernel is one of Python's; where the notebook does not say, it is."""
    kernel, language = _member(metadata, "kernelspec"), _member(metadata, "language_info")
    said = _member(language, "name") or _member(kernel, "language")
    if isinstance(said, str):
        return "python" in said.lower()
    name = _member(kernel, "name")
    return not (isinstance(name, str) and (name == "ir" or name.startswith("julia")))


def _is_python(cell: Mapping[str, Any]) -> bool:
    """Whether a single cell is in no other language, as format 3 and VS Code allow."""
    said = _member(_member(cell.get("metadata"), "vscode"), "languageId") or cell.get("language")
    return not isinstance(said, str) or said.lower() == "python"


def _member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


@dataclass(frozen=True)
class _Source:
    pieces: tuple[Piece, ...]
    listed: bool
    start: int
    end: int


class _Walk:
    """Down a JSON text to the sources; whatever lies beside the way is decoded as a whole. Raises JSONDecodeError."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._decoder = json.JSONDecoder(parse_int=float)  # int() refuses thousands of digits

    def notebook(self) -> Any:
        sheet = {"cells": self._cells}
        made = self._object({**sheet, "worksheets": lambda: self._array(lambda: self._object(sheet))})
        if self._next():
            raise json.JSONDecodeError("Extra data", self._text, self._at)
        return made

    def _cells(self) -> Any:
        return self._array(lambda: self._object({"source": self._source, "input": self._source}))

    def _source(self) -> Any:
        start, listed = self._at, self._next() == "["
        found = self._array(self._piece) if listed else [self._piece()]
        if all(isinstance(piece, Piece) for piece in found):
            return _Source(tuple(found), listed, start, self._at)
        return None

    def _piece(self) -> Any:
        start = self._at
        value = self._value()
        return Piece(value, start + 1, self._at - 1) if isinstance(value, str) else value

    def _object(self, readers: Mapping[str, Callable[[], Any]]) -> Any:
        if self._next() != "{":
            return self._value()
        made: dict[str, Any] = {}
        self._take("{")
        while self._next() != "}":
            if made:
                self._take(",")
            self._next()
            if (key := self._value()) is None or not isinstance(key, str):
                raise json.JSONDecodeError("Expecting property name enclosed in double quotes", self._text, self._at)
            self._next()
            self._take(":")
            self._next()
            made[key] = readers.get(key, self._value)()
        self._take("}")
        return made

    def _array(self, reader: Callable[[], Any]) -> Any:
        if self._next() != "[":
            return self._value()
        made: list[Any] = []
        self._take("[")
        while self._next() != "]":
            if made:
                self._take(",")
                self._next()
            made.append(reader())
        self._take("]")
        return made

    def _value(self) -> Any:
        value, self._at = self._decoder.raw_decode(self._text, self._at)
        return value

    def _next(self) -> str:
        """The next character that is no blank, "" at the end."""
        blanks = _BLANKS.match(self._text, self._at)
        self._at = blanks.end() if blanks else self._at
        return self._text[self._at : self._at + 1]

    def _take(self, sign: str) -> None:
        if not self._text.startswith(sign, self._at):
            raise json.JSONDecodeError(f"Expecting '{sign}' delimiter", self._text, self._at)
        self._at += len(sign)
