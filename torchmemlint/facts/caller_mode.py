"""Whether grad is really on at a place: its own function first, then whoever calls that, three levels up.

Functions handed on as values, methods that an unknown framework may call, and global switches count as
"maybe". May not know what is computed at the place.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.grad_mode import SWITCHES, GradMode, mode_at
from torchmemlint.facts.library import library
from torchmemlint.facts.memory import Table
from torchmemlint.facts.project import TooManyCallers
from torchmemlint.facts.structure import Class, Function, Structure
from torchmemlint.facts.tests_of_user import is_test
from torchmemlint.facts.values import Reason

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

LEVELS = 3
INERT_BASES = ("builtins.", "abc.", "typing.", "torch.nn.", "enum.", "collections.", "threading.", "argparse.")


@dataclass(frozen=True)
class CallerMode:
    """Grad mode at a place. `certain` where every way there is known, `why` the places that decide."""

    mode: GradMode
    certain: bool
    why: tuple[Reason, ...] = ()
    unseen: bool = False  # called from where we cannot look: by a library not described here, or by too common a name


MODES: Table[tuple[Function, int], CallerMode] = Table()
REFERENCES: Table[Structure, dict[str, list[ast.Name | ast.Attribute]]] = Table()
LEFT_OFF: Table[Structure, bool] = Table()


def effective_mode(facts: FileFacts, node: ast.AST, level: int = 0) -> CallerMode:
    """Grad mode at a node, callers asked where its function does not decide. Never INHERIT."""
    local = mode_at(facts, node)
    if local is not GradMode.INHERIT:
        return CallerMode(local, local is not GradMode.MAYBE)
    function = facts.structure.function(node)
    if _left_off(facts):
        return CallerMode(GradMode.MAYBE, False)
    if function.is_module:
        return CallerMode(GradMode.ON, True)
    cache = facts.project.memory.table(MODES)
    key = (function, level)
    if key not in cache:
        cache[key] = CallerMode(GradMode.ON, True)  # a function that only calls itself adds no way in
        cache[key] = _of_function(facts, function, level)
    return cache[key]


def _of_function(facts: FileFacts, function: Function, level: int) -> CallerMode:
    if function.name == "<lambda>":
        return CallerMode(GradMode.MAYBE, False)
    common = False
    try:
        sure = _in_earnest(list(facts.project.callers(function, facts)))
        loose = _in_earnest(list(_possible(facts, function)))
    except TooManyCallers:  # then the callers in its own file must do
        sure, loose, common = list(facts.calls_to(function, function.name)), [], True
    if _escapes(facts, function):
        return CallerMode(GradMode.MAYBE, False)
    if not sure and not loose:
        unseen = _framework_may_call(facts, function) or (common and function.owner is not None)
        return CallerMode(GradMode.MAYBE if unseen else GradMode.ON, False, unseen=unseen)
    if level >= LEVELS:
        return CallerMode(GradMode.ON, False)
    modes = [(other, call, effective_mode(other, call, level + 1)) for other, call in sure]
    possible = [effective_mode(other, call, level + 1) for other, call in loose]
    found = _joined(modes, possible)
    return CallerMode(found.mode, found.certain and not common, found.why, found.unseen)


def _in_earnest(calls: list[tuple[FileFacts, ast.Call]]) -> list[tuple[FileFacts, ast.Call]]:
    """Without the calls of tests, where there are others: a test need not guard what the program does guard."""
    return [(f, c) for f, c in calls if not is_test(f, f.structure.function(c))] or calls


def _joined(modes: list[tuple[FileFacts, ast.Call, CallerMode]], possible: list[CallerMode]) -> CallerMode:
    """Unguarded where any known caller is; a guard at a call that may mean this function makes it doubtful."""
    on = [(facts, call, mode) for facts, call, mode in modes if mode.mode is GradMode.ON]
    doubts = [mode for mode in possible if mode.mode is not GradMode.ON]
    if modes and not on:
        known = [mode for _, _, mode in modes]
        off = all(mode.mode is GradMode.OFF for mode in known)
        return CallerMode(
            GradMode.OFF if off else GradMode.MAYBE, not possible, unseen=all(mode.unseen for mode in known)
        )
    if not modes and doubts:
        return CallerMode(GradMode.MAYBE, False, unseen=all(mode.unseen for mode in doubts))
    why = tuple(Reason("called with grad on", call, facts.relative) for facts, call, _ in on[:3])
    certain = len(on) == len(modes) and bool(modes) and all(mode.certain for _, _, mode in on)
    return CallerMode(GradMode.ON, certain and not doubts, why)


def _possible(facts: FileFacts, function: Function) -> Iterator[tuple[FileFacts, ast.Call]]:
    """Calls by a method's name on a receiver that is not known, or on a class that the method's class derives from."""
    if function.owner is None or (function.name.startswith("__") and function.name != "__call__"):
        return
    above = {base[1] for base in facts.lineage(function.owner) if not isinstance(base, str)}
    files = [path for path in facts.project.mentioning(f".{function.name}(") if path != facts.relative]
    if len(files) > 60:
        raise TooManyCallers
    for other in [facts, *[found for path in files if (found := facts.project.facts(path)) is not None]]:
        for call in other.calls_named.get(function.name, ()):
            if not isinstance(call.func, ast.Attribute):
                continue
            target = other.resolve(call)
            if target is None or isinstance(target[1], Class):
                if target is None and other.value(call.func.value).ref == "":
                    yield other, call
            elif target[1] is not function and target[1].owner in above:
                yield other, call


def _escapes(facts: FileFacts, function: Function) -> bool:
    """Whether a function is handed on as a value, so that anybody may call it, under whatever mode."""
    if any(_decorator_registers(facts, function, d) for d in function.decorators):
        return True
    references = _references(facts).get(function.name, ())
    for node in references:
        scope = facts.structure.function(node) if node in facts.structure.parent else facts.structure.body
        if isinstance(node, ast.Name) and function.owner is None and facts.names.dotted(node, scope) == function.key:
            return True
        if isinstance(node, ast.Attribute) and function.owner is not None and isinstance(node.value, ast.Name):
            if scope.owner is function.owner and node.value.id == scope.self_name() and not _is_property(function):
                return True
    return False


def _references(facts: FileFacts) -> dict[str, list[ast.Name | ast.Attribute]]:
    """Names and attributes of a file that are read without being called or started on the spot."""
    table = facts.parsed.memory.table(REFERENCES)
    if facts.structure not in table:
        cached: dict[str, list[ast.Name | ast.Attribute]] = {}
        for node, parent in facts.structure.parent.items():
            if not isinstance(node, (ast.Name, ast.Attribute)) or not isinstance(node.ctx, ast.Load):
                continue
            if isinstance(parent, ast.Attribute) or (isinstance(parent, ast.Call) and parent.func is node):
                continue
            if _started(facts, node, parent):
                continue
            cached.setdefault(node.id if isinstance(node, ast.Name) else node.attr, []).append(node)
        table[facts.structure] = cached
    return table[facts.structure]


def _started(facts: FileFacts, node: ast.AST, parent: ast.AST) -> bool:
    """`Process(target=f)`, `spawn(f)`, `Fire(f)`: a fresh thread, process or program, where grad is on."""
    call = facts.structure.parent.get(parent) if isinstance(parent, ast.keyword) else parent
    if not isinstance(call, ast.Call) or call not in facts.structure.place_of:
        return False
    dotted = facts.names.dotted(call.func, facts.structure.function(call))
    signature = library().function(dotted) if dotted is not None else None
    return signature is not None and "starts" in signature.effects


def _decorator_registers(facts: FileFacts, function: Function, decorator: ast.expr) -> bool:
    """A decorator that is a method of a registry or an engine hands the function on."""
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(target, ast.Attribute) and target.attr in ("on", "register", "register_module")


def _is_property(function: Function) -> bool:
    return any(isinstance(d, ast.Name) and "property" in d.id for d in function.decorators)


def _framework_may_call(facts: FileFacts, function: Function) -> bool:
    """A method of a class whose base comes from a library that is not described here."""
    if function.owner is None or function.name.startswith("_"):
        return False
    for base in facts.lineage(function.owner):
        if isinstance(base, str) and not base.startswith(INERT_BASES) and library().klass(base) is None:
            return True
    return False


def _left_off(facts: FileFacts) -> bool:
    """A function of the file switches grad off for good: `torch.set_grad_enabled(False)` and never on again."""
    table = facts.parsed.memory.table(LEFT_OFF)
    if facts.structure not in table:
        last: dict[Function, bool] = {}
        for call in facts.calls_named.get("set_grad_enabled", ()):
            function = facts.structure.function(call)
            if (
                isinstance(facts.structure.parent[call], ast.Expr)
                and facts.names.dotted(call.func, function) in SWITCHES
            ):
                given = call.args[0] if call.args else None
                last[function] = isinstance(given, ast.Constant) and not given.value
        table[facts.structure] = any(off for function, off in last.items() if not function.is_module)
    return table[facts.structure]
