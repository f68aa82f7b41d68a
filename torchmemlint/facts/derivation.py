"""Which paths of a function hold values computed from which, through its assignments, loops and collections.

The statements are read once for a function; what follows from some paths is then found by going from step to step.
May not know what is back-propagated.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from torchmemlint.facts.children import children, subtree
from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of, target_paths
from torchmemlint.facts.structure import Function

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

COLLECTING = frozenset({"append", "appendleft", "add", "insert", "extend"})
PASSES = 3
"""How often values are followed through a function from its beginning, for what later passes of a loop see."""
REMEMBERED = 64
"""Answers kept for a function: those of one loop are asked for again and again, all of them would fill the memory."""


class _Steps:
    """The steps of one function by which values get from paths into paths, in order."""

    def __init__(self, function: Function) -> None:
        self._targets: list[frozenset[str]] = []
        self._reading: dict[str, list[int]] = {}  # the steps that read a path
        for node in (part for statement in function.body for part in subtree(statement)):
            sources, targets = _step(node)
            if sources and targets:
                for path in sources:
                    self._reading.setdefault(path, []).append(len(self._targets))
                self._targets.append(targets)
        self.after = lru_cache(REMEMBERED)(self._after)

    def _after(self, start: frozenset[str]) -> frozenset[str]:
        known = set(start)
        waiting: list[tuple[int, int]] = []  # pass and step, earliest first
        taken: set[int] = set()
        self._wake(waiting, start, (0, -1))
        while waiting:
            now = heappop(waiting)
            if now[1] not in taken:
                taken.add(now[1])
                new = self._targets[now[1]] - known
                known |= new
                self._wake(waiting, new, now)
        return frozenset(known)

    def _wake(self, waiting: list[tuple[int, int]], paths: frozenset[str], now: tuple[int, int]) -> None:
        """Steps that read the paths come up: later ones in this pass, earlier ones in the next."""
        for path in paths:
            for step in self._reading.get(path, ()):
                turn = now[0] + (step <= now[1])
                if turn < PASSES:
                    heappush(waiting, (turn, step))


STEPS: Table[Function, _Steps] = Table()


def derived(facts: FileFacts, function: Function, start: frozenset[str]) -> frozenset[str]:
    """Paths that hold values computed from these paths, with these."""
    table = facts.parsed.memory.table(STEPS)
    if function not in table:
        table[function] = _Steps(function)
    return table[function].after(start)


def _step(node: ast.AST) -> tuple[set[str], frozenset[str]]:
    """The paths that a statement or call reads a value from, and those that it puts it into."""
    if isinstance(node, (ast.Assign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return set(kept_paths(node.value)), frozenset(p for target in targets for p in target_paths(target))
    if isinstance(node, ast.For):
        return set(kept_paths(node.iter)), frozenset(target_paths(node.target))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in COLLECTING:
        path = path_of(node.func.value)
        if path is not None:
            return {p for argument in node.args for p in kept_paths(argument)}, frozenset({path})
    return set(), frozenset()


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
