"""Plain objects that keep a device tensor from construction to the end of their life.

A class without bases whose `__init__` does nothing but make tensors and keep settings; its methods only
read the tensor and give something else back. May not know modules, data sets or state that is written to.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.held_values import GROWING
from torchmemlint.facts.letting_go import lettings_go
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import Kind, Value

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

FACTORIES = frozenset({"randn", "rand", "zeros", "ones", "empty", "full", "randint"})
DEVICES = frozenset({"cuda", "xpu", "mps", "npu"})


@dataclass(frozen=True)
class PlainHolder:
    """The statement that makes the tensor, its expression, and the class that holds it."""

    statement: ast.Assign
    value: ast.Call
    path: str
    owner: Class


def plain_holders(facts: FileFacts) -> Iterator[PlainHolder]:
    """Device tensors that instances of plain classes hold for their whole life, only to be read."""
    for owner in facts.structure.classes:
        init = owner.methods.get("__init__")
        if init is None or owner.node.bases or owner.node.decorator_list or len(owner.methods) < 2:
            continue
        if not _only_data(facts, init) or not _only_derives(owner):
            continue
        for statement in init.body:
            found = _made_here(facts, owner, init, statement)
            if found is not None:
                yield found


def _only_data(facts: FileFacts, init: Function) -> bool:
    """Whether `__init__` keeps no module, loader, optimizer or object: then the tensors are all there is to it."""
    plain = (Kind.TENSOR, Kind.HOST)
    own = f"{init.self_name()}."
    end = facts.evaluation(init).environment
    kept = [v for k, v in end.items() if k.startswith(own)]
    return all(_plain(value, plain) for value in kept)


def _plain(value: Value, kinds: tuple[Kind, ...]) -> bool:
    return value.kind in kinds


def _only_derives(owner: Class) -> bool:
    """Whether every other method is short, straight, gives something back and writes nothing."""
    for method in owner.methods.values():
        if method.name == "__init__":
            continue
        if method.loops or not method.returns or len(method.body) > 6 or method.name.startswith("__"):
            return False
        for node in subtree(method.node):
            if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
                return False
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr.endswith("_") or node.func.attr in GROWING:
                    return False
    return True


def _made_here(facts: FileFacts, owner: Class, init: Function, statement: ast.stmt) -> PlainHolder | None:
    if (
        not isinstance(statement, ast.Assign)
        or len(statement.targets) != 1
        or not isinstance(statement.value, ast.Call)
    ):
        return None
    target, value = statement.targets[0], statement.value
    path = path_of(target)
    if not isinstance(target, ast.Attribute) or path is None or not path.startswith(f"{init.self_name()}."):
        return None
    made = value
    while isinstance(made.func, ast.Attribute) and isinstance(made.func.value, ast.Call):
        made = made.func.value
    dotted = facts.names.dotted(made.func, init) or ""
    if not dotted.startswith("torch.") or dotted.rpartition(".")[2] not in FACTORIES or not _is_large(made):
        return None
    if not _on_device(facts, init, value) or any(r.function.owner is owner for r in lettings_go(facts, target.attr)):
        return None
    return PlainHolder(statement, value, path, owner)


def _is_large(made: ast.Call) -> bool:
    """At least two dimensions, none of them a small number."""
    sizes = made.args[0].elts if made.args and isinstance(made.args[0], (ast.Tuple, ast.List)) else made.args
    small = any(isinstance(s, ast.Constant) and isinstance(s.value, int) and s.value < 256 for s in sizes)
    return len(sizes) >= 2 and not small


def _on_device(facts: FileFacts, init: Function, value: ast.Call) -> bool:
    """Whether an accelerator is named: a literal, or a name bound to one in `__init__`."""
    given = [k.value for k in value.keywords if k.arg == "device"]
    if isinstance(value.func, ast.Attribute) and value.func.attr == "cuda":
        return True
    if isinstance(value.func, ast.Attribute) and value.func.attr == "to":
        given.extend(value.args[:1])
    for node in list(given):
        if isinstance(node, ast.Name):
            given.extend(b.value for b in init.bound.get(node.id, ()) if isinstance(b, ast.Assign))
    parts = [part for node in given for part in subtree(node)]
    return any(
        isinstance(p, ast.Constant) and isinstance(p.value, str) and p.value.split(":")[0] in DEVICES for p in parts
    )
