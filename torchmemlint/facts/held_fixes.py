"""Edits that let go of what is held: detach a stored value, empty attributes where a function ends.

Builds text edits from nodes of one file. May not decide whether a fix is wanted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.proof_edits import detach_after, detachment, handed_copy, handle_of_nothing, without_graphs
from torchmemlint.facts.structure import Function
from torchmemlint.facts.values import Kind
from torchmemlint.model import Applicability, Edit, Fix, Position, Span

if TYPE_CHECKING:
    from torchmemlint.facts.attribute_stores import AttributeStore
    from torchmemlint.facts.closures import HeldClosure
    from torchmemlint.facts.file_facts import FileFacts
    from torchmemlint.facts.held_values import Held
    from torchmemlint.facts.hooks import HeldByHook

CLOSED = (ast.Name, ast.Attribute, ast.Call, ast.Subscript)


def suffix_edit(facts: FileFacts, node: ast.expr, suffix: str) -> Edit:
    """The expression with a method call behind it."""
    span = facts.tree.places.span(node)
    text = facts.source.slice(span)
    return Edit(span, f"{text}{suffix}" if isinstance(node, CLOSED) else f"({text}){suffix}")


def release_edits(facts: FileFacts, function: Function, statements: Iterable[str]) -> tuple[Edit, ...] | None:
    """Statements put where a function ends: before each return, and after its last statement.

    A returned expression is bound first, so that it is computed before anything is let go of. None where
    the layout of the function does not allow it.
    """
    lines = list(statements)
    if function.yields or not function.body:
        return None
    edits: list[Edit] = []
    for node in function.returns:
        edit = _before_return(facts, function, node, lines)
        if edit is None:
            return None
        edits.append(edit)
    last = function.body[-1]
    if not isinstance(last, (ast.Return, ast.Raise)):
        span = facts.tree.places.span(last)
        indent = _indent(facts, last)
        if indent is None:
            return None
        edits.append(Edit(Span(span.end, span.end), "".join(f"\n{indent}{line}" for line in lines)))
    return tuple(edits)


def _before_return(facts: FileFacts, function: Function, node: ast.Return, lines: list[str]) -> Edit | None:
    span = facts.tree.places.span(node)
    indent = _indent(facts, node)
    if indent is None:
        return None
    start = Span(span.start, span.start)
    if node.value is None or isinstance(node.value, (ast.Name, ast.Constant)):
        return Edit(start, "".join(f"{line}\n{indent}" for line in lines))
    name = "released"
    while name in function.bound:
        name += "_"
    value = facts.source.slice(facts.tree.places.span(node.value))
    if isinstance(node.value, ast.Tuple) or "\n" in value:
        value = f"({value})" if not value.startswith("(") or not isinstance(node.value, ast.Tuple) else value
    middle = "".join(f"{indent}{line}\n" for line in lines)
    return Edit(span, f"{name} = {value}\n{middle}{indent}return {name}")


def _indent(facts: FileFacts, node: ast.stmt) -> str | None:
    """The white space in front of a statement that begins its line and ends it."""
    span = facts.tree.places.span(node)
    before = facts.source.lines[span.start.line - 1][: span.start.column]
    after = facts.source.lines[span.end.line - 1][span.end.column :]
    if before.strip() or (after.strip() and not after.strip().startswith("#")):
        return None
    return before


def let_go(facts: FileFacts, store: AttributeStore) -> Fix:
    """Values detached where nobody in the class uses them; else attributes emptied at the step's end."""
    plain = all(isinstance(_target(held), (ast.Attribute, ast.Subscript)) for held in store.stores)
    if store.read or not plain:
        edits = _empty_at_end(facts, store)
        if edits is not None:
            return Fix("let go of it at the end of the step", Applicability.PROOF, edits)
    title = "keep the value without its graph"
    if not plain:
        paths: dict[ast.stmt, list[str]] = {}
        for held in store.stores:
            paths.setdefault(held.statement, []).append(held.path)
        behind = tuple(detach_after(facts, statement, dict.fromkeys(kept)) for statement, kept in paths.items())
        return Fix(title, Applicability.PROOF, behind)
    title = "keep a detached copy on the host" if any(held.grows for held in store.stores) else title
    if any(_may_be_structure(facts, held) for held in store.stores):
        edits = tuple(without_graphs(facts, held.value_node, held.grows) for held in store.stores)
        return Fix(title, Applicability.PROOF, edits)
    suffixes = [".detach().cpu()" if held.grows else ".detach()" for held in store.stores]
    edits = tuple(
        suffix_edit(facts, held.value_node, suffix) for held, suffix in zip(store.stores, suffixes, strict=True)
    )
    return Fix(title, Applicability.PROOF if store.read or store.used else Applicability.UNSAFE, edits)


def _target(held: Held) -> ast.AST:
    statement = held.statement
    if isinstance(statement, ast.Assign):
        return statement.targets[0] if len(statement.targets) == 1 else statement
    return held.holder if isinstance(statement, (ast.Expr, ast.AnnAssign)) else statement


def _may_be_structure(facts: FileFacts, held: Held) -> bool:
    """The output of a module that is not seen may be a tuple or an object, which has no `detach`."""
    node = held.value_node
    return not held.value.is_tensor or (isinstance(node, ast.Call) and facts.value(node.func).kind is Kind.MODULE)


def _empty_at_end(facts: FileFacts, store: AttributeStore) -> tuple[Edit, ...] | None:
    """The attributes emptied where the step's function ends, if that is a method of the same instance in this file."""
    home, entry, _ = store.route.points[-1]
    maker = facts.structure.function(store.stores[0].statement)
    own, outer = maker.self_name(), entry.self_name()
    if home is not facts or own is None or outer is None or entry.owner is not maker.owner:
        return None
    lines = []
    for path in store.paths:
        held = next(h for h in store.stores if h.path == path)
        kept = path.replace(f"{own}.", f"{outer}.", 1)
        empty = "[]" if held.grows else "{}" if isinstance(_target(held), ast.Subscript) else "None"
        lines.append(detachment(kept) if _handed_on(facts, held) else f"{kept} = {empty}")
    return release_edits(facts, entry, lines)


def _handed_on(facts: FileFacts, held: Held) -> bool:
    """Whether the step that stores a value begins with the one before: without it the next step could not run."""
    if held.grows:
        return False
    span = facts.tree.places.span
    function, end = facts.structure.function(held.statement), span(held.statement).end
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and path_of(node) == held.path
        and span(node).end <= end
        for node in subtree(function.node)
    )


def unhook(facts: FileFacts, held: HeldByHook) -> Fix:
    """The hook keeps a detached copy, or does not exist."""
    kept = held.kept
    if kept is not None and held.editable and kept.handed:
        suffix = ".detach().cpu()" if kept.grows else ".detach()"
        title = "keep a detached copy on the host" if kept.grows else "keep the value without its graph"
        return Fix(title, Applicability.UNSAFE, tuple(suffix_edit(facts, node, suffix) for node in kept.handed))
    statement = facts.structure.statement(held.call)
    edit = Edit(facts.tree.places.span(statement), "pass")
    if not isinstance(statement, ast.Expr) or statement.value is not held.call:
        edit = handle_of_nothing(facts, held.call)
    return Fix("do not register the hook", Applicability.PROOF, (edit,))


def uncapture(facts: FileFacts, held: HeldClosure) -> Fix | None:
    """The function object holds a detached copy on the host instead of the tensor."""
    captured, made = held.captured, held.made
    title = "hold a detached copy on the host"
    if captured.given is not None:
        return Fix(title, Applicability.UNSAFE, (suffix_edit(facts, captured.given, ".detach().cpu()"),))
    if isinstance(made, (ast.Lambda, ast.GeneratorExp)):
        return Fix(title, Applicability.PROOF, (handed_copy(facts, made, captured.name),))
    if not isinstance(made, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    default = f"{captured.name}={captured.name}.detach().cpu()"
    place = _after_parameters(facts, made)
    if place is None:
        return None
    where, before, behind = place
    return Fix(title, Applicability.PROOF, (Edit(Span(where, where), f"{before}{default}{behind}"),))


def _after_parameters(
    facts: FileFacts, made: ast.FunctionDef | ast.AsyncFunctionDef
) -> tuple[Position, str, str] | None:
    """Where one more parameter goes, before any `**rest`, and what separates it from its neighbours."""
    given = made.args
    args = [*given.posonlyargs, *given.args, *given.kwonlyargs, *([given.vararg] if given.vararg else [])]
    if args:
        defaults = [*given.defaults, *[default for default in given.kw_defaults if default is not None]]
        nodes = [*args, *defaults, *[a.annotation for a in args if a.annotation]]
        return max(facts.tree.places.span(node).end for node in nodes), ", ", ""
    start = facts.tree.places.span(made).start
    for number in range(start.line, facts.tree.places.span(made.body[0]).start.line + 1):
        line = facts.source.lines[number - 1]
        opening = line.find("(", line.find(made.name, start.column) if number == start.line else 0)
        if opening >= 0:
            return Position(number, opening + 1), "", ", " if given.kwarg else ""
    return None
