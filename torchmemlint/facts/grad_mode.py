"""Grad mode at a place: by with-block, decorator, statement and framework hook, within one function.

Says INHERIT where the function itself does not decide; callers are asked by `callers`. May not infer values.
"""

from __future__ import annotations

import ast
import enum
from typing import TYPE_CHECKING

from torchmemlint.facts.library import library
from torchmemlint.facts.memory import Table
from torchmemlint.facts.structure import Block, Function, Place

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

SWITCHES = frozenset(
    {"torch.set_grad_enabled", "torch.autograd.set_grad_enabled", "torch.autograd.grad_mode.set_grad_enabled"}
)


TOGGLES = ("set_grad_enabled", "enter_context", "__enter__")  # a file with none of these words has no such statement


class GradMode(enum.Enum):
    """Whether operations at a place record a graph."""

    OFF = "off"
    ON = "on"
    MAYBE = "maybe"  # depends on a run-time value, or on a guard we cannot read
    INHERIT = "inherit"  # as the caller has it


MODES: Table[tuple[ast.stmt, Function], GradMode] = Table()
FUNCTION_MODES: Table[Function, GradMode] = Table()


def mode_at(facts: FileFacts, node: ast.AST) -> GradMode:
    """Grad mode at a node, as far as its own function decides."""
    place = facts.structure.place(node)
    statement = facts.structure.statement(node)
    table = facts.project.memory.table(MODES)
    key = (statement, place.function)  # no block within a statement decides anything
    if key not in table:
        table[key] = _mode_at(facts, statement, place)
    return table[key]


def _mode_at(facts: FileFacts, statement: ast.stmt, place: Place) -> GradMode:
    for outer in place.chain():
        toggled = _toggled_before(facts, statement, outer)
        if toggled is not None:
            return toggled
        if outer.block is Block.WITH and isinstance(outer.node, (ast.With, ast.AsyncWith)):
            mode = with_mode(facts, outer.node, place.function)
            if mode is not GradMode.INHERIT:
                return mode
        if outer.block in (Block.FUNCTION, Block.MODULE):
            break
        statement = facts.structure.statement(outer.node)
    return function_mode(facts, place.function)


def function_mode(facts: FileFacts, function: Function) -> GradMode:
    """What decorators, framework hooks and an enclosing function's nature say about a function's body."""
    table = facts.project.memory.table(FUNCTION_MODES)
    if function not in table:
        table[function] = _function_mode(facts, function)
    return table[function]


def _function_mode(facts: FileFacts, function: Function) -> GradMode:
    for decorator in function.decorators:
        mode = expression_mode(facts, decorator, function.outer or function)
        if mode is not GradMode.INHERIT:
            return mode
    if function.owner is not None:
        for decorator in function.owner.node.decorator_list:
            mode = expression_mode(facts, decorator, function.outer or function)
            if mode is not GradMode.INHERIT:
                return mode
        if "grad_off" in facts.framework_effects(function):
            return GradMode.OFF
    if not function.is_module and _module_switch(facts) is GradMode.OFF:
        return GradMode.OFF
    return GradMode.INHERIT


def _module_switch(facts: FileFacts) -> GradMode | None:
    """`torch.set_grad_enabled(False)` at the top of a file turns grad off for everything it runs."""
    last: GradMode | None = None
    if not facts.parsed.mentions(TOGGLES):
        return last
    for call in facts.structure.body.calls:
        if isinstance(facts.structure.parent[call], ast.Expr):
            mode = _switch(facts, call, facts.structure.body)
            last = mode if mode is not None else last
    return last


def with_mode(facts: FileFacts, node: ast.With | ast.AsyncWith, function: Function) -> GradMode:
    """What a with statement does to grad mode; the last item that says something wins."""
    mode = GradMode.INHERIT
    for item in node.items:
        found = expression_mode(facts, item.context_expr, function)
        mode = found if found is not GradMode.INHERIT else mode
    return mode


def expression_mode(facts: FileFacts, node: ast.expr, function: Function, depth: int = 0) -> GradMode:
    """What a context manager or decorator expression does to grad mode."""
    if isinstance(node, ast.IfExp):
        modes = {expression_mode(facts, part, function, depth) for part in (node.body, node.orelse)}
        return modes.pop() if len(modes) == 1 else GradMode.MAYBE
    switch = _switch(facts, node, function)
    if switch is not None:
        return switch
    target = node.func if isinstance(node, ast.Call) else node
    if isinstance(target, ast.IfExp):  # `(torch.inference_mode if new else torch.no_grad)()`
        return expression_mode(facts, target, function, depth)
    dotted = facts.names.dotted(target, function)
    if dotted is not None:
        signature = library().function(dotted)
        if signature is not None and signature.result in ("GradOff", "GradOn"):
            return _inference_flag(node) if signature.result == "GradOff" else GradMode.ON
    local = _local_alias(target, function)
    if local is not None and depth < 3:
        return expression_mode(facts, local, function, depth + 1)
    own = facts.function_named(target, function)
    if own is not None and depth < 2:
        return _wrapper_mode(*own, depth)
    if dotted is None or not dotted.startswith("torch."):
        name = (dotted or _last_name(target)).rsplit(".", 1)[-1].lower()
        if "no_grad" in name or "inference_mode" in name or "nograd" in name:
            return GradMode.MAYBE if own is not None else GradMode.OFF
    return GradMode.INHERIT


def _local_alias(target: ast.expr, function: Function) -> ast.expr | None:
    """`guard = torch.no_grad() if x else nullcontext()` before `with guard:`."""
    if not isinstance(target, ast.Name):
        return None
    bindings = function.bound.get(target.id, [])
    if len(bindings) == 1 and isinstance(bindings[0], ast.Assign):
        return bindings[0].value
    return None


def _inference_flag(node: ast.expr) -> GradMode:
    """`inference_mode(flag)`: only a literal False keeps grad on."""
    if isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], (ast.Name, ast.Attribute)):
        if isinstance(node.args[0], ast.Constant) and node.args[0].value is False:
            return GradMode.INHERIT
    return GradMode.OFF


def _switch(facts: FileFacts, node: ast.expr, function: Function) -> GradMode | None:
    if not isinstance(node, ast.Call) or facts.names.dotted(node.func, function) not in SWITCHES:
        return None
    arguments = [*node.args, *[keyword.value for keyword in node.keywords]]
    if arguments and isinstance(arguments[0], ast.Constant):
        return GradMode.ON if arguments[0].value else GradMode.OFF
    return GradMode.MAYBE


def _toggled_before(facts: FileFacts, statement: ast.stmt, place: Place) -> GradMode | None:
    """The last switch among the earlier statements of the same block; `enter_context(no_grad())` counts."""
    if not facts.parsed.mentions(TOGGLES):
        return None
    for earlier in facts.structure.before(statement):
        if not isinstance(earlier, ast.Expr) or not isinstance(earlier.value, ast.Call):
            continue
        call = earlier.value
        mode = _switch(facts, call, place.function)
        if mode is not None:
            return mode
        attr = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if attr == "enter_context" and call.args:
            mode = expression_mode(facts, call.args[0], place.function)
            if mode is not GradMode.INHERIT:
                return mode
        if attr == "__enter__" and isinstance(call.func, ast.Attribute):
            mode = expression_mode(facts, call.func.value, place.function)
            if mode is not GradMode.INHERIT:
                return mode
    return None


def _wrapper_mode(facts: FileFacts, function: Function, depth: int) -> GradMode:
    """A decorator or context manager of the project: does it run what it wraps with grad off?"""
    for call in [c for f in (function, *function.inner) for c in f.calls]:
        owner = facts.structure.function(call)
        inside = expression_mode(facts, call, owner, depth + 1)
        if inside in (GradMode.OFF, GradMode.MAYBE):
            return inside if not _conditional(facts, call) else GradMode.MAYBE
    for decorator in [d for f in (function, *function.inner) for d in f.decorators]:
        if expression_mode(facts, decorator, function, depth + 1) is GradMode.OFF:
            return GradMode.OFF
    return GradMode.INHERIT


def _conditional(facts: FileFacts, node: ast.AST) -> bool:
    return any(place.block in (Block.THEN, Block.ELSE) for place in facts.structure.place(node).chain())


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
