"""Calls to values: what library and project callables give back for the values they are given.

Library calls answer from `knowledge/`, calls into the project by evaluating the callee, to a small depth.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from torchmemlint.facts.grad_mode import GradMode
from torchmemlint.facts.infer_state import Environment, State
from torchmemlint.facts.library import Signature, library
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import (
    HOST,
    UNKNOWN,
    Device,
    Grad,
    Kind,
    Value,
    flow_device,
    flow_grad,
    tensor,
    with_element,
)

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAX_DEPTH = 4
ROLES = {
    "Module": Kind.MODULE,
    "Optimizer": Kind.OPTIMIZER,
    "Scheduler": Kind.SCHEDULER,
    "Scaler": Kind.SCALER,
    "Engine": Kind.ENGINE,
    "Loader": Kind.LOADER,
    "GradOff": Kind.GRAD_OFF,
    "GradOn": Kind.GRAD_ON,
}


class Calls(State):
    """Evaluates calls."""

    def call(self, node: ast.Call) -> Value:
        receiver = self.expr(node.func.value) if isinstance(node.func, ast.Attribute) else None
        arguments = [self.expr(argument) for argument in node.args]
        keywords = {k.arg: self.expr(k.value) for k in node.keywords}
        inputs = [*arguments, *keywords.values()]
        signature = self.facts.signature(node, self.function, receiver)
        if signature is not None:
            return self.applied(signature, node, receiver, inputs, keywords)
        if receiver is not None and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("append", "add", "extend", "insert", "update", "appendleft"):
                self.grow(node, receiver, arguments)
            if receiver.kind is Kind.CONTAINER and node.func.attr in ("pop", "get", "popleft", "setdefault"):
                return receiver.elem or UNKNOWN
            if receiver.kind is Kind.CONTAINER and node.func.attr in ("values", "copy"):
                return receiver
            if receiver.kind is Kind.CONTAINER and node.func.attr == "items":
                pair = Value(Kind.TUPLE, parts=(HOST, receiver.elem or UNKNOWN))
                return Value(Kind.CONTAINER, elem=pair)
        called = self.expr(node.func) if receiver is None else self._attribute_of_call(node, receiver)
        target = self.facts.callee(node, self.function, receiver, called)
        if target is not None:
            facts, definition = target
            if isinstance(definition, Class):
                return facts.instance(definition).because(self.reason(f"an instance of `{definition.qualname}`", node))
            value = self._of_function(facts, definition, node, receiver, arguments, keywords)
            if value.kind is not Kind.UNKNOWN:
                return value
            known = library().function(self.facts.names.dotted(node.func, self.function) or "")
            if known is not None and known.result == "Flows":  # the project is the library: its code may be native
                return self.applied(known, node, None, inputs, keywords)
            if definition.owner is not None and definition.name == "forward":
                return self.forwarded(node, receiver or UNKNOWN, inputs)
            return value
        if called.kind is Kind.MODULE:
            return self.forwarded(node, called, inputs)
        if called.kind is Kind.GRAD_OFF:
            return called
        return UNKNOWN

    def _attribute_of_call(self, node: ast.Call, receiver: Value) -> Value:
        assert isinstance(node.func, ast.Attribute)
        value = self.attribute(node.func, receiver)
        self.values[node.func] = value
        return value

    def grow(self, node: ast.Call, receiver: Value, arguments: list[Value]) -> None:
        """`items.append(x)` tells what the container holds."""
        assert isinstance(node.func, ast.Attribute)
        path = path_of(node.func.value)
        if path is None or receiver.kind is not Kind.CONTAINER or not arguments:
            return
        added = arguments[-1]
        if node.func.attr in ("extend", "update"):
            added = added.elem or UNKNOWN
        self.hold(path, with_element(receiver, added))

    def _of_function(
        self,
        facts: FileFacts,
        function: Function,
        node: ast.Call,
        receiver: Value | None,
        arguments: list[Value],
        keywords: dict[str | None, Value],
    ) -> Value:
        if self.depth >= MAX_DEPTH:
            return UNKNOWN
        given: Environment = {}
        params = [param.arg for param in function.params]
        if function.owner is not None and not function.is_static() and params:
            given[params[0]] = facts.instance(function.owner)
            params = params[1:]
        if not any(isinstance(argument, ast.Starred) for argument in node.args):
            given.update(zip(params, arguments, strict=False))
        given.update({k: v for k, v in keywords.items() if k is not None and k in params})
        value = facts.result_of(function, given, self.depth + 1)
        if value.is_tensor and value.grad is Grad.GRAPH and self.mode(node) is GradMode.OFF:
            return replace(value, grad=Grad.NONE)
        return value

    def forwarded(self, node: ast.Call, module: Value, inputs: list[Value]) -> Value:
        """The output of calling a module."""
        if self.mode(node) is GradMode.OFF:
            return tensor(Grad.NONE, flow_device(inputs), (self.reason("computed with grad off", node),))
        if module.frozen:
            return tensor(flow_grad(inputs), flow_device(inputs))
        name = path_of(node.func) or "a module"
        return tensor(Grad.GRAPH, flow_device(inputs), (self.reason(f"output of `{name}`", node),))

    def applied(
        self,
        signature: Signature,
        node: ast.Call,
        receiver: Value | None,
        inputs: list[Value],
        keywords: dict[str | None, Value],
    ) -> Value:
        sources = inputs if receiver is None or receiver.kind is Kind.UNKNOWN else [receiver, *inputs]
        if signature.result == "tuple":
            parts = [self.worded(word, sources, node) for word in signature.parts]
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("max", "min") and not _has_dim(node):
                return parts[0]
            return Value(Kind.TUPLE, parts=tuple(parts))
        value = self.worded(signature.result, sources, node)
        if value.kind is Kind.MODULE and library().is_subclass(self._library_name(node), "torch.nn.Stateless"):
            return replace(value, frozen=True)
        if value.is_tensor:
            device = self._device(node, signature.result)
            if device is not Device.UNKNOWN:
                value = replace(value, device=device)
            wants = next((k.value for k in node.keywords if k.arg == "requires_grad"), None)
            if isinstance(wants, ast.Constant) and wants.value is True:
                value = replace(value, grad=Grad.LEAF)
            elif isinstance(wants, ast.Constant) and wants.value is False and value.grad is Grad.LEAF:
                value = replace(value, grad=Grad.NONE)
        return value

    def _device(self, node: ast.Call, word: str) -> Device:
        """The device that `device=`, `.to(...)`, `.cuda()` name: only a literal host says host."""
        given = next((k.value for k in node.keywords if k.arg in ("device", "map_location")), None)
        attr = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if given is None and attr == "to" and node.args:
            given = node.args[0]
        if given is None:
            return Device.HOST if word == "Fresh" and attr != "load" and not attr.endswith("_like") else Device.UNKNOWN
        if isinstance(given, ast.Call) and given.args:
            given = given.args[0]
        if isinstance(given, ast.Constant) and isinstance(given.value, str):
            return Device.HOST if given.value.startswith(("cpu", "meta")) else Device.ACCELERATOR
        if isinstance(given, ast.Constant) and isinstance(given.value, int):
            return Device.ACCELERATOR
        return Device.UNKNOWN

    def worded(self, word: str, sources: list[Value], node: ast.expr) -> Value:
        """A word of knowledge/README.md applied to the values that flow in."""
        device = flow_device(sources)
        first = sources[0] if sources else UNKNOWN
        if word == "Host":
            return HOST
        if word in ("Same", "Each"):
            if len(sources) > 1 and word == "Same" and not isinstance(getattr(node, "func", None), ast.Attribute):
                return first
            if word == "Same" and len(sources) > 1 and first.kind in (Kind.UNKNOWN, Kind.OBJECT):
                return Value(Kind.TUPLE, parts=tuple(sources[1:])) if len(sources) > 2 else sources[1]
            return first if word == "Same" else self.each(sources, node)
        if word == "Detached":
            return tensor(Grad.NONE, device)
        if word == "Fresh":
            return tensor(Grad.NONE, device)
        if word == "Leaf":
            return tensor(Grad.LEAF, device)
        if word in ("Flows", "OnHost", "OnDevice"):
            if word == "Flows" and sources and all(Kind.HOST in (s.kind, s.elem and s.elem.kind) for s in sources):
                return HOST if not self._is_torch(node) else tensor(Grad.NONE)
            grad = Grad.NONE if self.mode(node) is GradMode.OFF else flow_grad(sources)
            carrier = next((s for s in sources if s.carries_graph), first)
            why = carrier.why or (carrier.elem.why if carrier.elem is not None else ())
            moved = {"OnHost": Device.HOST, "OnDevice": Device.ACCELERATOR}.get(word, device)
            if word == "Flows" and not self._is_torch(node) and not any(_tensorish(s) for s in sources):
                return UNKNOWN
            return tensor(grad, moved, why)
        if word == "Graph":
            return self.forwarded(node, first, sources) if isinstance(node, ast.Call) else tensor(Grad.GRAPH)
        kind = ROLES.get(word)
        if kind is Kind.LOADER:
            return Value(kind, elem=tensor(Grad.NONE, Device.HOST), why=(self.reason("a DataLoader", node),))
        if kind is not None:
            return Value(kind, why=(self.reason(f"a {word.lower()}", node),))
        return UNKNOWN

    def _library_name(self, node: ast.Call) -> str:
        return self.facts.names.dotted(node.func, self.function) or ""

    def _is_torch(self, node: ast.expr) -> bool:
        """Whether a call is to torch itself: then its result is a tensor whatever goes in."""
        func = node.func if isinstance(node, ast.Call) else node
        return (self.facts.names.dotted(func, self.function) or "").startswith("torch.")

    def each(self, sources: list[Value], node: ast.expr) -> Value:
        """Iterating wrappers: `enumerate`, `zip`, `tqdm` pass on what they iterate over."""
        name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if not sources:
            return UNKNOWN
        if name == "next":
            return self.element(sources[0], node)
        loader = next((s for s in sources if s.kind is Kind.LOADER), None)
        kind = Kind.LOADER if loader is not None else Kind.CONTAINER
        elements = [self.element(source, node) for source in sources]
        why = loader.why if loader is not None else ()
        if name == "enumerate":
            return Value(kind, elem=Value(Kind.TUPLE, parts=(HOST, elements[0])), why=why)
        if name == "zip":
            return Value(kind, elem=Value(Kind.TUPLE, parts=tuple(elements)), why=why)
        return Value(sources[0].kind, elem=elements[0], why=sources[0].why)


def _tensorish(value: Value) -> bool:
    return value.is_tensor or (value.elem is not None and value.elem.is_tensor) or any(p.is_tensor for p in value.parts)


def _has_dim(node: ast.Call) -> bool:
    return bool(node.args) or bool(node.keywords)
