"""Whether a loop body or a function sets up a whole run: it makes the model it runs, or an optimizer.

A loop over such bodies is a loop over experiments, not over steps. May not look at names.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.evidence import evidence
from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Function, LoopNode
from torchmemlint.facts.values import Kind

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts


MADE: Table[Function, dict[LoopNode | None, list[tuple[str, ast.Assign]]]] = Table()
CALLED: Table[Function, frozenset[str | None]] = Table()


def builds_run(facts: FileFacts, scope: LoopNode | Function) -> bool:
    """Whether a scope directly binds a name to a newly made optimizer, or to a newly made module it then runs."""
    function = scope if isinstance(scope, Function) else facts.structure.function(scope)
    if function.is_module and isinstance(scope, Function):
        return False
    run = _called(facts, function)
    for name, statement in _bindings(facts, function).get(None if isinstance(scope, Function) else scope, ()):
        kind = _kind(facts, function, name, statement)
        if kind is Kind.OPTIMIZER or (kind is Kind.MODULE and name in run and not _wraps(facts, statement)):
            return True
    return False


def _called(facts: FileFacts, function: Function) -> frozenset[str | None]:
    """The paths that a function calls."""
    table = facts.parsed.memory.table(CALLED)
    if function not in table:
        table[function] = frozenset(path_of(call.func) for call in function.calls)
    return table[function]


def _bindings(facts: FileFacts, function: Function) -> dict[LoopNode | None, list[tuple[str, ast.Assign]]]:
    """Names that a function binds by calls, under the innermost loop that the statement stands in."""
    table = facts.parsed.memory.table(MADE)
    if function not in table:
        found: dict[LoopNode | None, list[tuple[str, ast.Assign]]] = {}
        for name, nodes in function.bound.items():
            for node in nodes:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                    loops = facts.structure.place(node).loops()
                    found.setdefault(loops[0] if loops else None, []).append((name, node))
        table[function] = found
    return table[function]


def _kind(facts: FileFacts, function: Function, name: str, statement: ast.Assign) -> Kind:
    values = facts.evaluation(function).values
    for target in statement.targets:
        for node in subtree(target):
            if isinstance(node, ast.Name) and node.id == name and node in values:
                kind = values[node].kind
                if kind is not Kind.UNKNOWN:
                    return kind
    seen = evidence(facts, function).get(name)
    return seen.kind if seen is not None else Kind.UNKNOWN


def _wraps(facts: FileFacts, statement: ast.Assign) -> bool:
    """The new module is an old one in another dress: wrapped, unwrapped, moved, taken from an object."""
    inputs = [n for n in subtree(statement.value) if isinstance(n, (ast.Name, ast.Attribute))]
    return any(facts.value(node).kind is Kind.MODULE for node in inputs)
