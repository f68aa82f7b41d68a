"""Edits that take a call away, or keep what it calls from its effect.

Builds text edits from nodes of one file. May not decide whether a fix is wanted.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

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
    span = facts.tree.places.span(statement)
    block, _ = facts.structure.block_of[statement]
    line, last = facts.source.lines[span.start.line - 1], facts.source.lines[span.end.line - 1]
    alone = not line[: span.start.column].strip() and not last[span.end.column :].split("#")[0].strip()
    if len(block) == 1 or not alone:
        return Fix(title, applicability, (Edit(span, "pass"),))
    whole = Span(Position(span.start.line, 0), Position(span.end.line + 1, 0))
    return Fix(title, applicability, (Edit(whole, ""),))


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
