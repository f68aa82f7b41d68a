"""Where a report goes: to standard output or to the file asked for; what is said of the run, to standard error.

May not lint or decide what a report says.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from typing import TextIO

from torchmemlint.faces.frames import Line
from torchmemlint.faces.terminal import COLUMNS, Colour, looks, warn, write
from torchmemlint.settings import SettingsError


def deliver(asked: argparse.Namespace, report: str | Iterable[Line]) -> None:
    """Writes a report. Raises SettingsError where the file cannot be written."""
    if asked.output_file:
        try:
            with open(asked.output_file, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                _put(report, file, asked)
        except OSError as error:
            raise SettingsError(f"--output-file: {asked.output_file}: {error.strerror}") from None
        return
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path or a line may not fit the terminal's encoding
    try:
        _put(report, sys.stdout, asked)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has read enough; the exit status still counts
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
