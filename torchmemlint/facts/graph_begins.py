"""Whether a walk over a function can meet the beginning of a graph at all: asked first, since most cannot.

A graph begins at a forward, or at a call into the project whose callee returns the graph of a forward. What is
left out here is what `graph_calls` lets begin nothing either; nothing else may be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmemlint.facts.forwards import forward_of
from torchmemlint.facts.grad_mode import GradMode, mode_at
from torchmemlint.facts.graph_walks import MAX_DEPTH
from torchmemlint.facts.memory import Table
from torchmemlint.facts.structure import Function

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAY_BEGIN: Table[tuple[Function, int], bool] = Table()


def may_begin(facts: FileFacts, function: Function, depth: int = 0) -> bool:
    """Whether some call of a function may be where a graph begins, for a walk at this depth."""
    if depth > MAX_DEPTH:
        return False
    table = facts.project.memory.table(MAY_BEGIN)
    key = (function, depth)
    if key not in table:
        table[key] = any(forward_of(facts, call) is not None for call in function.calls) or any(
            _hands_back(target[0], target[1], depth + 1)
            for call in function.calls
            if mode_at(facts, call) not in (GradMode.OFF, GradMode.MAYBE)
            and (target := facts.resolve(call)) is not None
            and isinstance(target[1], Function)
        )
    return table[key]


def _hands_back(facts: FileFacts, function: Function, depth: int) -> bool:
    """Whether a callee may return the graph of a forward inside it."""
    returns = function.name == "<lambda>" or any(node.value is not None for node in function.returns)
    return returns and not function.yields and may_begin(facts, function, depth)
