"""Where a file lets go of what an attribute holds: `x.a = None`, `del x.a`, `x.a.clear()`, `x.a = x.a.detach()`.

Says what a statement does, and whether one place comes after another on some path. May not know who stored what.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from torchmemlint.facts.children import subtree
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Block, Class, Function
from torchmemlint.facts.values import Grad, Kind

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

EMPTYING = frozenset({"clear", "pop", "popleft", "popitem"})
EMPTY_CALLS = frozenset({"list", "dict", "set", "tuple", "deque", "defaultdict", "OrderedDict"})
BUILDERS = frozenset({"__init__", "__post_init__", "__new__"})
MAX_DEPTH = 2


@dataclass(frozen=True, eq=False)
class LettingGo:
    """One place that lets go: the path that is emptied, the node that does it, and the function it runs in."""

    path: str
    node: ast.AST
    function: Function

    @property
    def on_self(self) -> bool:
        """Whether the path hangs on the instance of the method it stands in."""
        return self.path.split(".", 1)[0] == self.function.self_name()


_INDEX: WeakKeyDictionary[FileFacts, dict[str, list[LettingGo]]] = WeakKeyDictionary()


def lettings_go(facts: FileFacts, name: str) -> list[LettingGo]:
    """The places of a file that let go of an attribute (or a plain name) of this name, whatever it hangs on."""
    if facts not in _INDEX:
        index: dict[str, list[LettingGo]] = {}
        for node in [n for n in facts.structure.place_of if isinstance(n, (ast.stmt, ast.Call))]:
            for path in _released(facts, node):
                index.setdefault(last_part(path), []).append(LettingGo(path, node, facts.structure.function(node)))
        _INDEX[facts] = index
    return _INDEX[facts].get(name, [])


def last_part(path: str) -> str:
    """The attribute or name that a path ends in, without subscripts."""
    return path.split("[", 1)[0].rsplit(".", 1)[-1]


def _released(facts: FileFacts, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _assigned(facts, target, node.value)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield from _assigned(facts, node.target, node.value)
    elif isinstance(node, ast.Delete):
        for target in node.targets:
            while isinstance(target, ast.Subscript):
                target = target.value
            path = path_of(target)
            if path is not None:
                yield path
    elif isinstance(node, ast.Call):
        yield from _called(node)


def _assigned(facts: FileFacts, target: ast.expr, value: ast.expr) -> Iterator[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else [value] * len(target.elts)
        for part, given in zip(target.elts, values, strict=False):
            yield from _assigned(facts, part, given)
        return
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice):
        target = target.value
    path = path_of(target)
    if path is not None and (_is_empty(value) or _detaches(facts, path, value)):
        yield path


def _is_empty(value: ast.expr) -> bool:
    """None, a number, an empty display, `list()` and its like."""
    if isinstance(value, ast.Constant):
        return True
    if isinstance(value, (ast.List, ast.Tuple, ast.Set)):
        return all(_is_empty(element) for element in value.elts)
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.ListComp):
        return _is_empty(value.elt)
    if isinstance(value, ast.DictComp):
        return _is_empty(value.value)
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult):
        return _is_empty(value.left)
    if isinstance(value, ast.Call):
        func = value.func
        name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
        return name in EMPTY_CALLS and not any(
            path_of(argument) for argument in value.args if not _is_factory(argument)
        )
    return False


def _is_factory(node: ast.expr) -> bool:
    """The argument of `defaultdict(list)`."""
    return isinstance(node, ast.Name) and node.id in EMPTY_CALLS


def _detaches(facts: FileFacts, path: str, value: ast.expr) -> bool:
    """The path is bound again to itself without its graph: `self.h = self.h.detach()`."""
    if not any(isinstance(part, (ast.Name, ast.Attribute)) and path_of(part) == path for part in subtree(value)):
        return False
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "tree_map":
        mapping = value.args[0] if value.args else None
        return isinstance(mapping, ast.Lambda) and any(
            isinstance(part, ast.Attribute) and part.attr == "detach" for part in subtree(mapping.body)
        )
    found = facts.value(value)
    return found.kind is Kind.HOST or (found.kind is Kind.TENSOR and found.grad is Grad.NONE)


def _called(node: ast.Call) -> Iterator[str]:
    func = node.func
    if isinstance(func, ast.Attribute) and func.attr in EMPTYING:
        path = path_of(func.value)
        if path is not None:
            yield path
    if isinstance(func, ast.Name) and func.id in ("delattr", "setattr") and len(node.args) >= 2:
        name = node.args[1]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            if func.id == "delattr" or (len(node.args) == 3 and _is_empty(node.args[2])):
                yield f"{path_of(node.args[0]) or ''}.{name.value}"


def related(facts: FileFacts, one: Class | None, two: Class | None) -> bool:
    """Whether one class is the other or derives from it, so that both speak of the same attributes."""
    if one is None or two is None:
        return two is None
    return one is two or derives_from(facts, one, two) or derives_from(facts, two, one)


def derives_from(facts: FileFacts, one: Class, two: Class) -> bool:
    """Whether the first class derives from the second."""
    home = facts.project.classes.get(one.key)
    return home is not None and any(base[1] is two for base in home[0].lineage(one) if not isinstance(base, str))


# ---- order --------------------------------------------------------------------------------------------


def let_go_after(facts: FileFacts, function: Function, point: ast.AST, name: str) -> bool:
    """Whether a function may let go of the attribute after a point in it, itself or by what it calls then."""
    for place in lettings_go(facts, name):
        if place.function is function and follows(facts, place.node, point):
            return True
    later = (call for call in function.calls if follows(facts, call, point))
    return any(_lets_go_inside(facts, call, name, MAX_DEPTH) for call in later)


def _lets_go_inside(facts: FileFacts, call: ast.Call, name: str, depth: int) -> bool:
    target = facts.resolve(call)
    if target is None:
        return False
    inner, function = target
    if not isinstance(function, Function):
        return False
    if any(place.function is function for place in lettings_go(inner, name)):
        return True
    if depth <= 1:
        return False
    return any(_lets_go_inside(inner, further, name, depth - 1) for further in function.calls)


def follows(facts: FileFacts, later: ast.AST, point: ast.AST) -> bool:
    """Whether a place stands after another one and is not the other branch of the same condition."""
    span = facts.tree.places.span
    if span(later).start < span(facts.structure.statement(point)).end:
        return False
    branches = {p.node: p.block for p in facts.structure.place(point).chain() if p.block in (Block.THEN, Block.ELSE)}
    other = [p for p in facts.structure.place(later).chain() if p.block in (Block.THEN, Block.ELSE)]
    return all(branches.get(p.node, p.block) is p.block for p in other)
