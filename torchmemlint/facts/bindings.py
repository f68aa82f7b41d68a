"""The order in which a function binds its names, indexed once, for what a statement may find bound already.

Each question is answered from an index, not by a walk: a function may bind one name thousands of times. May not
know rules.
"""

from __future__ import annotations

import ast
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Block, Function
from torchmemlint.facts.values import UNKNOWN, Device, Kind, Value
from torchmemlint.source import Places

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

TOUCHED = frozenset({Kind.TENSOR, Kind.MODULE, Kind.UNKNOWN, Kind.OBJECT, Kind.CONTAINER, Kind.TUPLE})
STARTS: Table[Places, dict[ast.AST, tuple[int, int]]] = Table()


def begins(facts: FileFacts, node: ast.AST) -> tuple[int, int]:
    """Where a node starts, remembered: what orders nodes of one file."""
    known = facts.project.memory.table(STARTS).setdefault(facts.tree.places, {})
    if node not in known:
        start = facts.tree.places.span(node).start
        known[node] = start.line, start.column
    return known[node]


@dataclass(frozen=True)
class Bindings:
    """The bindings of one name in a function, but for parameters: where they start, in order."""

    starts: list[tuple[int, int]]
    touched: list[int]  # how many of the first so many may hold device memory

    def count(self, facts: FileFacts, statement: ast.stmt) -> tuple[int, int]:
        """How many may have run before a statement in the same pass, and how many of them may hold device memory.

        What stands in another arm of a condition around the statement has not run.
        """
        reached = self._at(facts, statement)
        found, held = reached, self.touched[reached]
        if not found:
            return 0, 0
        for place in facts.structure.place(statement).chain():
            if place.block is Block.ELSE and isinstance(place.node, ast.If):
                first, last = self._at(facts, place.node.body[0]), self._at(facts, place.node.orelse[0])
                found -= last - first
                held -= self.touched[last] - self.touched[first]
        return found, held

    def _at(self, facts: FileFacts, statement: ast.stmt) -> int:
        return bisect_left(self.starts, begins(facts, statement))


BINDINGS: Table[tuple[Function, str], Bindings] = Table()
ALIASES: Table[Function, dict[str, list[tuple[str, ast.Assign]]]] = Table()


def bindings_of(facts: FileFacts, function: Function, name: str) -> Bindings:
    """The bindings of a name in a function, remembered."""
    table = facts.project.memory.table(BINDINGS)
    if (function, name) not in table:
        nodes = [(begins(facts, node), node) for node in function.bound.get(name, ()) if not isinstance(node, ast.arg)]
        nodes.sort(key=lambda pair: pair[0])
        touched = accumulate((touches(_held_by(facts, node)) for _, node in nodes), initial=0)
        table[(function, name)] = Bindings([start for start, _ in nodes], list(touched))
    return table[(function, name)]


def touches(value: Value) -> bool:
    """Whether a value may be held in device memory."""
    return not on_host(value) and value.device is not Device.HOST and value.kind in TOUCHED


def on_host(value: Value) -> bool:
    """Whether a value, or each part of it, is known to be no tensor."""
    if value.kind is Kind.TUPLE:
        return all(map(on_host, value.parts))
    return value.kind is Kind.HOST


def binds_touched(facts: FileFacts, statement: ast.stmt) -> bool:
    """Whether what a statement binds may be held in device memory."""
    return touches(_held_by(facts, statement))


def _held_by(facts: FileFacts, binding: ast.AST) -> Value:
    value = binding.value if isinstance(binding, (ast.Assign, ast.AnnAssign, ast.AugAssign)) else None
    return facts.value(value) if value is not None else Value()


def alias_of(facts: FileFacts, function: Function, name: str, before: ast.stmt) -> str | None:
    """Another name of the function that was bound to the same object by plain assignment, and is not deleted itself."""
    table = facts.project.memory.table(ALIASES)
    if function not in table:
        table[function] = _aliases(function)
    known = table[function].get(name, ())
    return next((other for other, binding in known if begins(facts, binding) < begins(facts, before)), None)


def _aliases(function: Function) -> dict[str, list[tuple[str, ast.Assign]]]:
    found: dict[str, list[tuple[str, ast.Assign]]] = {}
    for other, bindings in function.bound.items():
        for binding in bindings if len(bindings) <= 2 else ():
            if isinstance(binding, ast.Assign) and isinstance(binding.value, ast.Name) and binding.value.id != other:
                found.setdefault(binding.value.id, []).append((other, binding))
    return found


class LastValues:
    """The values of a function's expressions by their paths, in the order they were worked out."""

    def __init__(self, values: dict[ast.expr, Value]) -> None:
        self.size = len(values)  # more may be worked out later
        self._order: dict[ast.expr, int] = {}
        self._of_path: dict[str | None, list[tuple[int, Value]]] = {}
        for at, (node, value) in enumerate(values.items()):
            self._order[node] = at
            if isinstance(node, (ast.Name, ast.Attribute)):
                self._of_path.setdefault(path_of(node), []).append((at, value))

    def before(self, target: ast.expr) -> Value:
        """The last value of a target's path: of all, or before the target's own value was worked out."""
        known = self._of_path.get(path_of(target), [])
        at = self._order.get(target, self.size)
        near = bisect_left(known, at, key=lambda pair: pair[0])
        return known[near - 1][1] if near else UNKNOWN
