"""Calls that neither take nor release device memory: logging, files, host libraries, functions made of such calls."""

from __future__ import annotations

import ast
import builtins
import sys
from typing import TYPE_CHECKING

from torchmemlint.facts.children import children
from torchmemlint.facts.library import Signature, library
from torchmemlint.facts.memory import Table
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import UNKNOWN, Kind, Value

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAX_DEPTH = 3
NOT_QUIET = frozenset({"backward", "steps", "releases", "empties_cache", "collects_garbage"})
RUNS_CODE = frozenset({"exec", "eval", "next", "delattr", "__import__", "map", "filter"})
RUNS_ELSEWHERE = frozenset({"gc", "asyncio", "concurrent", "multiprocessing", "threading", "unittest"})
LETS_GO = frozenset({"clear", "pop", "popitem", "popleft", "remove"})
PLAIN_METHODS = frozenset(
    name for kind in (str, dict, list, set) for name in dir(kind) if not name.startswith("_") and name not in LETS_GO
)
KNOWN_BY_METHOD = ("logging.Logger", "torch.utils.tensorboard.SummaryWriter", "deepspeed.DeepSpeedEngine")
QUIET_RESULTS = frozenset({"Host", "Generator", "GradOff", "GradOn", "Scheduler", "Same", "Each"})
QUIET: Table[Function, bool] = Table()


def is_quiet(facts: FileFacts, call: ast.Call, depth: int = 0) -> bool:
    """Whether a call certainly leaves device memory as it is."""
    function = facts.structure.function(call)
    receiver = facts.value(call.func.value) if isinstance(call.func, ast.Attribute) else None
    dotted = facts.names.dotted(call.func, function) or ""
    signature = facts.signature(call, function, receiver)
    if signature is not None:
        return _quiet_signature(signature, dotted)
    target = facts.resolve(call)
    if target is not None:
        return _quiet_definition(*target, depth)
    if dotted and _host_name(dotted):
        return True
    if (
        receiver is not None
        and isinstance(call.func, ast.Attribute)
        and _quiet_method(facts, call.func, receiver, function)
    ):
        return True
    return _asks(facts, call) and not any(facts.value(argument).is_tensor for argument in call.args)


def _quiet_signature(signature: Signature, dotted: str) -> bool:
    if signature.effects & NOT_QUIET or dotted == "builtins.next" or dotted.startswith("transformers."):
        return False
    return signature.result in QUIET_RESULTS


def _host_name(dotted: str) -> bool:
    """A builtin or a function of the standard library, or of a library that knows no devices."""
    head, _, rest = dotted.partition(".")
    if head == "builtins":
        return rest in dir(builtins) and rest not in RUNS_CODE
    if head in RUNS_ELSEWHERE:
        return False
    if head in sys.stdlib_module_names:
        return True
    module = library().modules.get(head) or library().modules.get(dotted.rpartition(".")[0])
    return module is not None and module.functions.get("__getattr__") == Signature("Host") and head != "transformers"


def _quiet_method(facts: FileFacts, func: ast.Attribute, receiver: Value, function: Function) -> bool:
    if receiver.kind in (Kind.TENSOR, Kind.MODULE, Kind.OPTIMIZER, Kind.ENGINE):
        return False
    if func.attr in LETS_GO:
        return isinstance(func.value, ast.Name) and _is_keywords(func.value.id, function)
    if func.attr in PLAIN_METHODS or any(func.attr in _methods(name) for name in KNOWN_BY_METHOD):
        return True
    return _host_instance(facts, func.value, function)


def _methods(dotted: str) -> frozenset[str]:
    stub = library().klass(dotted)
    return (
        frozenset(n for n, signature in stub.methods.items() if not signature.effects)
        if stub is not None
        else frozenset()
    )


def _is_keywords(name: str, function: Function) -> bool:
    return function.args is not None and function.args.kwarg is not None and function.args.kwarg.arg == name


def _host_instance(facts: FileFacts, node: ast.expr, function: Function) -> bool:
    """An object that a host library made: `parser = argparse.ArgumentParser()`."""
    if isinstance(node, ast.Call):
        dotted = facts.names.dotted(node.func, function)
        return dotted is not None and _host_name(dotted) and not dotted.startswith("builtins.")
    if not isinstance(node, ast.Name):
        return False
    scope: Function | None = function
    while scope is not None and node.id not in scope.bound:
        scope = scope.outer
    if scope is None:
        return False
    bindings = scope.bound[node.id]
    return all(
        isinstance(b, ast.Assign) and isinstance(b.value, ast.Call) and _host_instance(facts, b.value, scope)
        for b in bindings
    )


def _asks(facts: FileFacts, call: ast.Call) -> bool:
    """A call whose answer is only a condition: `if is_available():`."""
    node: ast.AST = call
    parent = facts.structure.parent.get(node)
    while isinstance(parent, (ast.BoolOp, ast.UnaryOp, ast.Compare)):
        node, parent = parent, facts.structure.parent.get(parent)
    return isinstance(parent, (ast.If, ast.IfExp, ast.While, ast.Assert)) and parent.test is node


def _quiet_definition(facts: FileFacts, definition: Function | Class, depth: int) -> bool:
    if isinstance(definition, Class):
        if facts.instance(definition).kind is not Kind.OBJECT:
            return False
        init = definition.methods.get("__init__")
        return _quiet_function(facts, init, depth) if init is not None else not _foreign_base(facts, definition)
    return _quiet_function(facts, definition, depth)


def _foreign_base(facts: FileFacts, definition: Class) -> bool:
    return any(isinstance(base, str) and not _host_name(base) for base in facts.lineage(definition))


def _quiet_function(facts: FileFacts, function: Function, depth: int) -> bool:
    table = facts.project.memory.table(QUIET)
    if function not in table:
        table[function] = True  # a circle adds nothing
        table[function] = depth < MAX_DEPTH and not function.yields and _quiet_body(facts, function, depth)
    return table[function]


def _quiet_body(facts: FileFacts, function: Function, depth: int) -> bool:
    for node in _own_nodes(function):
        if isinstance(node, ast.Delete):
            return False
        if isinstance(node, ast.Assign) and any(isinstance(t, (ast.Attribute, ast.Subscript)) for t in node.targets):
            if not _plain_store(facts, node, function):
                return False
        if isinstance(node, ast.BinOp) and facts.evaluation(function).values.get(node, UNKNOWN).is_tensor:
            return False
    return all(is_quiet(facts, call, depth + 1) for call in function.calls)


def _plain_store(facts: FileFacts, node: ast.Assign, function: Function) -> bool:
    """A store that can drop no tensor: of a host value other than None, or of anything in a constructor."""
    if function.name == "__init__":
        return True
    return facts.value(node.value).kind is Kind.HOST and not (
        isinstance(node.value, ast.Constant) and node.value.value is None
    )


def _own_nodes(function: Function) -> list[ast.AST]:
    """Nodes of a function's body without those of functions defined in it."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting.extend(children(node))
    return found
