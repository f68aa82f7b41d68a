"""Edits that make a call that empties the cache worth its while, or take it away."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from torchmemlint.facts.approach import following
from torchmemlint.facts.children import subtree
from torchmemlint.facts.holders import Holder
from torchmemlint.facts.releases import Form, Idle
from torchmemlint.facts.removals import whole_lines
from torchmemlint.model import Applicability, Edit, Fix, Span

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts


def release_fix(facts: FileFacts, idle: Idle) -> Fix | None:
    """Let go of the dead names before the call; None where the call itself had better go."""
    statement = facts.structure.statement(idle.call)
    if idle.form is not Form.HELD or not _alone(facts, statement):
        return None
    if idle.held[0].moved is not None:
        return _after_the_move(facts, statement, idle.held[0])
    names = ", ".join(idle.names)
    later = _later_del(facts, statement, set(idle.names))
    start = facts.tree.places.span(statement).start
    edits = [Edit(Span(start, start), f"del {names}{_break(facts, statement)}")]
    if later is not None:
        dropped = _without(facts, later, set(idle.names))
        if dropped is None:
            return None
        edits.append(dropped)
    sure = all(holder.certain for holder in idle.held) and later is None
    applicability = Applicability.SAFE if sure else Applicability.UNSAFE
    return Fix(f"`del {names}` before the call", applicability, tuple(edits))


def _alone(facts: FileFacts, statement: ast.stmt) -> bool:
    """Whether nothing else stands on the statement's lines."""
    span = facts.tree.places.span(statement)
    first, last = facts.source.lines[span.start.line - 1], facts.source.lines[span.end.line - 1]
    return not first[: span.start.column].strip() and not last[span.end.column :].split("#")[0].strip()


def _break(facts: FileFacts, statement: ast.stmt) -> str:
    """A line end in the file's style and the indentation of the statement."""
    start = facts.tree.places.span(statement).start
    line = facts.source.lines[start.line - 1]
    end = line[len(line.rstrip("\r\n")) :] or "\n"
    return end + line[: start.column]


def _later_del(facts: FileFacts, statement: ast.stmt, names: set[str]) -> ast.Delete | None:
    """The first `del` after the call that names one of these."""
    for later in following(facts, statement):
        for node in subtree(later):
            if isinstance(node, ast.Delete) and any(isinstance(t, ast.Name) and t.id in names for t in _targets(node)):
                return node
    return None


def _targets(node: ast.Delete) -> list[ast.expr]:
    return [e for t in node.targets for e in (t.elts if isinstance(t, (ast.Tuple, ast.List)) else [t])]


def _without(facts: FileFacts, node: ast.Delete, names: set[str]) -> Edit | None:
    """The later `del` without the names that go before the call now."""
    rest = [t for t in _targets(node) if not (isinstance(t, ast.Name) and t.id in names)]
    span = facts.tree.places.span(node)
    if rest:
        return Edit(span, "del " + ", ".join(ast.unparse(t) for t in rest))
    if not _alone(facts, node) or len(facts.structure.block_of[node][0]) == 1:
        return Edit(span, "pass")
    return Edit(whole_lines(facts, node), "")


def _after_the_move(facts: FileFacts, statement: ast.stmt, holder: Holder) -> Fix | None:
    """Put the call behind the copy to the host, and behind a `del` where the copy has a name of its own."""
    moved = holder.moved
    if moved is None or not _alone(facts, moved):
        return None
    here, there = facts.tree.places.span(statement), facts.tree.places.span(moved)
    text, copy = facts.source.slice(here), facts.source.slice(there)
    if "\n" in copy or "\n" in text:
        return None
    again = any(
        isinstance(n, ast.Name) and n.id == holder.name and isinstance(n.ctx, ast.Store) for n in subtree(moved)
    )
    drop = "" if again else f"del {holder.name}{_break(facts, statement)}"
    return Fix("copy to the host first", Applicability.UNSAFE, (Edit(here, copy), Edit(there, drop + text)))
