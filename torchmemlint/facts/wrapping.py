"""Edits that put statements under a `with torch.no_grad():`, or a function under the decorator.

Text only: lines inside strings that span lines keep their columns. May not judge what deserves it.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from torchmemlint.facts.grad_mode import GradMode, with_mode
from torchmemlint.facts.guard_reach import Besides, hands_over, is_passive
from torchmemlint.facts.structure import Block, Function, Place
from torchmemlint.model import Edit, Position, Span

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts


def guard_edits(
    facts: FileFacts, calls: Iterable[ast.Call], keeps: Iterable[ast.AST], enabled: str = ""
) -> tuple[Edit, ...]:
    """Edits that run calls with grad off (or on only where the expression `enabled` holds) and leave `keeps` alone.

    None where that is not possible.
    """
    wanted = list(calls)
    around = {above for node in keeps for above in facts.structure.ancestors(node)}
    besides = Besides(facts, set(wanted))
    name, imports = _no_grad(facts, facts.structure.function(wanted[0]))
    if name is None or (enabled and "." not in name):
        return ()
    guard = f"{name.rpartition('.')[0]}.set_grad_enabled({enabled})" if enabled else f"{name}()"
    targets: dict[ast.stmt, None] = {}
    for call in wanted:
        target = _target(facts, call, around, besides)
        if target is None or hands_over(facts, target):
            return ()
        targets[target] = None
    edits = [_wrapped(facts, first, last, guard) for first, last in _ranges(facts, targets, around)]
    done = [edit for edit in edits if edit is not None]
    return (*imports, *done) if len(done) == len(edits) else ()


def _target(facts: FileFacts, call: ast.Call, around: Collection[ast.AST], besides: Besides) -> ast.stmt | None:
    """The statement to wrap: the outermost loop around a call that holds nothing to keep, else its own statement.

    `around` is all that something to keep stands in.
    """
    structure = facts.structure
    statement = structure.statement(call)
    chosen: ast.stmt = statement
    for place in structure.place(statement).chain():
        if place.block in (Block.FUNCTION, Block.MODULE):
            break
        if place.block is Block.WITH and mode_of_block(facts, place) is GradMode.ON:
            break  # grad is switched on again here: the guard belongs inside
        if place.block is Block.LOOP and isinstance(place.node, (ast.For, ast.AsyncFor, ast.While)):
            if place.node in around or hands_over(facts, place.node) or besides.may_train(place.node, chosen):
                break
            chosen = place.node
    current: ast.AST = chosen
    while isinstance(current, ast.stmt) and not _alone(facts, current):
        current = structure.parent.get(current, structure.module)
        while not isinstance(current, (ast.stmt, ast.Module)):
            current = structure.parent.get(current, structure.module)
        if _switches_on(facts, current) or current in around:
            return None  # a guard out here would not reach the call, or would reach too far
    if not isinstance(current, ast.stmt) or isinstance(current, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return None
    return current


def _ranges(
    facts: FileFacts, targets: Collection[ast.stmt], around: Collection[ast.AST]
) -> list[tuple[ast.stmt, ast.stmt]]:
    """First and last statements to wrap together: neighbours, and an `if` all of whose branches are to be wrapped."""
    structure = facts.structure
    raised = {_branching(facts, target, targets, around): None for target in targets}
    outermost = [target for target in raised if not any(above in raised for above in structure.ancestors(target))]
    ranges: list[tuple[ast.stmt, ast.stmt]] = []
    for target in sorted(outermost, key=facts.tree.places.span):
        if ranges:
            first, last = ranges[-1]
            block, index = structure.block_of[last]
            here, at = structure.block_of[target]
            if here is block and all(is_passive(between) for between in block[index + 1 : at]):
                ranges[-1] = first, target
                continue
        ranges.append((target, target))
    return ranges


def _branching(
    facts: FileFacts, target: ast.stmt, targets: Collection[ast.stmt], around: Collection[ast.AST]
) -> ast.stmt:
    """The outermost `if` statement around one of the targets that has nothing but targets in its branches."""
    structure = facts.structure
    best = target
    for above in structure.ancestors(target):
        if not isinstance(above, ast.If) or not _covered(above, targets):
            break
        if hands_over(facts, above) or above in around:
            break
        if _alone(facts, above):
            best = above
    return best


def _covered(node: ast.If, targets: Collection[ast.stmt]) -> bool:
    branches = [*node.body, *node.orelse]
    return bool(node.orelse) and all(
        one in targets or (isinstance(one, ast.If) and _covered(one, targets)) for one in branches
    )


def _switches_on(facts: FileFacts, node: ast.AST) -> bool:
    if not isinstance(node, (ast.With, ast.AsyncWith)):
        return False
    return with_mode(facts, node, facts.structure.function(node)) is GradMode.ON


def mode_of_block(facts: FileFacts, place: Place) -> GradMode:
    """What a with-block does to grad mode."""
    if not isinstance(place.node, (ast.With, ast.AsyncWith)):
        return GradMode.INHERIT
    return with_mode(facts, place.node, place.function)


def _alone(facts: FileFacts, statement: ast.stmt) -> bool:
    """Whether a statement has its lines to itself and is no `elif`."""
    span = facts.tree.places.span(statement)
    first, last = facts.source.lines[span.start.line - 1], facts.source.lines[span.end.line - 1]
    rest = last[span.end.column :].strip()
    return (
        not first[: span.start.column].strip()
        and (not rest or rest.startswith("#"))
        and not first.lstrip().startswith("elif")
    )


def _wrapped(facts: FileFacts, first: ast.stmt, last: ast.stmt, guard: str) -> Edit | None:
    span = Span(facts.tree.places.span(first).start, facts.tree.places.span(last).end)
    lines = facts.source.lines[span.start.line - 1 : span.end.line]
    indent = lines[0][: span.start.column]
    step = "\t" if "\t" in indent else facts.source.step
    strings = _string_lines("".join(lines))
    if strings is None:
        return None
    body = [line if number in strings or not line.strip() else f"{step}{line}" for number, line in enumerate(lines, 1)]
    end = Position(span.end.line, len(lines[-1].rstrip("\r\n")))
    ending = _ending(lines[0]) if lines[0].rstrip("\r\n") != lines[0] else "\n"
    text = f"{indent}with {guard}:{ending}" + "".join(body).rstrip("\r\n")
    return Edit(Span(Position(span.start.line, 0), end), text)


def _ending(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :] or "\n"


def _string_lines(text: str) -> set[int] | None:
    """Numbers of the lines that begin inside a string; None where the text cannot be read as tokens."""
    found: set[int] = set()
    starts: list[int] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind = tokenize.tok_name[token.type]
            if kind == "STRING":
                found.update(range(token.start[0] + 1, token.end[0] + 1))
            elif kind in ("FSTRING_START", "TSTRING_START"):
                starts.append(token.start[0])
            elif kind in ("FSTRING_END", "TSTRING_END") and starts:
                found.update(range(starts.pop() + 1, token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        return None
    return found


def _no_grad(facts: FileFacts, function: Function) -> tuple[str | None, tuple[Edit, ...]]:
    """How `no_grad` is called here, and the import that takes where torch itself is not imported."""
    for bound in facts.structure.body.bound:
        dotted = facts.names.name(bound, function)
        if dotted == "torch":
            return f"{bound}.no_grad", ()
        if dotted == "torch.no_grad":
            return bound, ()
    if facts.names.name("torch", function) is not None:
        return None, ()
    for scope, node in facts.structure.imports:
        if (
            scope.is_module
            and facts.structure.parent[node] is facts.structure.module
            and getattr(node, "module", None) != "__future__"
        ):
            start = Position(facts.tree.places.span(node).start.line, 0)
            return "torch.no_grad", (
                Edit(Span(start, start), f"import torch{_ending(facts.source.lines[start.line - 1])}"),
            )
    return None, ()
