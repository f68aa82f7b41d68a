"""Rewrites the user's code so that every step of it that can fail goes through the runtime. Pure: syntax to syntax.

Values of the user's keep their true meaning: the runtime tries the true operation first. Lines stay the file's.
"""

from __future__ import annotations
import __future__

import ast
from types import CodeType

from runtime_verify.worker.rewriting import Rewriter
from runtime_verify.worker.sites import DEFS, Place, Sites, place_of, slice_lines
from runtime_verify.worker.steering import Steering, close_handlers, steer


def instrumented(
    text: str, path: str, function: str = "", mark: int = 0, kept: bool = True, exhausting: bool = False
) -> tuple[CodeType, Sites]:
    """Code for a module, and its sites. `mark` 0: the flagged line is not in it. Raises SyntaxError."""
    tree = ast.parse(text, path)
    sites = Sites(path)
    place = place_of(tree, mark) if mark else None
    attempt = _attempt(place) if place is not None and exhausting else None
    behind = place is not None and attempt is not None and not any(node is attempt for node in place.path)
    free = frozenset(_flags(place, attempt)) if behind and place and attempt else frozenset()
    steering = steer(place, free) if place is not None else Steering()
    if attempt is not None:
        steering.raising.clear()
        if behind:
            close_handlers(attempt, steering)
    marks = _marks(place, kept) if place is not None else {}
    target = _target(tree, function) if function else None
    _slice(tree, sites, place, target, kept)
    Rewriter(sites, steering, marks, attempt, target, place).visit(tree)
    ast.fix_missing_locations(tree)
    flags = __future__.annotations.compiler_flag
    return compile(tree, path, "exec", flags=flags, dont_inherit=True), sites


def _attempt(place: Place) -> ast.Try | None:
    """The `try` whose failing the flagged code recovers from: around its handler, or the last one before it."""
    for at in range(len(place.path) - 1, 0, -1):
        node = place.path[at]
        if isinstance(node, ast.ExceptHandler):
            above = place.path[at - 1]
            return above if isinstance(above, ast.Try) else None
    onto: ast.AST | None = None
    for node in reversed(place.path):
        block = place.block if onto is None else getattr(node, "body", [])
        stop = place.index if onto is None else next((n for n, s in enumerate(block) if s is onto), len(block))
        for statement in reversed(block[:stop]):
            if isinstance(statement, ast.Try) and statement.handlers:
                return statement
        onto = node
    return None


def _flags(place: Place, attempt: ast.Try) -> list[int]:
    """Conditions on the way that ask for a name which the handlers set: they decide themselves."""
    bound = {
        node.id
        for handler in attempt.handlers
        for node in ast.walk(handler)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    conditions = [node for node in place.path if isinstance(node, ast.If)]
    return [
        id(node)
        for node in conditions
        if any(isinstance(part, ast.Name) and part.id in bound for part in ast.walk(node.test))
    ]


def _marks(place: Place, kept: bool) -> dict[int, str]:
    """What is put around which statement: "before", "both"; of an empty end of a block, behind its last one."""
    statement = place.statement
    if statement is None:
        return {id(place.block[-1]): "behind"}
    plain = isinstance(statement, (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete))
    return {id(statement): "both" if kept and plain else "before"}


def _target(tree: ast.Module, function: str) -> ast.AST | None:
    """The definition of a dotted name: the last one of that name, as Python would have it."""
    node: ast.AST = tree
    for name in function.split("."):
        found = [
            inner
            for inner in ast.walk(node)
            if isinstance(inner, (*DEFS, ast.ClassDef)) and inner.name == name and inner is not node
        ]
        if not found:
            return None
        node = found[-1]
    return node


def _slice(tree: ast.Module, sites: Sites, place: Place | None, target: ast.AST | None, kept: bool) -> None:
    flagged: ast.AST | None = place.statement if place is not None else None
    if not kept and flagged is not None:  # what stands there now says nothing of what was flagged
        flagged = ast.copy_location(ast.Pass(), flagged)
    inside = [node for node in place.path if isinstance(node, DEFS)] if place is not None else []
    for node in ast.walk(tree):
        if isinstance(node, DEFS):
            marked = place is not None and any(node is outer for outer in inside)
            sites.slices[node.lineno] = slice_lines(node, flagged if marked else None)
    if place is not None:
        sites.slices[0] = slice_lines(tree, flagged)
    if target is not None:
        sites.target = (getattr(target, "lineno", 0), getattr(target, "end_lineno", 0))
