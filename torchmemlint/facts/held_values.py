"""The statements of a function that put a tensor with a graph on an object or into one of its containers.

Knows assignments and growing calls, values, and which objects outlive a call. May not know when code runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Function
from torchmemlint.facts.values import UNKNOWN, Device, Grad, Kind, Value

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

GROWING = frozenset({"append", "extend", "add", "insert", "appendleft"})


@dataclass(frozen=True, eq=False)
class Held:
    """One value kept by one statement.

    `path` is what keeps it, `holder` its node (the attribute, not a subscript of it), `value_node` the
    expression stored, `grows` when a container gets one more; `certain` when the graph is no assumption.
    """

    path: str
    holder: ast.AST
    statement: ast.stmt
    value_node: ast.expr
    value: Value
    grows: bool
    certain: bool


def stored_values(facts: FileFacts, function: Function) -> Iterator[Held]:
    """What a function keeps on objects that outlive its call, in source order."""
    for statement in facts.structure.statements(function):
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                yield from _into(facts, function, statement, target, statement.value)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            yield from _grown(facts, function, statement, statement.value)


def _into(
    facts: FileFacts, function: Function, statement: ast.stmt, target: ast.expr, value: ast.expr
) -> Iterator[Held]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            yield from _into(facts, function, statement, part, value)
        return
    if _is_plain(function, value):
        return
    if isinstance(target, ast.Attribute) and outlives(facts, function, target):
        held = facts.evaluation(function).values.get(target, UNKNOWN)
        graph, certain = carries(facts, function, held, value)
        path = path_of(target)
        if graph and path is not None:
            yield Held(path, target, statement, value, held, False, certain)
    elif (
        isinstance(target, ast.Subscript)
        and isinstance(target.value, ast.Attribute)
        and outlives(facts, function, target.value)
    ):
        path = path_of(target.value)
        graph, certain = carries(facts, function, facts.value(value), value)
        if graph and path is not None and _container(facts, function, target.value):
            yield Held(path, target.value, statement, value, facts.value(value), False, certain)


def _is_plain(function: Function, value: ast.expr) -> bool:
    """Cheap to see: a constant, a text, a function, or an argument as it came, of which nothing is known."""
    if isinstance(value, ast.Name):
        return all(isinstance(b, ast.arg) for b in function.bound.get(value.id, [None]))
    return isinstance(value, (ast.Constant, ast.JoinedStr, ast.Lambda, ast.Compare)) or (
        isinstance(value, (ast.List, ast.Tuple, ast.Set)) and not value.elts
    )


def _grown(facts: FileFacts, function: Function, statement: ast.stmt, call: ast.Call) -> Iterator[Held]:
    func = call.func
    if not isinstance(func, ast.Attribute) or func.attr not in GROWING or not call.args:
        return
    holder = func.value
    if not isinstance(holder, ast.Attribute) or not outlives(facts, function, holder):
        return
    path, given = path_of(holder), call.args[-1]
    if _is_plain(function, given):
        return
    graph, certain = carries(facts, function, facts.value(given), given)
    if graph and path is not None and _container(facts, function, holder):
        yield Held(path, holder, statement, given, facts.value(given), True, certain)


def _container(facts: FileFacts, function: Function, holder: ast.Attribute) -> bool:
    """Whether an attribute is a plain container, of no fixed length."""
    value = facts.value(holder)
    if value.kind is not Kind.CONTAINER:
        own = facts.attribute(facts.instance(function.owner).ref, holder.attr) if function.owner is not None else None
        if own is None or own.kind is not Kind.CONTAINER:
            return False
    return True


def outlives(facts: FileFacts, function: Function, target: ast.Attribute) -> bool:
    """Whether the object at the bottom of a path lives longer than a call: the instance, or an object of the module."""
    root: ast.expr = target
    while isinstance(root, ast.Attribute):
        root = root.value
    if not isinstance(root, ast.Name):
        return False
    if root.id == function.self_name():
        return not _is_class_method(function)
    scope: Function | None = function
    while scope is not None and root.id not in scope.bound:
        scope = scope.outer
    if scope is None or not scope.is_module:
        return False
    return facts.evaluation(scope).environment.get(root.id, UNKNOWN).kind in (Kind.OBJECT, Kind.MODULE)


def _is_class_method(function: Function) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "classmethod" for d in function.decorators)


def carries(facts: FileFacts, function: Function, value: Value, node: ast.expr) -> tuple[bool, bool]:
    """Whether a value holds a graph, and whether that is known and not assumed."""
    if value.device is Device.HOST and value.grad is not Grad.GRAPH:
        return False, False
    if graph_in(value):
        return True, True
    if value.kind is Kind.TENSOR and value.grad is Grad.UNKNOWN and _is_differentiated(facts, function, node):
        return True, False
    return False, False


def graph_in(value: Value) -> bool:
    if value.kind is Kind.TENSOR:
        return value.grad is Grad.GRAPH
    if value.kind is Kind.CONTAINER and value.elem is not None:
        return graph_in(value.elem)
    return value.kind is Kind.TUPLE and any(graph_in(part) for part in value.parts)


def _is_differentiated(facts: FileFacts, function: Function, node: ast.expr) -> bool:
    """A module without weights, or a loss of `torch.nn.functional`: in a forward it is there to be differentiated."""
    if not isinstance(node, ast.Call):
        return False
    if facts.value(node.func).kind is Kind.MODULE:
        return True
    dotted = facts.names.dotted(node.func, function) or ""
    return dotted.startswith("torch.nn.functional.") and dotted.endswith(("_loss", "cross_entropy"))
