"""What a path must be, from how it is used: the receiver of `.backward()` carries a graph, whatever its name.

Flow-insensitive, per function and, for attributes of `self`, per class. May not look at names.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import Usage, path_of, usages
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import Device, Grad, Kind, Reason, Value, tensor

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MODULE_METHODS = frozenset({"parameters", "named_parameters", "named_modules", "named_children"})
BY_FUNCTION: Table[Function, dict[str, Value]] = Table()
BY_CLASS: Table[Class, dict[str, Value]] = Table()


def evidence(facts: FileFacts, function: Function) -> dict[str, Value]:
    """Values of paths in a function by their uses there; for `self` attributes by uses in the whole class."""
    table = facts.parsed.memory.table(BY_FUNCTION)
    if function not in table:
        calls = list(function.calls)
        for inner in function.inner:
            calls.extend(inner.calls)
        found = _from_usage(facts, calls)
        for path, value in _contributors(facts, function, found).items():
            found.setdefault(path, value)
        if function.owner is not None:
            own_self = function.self_name()
            for path, value in class_evidence(facts, function).items():
                if own_self is not None:
                    found.setdefault(path.replace("self.", f"{own_self}.", 1), value)
        table[function] = found
    return table[function]


def class_evidence(facts: FileFacts, function: Function) -> dict[str, Value]:
    """Evidence about `self.x` from all methods of the class, with the receiver called `self`."""
    owner = function.owner
    assert owner is not None
    table = facts.parsed.memory.table(BY_CLASS)
    if owner not in table:
        merged: dict[str, Value] = {}
        for method in owner.methods.values():
            name = method.self_name()
            if name is None:
                continue
            for path, value in _from_usage(facts, method.calls).items():
                if path.startswith(f"{name}.") and value.kind in (Kind.MODULE, Kind.OPTIMIZER, Kind.ENGINE):
                    merged.setdefault(f"self.{path[len(name) + 1 :]}", value)
        table[owner] = merged
    return table[owner]


def _from_usage(facts: FileFacts, calls: list[ast.Call]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for path, usage in usages(calls).items():
        value = _value(facts, usage)
        if value is not None:
            found[path] = value
    for call in calls:
        for path, value in _backward_arguments(facts, call):
            found.setdefault(path, value)
    return found


def _value(facts: FileFacts, usage: Usage) -> Value | None:
    methods = usage.methods
    backward = methods.get("backward")
    if backward:
        call = backward[0]
        if "step" in methods or (call.args and _looks_like_loss(call.args[0]) and "item" not in methods):
            return Value(Kind.ENGINE, why=(Reason("runs backward and step", call, facts.relative),))
        return tensor(Grad.GRAPH, Device.UNKNOWN, (Reason("`backward()` is called on it", call, facts.relative),))
    mode = [call for name in ("eval", "train") for call in methods.get(name, []) if _switches_mode(name, call)]
    told = any(isinstance(argument, ast.Compare) for call in mode for argument in call.args)
    walked = next((name for name in methods if name in MODULE_METHODS), None)
    if mode and ("train" not in methods or "eval" in methods or told or walked is not None):
        switch = f"`{_method_name(mode[0])}()` is called on it"
        return Value(Kind.MODULE, why=(Reason(switch, mode[0], facts.relative),))
    if walked is not None:
        call = methods[walked][0]
        return Value(Kind.MODULE, why=(Reason("its parameters are used", call, facts.relative),))
    if "zero_grad" in methods and "step" in methods:
        return Value(
            Kind.OPTIMIZER,
            why=(Reason("`zero_grad()` and `step()` are called on it", methods["step"][0], facts.relative),),
        )
    if "unscale_" in methods or ("scale" in methods and "update" in methods and "step" in methods):
        return Value(Kind.SCALER)
    return None


def _method_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _switches_mode(name: str, call: ast.Call) -> bool:
    if name == "eval":
        return not call.args and not call.keywords
    return not call.keywords and (not call.args or isinstance(call.args[0], (ast.Constant, ast.Name, ast.Compare)))


def _looks_like_loss(node: ast.expr) -> bool:
    """An argument of backward that is the loss, not the `gradient` of `Tensor.backward`."""
    return isinstance(node, (ast.Name, ast.Attribute, ast.BinOp)) and not isinstance(node, ast.Constant)


def _backward_arguments(facts: FileFacts, call: ast.Call) -> list[tuple[str, Value]]:
    """`accelerator.backward(loss)`, `self.manual_backward(loss)`, `scaler.scale(loss).backward()`."""
    name = _method_name(call)
    argument: ast.expr | None = None
    if name in ("backward", "manual_backward") and call.args:
        argument = call.args[0]
    elif name == "backward" and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call):
        inner = call.func.value
        if _method_name(inner) == "scale" and inner.args:
            argument = inner.args[0]
    path = path_of(argument) if argument is not None else None
    if path is None:
        return []
    return [(path, tensor(Grad.GRAPH, Device.UNKNOWN, (Reason("it is back-propagated", call, facts.relative),)))]


def _contributors(facts: FileFacts, function: Function, found: dict[str, Value]) -> dict[str, Value]:
    """What a back-propagated value was computed from by calling something unknown carries a graph too.

    `out = net(x)` with an unknown `net`, then `loss = f(out)` and `loss.backward()`: some graph must come
    from somewhere, and only the unknown call can have made it.
    """
    carriers = {path for path, value in found.items() if value.carries_graph}
    assigned = _assigned(function) if carriers else {}
    made: dict[str, Value] = {}
    walked: set[ast.expr] = set()  # one value may be bound to any number of names
    todo = sorted(carriers)
    while todo:
        for value in assigned.get(todo.pop(), ()):
            if value in walked:
                continue
            walked.add(value)
            for part in subtree(value):
                path = path_of(part) if isinstance(part, ast.Name) else None
                if path is None or path in carriers:
                    continue
                if any(_unknown_call(facts, v, function) for v in assigned.get(path, ())):
                    reason = Reason("what it feeds is back-propagated", value, facts.relative)
                    made[path] = tensor(Grad.GRAPH, Device.UNKNOWN, (reason,))
                if path in assigned:
                    carriers.add(path)
                    todo.append(path)
    return made


def _assigned(function: Function) -> dict[str, dict[ast.expr, None]]:
    """The values assigned to each path, in order; a statement counts once, however many names it binds."""
    found: dict[str, dict[ast.expr, None]] = {}
    for node in dict.fromkeys(node for nodes in function.bound.values() for node in nodes):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for element, value in _pairs(target, node.value):
                    if (path := path_of(element)) is not None:
                        found.setdefault(path, {})[value] = None
    return found


def _unknown_call(facts: FileFacts, node: ast.expr, function: Function) -> bool:
    """A call of a bare name or of an attribute of `self` that neither the file nor a library explains."""
    if not isinstance(node, ast.Call) or not node.args:
        return False
    func = node.func
    if isinstance(func, ast.Attribute):
        return isinstance(func.value, ast.Name) and func.value.id == function.self_name()
    return isinstance(func, ast.Name) and facts.names.dotted(func, function) is None


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """`a, b = f(x), f(y)` binds each name to its own call."""
    if not isinstance(target, (ast.Tuple, ast.List)):
        return [(target, value)]
    if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(element, value) for element in target.elts]
