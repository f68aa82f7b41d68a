"""Where a report goes: to standard output or to the file asked for; what is said of the run, to standard error.

May not lint or decide what a report says.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TextIO

from torchmemlint.faces.frames import Line
from torchmemlint.faces.terminal import COLUMNS, Colour, looks, warn, write
from torchmemlint.settings import SettingsError


def deliver(asked: argparse.Namespace, report: str | Iterable[Line], aside: bool = False) -> None:
    """Writes a report; `aside` where standard output is for something else. Raises SettingsError."""
    if asked.output_file:
        with _opened(asked.output_file) as file:
            _put(report, io.TextIOWrapper(file, "utf-8", "backslashreplace", "\n", write_through=True), asked)
        return
    stream = sys.stderr if aside else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")  # a path or a line may not fit the terminal's encoding
    with _left_early(stream):
        _put(report, stream, asked)
        stream.flush()


def deliver_bytes(data: bytes, path: str | None = None) -> None:
    """Writes a text byte for byte. Raises SettingsError."""
    if path:
        with _opened(path) as file:
            file.write(data)
        return
    with _left_early(sys.stdout):
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        with open(path, "wb") as file:
            yield file
    except OSError as error:
        raise SettingsError(f"--output-file: {path}: {error.strerror}") from None


@contextmanager
def _left_early(stream: TextIO) -> Iterator[None]:
    """Whoever reads may have read enough; the exit status still counts."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def columns(asked: argparse.Namespace) -> int:
    """How wide the report may be."""
    return COLUMNS if asked.output_file else looks(sys.stdout).columns


def remark(asked: argparse.Namespace, lines: Iterable[Line]) -> None:
    """Says something about the run to whoever has not asked for silence."""
    if not asked.quiet:
        write(lines, sys.stderr, looks(sys.stderr, Colour(asked.color)))


def caution(asked: argparse.Namespace, message: str) -> None:
    """Warns of something that stops nothing."""
    if not asked.quiet:
        warn(message, "warning")


def _put(report: str | Iterable[Line], stream: TextIO, asked: argparse.Namespace) -> None:
    if isinstance(report, str):
        stream.write(report)
    else:
        write(report, stream, looks(stream, Colour(asked.color)))
