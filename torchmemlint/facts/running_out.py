"""Which except handlers are about running out of device memory, and by what evidence.

By the class they name, or, for a wider class, by what they ask of the error.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.structure import Class, Function

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

OUT_OF_MEMORY = "OutOfMemoryError"
WIDE = frozenset({"builtins.RuntimeError", "builtins.Exception", "builtins.BaseException", "torch.AcceleratorError"})
PHRASE = "out of memory"


class About(enum.Enum):
    """How a handler relates to device memory running out."""

    NAMED = "named"  # it catches exactly that
    ASKED = "asked"  # it catches more and asks
    WIDE = "wide"  # it catches that too, among others
    OTHER = "other"  # it cannot catch it


def about(facts: FileFacts, handler: ast.ExceptHandler) -> About:
    """What a handler is about."""
    function = facts.structure.function(handler.body[0])
    names = set(_classes(facts, handler.type, function)) if handler.type is not None else {"builtins.BaseException"}
    if any(name.startswith("torch.") and name.endswith(OUT_OF_MEMORY) for name in names):
        return About.NAMED
    if not names & WIDE:
        return About.OTHER
    return About.ASKED if asks(facts, handler, function) else About.WIDE


def _classes(facts: FileFacts, node: ast.expr, function: Function) -> Iterator[str]:
    """Dotted names of the classes that a handler's type stands for, through names bound to tuples."""
    if isinstance(node, (ast.Tuple, ast.List)):
        for element in node.elts:
            yield from _classes(facts, element, function)
        return
    if isinstance(node, ast.BinOp):
        yield from _classes(facts, node.left, function)
        yield from _classes(facts, node.right, function)
        return
    dotted = facts.names.dotted(node, function)
    if dotted is not None:
        yield dotted
    if isinstance(node, ast.Name):
        scope: Function | None = function
        while scope is not None and node.id not in scope.bound:
            scope = scope.outer
        for binding in scope.bound[node.id] if scope is not None else ():
            if isinstance(binding, (ast.Assign, ast.AugAssign)) and not isinstance(binding.value, ast.Name):
                yield from _classes(facts, binding.value, function)


def asks(facts: FileFacts, handler: ast.ExceptHandler, function: Function) -> bool:
    """Whether a handler asks its error if memory ran out: by the message, the class, or a function that does."""
    for statement in handler.body:
        for node in subtree(statement):
            if isinstance(node, (ast.If, ast.IfExp, ast.Assert)) and _tells(facts, node.test, function):
                return True
            if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Compare, ast.BoolOp, ast.Call)):
                if _tells(facts, node.value, function) and not isinstance(node.value, ast.Call):
                    return True
    return False


def _tells(facts: FileFacts, test: ast.expr, function: Function) -> bool:
    for node in subtree(test):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and PHRASE in node.value.lower():
            return True
        if isinstance(node, (ast.Name, ast.Attribute)) and (facts.names.dotted(node, function) or "").endswith(
            OUT_OF_MEMORY
        ):
            return True
        if isinstance(node, ast.Call) and node in facts.structure.place_of and _asking_call(facts, node):
            return True
    return False


def _asking_call(facts: FileFacts, call: ast.Call) -> bool:
    if facts.has_effect(call, "tells_oom"):
        return True
    target = facts.resolve(call)
    return target is not None and isinstance(target[1], Function) and _tells_inside(target[0], target[1], 0)


def _tells_inside(facts: FileFacts, function: Function, depth: int) -> bool:
    """Whether a function knows about running out of memory: it says the phrase or names the class, or calls one."""
    for node in subtree(function.node):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and PHRASE in node.value.lower():
            return True
        if isinstance(node, (ast.Name, ast.Attribute)) and (facts.names.dotted(node, function) or "").endswith(
            OUT_OF_MEMORY
        ):
            return True
    if depth >= 2:
        return False
    for call in function.calls:
        target = facts.resolve(call)
        if target is not None and not isinstance(target[1], Class) and _tells_inside(target[0], target[1], depth + 1):
            return True
    return False
