"""Edits that move a recovery behind its try statement: a flag in the handler, the work under `if` after it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.guards import leaves
from torchmemlint.facts.recovery import Recovery
from torchmemlint.facts.structure import Function
from torchmemlint.model import Applicability, Edit, Fix, Position, Span

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

FLAG = "out_of_memory"


@dataclass(frozen=True)
class _Cut:
    """Statements of one block that can move, and those behind them that must then be skipped."""

    tail: Sequence[ast.stmt]
    skipped: Sequence[ast.stmt]


def recovery_fix(facts: FileFacts, found: Recovery) -> Fix | None:
    """Recover after the try statement; None where that takes more than moving lines."""
    cut = next(_cuts(facts, found), None)
    lines = facts.source.lines
    if cut is None or not _own_lines(facts, [found.attempt, *cut.tail, *cut.skipped]):
        return None
    flag = _free_name(facts.structure.function(found.attempt))
    end = _line_end(lines[0])
    outer = _indent(facts, found.attempt)
    first = facts.tree.places.span(found.attempt).start
    edits = [Edit(Span(Position(first.line, 0), Position(first.line, 0)), f"{outer}{flag} = False{end}")]
    inner, block = _indent(facts, cut.tail[0]), _lines(facts, cut.tail)
    moved = "".join(_shifted(line, len(inner), outer + "    ") for line in lines[block[0] - 1 : block[1]])
    edits.append(Edit(_whole(block), f"{inner}{flag} = True{end}"))
    if cut.skipped:
        rest = _lines(facts, cut.skipped)
        shift = _indent(facts, cut.skipped[0])
        text = "".join(_shifted(line, len(shift), shift + "    ") for line in lines[rest[0] - 1 : rest[1]])
        edits.append(Edit(_whole(rest), f"{shift}if not {flag}:{end}{_ended(text, end)}"))
    last = facts.tree.places.span(found.attempt).end.line
    after = f"{outer}if {flag}:{end}{_ended(moved, end)}"
    if last >= len(lines) and not lines[-1].endswith(("\n", "\r")):
        return None
    at = Position(last + 1, 0)
    edits = (
        [*edits, Edit(Span(at, at), after)]
        if block[1] < last and (not cut.skipped or rest[1] < last)
        else _joined(edits, after)
    )
    return Fix("recover after the try statement", Applicability.UNSAFE, tuple(edits))


def _joined(edits: list[Edit], after: str) -> list[Edit]:
    """The last edit reaches the end of the try statement: what follows it is part of that edit."""
    return [*edits[:-1], Edit(edits[-1].span, edits[-1].text + after)]


# ---- what can move --------------------------------------------------------------------------------


def _cuts(facts: FileFacts, found: Recovery) -> Iterator[_Cut]:
    """Ways to cut the handler in two, the outermost first."""
    if found.attempt.finalbody:
        return
    chain: list[ast.stmt] = []
    node = facts.structure.statement(found.call)
    while True:
        chain.append(node)
        parent = facts.structure.parent[node]
        if parent is found.handler:
            break
        node = facts.structure.statement(parent)
    skipped: list[ast.stmt] = []
    for statement in reversed(chain):
        block, index = facts.structure.block_of[statement]
        tail = block[index:]
        if _movable(facts, tail, found.handler.name) and (not skipped or leaves(tail)):
            yield _Cut(tail, skipped)
        if not isinstance(statement, ast.If) or (block[index + 1 :] and skipped):
            return
        skipped = skipped or block[index + 1 :]


def _movable(facts: FileFacts, tail: Sequence[ast.stmt], error: str | None) -> bool:
    """Nothing in it needs the error, and no text of it depends on its indentation."""
    for statement in tail:
        for node in subtree(statement):
            if isinstance(node, ast.Name) and error is not None and node.id == error:
                return False
            if isinstance(node, ast.Raise) and node.exc is None:
                return False
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "sys.exc_info",
                "traceback.format_exc",
                "traceback.print_exc",
            ):
                return False
            if isinstance(node, (ast.Constant, ast.JoinedStr)) and _long(facts, node):
                return False
    return True


def _long(facts: FileFacts, node: ast.AST) -> bool:
    """A string over several lines: its text would change with the indentation."""
    span = facts.tree.places.span(node)
    return span.start.line != span.end.line and facts.source.slice(span).lstrip("rRbBfFuU").startswith(
        ('"' * 3, "'" * 3)
    )


# ---- text -----------------------------------------------------------------------------------------


def _own_lines(facts: FileFacts, statements: Sequence[ast.stmt]) -> bool:
    """Whether no statement shares a line with another one, and none is continued by a backslash."""
    for statement in statements:
        span = facts.tree.places.span(statement)
        first, last = facts.source.lines[span.start.line - 1], facts.source.lines[span.end.line - 1]
        if first[: span.start.column].strip() or re.match(r"\s*;", last[span.end.column :]):
            return False
    return True


def _lines(facts: FileFacts, statements: Sequence[ast.stmt]) -> tuple[int, int]:
    spans = [facts.tree.places.span(statement) for statement in statements]
    return spans[0].start.line, spans[-1].end.line


def _whole(lines: tuple[int, int]) -> Span:
    return Span(Position(lines[0], 0), Position(lines[1] + 1, 0))


def _indent(facts: FileFacts, statement: ast.stmt) -> str:
    start = facts.tree.places.span(statement).start
    return facts.source.lines[start.line - 1][: start.column]


def _shifted(line: str, width: int, indent: str) -> str:
    """A line with its first columns replaced; blank lines and lines that stand further out stay."""
    return indent + line[width:] if line.strip() and not line[:width].strip() else line


def _line_end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :] or "\n"


def _ended(text: str, end: str) -> str:
    return text if text.endswith(("\n", "\r")) else text + end


def _free_name(function: Function) -> str:
    name, number = FLAG, 1
    while name in function.bound:
        number += 1
        name = f"{FLAG}_{number}"
    return name
