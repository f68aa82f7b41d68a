"""The state of one evaluation: what names are bound to at the moment, and what a name means here.

The lowest layer of inference; `infer_calls`, `infer_expressions` and `infer` build on it. May not know rules.
"""

from __future__ import annotations

import abc
import ast
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from torchmemlint.facts.evidence import evidence
from torchmemlint.facts.grad_mode import GradMode, mode_at
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import HOST, UNKNOWN, Grad, Kind, Reason, Value, flow_grad, tensor, with_element

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

Environment = dict[str, Value]
MAX_ANNOTATION = 300
"""Characters of an annotation in quotes; the types that anything is known of are short."""


class State(abc.ABC):
    """Names and values while a function is evaluated for one set of argument values."""

    def __init__(self, facts: FileFacts, function: Function, arguments: Environment, depth: int) -> None:
        self.facts = facts
        self.function = function
        self.depth = depth
        self.values: dict[ast.expr, Value] = {}
        self.returned: list[Value] = []
        self.environment: Environment = dict(arguments)
        self._evidence = evidence(facts, function)
        self._stems: set[str] = set()  # names on which other paths have hung
        self._modes: dict[ast.AST, GradMode] = {}
        self._self = function.self_name()

    @abc.abstractmethod
    def expr(self, node: ast.expr) -> Value:
        """The value of an expression here, remembered."""

    @abc.abstractmethod
    def attribute(self, node: ast.Attribute, base: Value | None = None) -> Value:
        """The value of an attribute, given that of its base where it was worked out already."""

    @abc.abstractmethod
    def element(self, value: Value, node: ast.expr) -> Value:
        """What iterating over a value yields."""

    def reason(self, text: str, node: ast.AST) -> Reason:
        return Reason(text, node, self.facts.relative)

    def _parameter(self, param: ast.arg) -> Value:
        if param.arg == self._self and self.function.owner is not None:
            return self.facts.instance(self.function.owner)
        if param.annotation is not None:
            dotted = self.facts.names.dotted(plain_annotation(param.annotation), self.function)
            if dotted in ("torch.Tensor", "torch.FloatTensor", "torch.LongTensor"):
                return tensor(Grad.UNKNOWN)
            if dotted == "torch.utils.data.DataLoader":
                return Value(
                    Kind.LOADER, elem=tensor(Grad.NONE), why=(self.reason("annotated as a DataLoader", param),)
                )
            if dotted is not None:
                found = self.facts.class_value(dotted, self.function)
                if found is not None:
                    return found
        return UNKNOWN

    def lookup(self, path: str, node: ast.expr) -> Value:
        """The value of a path here: what was bound, else what it is used as, else what outer scopes bound."""
        bound = self.environment.get(path)
        seen = self._evidence.get(path)
        if bound is not None and bound.kind is not Kind.UNKNOWN:
            if bound.is_tensor and bound.grad is Grad.UNKNOWN and seen is not None and seen.carries_graph:
                return replace(bound, grad=Grad.GRAPH, why=seen.why)
            return bound
        if seen is not None:
            return seen
        return bound if bound is not None else UNKNOWN

    def name(self, node: ast.Name) -> Value:
        value = self.lookup(node.id, node)
        if value.kind is not Kind.UNKNOWN or node.id in self.environment:
            return value
        if node.id in self.function.bound and node.id not in self.function.globals:
            return self._reference(node)
        scope = self.function.outer
        while scope is not None:
            if node.id in scope.bound:
                found = self._reference(node)
                if found.kind is not Kind.UNKNOWN:
                    return found
                outer = self.facts.evaluation(scope)
                return outer.environment.get(node.id) or outer.lookup(node.id, node)
            scope = scope.outer
        return self._reference(node)

    def _reference(self, node: ast.expr) -> Value:
        dotted = self.facts.names.dotted(node, self.function)
        if dotted is None:
            return UNKNOWN
        found = self.facts.definition(dotted)
        if found is not None:
            kind = Kind.CLASS if isinstance(found[1], Class) else Kind.FUNCTION
            return Value(kind, ref=found[1].key)
        return UNKNOWN

    def bind(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            self.unpack(target.elts, value)
            return
        if isinstance(target, ast.Starred):
            self.bind(target.value, Value(Kind.CONTAINER, elem=value))
            return
        path = path_of(target)
        if path is not None:
            self.forget(path)
            self.hold(path, value)
            self.values[target] = value
        if isinstance(target, ast.Subscript):
            container = path_of(target.value)
            held = self.environment.get(container) if container is not None else None
            if container is not None and held is not None and held.kind is Kind.CONTAINER:
                self.environment[container] = with_element(held, value)
            elif container is not None and held is not None and held.is_tensor and held.grad is Grad.NONE:
                self.environment[container] = replace(held, grad=flow_grad([held, value]))
            self.expr(target.value)

    def unpack(self, targets: Sequence[ast.expr], value: Value) -> None:
        for index, target in enumerate(targets):
            if value.kind is Kind.TUPLE and index < len(value.parts) and len(value.parts) == len(targets):
                self.bind(target, value.parts[index])
            elif value.kind is Kind.TENSOR or (value.kind is Kind.MODULE and not value.ref):
                self.bind(target, value)
            elif value.kind in (Kind.CONTAINER, Kind.LOADER):
                self.bind(target, value.elem or UNKNOWN)
            else:
                self.bind(target, HOST if value.kind is Kind.HOST else UNKNOWN)

    def hold(self, path: str, value: Value) -> None:
        """From here on the path has this value."""
        self.environment[path] = value
        stem = _stem(path)
        if stem != path:
            self._stems.add(stem)

    def forget(self, path: str) -> None:
        """A rebound or deleted path takes what hangs on it along."""
        self.environment.pop(path, None)
        if _stem(path) not in self._stems:
            return
        below = (f"{path}.", f"{path}[")
        for known in [k for k in self.environment if k.startswith(below)]:
            del self.environment[known]

    def mode(self, node: ast.AST) -> GradMode:
        """Grad mode at a node as its own function decides, remembered."""
        if node not in self._modes:
            self._modes[node] = mode_at(self.facts, node)
        return self._modes[node]


def _stem(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def plain_annotation(node: ast.expr) -> ast.expr:
    """`Optional[X]`, `X | None`, `"X"` read as X."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, (ast.Name, ast.Attribute)):
        return node.slice
    if isinstance(node, ast.BinOp):
        return node.left
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _written(node.value) or node
    return node


@lru_cache(maxsize=1000)
def _written(annotation: str) -> ast.expr | None:
    """An annotation in quotes, parsed; None for what is no type, whatever it does to the parser."""
    if len(annotation) > MAX_ANNOTATION:
        return None
    try:
        return ast.parse(annotation, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
