"""What is to be verified, as plain values: two sliced programs, the place to look at, the effect claimed.

A case is JSON and back, so it can be planned on one machine and run on another. May not import torch.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torchmemlint.model import Applicability, Direction, Effect, Metric, Scene


@dataclass(frozen=True)
class Module:
    """One module of the user's, cut down to what the flagged code needs.

    name     dotted name under which the project imports it.
    path     the file, as the user calls it.
    text     the file's text with what is not needed blanked, so that line numbers stay the file's own.
    package  whether it is an `__init__.py`.
    """

    name: str
    path: str
    text: str
    package: bool = False


@dataclass(frozen=True)
class Program:
    """One variant of the user's code, and where to look while it runs.

    modules   the flagged module first, then those that it imports.
    function  dotted name, within the first module, of the outermost function around the flagged line
              ("Trainer.step"), or of the one that leads to it where only that one was fixed ("Decoder.forward"
              for a line in `decode`); "" to run the module's body as a script.
    mark      line (from 1) of the flagged statement; where the fix removed it, of what now stands in its place.
    kept      whether the flagged statement is still there.
    graphs    parameters of the function that carry a graph, as the finding's reasons say: the premise of its claim.
    """

    modules: tuple[Module, ...]
    function: str
    mark: int
    kept: bool = True
    graphs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A finding made ready to run.

    key     hash of both programs and the effect: what evidence is filed under.
    besides how many fixes of other findings of the same effect, in the same function, both programs have: what several
            statements hold, none of them holds alone.
    line    the flagged line in the user's file, column counted from 0 code points.
    """

    key: str
    code: str
    name: str
    path: str
    line: int
    column: int
    message: str
    effect: Effect
    fix_title: str
    applicability: Applicability
    original: Program
    fixed: Program
    besides: int = 0


class Unplanned(Exception):
    """A finding that no case can be made of; the message is the reason in plain words, `code` its short form."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def as_json(case: Case) -> dict[str, Any]:
    """The case as JSON values."""
    plain: dict[str, Any] = _plain(asdict(case))
    return plain


def from_json(data: Mapping[str, Any]) -> Case:
    """The case that `as_json` wrote. Raises KeyError or ValueError for anything else."""
    effect = data["effect"]
    return Case(
        **{
            **data,
            "effect": Effect(
                Metric(effect["metric"]),
                Direction(effect["direction"]),
                effect["least"],
                effect["relative"],
                tuple(Metric(name) for name in effect["also"]),
                Scene(effect["scene"]),
            ),
            "applicability": Applicability(data["applicability"]),
            "original": program_from_json(data["original"]),
            "fixed": program_from_json(data["fixed"]),
        }
    )


def program_from_json(data: Mapping[str, Any]) -> Program:
    """The program within a case's JSON."""
    modules = tuple(Module(**module) for module in data["modules"])
    return Program(modules, data["function"], data["mark"], data["kept"], tuple(data["graphs"]))


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
