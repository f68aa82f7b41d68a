"""Calls with an effect that run every step: in a hot loop, or in a function that is called every step."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.guards import Guard, GuardKind, guards
from torchmemlint.facts.heat import Heat
from torchmemlint.facts.memory import Table
from torchmemlint.facts.reach import Carry, last_name, weight
from torchmemlint.facts.structure import Block, Function
from torchmemlint.facts.tests_of_user import is_test
from torchmemlint.facts.values import Kind, Reason
from torchmemlint.model import Confidence

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

OFFLOAD_WINDOW = 4
RUNNERS: Table[FileFacts, dict[Function, ast.Call]] = Table()


@dataclass(frozen=True)
class HotCall:
    """A call that ends in an effect every step.

    `where` is the loop or function that makes it hot, `heat` how sure that is, `guards` the conditions on the
    way, `offloads` whether a module was moved off the device just before, which makes the call deliberate,
    `in_tests` whether the file is a test, where speed is nobody's concern.
    """

    carry: Carry
    where: Reason
    heat: Heat
    guards: tuple[Guard, ...]
    offloads: bool
    in_tests: bool = False

    @property
    def weight(self) -> int:
        """0 unguarded, 1 behind a condition that is not understood, 2 rarely run."""
        return weight(self.guards)

    @property
    def confidence(self) -> Confidence:
        """How sure it is that this runs every step and is not wanted."""
        if self.weight or self.offloads or self.in_tests:
            return Confidence.LOW
        return Confidence.HIGH if self.heat is Heat.HOT else Confidence.MEDIUM


def hot_calls(facts: FileFacts, effect: str) -> Iterator[HotCall]:
    """Every call of a file that ends in an effect each step; one for a chain of alternatives over back ends."""
    found = list(_candidates(facts, effect))
    for call in found:
        yield replace(call, guards=tuple(g for g in call.guards if not _complemented(facts, g, call, found)))


def _complemented(facts: FileFacts, guard: Guard, call: HotCall, others: list[HotCall]) -> bool:
    """A condition holds nothing back when its other outcome ends in the same effect, further down."""
    if guard.kind is not GuardKind.OTHER or not isinstance(guard.node, ast.If):
        return False
    rest = {node for statement in facts.structure.after(guard.node) for node in subtree(statement)}
    return any(other is not call and other.carry.call in rest and other.weight == 0 for other in others)


def _candidates(facts: FileFacts, effect: str) -> Iterator[HotCall]:
    reach = facts.project.reach(effect)
    names = reach.names()
    seen: set[ast.AST] = set()
    for call in facts.structure.calls:
        if last_name(call) not in names:
            continue
        group = _alternatives(facts, call)
        if group in seen:
            continue
        carry = reach.carry(facts, call)
        found = _hot(facts, carry) if carry is not None else None
        if found is not None:
            seen.add(group)
            yield found


def controls_collector(facts: FileFacts) -> bool:
    """Whether a file switches Python's collector off or freezes it: then collecting by hand is deliberate."""
    deliberate = {"gc.disable", "gc.freeze"}
    return any(
        facts.names.dotted(call.func, facts.structure.function(call)) in deliberate for call in facts.structure.calls
    )


def _alternatives(facts: FileFacts, call: ast.Call) -> ast.AST:
    """The outermost `if` over devices that a call is an arm of, or the call itself."""
    group: ast.AST = call
    for place in facts.structure.place(call).chain():
        if place.block not in (Block.THEN, Block.ELSE):
            break
        own = [g for g in guards(facts, call, None) if g.node is place.node]
        if not own or own[0].kind is not GuardKind.DEVICE:
            break
        group = place.node
    return group


def _hot(facts: FileFacts, carry: Carry) -> HotCall | None:
    call = carry.call
    for loop in facts.structure.place(call).loops():
        heat = facts.heat.of(loop)
        if heat.heat in (Heat.HOT, Heat.WARM):
            own = [g for g in guards(facts, call, loop) if not _guards_the_work(facts, g, heat.evidence)]
            met = (*own, *carry.guards)
            return HotCall(
                carry, heat.why, heat.heat, met, _offloads(facts, call), is_test(facts, facts.structure.function(call))
            )
        if heat.heat is Heat.COLD:
            return None
    function = facts.structure.function(call)
    reason = hot_function(facts, function)
    if reason is None:
        return None
    own = [g for g in guards(facts, call, None) if not (g.kind is GuardKind.OTHER and _beside(facts, g, call))]
    return HotCall(
        carry,
        reason,
        Heat.HOT,
        (*own, *carry.guards),
        _offloads(facts, call),
        is_test(facts, facts.structure.function(call)),
    )


def _guards_the_work(facts: FileFacts, guard: Guard, work: ast.AST | None) -> bool:
    """The work that makes the loop hot stands under the same condition: whenever there is work, the call runs."""
    if work is None or guard.kind is not GuardKind.OTHER or not isinstance(guard.node, ast.If):
        return False
    block = guard.node.orelse if guard.negated else guard.node.body
    inside = {node for statement in block for node in subtree(statement)}
    return work in inside


def _beside(facts: FileFacts, guard: Guard, call: ast.Call) -> bool:
    """An early return in the same block: what follows it is what the function is for."""
    return isinstance(guard.node, ast.If) and call not in set(subtree(guard.node))


def hot_function(facts: FileFacts, function: Function) -> Reason | None:
    """Why a function runs every step: a framework calls it so."""
    if "hot" in facts.framework_effects(function):
        return Reason(f"`{function.qualname}` runs every step", function.node, facts.relative)
    call = _runners(facts).get(function)
    if call is None:
        return None
    return Reason(
        f"`{function.qualname}` is handed to `{last_name(call)}`, which runs it every step", call, facts.relative
    )


def _runners(facts: FileFacts) -> dict[Function, ast.Call]:
    """The functions that calls of a file run every step as their first argument, and the first such call of each."""
    table = facts.project.memory.table(RUNNERS)
    if facts not in table:
        found: dict[Function, ast.Call] = {}
        for call in facts.structure.calls:
            if call.args and facts.has_effect(call, "runs_argument"):
                named = facts.function_named(call.args[0], facts.structure.function(call))
                if named is not None:
                    found.setdefault(named[1], call)
        table[facts] = found
    return table[facts]


def _offloads(facts: FileFacts, call: ast.Call) -> bool:
    """A module left the device just before: `model.cpu()`, `model.to("cpu")`, `del model`."""
    for statement in facts.structure.before(facts.structure.statement(call))[:OFFLOAD_WINDOW]:
        if isinstance(statement, ast.Delete):
            if any(facts.value_before(t, statement).kind is Kind.MODULE for t in statement.targets):
                return True
        value = statement.value if isinstance(statement, (ast.Expr, ast.Assign)) else None
        if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
            continue
        moved = value.func.attr == "cpu" or (value.func.attr == "to" and bool(value.args) and _is_host(value.args[0]))
        if moved and (isinstance(statement, ast.Expr) or facts.value(value.func.value).kind is Kind.MODULE):
            return True
    return False


def _is_host(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and node.args:
        node = node.args[0]
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(("cpu", "meta"))
