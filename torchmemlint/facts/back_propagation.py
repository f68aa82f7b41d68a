"""What a function back-propagates, and whether a value is part of it.

May not know what is done with the answer.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.derivation import derived, kept_paths, read_paths
from torchmemlint.facts.memory import Table
from torchmemlint.facts.structure import Function, LoopNode

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts


@dataclass(frozen=True)
class Backwards:
    """The calls of backward in a loop or function: the paths that they start from, and whether one keeps its graph."""

    sources: frozenset[str]
    retains: bool


BACKWARDS: Table[LoopNode | Function, Backwards] = Table()
HANDS_BACK: Table[Function, bool] = Table()


def backwards(facts: FileFacts, scope: LoopNode | Function) -> Backwards:
    """What is back-propagated in a loop, or anywhere in a function."""
    table = facts.parsed.memory.table(BACKWARDS)
    if scope not in table:
        if isinstance(scope, Function):
            calls = [call for function in (scope, *scope.inner) for call in function.calls]
        else:
            calls = facts.structure.inside(scope).calls
        found = [call for call in calls if is_backward(facts, call)]
        sources = frozenset(path for call in found for path in sources_of(call))
        table[scope] = Backwards(sources, any(retains(call) for call in found))
    return table[scope]


def is_backward(facts: FileFacts, call: ast.Call) -> bool:
    """Whether a call back-propagates: `x.backward()`, `engine.backward(x)`, `torch.autograd.grad(x, ...)`."""
    func = call.func
    if isinstance(func, ast.Attribute) and func.attr in ("backward", "manual_backward"):
        return True
    return facts.names.dotted(func, facts.structure.function(call)) in (
        "torch.autograd.grad",
        "torch.autograd.backward",
    )


def retains(call: ast.Call) -> bool:
    return any(
        k.arg in ("retain_graph", "create_graph") and not (isinstance(k.value, ast.Constant) and not k.value.value)
        for k in call.keywords
    )


def sources_of(call: ast.Call) -> set[str]:
    """Paths that a backward call propagates from."""
    found = set(read_paths(call.func.value)) if isinstance(call.func, ast.Attribute) else set()
    for argument in call.args[:1]:
        found |= set(read_paths(argument))
    return found


def back_propagated(facts: FileFacts, function: Function, path: str) -> bool:
    """Whether the target, or anything computed from it, is back-propagated."""
    return not derived(facts, function, frozenset({path})).isdisjoint(backwards(facts, function).sources)


def freed_in(facts: FileFacts, loop: LoopNode, added: ast.expr, statement: ast.stmt) -> bool:
    """Whether the added value's graph is back-propagated in the same loop."""
    sources = backwards(facts, loop).sources
    mine = frozenset(read_paths(added))
    if mine & sources or (isinstance(added, ast.Call) and _freed_inside(facts, added)):
        return True
    function = facts.structure.function(statement)
    return bool(sources & derived(facts, function, mine)) or bool(mine & derived(facts, function, sources))


def _freed_inside(facts: FileFacts, call: ast.Call) -> bool:
    """Whether the called function back-propagates what it returns: a training step that hands its loss back."""
    target = facts.resolve(call)
    if target is None or not isinstance(target[1], Function):
        return False
    home, step = target[0], target[1]
    table = home.parsed.memory.table(HANDS_BACK)
    if step not in table:
        returned = {p for node in step.returns if node.value is not None for p in kept_paths(node.value)}
        table[step] = not returned.isdisjoint(backwards(home, step).sources)
    return table[step]
