"""Exact places for the part of a tree that findings stand in: libcst reads the text of that part alone.

`ast` puts what stands inside an f-string in the wrong column before Python 3.12, and libcst takes twenty times
as long to read a file. So the statements at the top of the file that matter are read again, lowered to the same
vocabulary, and paired node by node with those there are. May not know rules or facts.
"""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Collection, Iterator
from itertools import zip_longest

from torchmemlint.model import Position, Span
from torchmemlint.source import BadFile, Places, Source, Tree

Lines = tuple[int, int]
"""The first and the last of a stretch of lines, from 1."""


class ExactPlaces:
    """Spans by libcst on some lines of a file, and those there were on all others."""

    def __init__(self, source: Source, tree: Tree, lines: Collection[int]) -> None:
        self._rough = tree.places
        self._exact: dict[ast.AST, tuple[Places, ast.AST, int]] = {}
        wanted = sorted(lines)
        for (first, last), statements in _stretches(tree.module.body):
            near = bisect_left(wanted, first)
            if near < len(wanted) and wanted[near] <= last:
                self._read(source, first, last, statements)

    def span(self, node: ast.AST) -> Span:
        found = self._exact.get(node)
        if found is None:
            return self._rough.span(node)
        places, twin, above = found
        span = places.span(twin)
        if span.start == span.end:  # a node that libcst has no text for
            return self._rough.span(node)
        return Span(_lowered(span.start, above), _lowered(span.end, above))

    def _read(self, source: Source, first: int, last: int, statements: list[ast.stmt]) -> None:
        """Reads some lines again; where libcst refuses them, or sees something else in them, nothing changes."""
        text = "".join(source.lines[first - 1 : last]).rstrip("\r\n")  # libcst counts a lone CR at the end as a column
        excerpt = Source(source.path, text.encode("utf-8", "surrogatepass"))
        try:
            tree = excerpt.tree if excerpt.text == text else None  # a comment may name another encoding
        except BadFile:
            return
        if tree is not None:
            for node, twin in _twins(statements, tree.module.body):
                self._exact[node] = (tree.places, twin, first - 1)


def _lowered(place: Position, lines: int) -> Position:
    return Position(place.line + lines, place.column)


def _stretches(body: list[ast.stmt]) -> Iterator[tuple[Lines, list[ast.stmt]]]:
    """The statements of a module by the lines they stand on; those that share a line belong together."""
    held: list[ast.stmt] = []
    first = last = 0
    for statement in body:
        start = min(node.lineno for node in (statement, *getattr(statement, "decorator_list", ())))
        if held and start > last:
            yield (first, last), held
            held = []
        first = first if held else start
        last = max(last, statement.end_lineno or start)
        held.append(statement)
    if held:
        yield (first, last), held


def _twins(ours: list[ast.stmt], theirs: list[ast.stmt]) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Each node with the one that stands for it in the other tree, as far as the two are alike."""
    waiting: list[tuple[object, object]] = list(zip_longest(ours, theirs))
    while waiting:
        node, twin = waiting.pop()
        if isinstance(node, list) and isinstance(twin, list):
            waiting += zip(node, twin, strict=True) if len(node) == len(twin) else ()
        elif isinstance(node, ast.AST) and isinstance(twin, ast.AST) and type(node) is type(twin):
            yield node, twin
            waiting += [(getattr(node, name, None), getattr(twin, name, None)) for name in node._fields]
