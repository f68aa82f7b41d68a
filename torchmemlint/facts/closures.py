"""Functions made every step that capture a tensor with its graph and are kept beyond the step.

Lambdas, nested functions, `functools.partial` and generator expressions, put into a container or an
attribute that outlives the step. May not look at hooks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.children import children, subtree
from torchmemlint.facts.guards import RARE, GuardKind, guards
from torchmemlint.facts.held_values import GROWING, carries, outlives
from torchmemlint.facts.letting_go import BUILDERS, last_part, let_go_after, lettings_go
from torchmemlint.facts.paths import path_of, root_of
from torchmemlint.facts.step_routes import repeated_reason
from torchmemlint.facts.structure import LOOPS, Function
from torchmemlint.facts.values import Reason, Value
from torchmemlint.model import Confidence

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

FUNCTION_NODES = (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, eq=False)
class Captured:
    """A tensor that a function object holds: under which name, and the expression that handed it in, if any."""

    name: str
    value: Value
    given: ast.expr | None


@dataclass(frozen=True)
class HeldClosure:
    """A function object kept beyond its step. `node` keeps it, `made` is the lambda, def, partial or generator."""

    node: ast.AST
    made: ast.AST
    captured: Captured
    holder: str
    step: Reason
    confidence: Confidence

    @property
    def why(self) -> tuple[Reason, ...]:
        """The chain of reasons."""
        return (*self.captured.value.why[:1], self.step)


def held_closures(facts: FileFacts) -> Iterator[HeldClosure]:
    """The function objects of a file that hold a step's tensors beyond it."""
    for function in facts.structure.functions:
        if function.is_module or function.name in BUILDERS:
            continue
        for node, holder, kept in _keepings(facts, function):
            made = _made(facts, function, kept)
            step = repeated_reason(facts, function, node) if made is not None else None
            if made is None or step is None or not _stays(facts, function, node, holder):
                continue
            captured = _captured(facts, function, made, node)
            confidence = _confidence(facts, node)
            if captured is not None and confidence is not None:
                yield HeldClosure(node, made, captured, path_of(holder) or "", step[0], confidence)


def _keepings(facts: FileFacts, function: Function) -> Iterator[tuple[ast.AST, ast.expr, ast.expr]]:
    """What puts one thing into another: the node, the holder, the thing."""
    for call in function.calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr in GROWING and call.args:
            yield call, call.func.value, call.args[-1]
    for statement in facts.structure.statements(function):
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            if isinstance(target, ast.Subscript):
                yield statement, target.value, statement.value
            elif isinstance(target, ast.Attribute):
                yield statement, target, statement.value


def _made(facts: FileFacts, function: Function, node: ast.expr) -> ast.AST | None:
    """The function object that an expression is, made in this function."""
    if isinstance(node, (ast.Lambda, ast.GeneratorExp)):
        return node
    if isinstance(node, (ast.Tuple, ast.List)):
        return next((made for made in (_made(facts, function, e) for e in node.elts) if made is not None), None)
    if isinstance(node, ast.Call):
        return node if facts.names.dotted(node.func, function) == "functools.partial" else None
    if isinstance(node, ast.Name):
        bindings = function.bound.get(node.id, [])
        if len(bindings) == 1 and isinstance(bindings[0], FUNCTION_NODES):
            return bindings[0]
        if len(bindings) == 1 and isinstance(bindings[0], ast.Assign) and not isinstance(bindings[0].value, ast.Name):
            return _made(facts, function, bindings[0].value)
    return None


def _stays(facts: FileFacts, function: Function, node: ast.AST, holder: ast.expr) -> bool:
    """Whether what holds the function object lives beyond the step and is not emptied."""
    path, root = path_of(holder), root_of(holder)
    if path is None or root is None:
        return False
    name = last_part(path)
    if isinstance(holder, ast.Attribute):
        if not outlives(facts, function, holder) or let_go_after(facts, function, node, name):
            return False
        return not any(
            p.function.name not in BUILDERS and p.function is not function and p.on_self
            for p in lettings_go(facts, name)
        )
    loops = facts.structure.place(node).loops()
    if not loops or not isinstance(holder, ast.Name):
        return root in function.globals
    outermost = loops[-1]
    inside = {n for part in children(outermost) for n in subtree(part)} if isinstance(outermost, LOOPS) else set()
    bindings = function.bound.get(root, [])
    if any(binding in inside for binding in bindings):
        return False
    return not any(place.function is function and place.node in inside for place in lettings_go(facts, name))


def _captured(facts: FileFacts, function: Function, made: ast.AST, node: ast.AST) -> Captured | None:
    """The first tensor with a graph that the function object holds, made in the step itself."""
    for name, value, given in _captures(facts, function, made):
        node_of = given if given is not None else ast.Name(name, ast.Load())
        if carries(facts, function, value, node_of)[0] and _of_this_step(facts, function, name, given, node):
            return Captured(name, value, given)
    return None


def _captures(facts: FileFacts, function: Function, made: ast.AST) -> Iterator[tuple[str, Value, ast.expr | None]]:
    evaluation = facts.evaluation(function)
    if isinstance(made, ast.Call):
        for argument in [*made.args[1:], *[k.value for k in made.keywords]]:
            yield path_of(argument) or "", facts.value(argument), argument
        return
    if isinstance(made, FUNCTION_NODES):
        inner = facts.structure.function_of[made]
        for default in [*made.args.defaults, *[d for d in made.args.kw_defaults if d is not None]]:
            path = path_of(default) or ""
            yield path, evaluation.lookup(path, default), default
        own = set(inner.bound)
        roots: list[ast.AST] = [made.body] if isinstance(made, ast.Lambda) else [*made.body]
    elif isinstance(made, ast.GeneratorExp):
        own = {n.id for g in made.generators for n in subtree(g.target) if isinstance(n, ast.Name)}
        roots = [made]
    else:
        return
    for name in dict.fromkeys(n.id for root in roots for n in subtree(root) if isinstance(n, ast.Name)):
        if name not in own and name in function.bound:
            yield name, evaluation.lookup(name, ast.Name(name, ast.Load())), None


def _of_this_step(facts: FileFacts, function: Function, name: str, given: ast.expr | None, node: ast.AST) -> bool:
    """Whether the tensor is made anew in each step, not once before the loop."""
    loops = facts.structure.place(node).loops()
    if not loops or (given is not None and not isinstance(given, ast.Name)):
        return True
    inside = {n for part in children(loops[-1]) for n in subtree(part)}
    return any(binding in inside or binding is loops[-1] for binding in function.bound.get(name, []))


def _confidence(facts: FileFacts, node: ast.AST) -> Confidence | None:
    loops = facts.structure.place(node).loops()
    kinds = {g.kind for g in guards(facts, node, loops[0] if loops else None)}
    if kinds & RARE:
        return None
    return Confidence.MEDIUM if GuardKind.OTHER in kinds else Confidence.HIGH
