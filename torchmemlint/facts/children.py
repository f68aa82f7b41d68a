"""The parts of a node, found by a table of the fields that hold nodes: the one place that goes down a tree.

As `ast.iter_child_nodes` and `ast.walk` have them and in their order, without operators and contexts, which
nobody asks for. May not interpret anything.
"""

from __future__ import annotations

import ast

# Fields that hold no nodes, in whatever kind of node they stand, and in some kinds alone.
_PLAIN = {"ctx", "op", "ops", "id", "attr", "arg", "kind", "type_comment", "asname", "level", "module", "conversion"}
_PLAIN |= {"is_async", "simple", "rest", "kwd_attrs", "type_ignores", "str"}
_PLAIN_OF = {
    ("value", (ast.Constant, ast.MatchSingleton)),
    ("names", (ast.Global, ast.Nonlocal)),
    ("name", (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.alias)),
    ("name", (ast.MatchAs, ast.MatchStar)),
}


class _Fields(dict[type[ast.AST], tuple[str, ...]]):
    """The fields that can hold nodes, worked out once for each kind of node."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        plain = _PLAIN | {name for name, kinds in _PLAIN_OF if issubclass(kind, kinds)}
        self[kind] = found = tuple(name for name in kind._fields if name not in plain)
        return found


_FIELDS = _Fields()


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes right below a node."""
    found: list[ast.AST] = []
    for name in _FIELDS[type(node)]:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            found.append(value)
        elif isinstance(value, list):
            found += [item for item in value if item is not None]
    return found


def expressions(node: ast.AST) -> list[ast.expr]:
    """The expressions right below a node."""
    return [child for child in children(node) if isinstance(child, ast.expr)]


def subtree(node: ast.AST) -> list[ast.AST]:
    """A node and all below it, level by level."""
    found = [node]
    for part in found:  # which grows on the way
        for name in _FIELDS[type(part)]:
            value = getattr(part, name, None)
            if isinstance(value, ast.AST):
                found.append(value)
            elif isinstance(value, list):
                found += [item for item in value if item is not None]
    return found


def is_deep(node: ast.AST, limit: int) -> bool:
    """Whether more nodes than the limit are nested in one another."""
    level = [node]
    for _ in range(limit):
        level = [child for parent in level for child in children(parent)]
        if not level:
            return False
    return True
