"""What a hook keeps: the function behind a hook expression, and the tensors it was handed that it stores.

Follows names, methods, factories, `partial` and callable objects, also into other files. May not know
where hooks are registered.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.held_values import GROWING
from torchmemlint.facts.infer import Environment, Evaluation
from torchmemlint.facts.letting_go import BUILDERS, last_part, lettings_go, related
from torchmemlint.facts.paths import path_of, root_of
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import Device, Grad, Kind, Reason, Value, tensor

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAX_DEPTH = 3
MAX_FILES = 25
KEEPING = GROWING | {"update", "setdefault", "put", "put_nowait"}
WRITTEN_THROUGH = frozenset({"data", "grad"})  # an assignment to these copies or replaces; it keeps nothing of ours


@dataclass(frozen=True, eq=False)
class HookBody:
    """The function that runs as a hook, and how many of its first arguments somebody bound before."""

    facts: FileFacts
    function: Function
    bound: int = 0
    named: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Stored:
    """One tensor that a hook keeps: the node that does it, the stored expression, what it goes into."""

    facts: FileFacts
    function: Function
    node: ast.AST
    value: ast.expr
    path: str
    grows: bool
    handed: tuple[ast.expr, ...]  # what of it can be detached: none where tuples of tensors come as they are


def hook_body(facts: FileFacts, node: ast.expr, function: Function, depth: int = 0) -> HookBody | None:
    """The function of the project that a hook expression is."""
    if depth > MAX_DEPTH:
        return None
    if isinstance(node, ast.Lambda):
        return HookBody(facts, facts.structure.function_of[node])
    if isinstance(node, ast.Call):
        return _called(facts, node, function, depth)
    found = facts.function_named(node, function)
    if found is not None:
        return HookBody(*found)
    value = facts.value(node)
    if isinstance(node, ast.Attribute):
        receiver = facts.value(node.value)
        method = facts.method(receiver.ref, node.attr) if receiver.ref else None
        if isinstance(method, tuple):
            return HookBody(method[0], method[1])
    if value.kind is Kind.OBJECT and value.ref:
        method = facts.method(value.ref, "__call__")
        return HookBody(method[0], method[1]) if isinstance(method, tuple) else None
    if isinstance(node, ast.Name):
        bindings = [b for b in function.bound.get(node.id, ()) if isinstance(b, ast.Assign)]
        if len(bindings) == 1 and bindings[0].value is not node:
            return hook_body(facts, bindings[0].value, function, depth + 1)
    return None


def _called(facts: FileFacts, node: ast.Call, function: Function, depth: int) -> HookBody | None:
    if facts.names.dotted(node.func, function) == "functools.partial" and node.args:
        inner = hook_body(facts, node.args[0], function, depth + 1)
        if inner is None:
            return None
        names = frozenset(k.arg for k in node.keywords if k.arg is not None)
        return HookBody(inner.facts, inner.function, inner.bound + len(node.args) - 1, inner.named | names)
    target = facts.resolve(node)
    if target is None:
        return None
    home, made = target
    if isinstance(made, Class):
        method = home.method(made.key, "__call__")
        return HookBody(method[0], method[1]) if isinstance(method, tuple) else None
    for statement in made.returns:
        if statement.value is not None and not isinstance(statement.value, ast.Constant):
            return hook_body(home, statement.value, made, depth + 1)
    return None


def stored(body: HookBody, ends_in_output: bool) -> Iterator[Stored]:
    """The tensors handed to a hook that it puts, with their graph, where they outlive the call.

    `ends_in_output` says that the last argument is a module's output; all others come as tuples.
    """
    facts, function = body.facts, body.function
    params = [p for p in function.params if p.arg not in body.named]
    if function.owner is not None and not function.is_static():
        params = params[1:]
    handed = [p for p in params[body.bound + 1 :] if function.default(p.arg) is None]
    marks = {p: Reason("handed to the hook", p, facts.relative) for p in handed}
    given: Environment = {p.arg: tensor(Grad.GRAPH, Device.UNKNOWN, (mark,)) for p, mark in marks.items()}
    evaluation = Evaluation(facts, function, given, 0).run()
    tensors = {p.arg for p in handed[-1:] if ends_in_output}
    tuples = {p.arg for p in handed} - tensors
    for node, path, value, grows in _keepings(facts, function):
        found = evaluation.values.get(value)
        if found is not None and _holds(found, list(marks.values())):
            yield Stored(facts, function, node, value, path, grows, tuple(_detachable(value, tensors, tuples)))


def _detachable(value: ast.expr, tensors: set[str], tuples: set[str]) -> Iterator[ast.expr]:
    """The expressions to detach inside what is stored: itself, or the tensors of a display."""
    if isinstance(value, (ast.Tuple, ast.List)):
        for element in value.elts:
            yield from _detachable(element, tensors, tuples)
    elif isinstance(value, ast.Dict):
        for element in value.values:
            yield from _detachable(element, tensors, tuples)
    elif isinstance(value, ast.Name):
        if value.id in tensors or value.id not in tuples:
            yield value
    elif not isinstance(value, (ast.Constant, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.Lambda)):
        yield value


def _holds(value: Value, marks: list[Reason]) -> bool:
    """Whether a value is, or contains, something handed to the hook with its graph."""
    if value.kind is Kind.TENSOR:
        return value.grad is Grad.GRAPH and any(reason in marks for reason in value.why)
    if value.elem is not None:
        return _holds(value.elem, marks)
    return any(_holds(part, marks) for part in value.parts)


def _keepings(facts: FileFacts, function: Function) -> Iterator[tuple[ast.AST, str, ast.expr, bool]]:
    """Every node that puts a value into something that is not local to the function."""
    for statement in facts.structure.statements(function):
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            path = _outside(function, target)
            if path is not None:
                yield statement, path, statement.value, False
    for call in function.calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr in KEEPING and call.args:
            path = _outside(function, call.func.value, call=True)
            if path is not None:
                yield call, path, call.args[-1], call.func.attr in GROWING


def _outside(function: Function, target: ast.expr, call: bool = False) -> str | None:
    """The path of a target that lives on after the function returns."""
    holder = target
    while isinstance(holder, ast.Subscript):
        holder = holder.value
    root = root_of(holder)
    path = path_of(holder)
    if root is None or path is None or last_part(path) in WRITTEN_THROUGH:
        return None
    if isinstance(target, ast.Name) and not call:
        return path if root in function.globals else None
    bindings = function.bound.get(root, [])
    local = any(not isinstance(b, ast.arg) for b in bindings) and root not in function.globals
    return None if local else path


def lets_go(registering: FileFacts, body: HookBody, kept: Stored, arguments: list[str]) -> bool:
    """Whether anything but the hook itself empties what a hook fills, under its own name or as it was handed in."""
    names = {last_part(kept.path), *arguments}
    files = [body.facts, registering]
    name = last_part(kept.path)
    paths = [p for p in registering.project.mentioning(name) if p not in (body.facts.relative, registering.relative)]
    if len(paths) <= MAX_FILES:
        files.extend(f for f in map(registering.project.facts, paths) if f is not None)
    for facts in files:
        for which in names:
            for place in lettings_go(facts, which):
                if place.function is body.function or place.function.name in BUILDERS:
                    continue
                if which == name and place.on_self and not related(facts, place.function.owner, _owner(body, kept)):
                    continue
                if not _creates(facts, place.node, place.function, body, kept, registering):
                    return True
    return False


def _owner(body: HookBody, kept: Stored) -> Class | None:
    """The class whose instance a hook fills: that of the method it is, or stands in."""
    scope: Function | None = body.function
    while scope is not None:
        if scope.owner is not None and kept.path.split(".", 1)[0] == scope.self_name():
            return scope.owner
        scope = scope.outer
    return None


def _creates(
    facts: FileFacts, node: ast.AST, function: Function, body: HookBody, kept: Stored, registering: FileFacts
) -> bool:
    """`kept = []` before the hook is registered is where the container comes from, no release."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or any(
        isinstance(t, ast.Subscript) for t in getattr(node, "targets", [])
    ):
        return False
    if function.is_module:
        return True
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return isinstance(target, ast.Name) and target.id not in function.globals
