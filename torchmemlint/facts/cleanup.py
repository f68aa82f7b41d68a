"""Calls that empty the allocator's cache and do nothing else: the library's own, and helpers around it.

A helper's body only empties, collects, waits and reports; whether anything was released is then the business of
the places that call it.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.memory import Table
from torchmemlint.facts.quiet import is_quiet
from torchmemlint.facts.reach import is_direct, last_name
from torchmemlint.facts.structure import Function
from torchmemlint.facts.values import Kind

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAX_HOPS = 3


@dataclass(frozen=True)
class Cleanup:
    """A call that only cleans up. `empties` the cache, `collects` garbage too; `inside` is the call in a helper."""

    call: ast.Call
    empties: bool
    collects: bool
    inside: tuple[FileFacts, ast.Call] | None = None


HELPERS: Table[tuple[Function, int], list[Cleanup] | None] = Table()


def cleanup(facts: FileFacts, call: ast.Call, hops: int = 0) -> Cleanup | None:
    """What a call cleans up, or None where it does anything else or nothing."""
    collects = facts.has_effect(call, "collects_garbage")
    if is_direct(facts, call, "empties_cache"):
        return Cleanup(call, True, collects)
    if collects:
        return Cleanup(call, False, True)
    if hops >= MAX_HOPS or last_name(call) not in facts.project.reach("empties_cache").names():
        return None
    target = facts.resolve(call)
    if target is None or not isinstance(target[1], Function):
        return None
    found = helper(target[0], target[1], hops + 1)
    if not found or not any(part.empties for part in found):
        return None
    inside = next(part.inside or (target[0], part.call) for part in found if part.empties)
    return Cleanup(call, True, any(part.collects for part in found), inside)


def helper(facts: FileFacts, function: Function, hops: int = 0) -> list[Cleanup] | None:
    """The clean-ups in a function that does nothing else, remembered; None for any other function."""
    table = facts.project.memory.table(HELPERS)
    if (function, hops) not in table:
        other = function.is_module or function.yields or isinstance(function.node, ast.Lambda)
        table[(function, hops)] = None if other else _body(facts, function.body, hops)
    return table[(function, hops)]


def _body(facts: FileFacts, body: Sequence[ast.stmt], hops: int) -> list[Cleanup] | None:
    found: list[Cleanup] = []
    for statement in body:
        part = _statement(facts, statement, hops)
        if part is None:
            return None
        found.extend(part)
    return found


def _statement(facts: FileFacts, node: ast.stmt, hops: int) -> list[Cleanup] | None:
    if isinstance(node, ast.Expr):
        return _expression(facts, node.value, hops)
    if isinstance(node, ast.If):
        return None if _reads_memory(facts, node.test) else _body(facts, [*node.body, *node.orelse], hops)
    if isinstance(node, ast.Try):
        handlers = [statement for handler in node.handlers for statement in handler.body]
        return _body(facts, [*node.body, *handlers, *node.orelse, *node.finalbody], hops)
    if isinstance(node, ast.With):
        quiet = all(_quiet_context(facts, item.context_expr) for item in node.items)
        return _body(facts, node.body, hops) if quiet else None
    if isinstance(node, ast.For):
        return _body(facts, node.body, hops)
    if isinstance(node, ast.Return):
        return [] if node.value is None or isinstance(node.value, (ast.Constant, ast.Name)) else None
    if isinstance(node, ast.Assign):
        plain = all(isinstance(target, ast.Name) for target in node.targets)
        return (
            [] if plain and facts.value(node.value).kind is Kind.HOST and not _reads_memory(facts, node.value) else None
        )
    return [] if isinstance(node, (ast.Pass, ast.Raise, ast.Import, ast.ImportFrom, ast.Global)) else None


def _expression(facts: FileFacts, node: ast.expr, hops: int) -> list[Cleanup] | None:
    if isinstance(node, ast.Constant):
        return []
    if not isinstance(node, ast.Call):
        return None
    found = cleanup(facts, node, hops)
    if found is not None:
        return [found]
    return [] if is_quiet(facts, node) and not facts.has_effect(node, "reads_memory") else None


def _quiet_context(facts: FileFacts, node: ast.expr) -> bool:
    return not isinstance(node, ast.Call) or is_quiet(facts, node)


def _reads_memory(facts: FileFacts, node: ast.expr) -> bool:
    calls = [part for part in subtree(node) if isinstance(part, ast.Call) and part in facts.structure.place_of]
    return any(facts.has_effect(call, "reads_memory") for call in calls)
