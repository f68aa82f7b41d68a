"""Which function to run so that a flagged place and what its fix changes both run. May not cut anything out."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runtime_verify.outline import first_line, is_main_guard, last_line
from torchmemlint.model import Edit, Position

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Target:
    """A function or method of a module: its dotted name and the line of its `def`."""

    name: str
    line: int


def entry(tree: ast.Module, place: Position, edits: Iterable[Edit]) -> str:
    """The dotted name of the function to run, "" for the module's body.

    The outermost function around the place. Where the fix changes another function only, one that the
    flagged one does not use, it is that one: what is let go of at the end of a step takes a whole step to see.
    """
    flagged = around(tree, place)
    if flagged is None:
        return ""
    changed = {target for edit in edits if (target := around(tree, edit.span.start)) is not None}
    if len(changed) != 1 or flagged in changed:
        return flagged.name
    other = changed.pop()
    return flagged.name if _uses(tree, flagged, other.name.rpartition(".")[2]) else other.name


def around(tree: ast.Module, place: Position) -> Target | None:
    """The outermost function around a place; None where the code runs with the module's body."""
    names: list[str] = []
    body: list[ast.stmt] = tree.body
    while True:
        node = next((one for one in body if first_line(one) <= place.line <= last_line(one)), None)
        if node is None or is_main_guard(node):
            return None
        if isinstance(node, _FUNCTIONS):
            begin = (first_line(node.body[0]), node.body[0].col_offset)
            inside = (place.line, place.column) >= begin
            return Target(".".join([*names, node.name]), node.lineno) if inside else None
        if isinstance(node, ast.ClassDef):
            names.append(node.name)
        body = list(_below(node))


def named(tree: ast.Module, function: str, near: int) -> Target | None:
    """A function by its dotted name, the one nearest to a line where there are several."""
    found = [target for target, _ in _functions(tree) if target.name == function]
    return min(found, key=lambda target: abs(target.line - near), default=None)


def _functions(tree: ast.Module) -> Iterator[tuple[Target, ast.stmt]]:
    """All functions and methods that stand in no other function."""
    waiting: list[tuple[ast.stmt, str]] = [(node, "") for node in tree.body]
    while waiting:
        node, prefix = waiting.pop()
        if isinstance(node, _FUNCTIONS):
            yield Target(f"{prefix}{node.name}", node.lineno), node
            continue
        below = f"{prefix}{node.name}." if isinstance(node, ast.ClassDef) else prefix
        waiting += [(inner, below) for inner in _below(node)]


def _uses(tree: ast.Module, target: Target, name: str) -> bool:
    """Whether a function speaks of a name, as such or as an attribute."""
    node = next(node for found, node in _functions(tree) if found == target)
    return any(
        (isinstance(part, ast.Name) and part.id == name) or (isinstance(part, ast.Attribute) and part.attr == name)
        for part in ast.walk(node)
    )


def _below(node: ast.stmt) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            yield from child.body
