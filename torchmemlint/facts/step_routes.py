"""How step code reaches a place: from a framework's hot method, a training step or a hot loop, through calls.

A route is the list of points on the way, innermost first. May not know why anybody asks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.grad_mode import GradMode, mode_at
from torchmemlint.facts.heat import Heat
from torchmemlint.facts.hot import hot_function
from torchmemlint.facts.library import library
from torchmemlint.facts.project import TooManyCallers
from torchmemlint.facts.reach import last_name
from torchmemlint.facts.structure import Function
from torchmemlint.facts.values import Reason

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAX_HOPS = 3
MAX_FILES = 12
MAX_CALLS = 12

Point = tuple["FileFacts", Function, ast.AST]


@dataclass(frozen=True)
class Route:
    """A way from step code to a place: the points (the place itself first), and why the last function is step code.

    `module` when the step code is a method that a framework calls every step.
    """

    points: tuple[Point, ...]
    why: Reason
    module: bool

    @property
    def entry(self) -> Function:
        """The function in which the step begins."""
        return self.points[-1][1]


def routes(facts: FileFacts, function: Function, node: ast.AST, hops: int = 0) -> Iterator[Route]:
    """Ways in which step code reaches a node; each with grad on as far as can be seen."""
    point: Point = (facts, function, node)
    if mode_at(facts, node) is GradMode.OFF:
        return
    found = step_reason(facts, function, node)
    if found is not None:
        yield Route((point,), *found)
    if hops >= MAX_HOPS or function.is_module or (found is not None and found[1]):
        return
    for other, call in _callers(facts, function):
        outer = other.structure.function(call)
        if outer is function:
            continue
        for route in routes(other, outer, call, hops + 1):
            yield Route((point, *route.points), route.why, route.module)


def may_be_step_code(facts: FileFacts) -> set[Function]:
    """The functions of a file that step code can reach at all, by what is cheap to see.

    Methods of modules, functions that go backward or loop, and what these call by name in this file.
    """
    found: set[Function] = set()
    for function in facts.structure.functions:
        if function.is_module:
            continue
        steps = any(isinstance(c.func, ast.Attribute) and "backward" in c.func.attr for c in function.calls)
        loops = any(not isinstance(loop, ast.comprehension) for loop in function.loops)
        if steps or loops or (function.owner is not None and _is_framework_class(facts, function)):
            found.add(function)
    by_name: dict[str, list[Function]] = {}
    for function in facts.structure.functions:
        by_name.setdefault(function.name, []).append(function)
    level = set(found)
    for _ in range(MAX_HOPS):
        names = {last_name(call) for function in level for call in function.calls}
        level = {f for name in names for f in by_name.get(name, ())} - found
        found |= level
    return found


def _is_framework_class(facts: FileFacts, function: Function) -> bool:
    """Whether the class derives from one whose methods a library calls every step."""
    assert function.owner is not None
    names = [base for base in facts.lineage(function.owner) if isinstance(base, str)]
    return any(library().klass(name) is not None or library().is_subclass(name, "torch.nn.Module") for name in names)


def step_reason(facts: FileFacts, function: Function, node: ast.AST) -> tuple[Reason, bool] | None:
    """Why a place runs every step by itself, and whether a framework says so."""
    found = repeated_reason(facts, function, node)
    if found is not None:
        return found
    pulse = facts.heat.pulse(function)
    if pulse.trains is not None and not function.is_module and not facts.structure.place(node).loops():
        return Reason(f"`{function.qualname}` runs a training step", pulse.trains, facts.relative), False
    return None


def repeated_reason(facts: FileFacts, function: Function, node: ast.AST) -> tuple[Reason, bool] | None:
    """Why a place certainly runs again and again: a framework's hot method, or a hot loop around it."""
    hot = hot_function(facts, function)
    if hot is not None:
        return hot, True
    for loop in facts.structure.place(node).loops():
        heat = facts.heat.of(loop)
        if heat.heat is Heat.HOT:
            return heat.why, False
    return None


def _callers(facts: FileFacts, function: Function) -> Iterator[tuple[FileFacts, ast.Call]]:
    """Calls of a function: those of its file, and of others where its name is rare enough to look."""
    own = list(facts.calls_to(function, function.name))[:MAX_CALLS]
    yield from own
    if function.name.startswith("__") or len(facts.project.mentioning(function.name)) > MAX_FILES:
        return
    try:
        found = [(f, c) for f, c in facts.project.callers(function, facts) if f is not facts]
    except TooManyCallers:
        return
    yield from found[:MAX_CALLS]
