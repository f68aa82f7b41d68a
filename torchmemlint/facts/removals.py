"""Edits that take a call away, or keep what it calls from its effect.

Builds text edits from nodes of one file. May not decide whether a fix is wanted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from itertools import takewhile
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.quiet import is_quiet
from torchmemlint.facts.reach import MAX_HOPS, is_direct
from torchmemlint.facts.structure import Function
from torchmemlint.model import Applicability, Edit, Fix, Position, Span

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts
    from torchmemlint.facts.hot import HotCall

RESULTS = {"empties_cache": "None", "collects_garbage": "0"}
"""What the library's own call gives back, as text: it stands in for the call inside a larger statement."""
PATCHED = {"empties_cache": "torch.cuda.empty_cache", "collects_garbage": "gc.collect"}


def removal(facts: FileFacts, node: ast.expr, title: str, applicability: Applicability, result: str = "None") -> Fix:
    """A fix without the statement that a call is; where it is only part of one, with `result` in its place."""
    statement = facts.structure.statement(node)
    span = facts.tree.places.span(node)
    if not isinstance(statement, ast.Expr) or statement.value is not node:
        return Fix(title, Applicability.PROOF, (Edit(span, result),))
    last = _emptied(facts, statement)
    if len(facts.structure.block_of[last][0]) == 1 or not _alone(facts, last):
        return Fix(title, applicability, (Edit(facts.tree.places.span(statement), "pass"),))
    return Fix(title, applicability, (Edit(whole_lines(facts, last), ""),))


def whole_lines(facts: FileFacts, statement: ast.stmt) -> Span:
    """The lines of a statement, with those blank ones behind it that would be too many without it."""
    span = facts.tree.places.span(statement)
    lines = facts.source.lines
    above = _blanks(reversed(lines[: span.start.line - 1]))
    below = _blanks(lines[span.end.line :])
    opens = above == 0 and span.start.line > 1 and lines[span.start.line - 2].split("#")[0].rstrip().endswith(":")
    spare = below if opens else min(above, below)
    return Span(Position(span.start.line, 0), Position(span.end.line + 1 + spare, 0))


def _blanks(lines: Iterable[str]) -> int:
    """How many blank lines stand first; a form feed makes a page."""
    return sum(1 for _ in takewhile(lambda line: not line.strip(" \t\r\n"), lines))


def _emptied(facts: FileFacts, statement: ast.stmt) -> ast.stmt:
    """The outermost `if` that does nothing without a statement, where that is not all that its block has."""
    best = current = statement
    while len(facts.structure.block_of[current][0]) == 1:
        parent = facts.structure.parent[current]
        if not isinstance(parent, ast.If) or parent.orelse or not _only_asks(facts, parent, current):
            break
        current = parent
        best = current if len(facts.structure.block_of[current][0]) > 1 and _alone(facts, current) else best
    return best


def _only_asks(facts: FileFacts, node: ast.If, inner: ast.stmt) -> bool:
    """Whether the test of an `if` does nothing by itself, and no remark stands between it and what it decides."""
    parts = [node.test, *subtree(node.test)]
    if any(isinstance(part, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)) for part in parts):
        return False
    if not all(is_quiet(facts, part) for part in parts if isinstance(part, ast.Call)):
        return False
    span = facts.tree.places.span
    head = facts.source.lines[span(node.test).end.line - 1 : span(inner).start.line - 1]
    return not any("#" in line for line in head)


def _alone(facts: FileFacts, statement: ast.stmt) -> bool:
    """Whether nothing but a remark stands on the statement's lines besides; an `elif` belongs to its `if`."""
    span = facts.tree.places.span(statement)
    line, last = facts.source.lines[span.start.line - 1], facts.source.lines[span.end.line - 1]
    before, after = line[: span.start.column].strip(), last[span.end.column :].split("#")[0].strip()
    return not before and not after and not line.lstrip().startswith("elif")


def hot_fix(facts: FileFacts, call: HotCall, effect: str) -> Fix:
    """A fix without the effect that a call has every step.

    A call that does nothing else goes. Of one that works too, only the effect is taken: in its helper where
    that stands in this file, else for as long as it runs.
    """
    node = call.carry.call
    if call.carry.direct or _only_cleans(facts, node):
        return removal(facts, node, "remove the call", Applicability.UNSAFE, RESULTS[effect])
    home, inner = call.carry.steps[-1]
    if all(where is facts for where, _ in call.carry.steps):
        direct = [one for one in home.structure.function(inner).calls if is_direct(home, one, effect)]
        edits = [edit for one in direct for edit in removal(home, one, "", Applicability.PROOF, RESULTS[effect]).edits]
        return Fix("remove the call that it leads to", Applicability.PROOF, tuple(edits))
    span = facts.tree.places.span(node.func)
    patch = f'__import__("unittest.mock").mock.patch("{PATCHED[effect]}", int)'
    text = f"{patch}({facts.source.slice(span)})"
    return Fix("run it without the call that it leads to", Applicability.PROOF, (Edit(span, text),))


def _only_cleans(facts: FileFacts, call: ast.Call, hops: int = 0) -> bool:
    """Whether a helper of the project does nothing but clean up and report."""
    target = facts.resolve(call)
    if target is None or hops > MAX_HOPS:
        return False
    home, function = target
    return (
        isinstance(function, Function)
        and not function.yields
        and all(
            any(is_direct(home, one, effect) for effect in RESULTS)
            or is_quiet(home, one)
            or _only_cleans(home, one, hops + 1)
            for one in function.calls
        )
    )
