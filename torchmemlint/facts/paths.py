"""Access paths: `x`, `self.net.head`, `out['loss']` as plain strings, and how names are used on them."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field


def path_of(node: ast.expr) -> str | None:
    """The access path of an expression, or None where it is no name, attribute or constant subscript."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = path_of(node.value)
        return f"{base}.{node.attr}" if base is not None else None
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        base = path_of(node.value)
        return f"{base}[{node.slice.value!r}]" if base is not None else None
    return None


def root_of(node: ast.expr) -> str | None:
    """The name at the bottom of an attribute, subscript or call chain."""
    while True:
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Await)):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return None


def target_paths(target: ast.expr) -> Iterable[str]:
    """The paths that an assignment target binds."""
    if isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from target_paths(element)
    elif isinstance(target, ast.Starred):
        yield from target_paths(target.value)
    else:
        path = path_of(target)
        if path is not None:
            yield path


@dataclass
class Usage:
    """How one path is used in a body: methods called on it, and whether with arguments."""

    methods: dict[str, list[ast.Call]] = field(default_factory=dict)


def usages(calls: Iterable[ast.Call]) -> dict[str, Usage]:
    """Methods called on each path."""
    found: dict[str, Usage] = {}
    for call in calls:
        if isinstance(call.func, ast.Attribute):
            path = path_of(call.func.value)
            if path is not None:
                found.setdefault(path, Usage()).methods.setdefault(call.func.attr, []).append(call)
    return found
