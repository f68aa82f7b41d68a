"""Locals that still hold a tensor of their own at a place although nobody reads them any more."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.approach import captured, reads_after
from torchmemlint.facts.bindings import begins
from torchmemlint.facts.children import subtree
from torchmemlint.facts.deeds import Act, deeds
from torchmemlint.facts.library import library
from torchmemlint.facts.memory import Table
from torchmemlint.facts.structure import Function
from torchmemlint.facts.uses import uses
from torchmemlint.facts.values import Device, Kind, Value

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

GROWERS = frozenset(
    {"append", "add", "extend", "insert", "update", "appendleft", "setdefault", "put", "register_buffer"}
)
MAKERS = frozenset({"Fresh", "Flows", "Detached", "Graph", "OnDevice", "tuple"})

VIEWS: Table[Function, dict[str, list[tuple[str, ast.Assign]]]] = Table()


@dataclass(frozen=True)
class Holder:
    """A name, the statement that bound it, and what is known of the tensor.

    `moved` is the statement after the place that first copies the tensor to the host, `certain` that it lies on the
    device and is bound on every path.
    """

    name: str
    binding: ast.Assign
    moved: ast.stmt | None
    certain: bool


def holders(facts: FileFacts, statement: ast.stmt, passed: Callable[[ast.stmt], bool]) -> list[Holder]:
    """The dead names that hold a tensor when a statement runs, in the order they were bound.

    `passed` says whether the way to the statement goes through another one.
    """
    function = facts.structure.function(statement)
    found = []
    for name in function.bound:
        holder = _holder(facts, statement, function, name, passed)
        if holder is not None:
            found.append(holder)
    return sorted(found, key=lambda h: begins(facts, h.binding))


def _holder(
    facts: FileFacts, statement: ast.stmt, function: Function, name: str, passed: Callable[[ast.stmt], bool]
) -> Holder | None:
    if name in function.globals or name == "_" or captured(function, name):
        return None
    binding = _last_binding(facts, statement, function, name, passed)
    if binding is None or _escapes(facts, function, binding, name):
        return None
    reads = reads_after(facts, statement, name)
    moved = _moved(facts, statement, reads) if reads else None
    if (reads and moved is None) or not (
        _owned(facts, function, binding, name) or (moved and _unknown_result(facts, binding, name))
    ):
        return None
    if moved is None and _callee_had_more(facts, binding.value):
        return None
    value = _bound_value(facts, binding, name)
    straight = facts.structure.place(binding) in set(facts.structure.place(statement).chain())
    return Holder(name, binding, moved, value.device is Device.ACCELERATOR and straight)


def _callee_had_more(facts: FileFacts, node: ast.expr) -> bool:
    """A function of the user that computed: its temporaries went with it, and the cache may be emptied for them."""
    if not isinstance(node, ast.Call) or facts.value(node.func).kind is Kind.MODULE:
        return False
    target = facts.resolve(node)
    if target is None or not isinstance(target[1], Function):
        return False
    return any(deed.act is not Act.TAKES for statement in target[1].body for deed in deeds(target[0], statement))


def _last_binding(
    facts: FileFacts, statement: ast.stmt, function: Function, name: str, passed: Callable[[ast.stmt], bool]
) -> ast.Assign | None:
    """The assignment that a name has its value from at a statement: in the same pass of every loop, not undone."""
    here = begins(facts, statement)
    bindings = [
        b for b in function.bound[name] if begins(facts, b) < here and (not isinstance(b, ast.Assign) or passed(b))
    ]
    last = max(bindings, key=lambda b: begins(facts, b), default=None)
    if not isinstance(last, ast.Assign) or _deleted(facts, function, name, last, statement):
        return None
    around = facts.structure.place(statement).loops()
    if any(loop not in around for loop in facts.structure.place(last).loops()):
        return None
    return last


def _deleted(facts: FileFacts, function: Function, name: str, since: ast.stmt, until: ast.stmt) -> bool:
    first, last = begins(facts, since), begins(facts, until)
    return any(first < begins(facts, node) < last for node in uses(facts, function).deletions(name))


def _bound_value(facts: FileFacts, binding: ast.Assign, name: str) -> Value:
    for target in binding.targets:
        for node in subtree(target):
            if isinstance(node, ast.Name) and node.id == name:
                return facts.value(node)
    return Value()


def _owned(facts: FileFacts, function: Function, binding: ast.Assign, name: str) -> bool:
    """Whether the name holds memory that was taken for it: no view, no alias of a living owner, no single number."""
    value = _bound_value(facts, binding, name)
    if value.kind is Kind.UNKNOWN:
        return _computed_with(facts, function, binding, name)
    if value.kind is not Kind.TENSOR or value.device is Device.HOST:
        return False
    node = binding.value
    if isinstance(node, ast.Name):
        return _alias_outlives(facts, function, binding, node.id)
    if isinstance(node, ast.BinOp):
        return not isinstance(node.op, ast.Add) or value.device is not Device.UNKNOWN or not _scalar(facts, node)
    return isinstance(node, ast.Call) and not _scalar(facts, node) and not _borrows(facts, node)


def _computed_with(facts: FileFacts, function: Function, binding: ast.Assign, name: str) -> bool:
    """The result of calling something handed in, which a torch operation takes: a model's output."""
    call = binding.value
    if (
        not isinstance(call, ast.Call)
        or not isinstance(call.func, (ast.Name, ast.Attribute))
        or len(binding.targets) != 1
    ):
        return False
    if not isinstance(binding.targets[0], ast.Name) or facts.resolve(call) is not None:
        return False
    if isinstance(call.func, ast.Attribute) or facts.names.dotted(call.func, function) is not None:
        return False
    here = begins(facts, binding)
    found = uses(facts, function).names.get(name, ())
    return any(begins(facts, node) > here and _operand(facts, node) for node in found)


def _operand(facts: FileFacts, node: ast.expr) -> bool:
    """Whether an expression, or a part or view of it, is an argument of a torch operation."""
    parent = facts.structure.parent.get(node)
    while isinstance(parent, (ast.Attribute, ast.Subscript)) or (isinstance(parent, ast.Call) and parent.func is node):
        node, parent = parent, facts.structure.parent.get(parent)
    if not isinstance(parent, ast.Call):
        return False
    dotted = facts.names.dotted(parent.func, facts.structure.function(parent)) or ""
    signature = library().function(dotted) if dotted.startswith("torch.") else None
    return signature is not None and signature.result == "Flows" and dotted != "torch.as_tensor"


def _unknown_result(facts: FileFacts, binding: ast.Assign, name: str) -> bool:
    """What a call gave back; that it is a tensor is known from its being copied to the host."""
    return isinstance(binding.value, ast.Call) and _bound_value(facts, binding, name).kind is Kind.UNKNOWN


def _alias_outlives(facts: FileFacts, function: Function, binding: ast.Assign, source: str) -> bool:
    """`b = a` where `a` is deleted afterwards: then `b` alone owns the tensor."""
    here = begins(facts, binding)
    origins = [b for b in function.bound.get(source, ()) if isinstance(b, ast.Assign) and begins(facts, b) < here]
    gone = any(begins(facts, node) > here for node in uses(facts, function).deletions(source))
    return gone and len(origins) == 1 and _owned(facts, function, origins[0], source)


def _effects(facts: FileFacts, call: ast.Call) -> frozenset[str]:
    """Effects of a call, and of the class whose instance is called on the spot: `nn.MSELoss()(x, y)`."""
    effects = facts.effects(call)
    if isinstance(call.func, ast.Attribute) and "views" not in effects:
        stub = library().modules["torch"].classes["Tensor"].methods.get(call.func.attr)
        if stub is not None:
            effects = effects | stub.effects
    return effects


def _borrows(facts: FileFacts, call: ast.Call) -> bool:
    """A view of something else, or the same object: then the name does not own the memory."""
    if "views" in _effects(facts, call):
        return True
    signature = facts.signature(call, facts.structure.function(call), _receiver(facts, call))
    return signature is not None and signature.result not in MAKERS


def _receiver(facts: FileFacts, call: ast.Call) -> Value | None:
    return facts.value(call.func.value) if isinstance(call.func, ast.Attribute) else None


def _scalar(facts: FileFacts, node: ast.expr) -> bool:
    """A full reduction or a loss: half a kilobyte of device memory."""
    if isinstance(node, ast.BinOp):
        return _scalar(facts, node.left) or _scalar(facts, node.right)
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and _scalar(facts, node.func.value):
        return True
    if "reduces" in _effects(facts, node):
        given = len(node.args) - (
            0 if isinstance(node.func, ast.Attribute) and facts.value(node.func.value).is_tensor else 1
        )
        return given <= 0 and not any(k.arg in ("dim", "axis") for k in node.keywords)
    if "loss" in _effects(facts, node):
        return not any(
            k.arg == "reduction" and isinstance(k.value, ast.Constant) and k.value.value == "none"
            for k in node.keywords
        )
    return False


def _escapes(facts: FileFacts, function: Function, binding: ast.Assign, name: str) -> bool:
    """Whether something else may hold the tensor, or a view of it that is still read, after the name is gone."""
    here = begins(facts, binding)
    return any(begins(facts, node) > here and _kept(facts, node) for node in uses(facts, function).reads(name))


def _kept(facts: FileFacts, node: ast.expr) -> bool:
    parent = facts.structure.parent.get(node)
    if isinstance(parent, (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Yield, ast.Starred)):
        return not isinstance(facts.structure.parent.get(parent), ast.Return)
    if isinstance(parent, (ast.Attribute, ast.Subscript)) and parent.value is node:
        call = facts.structure.parent.get(parent)
        if isinstance(call, ast.Call) and call.func is parent:
            return "views" in _effects(facts, call) and _kept(facts, call)
        return facts.value(parent).kind is not Kind.HOST and _kept(facts, parent)
    if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute) and node is not parent.func:
        return parent.func.attr in GROWERS
    if isinstance(parent, ast.Assign) and parent.value is node:
        return _view_is_read(facts, parent)
    return False


def _view_is_read(facts: FileFacts, binding: ast.Assign) -> bool:
    """A view or alias that was stored, or bound to a name that is used for more than the next computation."""
    return any(not isinstance(target, ast.Name) for target in binding.targets)


def live_views(facts: FileFacts, statement: ast.stmt, holder: Holder) -> Iterator[str]:
    """Names bound to the tensor itself or to a view of it that are read after a statement."""
    first, last = begins(facts, holder.binding), begins(facts, statement)
    for other, binding in _views(facts, facts.structure.function(statement)).get(holder.name, ()):
        if first < begins(facts, binding) <= last and reads_after(facts, statement, other):
            yield other


def _views(facts: FileFacts, function: Function) -> dict[str, list[tuple[str, ast.Assign]]]:
    """The names bound to a view of each name, remembered."""
    table = facts.project.memory.table(VIEWS)
    if function not in table:
        found: dict[str, list[tuple[str, ast.Assign]]] = {}
        for other, bindings in function.bound.items():
            for binding in bindings:
                if isinstance(binding, ast.Assign) and (root := _root(facts, binding.value)) is not None:
                    found.setdefault(root, []).append((other, binding))
        table[function] = found
    return table[function]


def _root(facts: FileFacts, node: ast.expr) -> str | None:
    """The name that an expression is a view of, through attributes, subscripts and methods called on it."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        if facts.value(node).kind is Kind.HOST or (isinstance(node, ast.Call) and "views" not in _effects(facts, node)):
            return None
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _moved(facts: FileFacts, statement: ast.stmt, reads: list[ast.Name]) -> ast.stmt | None:
    """The statement right after the place, when all it is for is to copy the tensor to the host."""
    later = facts.structure.after(statement)
    if not later or not isinstance(later[0], ast.Assign):
        return None
    inside = set(subtree(later[0]))
    if any(read not in inside or not _to_host(facts, read) for read in reads):
        return None
    return later[0]


def _to_host(facts: FileFacts, node: ast.expr) -> bool:
    parent = facts.structure.parent.get(node)
    while isinstance(parent, (ast.Attribute, ast.Subscript, ast.Call)):
        if isinstance(parent, ast.Call) and parent.func is node and isinstance(node, ast.Attribute):
            if node.attr in ("cpu", "tolist", "numpy") or (
                node.attr == "to" and facts.value(parent).device is Device.HOST
            ):
                return True
        elif isinstance(parent, ast.Call):
            return False
        node, parent = parent, facts.structure.parent.get(parent)
    return False
