"""Who stores a tensor on an instance in code that runs every step, and whether anything lets go of it.

A store counts when step code reaches it (a framework's hot method, a training step, a hot loop), when the
value carries a graph, and when no path from the step's entry empties the attribute afterwards. May not
judge by names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.children import children, subtree
from torchmemlint.facts.grad_mode import GradMode, mode_at
from torchmemlint.facts.guards import GuardKind, guards
from torchmemlint.facts.held_values import GROWING, Held, stored_values
from torchmemlint.facts.letting_go import BUILDERS, derives_from, last_part, let_go_after, lettings_go, related
from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.step_routes import Route, may_be_step_code, routes
from torchmemlint.facts.structure import Class, Function, Structure
from torchmemlint.facts.values import Reason
from torchmemlint.model import Confidence

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAX_FILES = 25
REGISTERING = frozenset({"register_buffer", "register_parameter"})
SELDOM = frozenset({GuardKind.ONCE, GuardKind.OPT_IN, GuardKind.MEMORY, GuardKind.HANDLER})
JOINING = frozenset({"torch.cat", "torch.concat", "torch.concatenate"})
READ_ON_OBJECTS: Table[Structure, frozenset[str]] = Table()


@dataclass(frozen=True)
class AttributeStore:
    """The tensors that one function leaves on an object each step.

    `stores` are the statements, first one first; `entry` the step's function and `route` why it is one;
    `grows` when a container takes one more each step; `read` when the class itself reads what it kept,
    `used` when other code does, or may be meant to.
    """

    stores: tuple[Held, ...]
    route: Route
    grows: bool
    read: bool
    used: bool
    confidence: Confidence

    @property
    def paths(self) -> tuple[str, ...]:
        """What is stored into, each path once."""
        return tuple(dict.fromkeys(held.path for held in self.stores))

    @property
    def why(self) -> tuple[Reason, ...]:
        """Why the values carry a graph, what else is stored beside the first, and why this runs every step."""
        first = self.stores[0]
        path = self.route.points[0][0].relative
        rest = [held for held in self.stores if held.statement is not first.statement]
        others = [Reason(f"`{held.path}` is kept too", held.statement, path) for held in rest]
        calls = [Reason("called here", point, facts.relative) for facts, _, point in self.route.points[1:]]
        return (*first.value.why[:1], *others, *calls, self.route.why)


def attribute_stores(facts: FileFacts) -> Iterator[AttributeStore]:
    """Tensors kept on `self`, or on an object of the module, by code of this file that runs every step."""
    seen: dict[tuple[object, str], Function] = {}
    reachable = may_be_step_code(facts)
    for function in facts.structure.functions:
        if function not in reachable or function.name in BUILDERS:
            continue
        groups: dict[tuple[bool, bool, Confidence], list[tuple[Held, Route]]] = {}
        for held in stored_values(facts, function):
            owner = function.owner or held.path.split(".", 1)[0]
            if seen.get((owner, held.path), function) is not function:
                continue
            judged = _judge(facts, function, held)
            if judged is None:
                continue
            seen[owner, held.path] = function
            route, grows, read, confidence = judged
            groups.setdefault((grows, read, confidence), []).append((held, route))
        for (grows, read, confidence), found in groups.items():
            stores = tuple(held for held, _ in found)
            used = any(not held.certain or _is_used(facts, held) for held in stores)
            yield AttributeStore(stores, found[0][1], grows, read, used, confidence)


def _judge(facts: FileFacts, function: Function, held: Held) -> tuple[Route, bool, bool, Confidence] | None:
    if mode_at(facts, held.statement) is GradMode.OFF or _is_buffer(facts, function.owner, held):
        return None
    route = next((r for r in routes(facts, function, held.statement) if not _released_on(r, held)), None)
    if route is None or (not held.certain and not route.module) or _made_before_the_loop(facts, function, held):
        return None
    if _lets_go_elsewhere(facts, function, held, route):
        return None
    read = _is_read(facts, function, held)
    grows = held.grows and not _emptied_on(route, held)
    return route, grows, read, _confidence(facts, function, held, route, grows)


def _made_before_the_loop(facts: FileFacts, function: Function, held: Held) -> bool:
    """The same tensor stored again in each pass is not the step's own: its origin stands before the loop."""
    loops = facts.structure.place(held.statement).loops()
    if not loops:
        return False
    inside = {node for part in children(loops[-1]) for node in subtree(part)}
    origin = held.value.why[0].node if held.value.why else None
    if origin in facts.structure.parent and facts.structure.function(origin) is function and origin not in inside:
        return True
    if not isinstance(held.value_node, ast.Name):
        return False
    return not any(b in inside or b is loops[-1] for b in function.bound.get(held.value_node.id, []))


def _released_on(route: Route, held: Held) -> bool:
    """Whether something after the store, on the way back to the step's entry, empties the attribute."""
    return any(let_go_after(facts, function, point, last_part(held.path)) for facts, function, point in route.points)


def _emptied_on(route: Route, held: Held) -> bool:
    """Whether the step empties the container before it fills it: then it is bounded by one step."""
    name = last_part(held.path)
    functions = {function for _, function, _ in route.points}
    return any(r.function in functions for facts, _, _ in route.points for r in lettings_go(facts, name))


def _lets_go_elsewhere(facts: FileFacts, function: Function, held: Held, route: Route) -> bool:
    """A method or a user of the object empties the attribute: whoever wrote that knows of it."""
    name = last_part(held.path)
    on_route = {f for _, f, _ in route.points}
    files = [facts]
    paths = [p for p in facts.project.mentioning(name) if p != facts.relative]
    if len(paths) <= MAX_FILES:
        files.extend(f for f in map(facts.project.facts, paths) if f is not None)
    for other in files:
        for place in lettings_go(other, name):
            if "." not in place.path or place.function in on_route or place.function.name in BUILDERS:
                continue
            if not place.on_self or _offered(other, place.function, function.owner):
                return True
    return False


def _offered(facts: FileFacts, method: Function, owner: Class | None) -> bool:
    """Whether a method that empties an attribute is the class's own, or an inherited one that is used on it."""
    if not related(facts, method.owner, owner):
        return False
    if owner is None or method.owner is owner or method.owner is None or derives_from(facts, method.owner, owner):
        return True
    for path in [facts.relative, *facts.project.mentioning(method.name)][:MAX_FILES]:
        other = facts.project.facts(path)
        for call in other.calls_named.get(method.name, ()) if other is not None else ():
            assert other is not None
            caller = other.structure.function(call)
            on_self = isinstance(call.func, ast.Attribute) and path_of(call.func.value) == caller.self_name()
            if not on_self or related(other, caller.owner, owner):
                return True
    return False


def _is_buffer(facts: FileFacts, owner: Class | None, held: Held) -> bool:
    """Whether the attribute is registered as a buffer: it is meant to stay."""
    if owner is None:
        return False
    for base in facts.lineage(owner):
        if isinstance(base, str):
            continue
        for method in base[1].methods.values():
            for call in method.calls:
                if isinstance(call.func, ast.Attribute) and call.func.attr in REGISTERING and call.args:
                    name = call.args[0]
                    if isinstance(name, ast.Constant) and name.value == last_part(held.path):
                        return True
    return False


def _is_read(facts: FileFacts, function: Function, held: Held) -> bool:
    """Whether the class (or, for an object of the module, the file) reads the attribute anywhere."""
    bodies = list(function.owner.methods.values()) if function.owner is not None else facts.structure.functions
    return any(_reads(facts, body, held) for body in bodies if not body.is_module)


def _reads(facts: FileFacts, function: Function, held: Held) -> bool:
    """Whether a function uses what the attribute holds, not only puts something into it."""
    name = last_part(held.path)
    for node in subtree(function.node):
        if isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Load):
            above = facts.structure.parent.get(node)
            fills = isinstance(above, ast.Attribute) and above.attr in GROWING
            if not fills and not (isinstance(above, ast.Subscript) and isinstance(above.ctx, ast.Store)):
                return True
    return False


def _is_used(facts: FileFacts, held: Held) -> bool:
    """Whether code that holds the object reads the attribute: `module.loss`."""
    name = last_part(held.path)
    paths = facts.project.mentioning(name)
    if len(paths) > MAX_FILES:
        return True
    files = (facts.project.facts(path) for path in paths)
    return any(name in _read_on_objects(other) for other in files if other is not None)


def _read_on_objects(facts: FileFacts) -> frozenset[str]:
    """Names of the attributes that a file reads on anything but a method's own instance."""
    table = facts.parsed.memory.table(READ_ON_OBJECTS)
    if facts.structure not in table:
        table[facts.structure] = frozenset(
            node.attr
            for node in facts.structure.parent
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Load)
            and path_of(node.value) != facts.structure.function(node).self_name()
        )
    return table[facts.structure]


def _confidence(facts: FileFacts, function: Function, held: Held, route: Route, grows: bool) -> Confidence:
    met = [g for f, _, point in route.points for g in guards(f, point, None) if not _is_training_flag(g.node)]
    kinds = {g.kind for g in met}
    if kinds & SELDOM or any(_asks_about(g.node, held.path) for g in met):
        return Confidence.LOW
    if GuardKind.OTHER in kinds and _behind_flag(route):
        return Confidence.LOW
    if _joins_itself(facts, held) or (not grows and _back_propagated(function, held)):
        return Confidence.LOW
    if not route.module and not grows and _read_by_others(facts, function, held):
        return Confidence.LOW
    if not held.certain or not held.value.why:  # a tensor made of parameters alone is no bigger than they are
        return Confidence.MEDIUM
    if grows or (GuardKind.OTHER not in kinds and not _read_by_others(facts, function, held)):
        return Confidence.HIGH
    return Confidence.MEDIUM


def _asks_about(node: ast.AST, path: str) -> bool:
    """`if key not in self.cache`: made once and kept on purpose."""
    test = node.test if isinstance(node, ast.If) else None
    return test is not None and any(isinstance(n, ast.Attribute) and path_of(n) == path for n in subtree(test))


def _is_training_flag(node: ast.AST) -> bool:
    """`if self.training:` is no restriction: it is where the graph is."""
    test = node.test if isinstance(node, ast.If) else None
    if isinstance(test, ast.UnaryOp):
        test = test.operand
    return isinstance(test, ast.Attribute) and test.attr == "training"


def _behind_flag(route: Route) -> bool:
    """Whether a condition on the way is a bare flag: somebody asked for what is kept."""
    for facts, _, point in route.points:
        for guard in guards(facts, point, None):
            if guard.kind is GuardKind.OTHER and isinstance(guard.node, ast.If) and not _is_training_flag(guard.node):
                parts = guard.node.test.values if isinstance(guard.node.test, ast.BoolOp) else [guard.node.test]
                parts = [p.operand if isinstance(p, ast.UnaryOp) else p for p in parts]
                if any(isinstance(p, (ast.Name, ast.Attribute)) for p in parts):
                    return True
    return False


def _joins_itself(facts: FileFacts, held: Held) -> bool:
    """`self.k = cat([self.k, k])`: a cache that is meant to grow by what it is given."""
    if not isinstance(held.value_node, ast.Call):
        return False
    function = facts.structure.function(held.value_node)
    if facts.names.dotted(held.value_node.func, function) not in JOINING:
        return False
    return any(isinstance(n, ast.Attribute) and path_of(n) == held.path and isinstance(n.ctx, ast.Load)
               for a in held.value_node.args if isinstance(a, (ast.List, ast.Tuple)) for n in subtree(a))  # fmt: skip


def _back_propagated(function: Function, held: Held) -> bool:
    """A scalar whose graph a `backward()` of the same function frees: only a few bytes stay."""
    names = {held.path, path_of(held.value_node) or held.path}
    for call in function.calls:
        if isinstance(call.func, ast.Attribute) and "backward" in call.func.attr:
            if path_of(call.func.value) in names or any(path_of(argument) in names for argument in call.args):
                return True
    return False


def _read_by_others(facts: FileFacts, function: Function, held: Held) -> bool:
    """Whether other methods of the class read the attribute: it hands something on, by design."""
    if function.owner is None:
        return False
    return any(_reads(facts, m, held) for m in function.owner.methods.values() if m is not function)
