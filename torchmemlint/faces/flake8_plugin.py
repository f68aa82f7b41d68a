"""The flake8 plugin: the command line's findings at the user's settings. Thin; may not fail, nor import anything heavy.

flake8 imports this module on every run, also in projects without torch, and loses the whole run when a
plugin raises. So the linter is imported at the first file, and every failure becomes a TML000.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from torchmemlint import __version__

if TYPE_CHECKING:
    from torchmemlint.faces.adopting import Baselines
    from torchmemlint.faces.check import Checker, Choice
    from torchmemlint.model import Finding

Row = tuple[int, int, str, type[Any]]
STDIN = ("-", "stdin", "<stdin>")
OPT_IN = "TML9"


class Plugin:
    """The rules that are on by default or by `[tool.torchmemlint]`, without the opt-in ones."""

    name = "torchmemlint"
    version = __version__
    off_by_default: ClassVar[bool] = False
    extra_flags: ClassVar[dict[str, object]] = {}

    _given: ClassVar[dict[str, Any]] = {}
    _checkers: ClassVar[dict[type[Plugin], tuple[Checker, Baselines]]] = {}

    def __init__(self, tree: ast.AST, filename: str = "-", lines: Iterable[str] = ()) -> None:
        self._filename = filename
        self._lines = list(lines)

    @classmethod
    def add_options(cls, manager: Any) -> None:
        """Adds our options to flake8's, once: a second registration of the plugin would end the run."""
        known = {getattr(option, "long_option_name", None) for option in manager.options}
        for flag, help_text in (
            ("--torchmemlint-config", "configuration file of torchmemlint (default: the nearest of each file)"),
            ("--torchmemlint-min-confidence", "least confidence to report: low, medium or high"),
        ):
            if flag not in known:
                manager.add_option(flag, default="", parse_from_config=True, help=help_text)

    @classmethod
    def parse_options(cls, options: Any) -> None:
        """Remembers what was said; called once a process, before any file."""
        Plugin._given = {
            "config": options.torchmemlint_config,
            "min-confidence": options.torchmemlint_min_confidence,
            "noqa": not options.disable_noqa,
            "isolated": bool(getattr(options, "isolated", False)),
            "paths": list(getattr(options, "filenames", None) or []),
        }
        Plugin._checkers.clear()

    def run(self) -> Iterator[Row]:
        """Rows of line, column from 0, text and plugin, sorted and each once."""
        try:
            rows = sorted({_row(finding) for finding in self._findings()})
        except Exception as error:
            rows = [(1, 0, f"TML000 internal error: {type(error).__name__}: {' '.join(str(error).split())}")]
        for line, column, text in rows:
            yield line, column, text, type(self)

    def _findings(self) -> list[Finding]:
        from torchmemlint.disk import Target

        checker, baselines = self._checker()
        on_disk = self._filename not in STDIN
        shown = os.path.normpath(self._filename) if on_disk else "-"
        target = Target(os.path.abspath(shown), shown) if on_disk else Target("-", "-")
        findings = checker.check(target, _bytes(target.path, self._lines), Plugin._given.get("noqa", True))
        return [one for one in baselines.new(target, findings) if self._mine(one.code)]

    def _mine(self, code: str) -> bool:
        return not code.startswith(OPT_IN)

    def _checker(self) -> tuple[Checker, Baselines]:
        from torchmemlint.faces.adopting import Baselines
        from torchmemlint.faces.check import Checker

        kind = type(self)
        if kind not in Plugin._checkers:
            checker = Checker(self._choice())
            Plugin._checkers[kind] = checker, Baselines(checker)
        return Plugin._checkers[kind]

    def _choice(self) -> Choice:
        from torchmemlint.disk import common_folder
        from torchmemlint.faces.check import Choice

        flags = dict(self.extra_flags)
        if Plugin._given.get("min-confidence"):
            flags["min-confidence"] = Plugin._given["min-confidence"]
        paths = [path for path in Plugin._given.get("paths", ()) if path not in STDIN] or ["."]
        config = Plugin._given.get("config", "")
        isolated = Plugin._given.get("isolated", False) and not config
        return Choice(flags, config, isolated, common_folder(paths))


class OptInPlugin(Plugin):
    """The opt-in rules, behind `--enable-extensions TML9`."""

    name = "torchmemlint-opt-in"
    off_by_default: ClassVar[bool] = True
    extra_flags: ClassVar[dict[str, object]] = {"extend-select": [OPT_IN]}

    def _mine(self, code: str) -> bool:
        return code.startswith(OPT_IN)


def _row(finding: Finding) -> tuple[int, int, str]:
    start = finding.in_file.start  # flake8 knows no cells: of a notebook it shows the lines of the JSON
    inside = f" ({finding.where.removeprefix(finding.path)[1:]})" if finding.cell is not None else ""
    return start.line, start.column, f"{finding.code} {' '.join(finding.message.split())}{inside}"


def _bytes(path: str, lines: list[str]) -> bytes:
    """The file's own bytes where they say what flake8 read, else what flake8 read (an editor's buffer)."""
    from torchmemlint.disk import read_bytes
    from torchmemlint.source import BadFile, Source, as_bytes

    text = "".join(lines)
    data = read_bytes(path) if path not in STDIN else None
    if data is not None:
        try:
            on_disk = Source(path, data).text
        except BadFile:
            on_disk = data.decode("latin-1")  # flake8's own way out
        if _plain(on_disk) == _plain(text):
            return data
    return as_bytes(text)


def _plain(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
