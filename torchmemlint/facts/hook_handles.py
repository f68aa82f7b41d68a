"""Where hooks are registered, and what becomes of their handles: dropped, kept for nothing, or removed.

A handle that leaves the code we see counts as removed: unknown is an answer. May not look into hooks.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.letting_go import last_part
from torchmemlint.facts.library import library
from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Function, Structure
from torchmemlint.facts.uses import uses
from torchmemlint.facts.values import Grad, Kind

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAX_FILES = 25
ADDING = frozenset({"append", "add", "extend", "insert", "appendleft"})
NAMED_BY_REMOVERS: Table[Structure, frozenset[str]] = Table()


class Fate(enum.Enum):
    """What becomes of a hook's handle."""

    DROPPED = "dropped"
    KEPT = "kept, never removed"
    REMOVED = "removed, or out of sight"


@dataclass(frozen=True, eq=False)
class Registration:
    """A call that registers a hook: the hook expression, the handle's fate, whether it hangs on a module."""

    call: ast.Call
    hook: ast.expr
    fate: Fate
    on_module: bool

    @property
    def ends_in_output(self) -> bool:
        """Whether the hook's last argument is the module's output."""
        return isinstance(self.call.func, ast.Attribute) and self.call.func.attr == "register_forward_hook"

    @property
    def of_gradients(self) -> bool:
        """Whether the hook is handed gradients, which carry no graph."""
        return isinstance(self.call.func, ast.Attribute) and "backward" in self.call.func.attr


@lru_cache(maxsize=1)
def module_registrars() -> frozenset[str]:
    """The methods of modules that register hooks."""
    methods = library().modules["torch.nn"].classes["Module"].methods
    return frozenset(name for name, signature in methods.items() if "registers_hook" in signature.effects)


@lru_cache(maxsize=1)
def tensor_registrars() -> frozenset[str]:
    """The methods of tensors that register hooks."""
    methods = library().modules["torch"].classes["Tensor"].methods
    return frozenset(name for name, signature in methods.items() if "registers_hook" in signature.effects)


def registrations(facts: FileFacts) -> Iterator[Registration]:
    """The hook registrations of a file, on modules and on parameters."""
    for call in facts.structure.calls:
        func = call.func
        if not isinstance(func, ast.Attribute):
            continue
        hook = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "hook"), None)
        if hook is None:
            continue
        if func.attr in module_registrars():
            if facts.resolve(call) is None and not _delegates(facts, call):
                yield Registration(call, hook, fate(facts, call), True)
        elif func.attr in tensor_registrars():
            value = facts.value(func.value)
            if value.kind is Kind.TENSOR and value.grad is Grad.LEAF:
                yield Registration(call, hook, fate(facts, call), False)


def _delegates(facts: FileFacts, call: ast.Call) -> bool:
    """A wrapper that passes its own argument on: whoever calls it registers the hook."""
    function = facts.structure.function(call)
    func = call.func
    return isinstance(func, ast.Attribute) and function.name == func.attr


def fate(facts: FileFacts, call: ast.Call) -> Fate:
    """What becomes of the handle that a registration returns."""
    node: ast.AST = call
    parent = facts.structure.parent[node]
    while isinstance(
        parent, (ast.List, ast.Tuple, ast.ListComp, ast.DictComp, ast.Dict, ast.IfExp, ast.NamedExpr, ast.keyword)
    ):
        node, parent = parent, facts.structure.parent[parent]
    function = facts.structure.function(call)
    if isinstance(parent, ast.Expr):
        return Fate.DROPPED if node is call else Fate.REMOVED
    if isinstance(parent, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
        return _of_target(facts, function, targets[0])
    if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute) and parent.func.attr in ADDING:
        return _of_target(facts, function, parent.func.value)
    return Fate.REMOVED


def _of_target(facts: FileFacts, function: Function, target: ast.expr) -> Fate:
    while isinstance(target, ast.Subscript):
        target = target.value
    if (
        isinstance(target, ast.Name)
        and target.id in function.bound
        and target.id not in function.globals
        and not function.is_module
    ):
        return _of_local(facts, function, target.id)
    path = path_of(target)
    if path is None or isinstance(target, ast.Name):
        return Fate.REMOVED
    return Fate.REMOVED if _removed_by_name(facts, last_part(path)) else Fate.KEPT


def _of_local(facts: FileFacts, function: Function, name: str) -> Fate:
    """A handle (or a list of handles) in a local name: what its uses do."""
    kept = False
    known = uses(facts, function)
    if "remove" in known.attributes:
        return Fate.REMOVED
    for node in known.reads(name):
        parent = facts.structure.parent.get(node)
        above = facts.structure.parent.get(parent) if parent is not None else None
        if isinstance(parent, ast.Attribute) and parent.attr in ADDING and isinstance(above, ast.Call):
            continue
        if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Attribute):
            if not _removed_by_name(facts, parent.targets[0].attr):
                kept = True
                continue
        if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute) and parent.func.attr in ADDING:
            path = path_of(parent.func.value)
            if path is not None and "." in path and not _removed_by_name(facts, last_part(path)):
                kept = True
                continue
        return Fate.REMOVED
    return Fate.KEPT if kept else Fate.DROPPED


def _removes(node: ast.AST) -> bool:
    """`handle.remove()`, or the method handed to something that calls it later."""
    return isinstance(node, ast.Attribute) and node.attr == "remove" and isinstance(node.ctx, ast.Load)


def _removed_by_name(facts: FileFacts, attribute: str) -> bool:
    """Whether some function of the project uses an attribute of this name and removes a handle."""
    paths = [facts.relative, *[p for p in facts.project.mentioning(attribute) if p != facts.relative]]
    if len(paths) > MAX_FILES:
        return True
    files = (facts.project.facts(path) for path in paths)
    return any(attribute in _named_by_removers(other) for other in files if other is not None)


def _named_by_removers(facts: FileFacts) -> frozenset[str]:
    """The attributes and texts that stand in those functions of a file that remove a handle."""
    table = facts.parsed.memory.table(NAMED_BY_REMOVERS)
    if facts.structure not in table:
        bodies = [subtree(function.node) for function in facts.structure.functions if not function.is_module]
        removing = [node for body in bodies if any(map(_removes, body)) for node in body]
        attributes = {node.attr for node in removing if isinstance(node, ast.Attribute)}
        texts = {n.value for n in removing if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        table[facts.structure] = frozenset(attributes | texts)
    return table[facts.structure]
