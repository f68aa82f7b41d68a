"""What a function back-propagates, and which names hold values computed from which.

May not know what is done with the answer.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.facts.children import children, subtree
from torchmemlint.facts.paths import path_of, target_paths
from torchmemlint.facts.structure import Function, LoopNode

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

COLLECTING = frozenset({"append", "appendleft", "add", "insert", "extend"})


def backwards(facts: FileFacts, scope: LoopNode | Function) -> list[ast.Call]:
    """Calls of backward in a loop, or anywhere in a function."""
    function = scope if isinstance(scope, Function) else facts.structure.function(scope)
    found = [c for f in (function, *function.inner) for c in f.calls if is_backward(facts, c)]
    if isinstance(scope, Function):
        return found
    return [call for call in found if scope in facts.structure.place(call).loops()]


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
    return bool(derived(function, {path}) & set().union(*(sources_of(c) for c in backwards(facts, function)), set()))


def derived(function: Function, start: set[str]) -> set[str]:
    """Paths that hold values computed from these paths, through the function's assignments."""
    known = set(start)
    statements = [n for s in function.body for n in subtree(s)]
    for _ in range(3):
        before = len(known)
        for node in statements:
            if isinstance(node, (ast.Assign, ast.AugAssign)):
                if known & set(kept_paths(node.value)):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    known |= {p for target in targets for p in set(target_paths(target))}
            elif isinstance(node, ast.For) and known & set(kept_paths(node.iter)):
                known |= set(target_paths(node.target))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in COLLECTING:
                if any(known & set(kept_paths(a)) for a in node.args) and (p := path_of(node.func.value)) is not None:
                    known.add(p)
        if len(known) == before:
            break
    return known


def read_paths(node: ast.AST) -> Iterator[str]:
    """All paths read in an expression, with their prefixes."""
    for part in subtree(node):
        if isinstance(part, (ast.Name, ast.Attribute, ast.Subscript)):
            path = path_of(part)
            if path is not None:
                yield path


def kept_paths(node: ast.AST) -> Iterator[str]:
    """Paths whose graph survives in an expression: what is under `.item()` or `.detach()` does not."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("item", "detach", "tolist", "numpy") or node.func.attr in COLLECTING:
            return
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("float", "int", "len", "print")
    ):
        return
    if isinstance(node, ast.Compare):
        return
    if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        path = path_of(node)
        if path is not None:
            yield path
    for child in children(node):
        yield from kept_paths(child)


def freed_in(facts: FileFacts, loop: LoopNode, added: ast.expr, statement: ast.stmt) -> bool:
    """Whether the added value's graph is back-propagated in the same loop."""
    sources = set().union(*(sources_of(call) for call in backwards(facts, loop)), set())
    mine = set(read_paths(added))
    if mine & sources or (isinstance(added, ast.Call) and _freed_inside(facts, added)):
        return True
    function = facts.structure.function(statement)
    return bool(sources & derived(function, mine)) or bool(mine & derived(function, sources))


def _freed_inside(facts: FileFacts, call: ast.Call) -> bool:
    """Whether the called function back-propagates what it returns: a training step that hands its loss back."""
    target = facts.resolve(call)
    if target is None or not isinstance(target[1], Function):
        return False
    step = target[1]
    returned = {p for node in step.returns if node.value is not None for p in kept_paths(node.value)}
    return bool(returned & set().union(*(sources_of(c) for c in backwards(target[0], step)), set()))
