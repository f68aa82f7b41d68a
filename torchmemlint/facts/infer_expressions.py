"""Expressions to values, one function for each sort of expression. May not know rules."""

from __future__ import annotations

import ast
from collections.abc import Callable

from torchmemlint.facts.children import expressions
from torchmemlint.facts.infer_calls import Calls
from torchmemlint.facts.library import library
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.values import (
    HOST,
    UNKNOWN,
    Device,
    Grad,
    Kind,
    Value,
    flow_device,
    flow_grad,
    join,
    join_all,
    tensor,
)


class Expressions(Calls):
    """Evaluates expressions."""

    def expr(self, node: ast.expr) -> Value:
        value = _ARMS.get(type(node), Expressions.other)(self, node)
        self.values[node] = value
        return value

    def other(self, node: ast.expr) -> Value:
        for child in expressions(node):
            self.expr(child)
        return UNKNOWN

    def constant(self, node: ast.Constant) -> Value:
        return HOST

    def formatted(self, node: ast.JoinedStr | ast.FormattedValue) -> Value:
        self.other(node)
        return HOST

    def comparison(self, node: ast.Compare) -> Value:
        operands = [self.expr(operand) for operand in (node.left, *node.comparators)]
        return tensor(Grad.NONE, flow_device(operands)) if any(o.is_tensor for o in operands) else HOST

    def conditional(self, node: ast.IfExp) -> Value:
        self.expr(node.test)
        return join(self.expr(node.body), self.expr(node.orelse))

    def boolean(self, node: ast.BoolOp) -> Value:
        values = [self.expr(operand) for operand in node.values]
        known = [v for v in values if v.kind is not Kind.HOST]
        return known[0] if len({v.key for v in known}) == 1 else HOST if not known else UNKNOWN

    def lambda_(self, node: ast.Lambda) -> Value:
        return Value(Kind.FUNCTION, ref=self.facts.structure.function_of[node].key)

    def named(self, node: ast.NamedExpr) -> Value:
        value = self.expr(node.value)
        self.bind(node.target, value)
        return value

    def inner(self, node: ast.Await | ast.Starred) -> Value:
        return self.expr(node.value)

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

    def attribute(self, node: ast.Attribute, base: Value | None = None) -> Value:
        base = base or self.expr(node.value)
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
        return Value(Kind.CONTAINER, elem=join_all(values))

    def dictionary(self, node: ast.Dict) -> Value:
        for key in node.keys:
            if key is not None:
                self.expr(key)
        values = [self.expr(value) for value in node.values]
        tensors = [value for value in values if value.is_tensor]
        graph = next((value for value in tensors if value.carries_graph), None)
        return Value(Kind.CONTAINER, elem=graph or (tensors[0] if tensors else join_all(values)))

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
            return join_all(list(value.parts)) or UNKNOWN
        if value.kind is Kind.MODULE:
            return Value(Kind.MODULE)
        return HOST if value.kind is Kind.HOST else UNKNOWN


E = Expressions
_ARMS: dict[type[ast.expr], Callable[..., Value]] = {
    ast.Name: E.name, ast.Call: E.call, ast.Attribute: E.attribute, ast.Subscript: E.subscript,
    ast.BinOp: E.operation, ast.UnaryOp: E.operation, ast.Compare: E.comparison, ast.BoolOp: E.boolean,
    ast.Constant: E.constant, ast.JoinedStr: E.formatted, ast.FormattedValue: E.formatted,
    ast.Tuple: E.display, ast.List: E.display, ast.Set: E.display, ast.Dict: E.dictionary,
    ast.ListComp: E.comprehension, ast.SetComp: E.comprehension, ast.GeneratorExp: E.comprehension,
    ast.DictComp: E.comprehension, ast.IfExp: E.conditional, ast.Lambda: E.lambda_, ast.NamedExpr: E.named,
    ast.Await: E.inner, ast.Starred: E.inner,
}  # fmt: skip
