"""`%torchmemlint` and `%%torchmemlint`: the cells of a running IPython session, linted as one notebook.

IPython hands itself over when the extension is loaded and is not imported. May not run or change cells.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from torchmemlint.faces.options import flags, parse
from torchmemlint.faces.terminal import looks, warn, write
from torchmemlint.model import Finding
from torchmemlint.settings import SettingsError

NAME = "session.ipynb"
FORMATS = ("text", "concise")
TAKEN = ("select", "extend_select", "ignore", "severity", "min_confidence", "config", "isolated", "output_format")


def register(shell: Any) -> None:
    """Adds the magics to an IPython shell."""
    session = Session(shell)
    shell.events.register("post_run_cell", session.after_cell)
    shell.register_magic_function(session.line, "line", "torchmemlint")
    shell.register_magic_function(session.cell, "cell", "torchmemlint")


class Session:
    """What has been run in a shell. A cell that is run again takes the place of what it was before."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._latest: dict[str, int] = {}
        self._replaced: set[int] = set()

    def after_cell(self, result: Any) -> None:
        """Front ends that name their cells say which one has been run again."""
        name = getattr(result.info, "cell_id", None)
        if name and result.info.store_history:
            if name in self._latest:
                self._replaced.add(self._latest[name])
            self._latest[name] = len(self._typed)

    def line(self, arguments: str = "") -> None:
        """%torchmemlint [FLAGS]: lint the cells that have been run; `cell 3` is In[3]."""
        _report(self._run(), arguments, None)

    def cell(self, arguments: str, text: str) -> None:
        """%%torchmemlint [FLAGS]: lint this cell, below those that have been run, instead of running it."""
        cells = self._run()
        if cells and text.strip() in cells[-1]:
            cells.pop()  # this one
        _report([*cells, f"#\n{text}"], arguments, len(cells) + 1)

    @property
    def _typed(self) -> list[str]:
        """The cells as they were typed, the present one among them."""
        return list(self._shell.history_manager.input_hist_raw)[1:]

    def _run(self) -> list[str]:
        """The cells by number, with nothing where one counts no longer."""
        last = {text: number for number, text in enumerate(self._typed, 1)}
        return [
            text if last[text] == number and number not in self._replaced else ""
            for number, text in enumerate(self._typed, 1)
        ]


def _report(cells: Sequence[str], arguments: str, only: int | None) -> None:
    """Prints what is found in the cells, or in one of them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python's parser thinks of the user's escapes is no message of ours
            _tell(_notebook(cells), arguments, only)
    except SettingsError as error:
        warn(str(error))


def _tell(data: bytes, arguments: str, only: int | None) -> None:
    from torchmemlint.disk import Target
    from torchmemlint.faces.check import Checker, Choice
    from torchmemlint.faces.excerpts import Excerpts
    from torchmemlint.faces.explain import once
    from torchmemlint.faces.full import full
    from torchmemlint.faces.report import concise, summary

    asked = _asked(arguments)
    checker = Checker(Choice(flags(asked), asked.config, asked.isolated, os.getcwd()))
    found = [one for one in checker.check(Target(os.path.abspath(NAME), NAME), data) if only in (None, one.cell)]

    def about(finding: Finding) -> list[tuple[str, str]]:
        return once(finding.code, scaled=True)

    if asked.output_format == "concise":
        write(concise(found), sys.stdout)
    else:
        write([*full(found, Excerpts(data), looks(sys.stdout).columns, about=about), summary(found, 1)], sys.stdout)


def _asked(arguments: str) -> argparse.Namespace:
    """The flags of a magic. Raises SettingsError for what it does not do."""
    try:
        asked = parse(shlex.split(arguments))
    except ValueError as error:
        raise SettingsError(f"{arguments}: {error}") from None
    if asked.paths:
        raise SettingsError(f"%torchmemlint lints cells; for files: !torchmemlint {' '.join(asked.paths)}")
    usual = vars(parse([]))
    given = [name for name, value in vars(asked).items() if value != usual[name]]
    if "output_format" in given and asked.output_format not in FORMATS:
        raise SettingsError(f"%torchmemlint: --output-format: {asked.output_format} is none of {', '.join(FORMATS)}")
    if wrong := [_flag(name) for name in given if name not in TAKEN]:
        raise SettingsError(f"%torchmemlint does not take {wrong[0]}, only {', '.join(map(_flag, TAKEN))}")
    return asked


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _notebook(cells: Sequence[str]) -> bytes:
    """The cells as the file that they would be saved in."""
    made = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": text} for text in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()
