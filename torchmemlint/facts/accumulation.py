"""Values added up or collected across the steps of a hot loop, and whether they keep autograd graphs alive.

The test is which side is back-propagated: a sum that `backward()` is called on is a loss being built, a sum
of values that were already back-propagated is a leak. May not look at names.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.back_propagation import (
    back_propagated,
    backwards,
    freed_in,
)
from torchmemlint.facts.caller_mode import effective_mode
from torchmemlint.facts.children import subtree
from torchmemlint.facts.derivation import COLLECTING, derived, kept_paths, read_paths
from torchmemlint.facts.grad_mode import GradMode, mode_at
from torchmemlint.facts.heat import Heat
from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Function, LoopNode
from torchmemlint.facts.values import Grad, Kind, Reason, Value, tensor

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts


class Fate(enum.Enum):
    """What becomes of the graph of an added value."""

    FREED = "freed"  # back-propagated in the same loop: its nodes stay in host memory
    HELD = "held"  # never back-propagated: saved activations stay on the device


@dataclass(frozen=True)
class Kept:
    """A graph-carrying value kept across steps: by which statement, in what, in which loop."""

    node: ast.stmt
    target: ast.expr
    added: ast.expr
    value: Value
    loop: Reason
    fate: Fate
    retained: bool  # some backward in the loop retains the graph
    certain: bool
    window: bool = False  # started afresh now and then inside the loop: it grows only until then
    via: tuple[Reason, ...] = ()

    @property
    def freed(self) -> bool:
        return self.fate is Fate.FREED

    @property
    def cost(self) -> str:
        """What grows, in words."""
        freed = self.fate is Fate.FREED and not self.retained
        what = "graph nodes pile up in host memory" if freed else "activations pile up on the device"
        return f"{what} until it is reset" if self.window else what


@dataclass(frozen=True)
class _Begun:
    """What some statements start afresh: by itself, or with the name that it hangs on."""

    paths: frozenset[str]
    roots: frozenset[str]

    def holds(self, path: str) -> bool:
        return path in self.paths or _root(path) in self.roots


EACH_PASS: Table[LoopNode, _Begun] = Table()
SOME_PASSES: Table[LoopNode, _Begun] = Table()
BOUNDED: Table[Function, frozenset[str]] = Table()
EVALUATES: Table[Function, bool] = Table()
LENT: Table[Function, dict[str, list[str | None]]] = Table()
GIVEN_OUT: Table[Function, frozenset[str]] = Table()


def sums(facts: FileFacts) -> Iterator[Kept]:
    """Running sums and averages of values with graphs: `t += v`, `t = t + v`, `t.add_(v)`."""
    for statement in list(facts.structure.block_of):
        found = _sum(statement)
        if found is not None and _outlives(facts, statement, found[0]):
            yield from _judge(facts, statement, *found, container=False)


def collections(facts: FileFacts) -> Iterator[Kept]:
    """Values with graphs put in a list, deque or dict that outlives the step."""
    for statement in list(facts.structure.block_of):
        found = _collected(statement)
        if found is None or not _outlives(facts, statement, found[0]):
            continue
        if _is_container(facts, statement, found[0]):
            yield from _judge(facts, statement, *found, container=True)


def _outlives(facts: FileFacts, statement: ast.stmt, target: ast.expr) -> bool:
    """Whether a target can gather anything over steps, before any value is asked for: in a loop, or on `self`."""
    path = path_of(target)
    if path is None:
        return False
    return bool(facts.structure.place(statement).loops()) or _on_self(facts.structure.function(statement), path)


def _on_self(function: Function, path: str) -> bool:
    return function.owner is not None and path.startswith(f"{function.self_name()}.")


def _is_container(facts: FileFacts, statement: ast.stmt, target: ast.expr) -> bool:
    """A list, dict or deque; an object of the project with an `add` of its own is judged by what that does."""
    value = facts.value(target)
    if value.kind is Kind.CONTAINER:
        return True
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
        return value.kind is Kind.UNKNOWN and call.func.attr == "append" and facts.resolve(call) is None
    return value.kind is Kind.UNKNOWN


def _sum(statement: ast.stmt) -> tuple[ast.expr, ast.expr] | None:
    """Target and added expression of a running sum."""
    if isinstance(statement, ast.AugAssign) and isinstance(statement.op, (ast.Add, ast.Sub)):
        if isinstance(statement.value, (ast.List, ast.ListComp, ast.Tuple)):
            return None
        return statement.target, statement.value
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.value, ast.BinOp):
        target, value = statement.targets[0], statement.value
        path = path_of(target)
        if path is not None and isinstance(value.op, (ast.Add, ast.Sub)):
            if path in set(read_paths(value)):
                return target, _other_side(value, path)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("add_", "sub_") and call.args:
            return call.func.value, call.args[-1]
    return None


def _other_side(value: ast.BinOp, path: str) -> ast.expr:
    return value.right if path in set(read_paths(value.left)) else value.left


def _collected(statement: ast.stmt) -> tuple[ast.expr, ast.expr] | None:
    """Container and added expression: `xs.append(v)`, `xs += [v]`, `d[k] = v`."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        if isinstance(call.func, ast.Attribute) and call.func.attr in COLLECTING and call.args:
            return call.func.value, call.args[-1]
    if (
        isinstance(statement, ast.AugAssign)
        and isinstance(statement.value, ast.List)
        and len(statement.value.elts) == 1
    ):
        return statement.target, statement.value.elts[0]
    return None


def _judge(facts: FileFacts, statement: ast.stmt, target: ast.expr, added: ast.expr, container: bool) -> Iterator[Kept]:
    path = path_of(target)
    if path is None:
        return
    function = facts.structure.function(statement)
    loops = facts.structure.place(statement).loops()
    value = facts.value(added)
    if not _graph(value):
        if not loops and _on_self(function, path):
            yield from _through_parameter(facts, statement, target, added, function)
        return
    loop = _step_loop(facts, loops, path, function, container)
    if loop is None or _bounded(facts, function, path) or back_propagated(facts, function, path):
        return
    heat = facts.heat.of(loop)
    freed = freed_in(facts, loop, added, statement)
    if mode_at(facts, statement) is GradMode.OFF:
        return
    if not freed:
        if effective_mode(facts, statement).mode is not GradMode.ON:
            return  # where a backward runs, grad is on
        if _escapes(facts, function, path) and (container or not _over_loader(facts, loop)):
            return
        if heat.heat is Heat.WARM and (_handed_on(facts, function, path) or not _evaluates(facts, function)):
            return
    retained = backwards(facts, loop).retains
    window = _reset_inside(facts, loop, path)
    fate = Fate.FREED if freed else Fate.HELD
    yield Kept(statement, target, added, value, heat.why, fate, retained, _strong(value) and not window, window)


def _graph(value: Value) -> bool:
    if value.kind in (Kind.CONTAINER, Kind.TUPLE):
        return any(_graph(part) for part in (*value.parts, *([value.elem] if value.elem is not None else [])))
    return value.carries_graph


def _strong(value: Value) -> bool:
    return bool(value.why) or value.elem is not None


def _step_loop(
    facts: FileFacts, loops: list[LoopNode], path: str, function: Function, container: bool
) -> LoopNode | None:
    """The innermost hot loop that the target outlives: it is not bound anew on every pass."""
    for loop in loops:
        if isinstance(loop, ast.comprehension) or _bound_each_pass(facts, loop, path, function):
            return None
        if facts.heat.of(loop).heat in (Heat.HOT, Heat.WARM):
            return loop
    return None


def _bound_each_pass(facts: FileFacts, loop: LoopNode, path: str, function: Function) -> bool:
    """A plain assignment at the level of the loop's own body starts the target afresh."""
    root = _root(path)
    targets = [loop.target] if isinstance(loop, (ast.For, ast.AsyncFor)) else []
    if any(isinstance(n, ast.Name) and n.id == root for t in targets for n in subtree(t)):
        return True
    table = facts.parsed.memory.table(EACH_PASS)
    if loop not in table:
        table[loop] = _begun([] if isinstance(loop, ast.comprehension) else _unconditional(loop.body))
    return table[loop].holds(path)


def _reset_inside(facts: FileFacts, loop: LoopNode, path: str) -> bool:
    """Whether some statement of the loop starts the target afresh, on some passes."""
    table = facts.parsed.memory.table(SOME_PASSES)
    if loop not in table:
        body = [] if isinstance(loop, ast.comprehension) else loop.body
        nodes = (node for statement in body for node in subtree(statement))
        table[loop] = _begun(node for node in nodes if isinstance(node, ast.stmt))
    return table[loop].holds(path)


def _root(path: str) -> str:
    return path.split(".", maxsplit=1)[0].split("[", maxsplit=1)[0]


def _unconditional(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if isinstance(statement, (ast.With, ast.AsyncWith, ast.Try)):
            yield from _unconditional(statement.body)


def _begun(statements: Iterable[ast.stmt]) -> _Begun:
    paths: set[str] = set()
    roots: set[str] = set()
    for statement in statements:
        if isinstance(statement, ast.Assign) and _sum(statement) is None:
            bound = {p for target in statement.targets for p in _target_paths(target)}
            paths |= bound
            roots |= bound
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            bound = _target_paths(statement.target)
            paths |= bound
            roots |= bound
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            names = [item.optional_vars for item in statement.items if item.optional_vars is not None]
            roots |= {p for name in names for p in _target_paths(name)}
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            func = statement.value.func
            if isinstance(func, ast.Attribute) and func.attr in ("clear", "zero_"):
                path = path_of(func.value)
                paths |= {path} if path is not None else set()
    return _Begun(frozenset(paths), frozenset(roots))


def _target_paths(target: ast.expr) -> set[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        return set().union(*(_target_paths(e) for e in target.elts)) if target.elts else set()
    path = path_of(target)
    return {path} if path is not None else set()


def _bounded(facts: FileFacts, function: Function, path: str) -> bool:
    """A `deque(maxlen=n)` forgets by itself."""
    table = facts.parsed.memory.table(BOUNDED)
    if function not in table:
        table[function] = frozenset(name for name, nodes in function.bound.items() if any(map(_has_limit, nodes)))
    return path in table[function]


def _has_limit(node: ast.AST) -> bool:
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return False
    return any(k.arg == "maxlen" for k in node.value.keywords) or len(node.value.args) > 1


def _evaluates(facts: FileFacts, function: Function) -> bool:
    """Whether the function puts a module into evaluation mode: its loop of forwards is then no loss being built."""
    table = facts.project.memory.table(EVALUATES)
    if function not in table:
        calls = [call.func for call in function.calls if isinstance(call.func, ast.Attribute) and not call.args]
        table[function] = any(func.attr == "eval" and facts.value(func.value).kind is Kind.MODULE for func in calls)
    return table[function]


def _handed_on(facts: FileFacts, function: Function, path: str) -> bool:
    """Whether the target goes to code we do not know, which may back-propagate it."""
    known = derived(facts, function, frozenset({path}))
    return any(
        receiver is None or receiver not in known for p in known for receiver in _lent(facts, function).get(p, ())
    )


def _lent(facts: FileFacts, function: Function) -> dict[str, list[str | None]]:
    """The paths that go to code we do not know, each with what the calls are made on."""
    table = facts.parsed.memory.table(LENT)
    if function not in table:
        found: dict[str, list[str | None]] = {}
        for call in function.calls:
            name = facts.names.dotted(call.func, function) or ""
            if name.startswith(("torch.", "builtins.", "numpy.", "math.")):
                continue
            receiver = path_of(call.func.value) if isinstance(call.func, ast.Attribute) else None
            for path in {p for argument in call.args for p in kept_paths(argument)}:
                found.setdefault(path, []).append(receiver)
        table[function] = found
    return table[function]


def _over_loader(facts: FileFacts, loop: LoopNode) -> bool:
    return not isinstance(loop, ast.While) and facts.value(loop.iter).kind is Kind.LOADER


def _escapes(facts: FileFacts, function: Function, path: str) -> bool:
    """Whether the target, or what is computed from it with its graph, leaves the function."""
    if "." in path:
        return True
    known = derived(facts, function, frozenset({path}))
    table = facts.parsed.memory.table(GIVEN_OUT)
    if function not in table:
        nodes = (node for statement in function.body for node in subtree(statement))
        given = [node.value for node in nodes if isinstance(node, (ast.Return, ast.Yield)) and node.value is not None]
        table[function] = frozenset(p for value in given for p in kept_paths(value))
    return not known.isdisjoint(table[function]) or any("." in p for p in known) or path in function.globals


# ---- through a method's parameter -----------------------------------------------------------------------


def _through_parameter(
    facts: FileFacts, statement: ast.stmt, target: ast.expr, added: ast.expr, function: Function
) -> Iterator[Kept]:
    """A meter's `update(value)` that adds its argument: judged by what its callers hand in."""
    if mode_at(facts, statement) is GradMode.OFF:
        return
    names = {node.id for node in subtree(added) if isinstance(node, ast.Name)}
    params = [param.arg for param in function.params[1:] if param.arg in names]
    for param in params:
        given = {param: tensor(Grad.GRAPH)}
        if not _graph(facts.evaluate_with(function, given).get(added, Value())):
            continue
        for caller, call, argument in facts.arguments_of(function, param):
            value = caller.value(argument)
            loops = caller.structure.place(call).loops()
            hot = next((lo for lo in loops if caller.heat.of(lo).heat is Heat.HOT), None)
            if hot is None or not _graph(value) or effective_mode(caller, call).mode is not GradMode.ON:
                continue
            via = Reason("handed in with its graph", call, caller.relative)
            freed = freed_in(caller, hot, argument, caller.structure.statement(call))
            fate = Fate.FREED if freed else Fate.HELD
            why = caller.heat.of(hot).why
            yield Kept(statement, target, added, value, why, fate, retained=False, certain=True, via=(via,))
            return
