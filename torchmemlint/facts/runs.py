"""Whether a loop body or a function sets up a whole run: it makes the model it runs, or an optimizer.

A loop over such bodies is a loop over experiments, not over steps. May not look at names.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.evidence import evidence
from torchmemlint.facts.loop_contents import loops_of
from torchmemlint.facts.structure import Function, LoopNode
from torchmemlint.facts.values import Kind

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts


def builds_run(facts: FileFacts, scope: LoopNode | Function) -> bool:
    """Whether a scope directly binds a name to a newly made optimizer, or to a newly made module it then runs."""
    function = scope if isinstance(scope, Function) else facts.structure.function(scope)
    if function.is_module and isinstance(scope, Function):
        return False
    loops = loops_of(facts, function)
    for name, statement in (loops.outside if isinstance(scope, Function) else loops.of(scope)).made:
        kind = _kind(facts, function, name, statement)
        if kind is Kind.OPTIMIZER or (kind is Kind.MODULE and name in loops.called and not _wraps(facts, statement)):
            return True
    return False


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
