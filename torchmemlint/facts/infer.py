"""Expressions to values: one forward pass over a function's statements, loops twice, branches joined.

Library calls answer from `knowledge/`, calls into the project by evaluating the callee with the values it
is given, to a small depth. May not know rules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torchmemlint.facts.evidence import evidence
from torchmemlint.facts.grad_mode import GradMode, mode_at
from torchmemlint.facts.library import Signature, library
from torchmemlint.facts.paths import path_of, target_paths
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import (
    HOST,
    UNKNOWN,
    Device,
    Grad,
    Kind,
    Reason,
    Value,
    flow_device,
    flow_grad,
    join,
    tensor,
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
TENSOR_ONLY_METHODS = frozenset(
    {"detach", "detach_", "backward", "item", "requires_grad_", "unsqueeze", "squeeze", "view_as", "expand_as", "argmax",
     "argmin", "contiguous", "permute", "softmax", "log_softmax", "clamp", "masked_fill", "numel", "new_zeros", "data_ptr"}
)  # fmt: skip
HOST_CONSTRUCTS = (ast.JoinedStr, ast.FormattedValue)
Environment = dict[str, Value]


class Evaluation:
    """The values of one function's expressions, for one set of argument values."""

    def __init__(self, facts: FileFacts, function: Function, arguments: Environment, depth: int) -> None:
        self.facts = facts
        self.function = function
        self.depth = depth
        self.values: dict[ast.expr, Value] = {}
        self.returned: list[Value] = []
        self.environment: Environment = dict(arguments)
        self._evidence = evidence(facts, function)
        self._modes: dict[ast.AST, GradMode] = {}
        self._self = function.self_name()

    def run(self) -> Evaluation:
        for param in self.function.params:
            self.environment.setdefault(param.arg, self._parameter(param))
        if isinstance(self.function.node, ast.Lambda):
            self.returned.append(self.expr(self.function.node.body))
        else:
            self.block(self.function.body)
        return self

    @property
    def result(self) -> Value:
        """The joined value of all returns."""
        if not self.returned:
            return UNKNOWN if self.function.left_to_others else HOST
        done = self.returned[0]
        for value in self.returned[1:]:
            done = join(done, value)
        return done

    def reason(self, text: str, node: ast.AST) -> Reason:
        return Reason(text, node, self.facts.relative)

    # ---- names ------------------------------------------------------------------------------------

    def _parameter(self, param: ast.arg) -> Value:
        if param.arg == self._self and self.function.owner is not None:
            return self.facts.instance(self.function.owner)
        if param.annotation is not None:
            dotted = self.facts.names.dotted(_plain_annotation(param.annotation), self.function)
            if dotted in ("torch.Tensor", "torch.FloatTensor", "torch.LongTensor"):
                return tensor(Grad.UNKNOWN)
            if dotted == "torch.utils.data.DataLoader":
                return Value(Kind.LOADER, elem=tensor(Grad.NONE), why=(self.reason("annotated as a DataLoader", param),))
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

    # ---- statements -------------------------------------------------------------------------------

    def block(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            value = self.expr(node.value)
            for target in node.targets:
                self.bind(target, value)
        elif isinstance(node, ast.AugAssign):
            self.augment(node)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self.bind(node.target, self.expr(node.value))
        elif isinstance(node, ast.Return):
            self.returned.append(self.expr(node.value) if node.value is not None else HOST)
        elif isinstance(node, ast.If):
            self.branches(node)
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
            self.loop(node)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                value = self.expr(item.context_expr)
                if item.optional_vars is not None:
                    self.bind(item.optional_vars, value)
            self.block(node.body)
        elif isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            self.try_(node)  # type: ignore[arg-type]
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                for path in target_paths(target):
                    self.forget(path)
        elif isinstance(node, ast.Match):
            self.expr(node.subject)
            self.alternatives([case.body for case in node.cases] + [[]])
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.expr(child)

    def branches(self, node: ast.If) -> None:
        self.expr(node.test)
        self.alternatives([node.body, node.orelse])

    def alternatives(self, bodies: Iterable[Sequence[ast.stmt]]) -> None:
        before = self.environment
        ends: list[Environment] = []
        for body in bodies:
            self.environment = dict(before)
            self.block(body)
            if not (body and isinstance(body[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))):
                ends.append(self.environment)
        self.environment = _joined(ends) if ends else before

    def loop(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        before = dict(self.environment)
        for _ in range(2):  # values are stable after one repeat: every field of the lattice is flat
            if isinstance(node, ast.While):
                self.expr(node.test)
            else:
                self.bind(node.target, self.element(self.expr(node.iter), node.iter))
            self.block(node.body)
            self.environment = _joined([before, self.environment])
        self.block(node.orelse)

    def try_(self, node: ast.Try) -> None:
        before = dict(self.environment)
        self.block(node.body)
        after = self.environment
        start = _joined([before, after])
        ends = []
        for handler in node.handlers:
            self.environment = dict(start)
            self.block(handler.body)
            if not (handler.body and isinstance(handler.body[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))):
                ends.append(self.environment)
        self.environment = after
        self.block(node.orelse)
        self.environment = _joined([self.environment, *ends])
        self.block(node.finalbody)

    def augment(self, node: ast.AugAssign) -> None:
        left = self.expr(_as_load(node.target))
        right = self.expr(node.value)
        if left.kind is Kind.CONTAINER:
            self.bind(node.target, _with_element(left, right.elem or UNKNOWN))
            return
        self.bind(node.target, self.arithmetic(left, right))

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
            self.environment[path] = value
            self.values[target] = value
        if isinstance(target, ast.Subscript):
            container = path_of(target.value)
            held = self.environment.get(container) if container is not None else None
            if container is not None and held is not None and held.kind is Kind.CONTAINER:
                self.environment[container] = _with_element(held, value)
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

    def forget(self, path: str) -> None:
        """A rebound or deleted path takes what hangs on it along."""
        self.environment.pop(path, None)
        for known in [k for k in self.environment if k.startswith((f"{path}.", f"{path}["))]:
            del self.environment[known]

    # ---- expressions ------------------------------------------------------------------------------

    def expr(self, node: ast.expr) -> Value:
        value = self._expr(node)
        self.values[node] = value
        return value

    def _expr(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.Attribute):
            return self.attribute(node)
        if isinstance(node, (ast.BinOp, ast.UnaryOp)):
            return self.operation(node)
        if isinstance(node, ast.Subscript):
            return self.subscript(node)
        if isinstance(node, ast.Constant) or isinstance(node, HOST_CONSTRUCTS):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.expr(child)
            return HOST
        if isinstance(node, ast.Compare):
            operands = [self.expr(operand) for operand in (node.left, *node.comparators)]
            return tensor(Grad.NONE, flow_device(operands)) if any(o.is_tensor for o in operands) else HOST
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            return self.display(node)
        if isinstance(node, ast.Dict):
            return self.dictionary(node)
        if isinstance(node, ast.IfExp):
            self.expr(node.test)
            return join(self.expr(node.body), self.expr(node.orelse))
        if isinstance(node, ast.BoolOp):
            values = [self.expr(operand) for operand in node.values]
            known = [v for v in values if v.kind is not Kind.HOST]
            return known[0] if len({v.key for v in known}) == 1 else HOST if not known else UNKNOWN
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            return self.comprehension(node)
        if isinstance(node, ast.Lambda):
            return Value(Kind.FUNCTION, ref=self.facts.structure.function_of[node].key)
        if isinstance(node, ast.NamedExpr):
            value = self.expr(node.value)
            self.bind(node.target, value)
            return value
        if isinstance(node, (ast.Await, ast.Starred)):
            return self.expr(node.value)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.expr(child)
        return UNKNOWN

    def operation(self, node: ast.BinOp | ast.UnaryOp) -> Value:
        if isinstance(node, ast.UnaryOp):
            value = self.expr(node.operand)
            return HOST if isinstance(node.op, ast.Not) else value
        spine: list[ast.BinOp] = [node]
        while isinstance(spine[-1].left, ast.BinOp):
            spine.append(spine[-1].left)
        value = self.expr(spine[-1].left)
        for item in reversed(spine):
            value = self.arithmetic(value, self.expr(item.right))
            self.values[item] = value
        return value

    def arithmetic(self, left: Value, right: Value) -> Value:
        if left.kind is Kind.CONTAINER and right.kind is Kind.CONTAINER:
            return join(left, right)
        if left.is_tensor or right.is_tensor:
            both = [left, right]
            carrier = next((v for v in both if v.carries_graph), left if left.is_tensor else right)
            return tensor(flow_grad(both), flow_device(both), carrier.why)
        return HOST if left.kind is Kind.HOST and right.kind is Kind.HOST else UNKNOWN

    def attribute(self, node: ast.Attribute) -> Value:
        base = self.expr(node.value)
        path = path_of(node)
        if path is not None:
            bound = self.environment.get(path)
            if bound is not None and bound.kind is not Kind.UNKNOWN:
                return bound
        if base.is_tensor:
            word = library().modules["torch"].classes["Tensor"].attributes.get(node.attr)
            if word is not None:
                return self.worded(word, [base], node)
            return base
        if base.ref and base.kind in (Kind.OBJECT, Kind.MODULE):
            found = self.facts.attribute(base.ref, node.attr)
            if found is not None and found.kind is not Kind.UNKNOWN:
                return found
        if path is not None and path in self._evidence:
            return self._evidence[path]
        if base.kind in (Kind.UNKNOWN, Kind.MODULE):
            reference = self._reference(node)
            if reference.kind is not Kind.UNKNOWN:
                return reference
        if base.kind is Kind.MODULE and node.attr == "device":
            return HOST
        return UNKNOWN

    def subscript(self, node: ast.Subscript) -> Value:
        base = self.expr(node.value)
        self.expr(node.slice)
        path = path_of(node)
        if path is not None and path in self.environment:
            return self.environment[path]
        if base.is_tensor or (base.kind is Kind.MODULE and not isinstance(node.slice, ast.Constant)):
            return base
        if base.kind is Kind.TUPLE and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
            index = node.slice.value
            return base.parts[index] if -len(base.parts) <= index < len(base.parts) else UNKNOWN
        if base.kind is Kind.CONTAINER:
            return base if isinstance(node.slice, ast.Slice) else base.elem or UNKNOWN
        if path is not None and path in self._evidence:
            return self._evidence[path]
        return HOST if base.kind is Kind.HOST else UNKNOWN

    def display(self, node: ast.Tuple | ast.List | ast.Set) -> Value:
        values = [self.expr(element) for element in node.elts]
        if isinstance(node, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in node.elts):
            return Value(Kind.TUPLE, parts=tuple(values))
        return Value(Kind.CONTAINER, elem=_joined_values(values))

    def dictionary(self, node: ast.Dict) -> Value:
        for key in node.keys:
            if key is not None:
                self.expr(key)
        values = [self.expr(value) for value in node.values]
        tensors = [value for value in values if value.is_tensor]
        graph = next((value for value in tensors if value.carries_graph), None)
        return Value(Kind.CONTAINER, elem=graph or (tensors[0] if tensors else _joined_values(values)))

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Value:
        saved = dict(self.environment)
        for generator in node.generators:
            self.bind(generator.target, self.element(self.expr(generator.iter), generator.iter))
            for condition in generator.ifs:
                self.expr(condition)
        if isinstance(node, ast.DictComp):
            self.expr(node.key)
            elem = self.expr(node.value)
        else:
            elem = self.expr(node.elt)
        self.environment = saved
        return Value(Kind.CONTAINER, elem=elem)

    def element(self, value: Value, node: ast.expr) -> Value:
        """What iterating over a value yields."""
        if value.kind is Kind.LOADER:
            return value.elem or tensor(Grad.NONE, Device.HOST)
        if value.kind is Kind.CONTAINER:
            return value.elem or UNKNOWN
        if value.kind is Kind.TENSOR:
            return value
        if value.kind is Kind.TUPLE:
            return _joined_values(list(value.parts)) or UNKNOWN
        if value.kind is Kind.MODULE:
            return Value(Kind.MODULE)
        return HOST if value.kind is Kind.HOST else UNKNOWN

    # ---- calls ------------------------------------------------------------------------------------

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
        called = self.expr(node.func) if receiver is None else self._attribute_of_call(node)
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

    def _attribute_of_call(self, node: ast.Call) -> Value:
        assert isinstance(node.func, ast.Attribute)
        value = self.attribute(node.func)
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
        self.environment[path] = _with_element(receiver, added)

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

    def mode(self, node: ast.AST) -> GradMode:
        """Grad mode at a node as its own function decides, remembered."""
        if node not in self._modes:
            self._modes[node] = mode_at(self.facts, node)
        return self._modes[node]


def _tensorish(value: Value) -> bool:
    return value.is_tensor or (value.elem is not None and value.elem.is_tensor) or any(p.is_tensor for p in value.parts)


def _has_dim(node: ast.Call) -> bool:
    return bool(node.args) or bool(node.keywords)


def _plain_annotation(node: ast.expr) -> ast.expr:
    """`Optional[X]`, `X | None`, `"X"` read as X."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, (ast.Name, ast.Attribute)):
        return node.slice
    if isinstance(node, ast.BinOp):
        return node.left
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return node
    return node


def _as_load(node: ast.expr) -> ast.expr:
    return node


def _with_element(container: Value, value: Value) -> Value:
    """A container that also holds `value`: a graph or a tensor among its elements decides."""
    old = container.elem
    if old is None or (value.is_tensor and not old.carries_graph):
        return replace(container, elem=value)
    return container


def _joined_values(values: list[Value]) -> Value | None:
    if not values:
        return None
    done = values[0]
    for value in values[1:]:
        done = join(done, value)
    return done


def _joined(environments: list[Environment]) -> Environment:
    if len(environments) == 1:
        return environments[0]
    done: Environment = {}
    for name in dict.fromkeys(n for environment in environments for n in environment):
        held = [environment[name] for environment in environments if name in environment]
        value = held[0]
        for other in held[1:]:
            value = join(value, other)
        done[name] = value
    return done

