"""Which calls run a module forward and record a graph: a module called, `.forward()`, a method or function that does.

Says how sure that is; a parameter's value is asked of the callers. May not know what becomes of the graph.
"""

from __future__ import annotations

import ast
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.grad_mode import GradMode, function_mode, mode_at
from torchmemlint.facts.library import Signature, library
from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.project import TooManyCallers
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import HOST, UNKNOWN, Kind, Value, join

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

CALLER_LEVELS = 2
ENGINES = ("jax", "flax", "tensorflow", "keras", "paddle", "mindspore", "mxnet", "tinygrad", "mlx", "jittor")
RUNS_OWN: Table[Function, bool] = Table()
WITH_PARAMETERS: Table[Class, bool] = Table()


class Certainty(enum.Enum):
    """How it is known that a call is a forward."""

    MODULE = "a module is called"
    METHOD = "a method of a module is given something"
    PARAMETER = "a parameter is called, or a method of it"


@dataclass(frozen=True, eq=False)
class Forward:
    """One forward: the path of what is run (None for an unnamed one) and how sure it is."""

    path: str | None
    certainty: Certainty


def forward_of(facts: FileFacts, call: ast.Call) -> Forward | None:
    """Whether a call runs a module with grad not switched off in its own function."""
    if mode_at(facts, call) in (GradMode.OFF, GradMode.MAYBE):
        return None
    func = call.func
    called = facts.value(func)
    if called.kind is Kind.TENSOR:
        return Forward(
            path_of(func), Certainty.MODULE
        )  # what `torch.load` gave can be called: a whole module was saved
    if called.kind is Kind.MODULE:
        return Forward(path_of(func), Certainty.MODULE) if records(facts, called) and _torch(facts, called) else None
    if isinstance(func, ast.Attribute):
        return _method(facts, call, func)
    if isinstance(func, ast.Name) and called.kind is Kind.UNKNOWN and _is_param(facts, call, func.id) and _given(call):
        return Forward(func.id, Certainty.PARAMETER)
    return None


def _method(facts: FileFacts, call: ast.Call, func: ast.Attribute) -> Forward | None:
    receiver = facts.value(func.value)
    path = path_of(func.value)
    if receiver.kind is Kind.MODULE and _torch(facts, receiver):
        if func.attr == "forward":
            return Forward(path, Certainty.MODULE) if records(facts, receiver) else None
        found = facts.method(receiver.ref, func.attr) if receiver.ref else None
        if (
            found is None
            and library().method("torch.nn.Module", func.attr) is None
            and _given(call)
            and not func.attr.startswith("_")
        ):
            return Forward(path, Certainty.METHOD)
    if receiver.kind is Kind.UNKNOWN and isinstance(func.value, ast.Name) and _given(call):
        if _is_param(facts, call, func.value.id) and func.value.id != facts.structure.function(call).self_name():
            return Forward(func.value.id, Certainty.PARAMETER)
    return None


def _given(call: ast.Call) -> bool:
    return (
        any(not isinstance(a, ast.Constant) for a in call.args)
        or any(k.arg is None for k in call.keywords)
        or bool(call.keywords)
    )


def _is_param(facts: FileFacts, call: ast.Call, name: str) -> bool:
    function = facts.structure.function(call)
    return name in {param.arg for param in function.params} and len(function.bound.get(name, ())) == 1


def _runs_own(facts: FileFacts, method: Function) -> bool:
    """Whether a method of a module runs the module or its parts with grad as the caller has it."""
    if function_mode(facts, method) in (GradMode.OFF, GradMode.MAYBE):
        return False
    cache = facts.project.memory.table(RUNS_OWN)
    if method not in cache:
        cache[method] = False
        for call in method.calls:
            forward = forward_of(facts, call)
            own = forward is not None and forward.path is not None and forward.path.split(".")[0] == method.self_name()
            if own and forward is not None and forward.certainty is Certainty.MODULE and method.returns:
                cache[method] = True
                break
    return cache[method]


def _torch(facts: FileFacts, value: Value) -> bool:
    """A receiver known only from `.eval()` is torch's where the file has torch and no other engine."""
    if value.ref:
        return True
    roots = {
        alias.name.split(".")[0]
        for _, node in facts.structure.imports
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    roots |= {
        (node.module or "").split(".")[0] for _, node in facts.structure.imports if isinstance(node, ast.ImportFrom)
    }
    return not roots & set(ENGINES)


def records(facts: FileFacts, value: Value) -> bool:
    """Whether running a module can record anything of its own: it has parameters, and its forward is not guarded."""
    if value.frozen:
        return False
    if not value.ref:
        return True
    owned = facts.project.classes.get(value.ref)
    if owned is None:
        return not library().is_subclass(value.ref, "torch.nn.Stateless")
    forward = facts.method(value.ref, "forward")
    if isinstance(forward, tuple) and function_mode(*forward) in (GradMode.OFF, GradMode.MAYBE):
        return False
    return has_parameters(*owned) and not _freezes_itself(*owned)


def _freezes_itself(facts: FileFacts, owner: Class) -> bool:
    """Whether instances are made with all parameters frozen."""
    from torchmemlint.facts.graph_walks import walk

    for base in facts.lineage(owner):
        init = None if isinstance(base, str) else base[1].methods.get("__init__")
        if init is not None and not isinstance(base, str) and base[0].source.mentions(("requires_grad",)):
            found = walk(base[0], init, 1)
            return found is not None and found.switches.of(init.self_name()).frozen
    return False


def has_parameters(facts: FileFacts, owner: Class) -> bool:
    """Whether instances of a module class own parameters; only a class seen whole can be without."""
    cache = facts.project.memory.table(WITH_PARAMETERS)
    if owner not in cache:
        cache[owner] = True
        cache[owner] = any(_brings_parameters(facts, base) for base in facts.lineage(owner))
    return cache[owner]


def _brings_parameters(facts: FileFacts, base: object) -> bool:
    if isinstance(base, str):
        return (
            base != "torch.nn.Module"
            and not library().is_subclass(base, "torch.nn.Stateless")
            and not base.startswith("builtins.")
        )
    assert isinstance(base, tuple)
    home, owner = base
    init = owner.methods.get("__init__")
    for call in init.calls if init is not None else ():
        value = home.value(call)
        if value.kind is Kind.MODULE and records(home, value):
            return True
        if (home.names.dotted(call.func, init) or "").rsplit(".", 1)[-1] == "Parameter":
            return True
        statement = home.structure.statement(call)
        targets = statement.targets if isinstance(statement, ast.Assign) and statement.value is call else []
        if value.kind is Kind.UNKNOWN and any(isinstance(target, ast.Attribute) for target in targets):
            return True
    return False


def given_value(facts: FileFacts, function: Function, name: str, level: int = 0) -> Value:
    """The value that all known callers give a parameter; UNKNOWN where they differ or none is known."""
    found: Value | None = None
    try:
        calls = list(facts.project.callers(function, facts))
    except TooManyCallers:
        return UNKNOWN
    for other, call in calls:
        argument = argument_for(function, call, name)
        if argument is None:
            continue
        value = other.value(argument)
        if value.kind is Kind.MODULE and not records(other, value):
            return UNKNOWN
        if value.kind is Kind.UNKNOWN and isinstance(argument, ast.Name) and level < CALLER_LEVELS:
            scope = other.structure.function(call)
            if argument.id in {param.arg for param in scope.params}:
                value = given_value(other, scope, argument.id, level + 1)
        if value == HOST:
            continue
        if value.kind is Kind.TENSOR:
            value = Value(Kind.MODULE)  # loaded whole: a tensor could not be called
        found = value if found is None else join(found, value)
    return found if found is not None else UNKNOWN


def argument_for(function: Function, call: ast.Call, name: str) -> ast.expr | None:
    """The expression that a call gives a parameter."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    names = [param.arg for param in function.params]
    if function.owner is not None and not function.is_static() and names:
        names = names[1:]
    if name not in names or any(isinstance(argument, ast.Starred) for argument in call.args):
        return None
    index = names.index(name)
    return call.args[index] if index < len(call.args) else None


def confirmed(facts: FileFacts, call: ast.Call, forward: Forward) -> bool:
    """Whether the callers show that a parameter really is a module that this call runs."""
    if forward.certainty is not Certainty.PARAMETER:
        return True
    function = facts.structure.function(call)
    assert forward.path is not None
    value = given_value(facts, function, forward.path)
    if value.kind is not Kind.MODULE or not records(facts, value):
        return False
    if isinstance(call.func, ast.Name) or (isinstance(call.func, ast.Attribute) and call.func.attr == "forward"):
        return True
    assert isinstance(call.func, ast.Attribute)
    found = facts.method(value.ref, call.func.attr) if value.ref else None
    return isinstance(found, tuple) and not isinstance(found, Signature) and _runs_own(*found)
