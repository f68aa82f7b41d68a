"""What stands in each loop of a function, found by one walk over the function for all of its loops.

May not interpret anything.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Function, LoopNode

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts


@dataclass(frozen=True)
class Contents:
    """What stands in a loop, in the function's order; what loops further in make is theirs."""

    calls: list[ast.Call] = field(default_factory=list)
    loops: list[LoopNode] = field(default_factory=list)
    made: list[tuple[str, ast.Assign]] = field(default_factory=list)  # names bound by calls


@dataclass(frozen=True)
class Loops:
    """The loops of a function, what stands outside of them, and the paths that are called anywhere."""

    inside: dict[LoopNode, Contents]
    outside: Contents
    called: frozenset[str | None]

    def of(self, loop: LoopNode) -> Contents:
        """What stands in a loop."""
        return self.inside.get(loop, NOTHING)


NOTHING = Contents()
LOOPS_OF: Table[Function, Loops] = Table()


def loops_of(facts: FileFacts, function: Function) -> Loops:
    """The loops of a function and what stands in them, remembered."""
    table = facts.parsed.memory.table(LOOPS_OF)
    if function not in table:
        table[function] = _sorted_out(facts, function)
    return table[function]


def _sorted_out(facts: FileFacts, function: Function) -> Loops:
    place = facts.structure.place
    inside: dict[LoopNode, Contents] = {}
    outside = Contents()
    for call in function.calls:
        for loop in place(call).loops():
            inside.setdefault(loop, Contents()).calls.append(call)
    for other in function.loops:
        for loop in place(other).loops():
            if loop is not other:
                inside.setdefault(loop, Contents()).loops.append(other)
    for name, nodes in function.bound.items():
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                around = place(node).loops()
                holder = inside.setdefault(around[0], Contents()) if around else outside
                holder.made.append((name, node))
    return Loops(inside, outside, frozenset(path_of(call.func) for call in function.calls))
