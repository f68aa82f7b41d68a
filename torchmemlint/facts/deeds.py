"""What a statement does to device memory: takes it, lets go of it, or nothing.

Reads one statement with everything nested in it; the order of statements is the business of `approach`.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from torchmemlint.facts.bindings import alias_of, bindings_of, binds_touched, on_host
from torchmemlint.facts.children import children, subtree
from torchmemlint.facts.cleanup import cleanup
from torchmemlint.facts.guards import leaves
from torchmemlint.facts.library import library
from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.quiet import LETS_GO, QUIET_RESULTS, is_quiet
from torchmemlint.facts.reach import last_name
from torchmemlint.facts.structure import Function
from torchmemlint.facts.values import Device, Kind, Value

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

OF_EXPRESSION: Table[ast.expr, tuple[Deed, ...]] = Table()
DEEDS: Table[tuple[ast.stmt, bool], tuple[Deed, ...]] = Table()


class Act(enum.Enum):
    """One way to treat device memory."""

    TAKES = "takes"  # new memory, nothing dropped
    COMPUTES = "computes"  # a library operation: new memory, and inner results that are dropped
    CALLS = "calls"  # user code, a module, code that is not known: its temporaries are gone when it returns
    UPDATES = "updates"  # a name is bound to a function of its own old value
    REBINDS = "rebinds"  # a name or attribute that may have held a tensor means something else now
    BACKWARD = "backward"  # frees what autograd saved
    RELEASES = "releases"  # del, None, clear, collect, a module moved to the host
    EMPTIES = "empties"  # the cache is emptied


@dataclass(frozen=True)
class Deed:
    """An act, where, and whether a loop inside the statement repeats it."""

    act: Act
    node: ast.AST
    repeated: bool = False


def deeds(facts: FileFacts, statement: ast.stmt, repeated: bool = False) -> tuple[Deed, ...]:
    """All deeds of a statement that may be over when it ends, remembered."""
    table = facts.project.memory.table(DEEDS)
    key = (statement, repeated)
    if key not in table:
        done = _deeds(facts, statement, repeated)
        table[key] = tuple(Deed(deed.act, deed.node, True) for deed in done) if repeated else tuple(done)
    return table[key]


def deeds_of(facts: FileFacts, node: ast.expr) -> tuple[Deed, ...]:
    """All deeds of an expression, remembered."""
    table = facts.project.memory.table(OF_EXPRESSION)
    if node not in table:
        table[node] = tuple(_calls(facts, node))
    return table[node]


def _block(facts: FileFacts, body: Sequence[ast.stmt], repeated: bool) -> Iterator[Deed]:
    for statement in body:
        yield from deeds(facts, statement, repeated)


def _deeds(facts: FileFacts, node: ast.stmt, repeated: bool) -> Iterator[Deed]:  # noqa: C901 - one arm a statement
    if isinstance(node, ast.If):
        yield from _calls(facts, node.test)
        for body in (node.body, node.orelse):
            if not leaves(body):
                yield from _block(facts, body, repeated)
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
        yield from _calls(facts, node.test if isinstance(node, ast.While) else node.iter)
        yield from _block(facts, node.body, True)
        yield from _block(facts, node.orelse, repeated)
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        for item in node.items:
            yield from _calls(facts, item.context_expr)
        yield from _block(facts, node.body, repeated)
    elif isinstance(node, ast.Try):
        yield from _try(facts, node, repeated)
    elif isinstance(node, ast.Match):
        yield from _calls(facts, node.subject)
        for case in node.cases:
            yield from _block(facts, case.body, repeated)
    elif isinstance(node, ast.Delete):
        yield from _delete(facts, node)
    elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        yield from _calls(facts, node.value)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from _binding(facts, target, node, node.value, repeated)
    elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        for child in children(node):
            if isinstance(child, ast.expr):
                yield from _calls(facts, child)


def _try(facts: FileFacts, node: ast.Try, repeated: bool) -> Iterator[Deed]:
    inside = list(_block(facts, node.body, repeated))
    yield from inside
    for handler in node.handlers:
        if not leaves(handler.body):
            yield from _block(facts, handler.body, repeated)
            if any(deed.act is not Act.EMPTIES for deed in inside):
                yield Deed(Act.CALLS, handler)  # the frames that failed are gone
    yield from _block(facts, node.orelse, repeated)
    yield from _block(facts, node.finalbody, repeated)


# ---- letting go -----------------------------------------------------------------------------------


def _delete(facts: FileFacts, node: ast.Delete) -> Iterator[Deed]:
    function = facts.structure.function(node)
    targets = [e for t in node.targets for e in (t.elts if isinstance(t, (ast.Tuple, ast.List)) else [t])]
    for target in targets:
        if isinstance(target, ast.Name) and alias_of(facts, function, target.id, node):
            continue
        if facts.value_before(target, node).kind is Kind.HOST:
            continue
        yield Deed(Act.RELEASES, target)


def _binding(facts: FileFacts, target: ast.expr, node: ast.stmt, value: ast.expr, repeated: bool) -> Iterator[Deed]:
    if isinstance(target, (ast.Tuple, ast.List)):
        parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts) else None
        for index, element in enumerate(target.elts):
            yield from _binding(facts, element, node, parts[index] if parts else value, repeated)
        return
    if isinstance(target, ast.Name):
        yield from _rebound(facts, target, node, value, repeated)
    elif isinstance(target, (ast.Attribute, ast.Subscript)):
        yield from _stored(facts, target, value)


def _stored(facts: FileFacts, target: ast.Attribute | ast.Subscript, value: ast.expr) -> Iterator[Deed]:
    """A store into an object drops what was there."""
    function = facts.structure.function(target)
    if (isinstance(value, ast.Constant) and value.value is None) or _empty(value):
        yield Deed(Act.RELEASES, target)
        return
    if facts.value(value).kind is Kind.HOST or function.name == "__init__" or lazily_built(facts, target):
        return
    path = path_of(target)
    old = _old_attribute(facts, target, function)
    if old is not None and on_host(old):
        return
    if path is not None or isinstance(target, ast.Attribute):
        yield Deed(Act.REBINDS, target)


def _old_attribute(facts: FileFacts, target: ast.expr, function: Function) -> Value | None:
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and function.owner is not None:
        if target.value.id == function.self_name():
            return facts.attribute(function.owner.key, target.attr)
    return None


def _empty(node: ast.expr) -> bool:
    return isinstance(node, (ast.List, ast.Dict, ast.Tuple)) and not (
        node.keys if isinstance(node, ast.Dict) else node.elts
    )


def lazily_built(facts: FileFacts, node: ast.AST) -> bool:
    """Whether a node runs only when what it builds is not there yet: `not self.ready`, `"x" not in state`."""
    for place in facts.structure.place(node).chain():
        if isinstance(place.node, ast.If) and node not in set(subtree(place.node.test)) and missing(place.node.test):
            return True
    return False


def missing(test: ast.expr) -> bool:
    """Whether a condition asks if something is not there yet."""
    if isinstance(test, ast.BoolOp):
        return any(missing(part) for part in test.values)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return isinstance(test.operand, ast.Attribute) or (
            isinstance(test.operand, ast.Call)
            and isinstance(test.operand.func, ast.Name)
            and test.operand.func.id == "hasattr"
        )
    if not isinstance(test, ast.Compare):
        return False
    operator, right = test.ops[0], test.comparators[0]
    if isinstance(operator, ast.NotIn):
        return True
    zero = isinstance(right, ast.Constant) and (right.value is None or (right.value == 0 and right.value is not False))
    return isinstance(operator, (ast.Eq, ast.Is)) and zero


def _rebound(facts: FileFacts, target: ast.Name, node: ast.stmt, value: ast.expr, repeated: bool) -> Iterator[Deed]:
    function = facts.structure.function(node)
    bindings = bindings_of(facts, function, target.id)
    earlier, touched = bindings.count(facts, node)
    if not earlier and not repeated and target.id not in function.globals:
        if facts.value(value).device is Device.HOST and len(bindings.starts) < len(function.bound.get(target.id, ())):
            yield Deed(Act.REBINDS, target)  # a parameter now means the copy in host memory
        return
    held = touched > 0 if earlier else binds_touched(facts, node)
    if not held and target.id not in function.globals:
        return
    reads_itself = any(isinstance(n, ast.Name) and n.id == target.id for n in subtree(value))
    if isinstance(value, ast.Constant) and value.value is None:
        yield Deed(Act.RELEASES, target)
    elif reads_itself and facts.value(value).device is not Device.HOST and not repeated:
        yield Deed(Act.UPDATES, target)
    else:
        yield Deed(Act.REBINDS, target)


# ---- calls ----------------------------------------------------------------------------------------


def _calls(facts: FileFacts, node: ast.expr) -> Iterator[Deed]:
    for part in subtree(node):
        if isinstance(part, ast.Call) and part in facts.structure.place_of:
            act = act_of(facts, part)
            if act is not None:
                yield Deed(act, part)
        elif isinstance(part, (ast.BinOp, ast.UnaryOp)) and facts.value(part).is_tensor:
            yield Deed(Act.COMPUTES, part)


def act_of(facts: FileFacts, call: ast.Call) -> Act | None:
    """What one call does; None where it certainly does nothing."""
    found = cleanup(facts, call)
    if found is not None:
        return Act.RELEASES if found.collects else Act.EMPTIES
    effects = facts.effects(call)
    if "releases" in effects:
        return Act.RELEASES
    if "backward" in effects:
        return Act.BACKWARD
    if "steps" in effects:
        return Act.CALLS
    receiver = facts.value(call.func.value) if isinstance(call.func, ast.Attribute) else None
    if receiver is not None and isinstance(call.func, ast.Attribute):
        if call.func.attr == "zero_grad" or _moves_to_host(facts, call, receiver):
            return Act.RELEASES
        if call.func.attr in LETS_GO and receiver.kind is not Kind.HOST and not is_quiet(facts, call):
            return Act.RELEASES
    if is_quiet(facts, call):
        return None
    signature = facts.signature(call, facts.structure.function(call), receiver)
    if (
        signature is None
        and receiver is not None
        and receiver.kind is Kind.UNKNOWN
        and last_name(call) in ("to", "cuda")
    ):
        return Act.TAKES
    if signature is None and (known := _library_method(facts, call)) is not None:
        return known
    if signature is None or (receiver is not None and receiver.kind is Kind.MODULE and signature.result == "Graph"):
        return Act.CALLS
    if signature.result in ("Fresh", "OnDevice", "Same"):
        return Act.TAKES
    return (
        Act.CALLS
        if signature.result in ("Module", "Engine", "Loader")
        else None
        if signature.result in QUIET_RESULTS
        else Act.COMPUTES
    )


def _library_method(facts: FileFacts, call: ast.Call) -> Act | None:
    """A layer's own forward by way of `super()`, or a library's method of a name that no other has."""
    func = call.func
    if not isinstance(func, ast.Attribute):
        return None
    if func.attr in _loading_methods():
        return Act.TAKES
    owner = facts.structure.function(call).owner
    if owner is None or not isinstance(func.value, ast.Call) or path_of(func.value.func) != "super":
        return None
    bases = facts.bases(owner)
    layer = (
        len(bases) == 1
        and isinstance(bases[0], str)
        and bases[0].startswith("torch.nn.")
        and bases[0] != "torch.nn.Module"
    )
    return Act.COMPUTES if layer and func.attr == "forward" else None


@lru_cache(maxsize=1)
def _loading_methods() -> frozenset[str]:
    """Methods of library classes that bring state to the device."""
    classes = [stub for module in library().modules.values() for stub in module.classes.values()]
    return frozenset(
        name for stub in classes for name, signature in stub.methods.items() if "loads" in signature.effects
    )


def _moves_to_host(facts: FileFacts, call: ast.Call, receiver: Value) -> bool:
    """A module, or whatever a bare `x.cpu()` is called on, leaves the device."""
    assert isinstance(call.func, ast.Attribute)
    argument = call.args[0] if call.args else None
    if isinstance(argument, ast.Call) and argument.args:
        argument = argument.args[0]
    named = (
        isinstance(argument, ast.Constant)
        and isinstance(argument.value, str)
        and argument.value.startswith(("cpu", "meta"))
    )
    if not (call.func.attr == "cpu" or (call.func.attr in ("to", "to_empty") and named)):
        return False
    return receiver.kind is Kind.MODULE or isinstance(facts.structure.parent.get(call), ast.Expr)
