"""The lattice: what a value is, whether it carries a graph, where it lives, and why we think so.

A product of small flat lattices; joining two different answers gives UNKNOWN. Pure: knows no syntax.
"""

from __future__ import annotations

import ast
import enum
from dataclasses import dataclass, replace
from functools import cached_property


class Kind(enum.Enum):
    """What sort of object a value is."""

    UNKNOWN = "unknown"
    TENSOR = "tensor"  # a tensor, or a structure of tensors such as a model's output
    MODULE = "module"
    OPTIMIZER = "optimizer"
    SCHEDULER = "scheduler"
    SCALER = "scaler"
    ENGINE = "engine"  # a wrapped model that runs backward and step itself
    LOADER = "loader"
    CONTAINER = "container"  # a list, dict, set, deque built in the code we see
    TUPLE = "tuple"
    FUNCTION = "function"
    CLASS = "class"
    OBJECT = "object"  # an instance of a class we know, `ref`
    GRAD_OFF = "grad off"
    GRAD_ON = "grad on"
    HOST = "host"  # certainly no tensor


class Grad(enum.Enum):
    """Whether a tensor holds autograd history."""

    UNKNOWN = "unknown"
    NONE = "none"
    GRAPH = "graph"
    LEAF = "leaf"


class Device(enum.Enum):
    """Where a tensor lives."""

    UNKNOWN = "unknown"
    HOST = "host"
    ACCELERATOR = "accelerator"


@dataclass(frozen=True, eq=False)
class Reason:
    """Why a value is what it is: a clause about one place."""

    text: str
    node: ast.AST
    path: str


@dataclass(frozen=True)
class Value:
    """One abstract value. `ref` names the class or function; `elem` is what a container or loader yields."""

    kind: Kind = Kind.UNKNOWN
    grad: Grad = Grad.UNKNOWN
    device: Device = Device.UNKNOWN
    ref: str = ""
    elem: Value | None = None
    parts: tuple[Value, ...] = ()
    frozen: bool = False
    why: tuple[Reason, ...] = ()

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Identity without the reasons; two values with one key behave alike."""
        elem = self.elem.key if self.elem is not None else None
        return (self.kind, self.grad, self.device, self.ref, elem, tuple(p.key for p in self.parts), self.frozen)

    @property
    def is_tensor(self) -> bool:
        return self.kind is Kind.TENSOR

    @property
    def carries_graph(self) -> bool:
        return self.kind is Kind.TENSOR and self.grad is Grad.GRAPH

    def because(self, *reasons: Reason) -> Value:
        return replace(self, why=(*reasons, *self.why)[:6])


UNKNOWN = Value()
HOST = Value(Kind.HOST)


def tensor(grad: Grad, device: Device = Device.UNKNOWN, why: tuple[Reason, ...] = ()) -> Value:
    return Value(Kind.TENSOR, grad, device, why=why)


def join_grad(one: Grad, two: Grad) -> Grad:
    """History of a value that comes from either path."""
    return one if one is two else Grad.UNKNOWN


def flow_grad(inputs: list[Value]) -> Grad:
    """History of the result of a differentiable operation on these inputs."""
    grads = {_history(value) for value in inputs}
    if Grad.GRAPH in grads:
        return Grad.GRAPH
    if Grad.UNKNOWN in grads:
        return Grad.UNKNOWN
    return Grad.NONE


def _history(value: Value) -> Grad:
    if value.kind is Kind.HOST:
        return Grad.NONE
    if value.kind is Kind.TENSOR:
        return Grad.GRAPH if value.grad is Grad.LEAF else value.grad
    if value.kind in (Kind.CONTAINER, Kind.LOADER) and value.elem is not None:
        return _history(value.elem)
    if value.kind is Kind.TUPLE:
        return flow_grad(list(value.parts))
    return Grad.UNKNOWN


def flow_device(inputs: list[Value]) -> Device:
    """Device of the result of an operation: operands share one."""
    for value in inputs:
        if value.kind is Kind.TENSOR and value.device is not Device.UNKNOWN:
            return value.device
    return Device.UNKNOWN


def join(one: Value, two: Value) -> Value:
    """The value of a name that either path may have set."""
    if one is two:
        return one
    if one.kind is not two.kind:
        return UNKNOWN if Kind.UNKNOWN in (one.kind, two.kind) else _mixed(one, two)
    if one.key == two.key:
        return one
    if one.kind is Kind.UNKNOWN:
        return UNKNOWN
    return Value(
        kind=one.kind,
        grad=join_grad(one.grad, two.grad),
        device=one.device if one.device is two.device else Device.UNKNOWN,
        ref=one.ref if one.ref == two.ref else "",
        elem=_join_optional(one.elem, two.elem),
        parts=tuple(map(join, one.parts, two.parts)) if len(one.parts) == len(two.parts) else (),
        frozen=one.frozen and two.frozen,
        why=one.why or two.why,
    )


def _mixed(one: Value, two: Value) -> Value:
    """A number on one path and a tensor on the other is a tensor where it matters: `total = 0` before a loop."""
    for first, second in ((one, two), (two, one)):
        if first.kind is Kind.HOST and second.kind in (Kind.TENSOR, Kind.MODULE, Kind.OBJECT, Kind.CONTAINER):
            return second
    return UNKNOWN


def _join_optional(one: Value | None, two: Value | None) -> Value | None:
    if one is None or two is None:
        return one or two
    return join(one, two)


def with_element(container: Value, value: Value) -> Value:
    """A container that also holds `value`: a graph or a tensor among its elements decides."""
    old = container.elem
    if old is None or (value.is_tensor and not old.carries_graph):
        return replace(container, elem=value)
    return container


def join_all(values: list[Value]) -> Value | None:
    if not values:
        return None
    done = values[0]
    for value in values[1:]:
        done = join(done, value)
    return done
