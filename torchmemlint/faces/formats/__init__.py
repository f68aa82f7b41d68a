"""Reports for other programs: one pure function for each format, from the results of a run to text."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchmemlint.faces.formats.results import Results

_MODULES = {
    "github": "github",
    "gitlab": "gitlab",
    "junit": "junit",
    "rdjson": "rdjson",
    "sarif": "sarif",
}
"""Where each format is written, by the name that users give it."""

MACHINE = tuple(_MODULES)


def render(output_format: str, results: Results) -> str:
    """The report. The format's module is imported when it is asked for."""
    module = import_module(f"{__name__}.{_MODULES[output_format]}")
    function: Callable[[Results], str] = getattr(module, f"as_{output_format}")
    return function(results)
