"""Which way each condition must go for the flagged line to be reached. Pure: works on syntax alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime_verify.worker.sites import DEFS, Place, bodies

LOOPS = (ast.For, ast.AsyncFor, ast.While)


@dataclass
class Steering:
    """What is decided, by the identity of nodes.

    forced   conditions (the `if` statements) and the outcome that leads to the mark, or past a way out before it.
    onward   the same for ways out behind the mark: they are closed until the mark was passed often enough.
    around   loops around the mark.
    raising  `try` statements whose handler holds the mark.
    """

    forced: dict[int, bool] = field(default_factory=dict)
    onward: dict[int, bool] = field(default_factory=dict)
    around: set[int] = field(default_factory=set)
    raising: set[int] = field(default_factory=set)


def steer(place: Place, free: frozenset[int] = frozenset()) -> Steering:
    """The way from the module's body to the mark; conditions in `free` are left to the program."""
    found = Steering()
    chain: list[ast.AST] = [*place.path]
    for at, node in enumerate(chain):
        following = chain[at + 1] if at + 1 < len(chain) else None
        block = _block(node, following, place)
        if isinstance(node, ast.If) and id(node) not in free:
            found.forced[id(node)] = block is node.body
        elif isinstance(node, LOOPS) and block is node.body:
            found.around.add(id(node))
        elif isinstance(node, ast.Try) and isinstance(following, ast.ExceptHandler):
            found.raising.add(id(node))
        if block is not None and not isinstance(node, (ast.Module, ast.ClassDef)):
            _close_exits(block, following, place, found, free)
    return found


def _block(node: ast.AST, following: ast.AST | None, place: Place) -> list[ast.stmt] | None:
    """The block of a node on the way through which the way goes on."""
    if following is None:
        return place.block
    if isinstance(following, ast.ExceptHandler):
        return None
    return next((block for block in bodies(node) if any(inner is following for inner in block)), None)


def _close_exits(
    block: list[ast.stmt], onto: ast.AST | None, place: Place, found: Steering, free: frozenset[int]
) -> None:
    """Ways out of a block on the way to the mark: closed before it, and behind it while the loop must go on."""
    before = True
    for index, statement in enumerate(block):
        if statement is onto:
            before = False
            continue
        if onto is None and block is place.block and index >= place.index:
            before = False
        decided = found.forced if before else found.onward
        for test, outcome in _exits(statement, in_loop=False):
            if test not in free:
                decided.setdefault(test, outcome)


def close_handlers(attempt: ast.Try, found: Steering) -> None:
    """Handlers that are to come to their end: the ways out of them are closed, so that what follows is reached."""
    for handler in attempt.handlers:
        for statement in handler.body:
            for test, outcome in _exits(statement, in_loop=False):
                found.forced.setdefault(test, outcome)


def _exits(statement: ast.stmt, in_loop: bool) -> Iterator[tuple[int, bool]]:
    """Conditions inside a statement that open a way out, with the outcome that keeps it shut."""
    if isinstance(statement, (*DEFS, ast.ClassDef)):
        return
    if isinstance(statement, ast.If):
        if leaves(statement.body, in_loop):
            if not _always_leaves(statement.orelse, in_loop):
                yield id(statement), False
        elif leaves(statement.orelse, in_loop):
            yield id(statement), True
    inner = in_loop or isinstance(statement, LOOPS)
    for block in bodies(statement):
        for nested in block:
            yield from _exits(nested, inner)


def _always_leaves(block: list[ast.stmt], in_loop: bool) -> bool:
    """Whether no way through a block comes out at its end."""
    if leaves(block, in_loop):
        return True
    last = block[-1] if block else None
    both = (last.body, last.orelse) if isinstance(last, ast.If) else ()
    return bool(both) and all(_always_leaves(branch, in_loop) for branch in both)


def leaves(block: list[ast.stmt], in_loop: bool) -> bool:
    """Whether a block ends by going elsewhere: out of the function, or of a loop that is not its own."""
    if not block:
        return False
    last = block[-1]
    if isinstance(last, (ast.Return, ast.Raise)):
        return True
    if isinstance(last, (ast.Continue, ast.Break)):
        return not in_loop
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        name = ast.unparse(last.value.func)
        return name in ("sys.exit", "exit", "quit", "os._exit")
    return False
