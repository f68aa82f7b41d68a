"""Values of a function's expressions: one forward pass over its statements, loops twice, branches joined.

May not know rules.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence

from torchmemlint.facts.children import expressions
from torchmemlint.facts.infer_expressions import Expressions
from torchmemlint.facts.infer_state import Environment
from torchmemlint.facts.paths import target_paths
from torchmemlint.facts.values import HOST, UNKNOWN, Kind, Value, join, with_element

__all__ = ["Environment", "Evaluation"]

MAX_LEVELS = 25
"""Evaluations that wait for each other, twice as many as real code was seen to need: Python's stack has an end."""


class Evaluation(Expressions):
    """The values of one function's expressions, for one set of argument values."""

    def run(self) -> Evaluation:
        """Work out all values; nothing is known of what is asked for at the end of a very long chain of questions."""
        with self.facts.project.asking() as level:
            if level > MAX_LEVELS:
                self.returned.append(UNKNOWN)
            else:
                self._evaluate()
        return self

    def _evaluate(self) -> None:
        for param in self.function.params:
            self.environment.setdefault(param.arg, self._parameter(param))
        if isinstance(self.function.node, ast.Lambda):
            self.returned.append(self.expr(self.function.node.body))
        else:
            self.block(self.function.body)

    @property
    def result(self) -> Value:
        """The joined value of all returns."""
        if not self.returned:
            return UNKNOWN if self.function.left_to_others else HOST
        done = self.returned[0]
        for value in self.returned[1:]:
            done = join(done, value)
        return done

    def block(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        _ARMS.get(type(node), Evaluation.simple)(self, node)

    def simple(self, node: ast.stmt) -> None:
        for child in expressions(node):
            self.expr(child)

    def nothing(self, node: ast.stmt) -> None:
        """What is defined here runs elsewhere."""

    def assign(self, node: ast.Assign) -> None:
        value = self.expr(node.value)
        for target in node.targets:
            self.bind(target, value)

    def annotated(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.bind(node.target, self.expr(node.value))

    def expression(self, node: ast.Expr) -> None:
        self.expr(node.value)

    def return_(self, node: ast.Return) -> None:
        self.returned.append(self.expr(node.value) if node.value is not None else HOST)

    def with_(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            value = self.expr(item.context_expr)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, value)
        self.block(node.body)

    def delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            for path in target_paths(target):
                self.forget(path)

    def match(self, node: ast.Match) -> None:
        self.expr(node.subject)
        self.alternatives([case.body for case in node.cases] + [[]])

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
            returned = len(self.returned)
            if isinstance(node, ast.While):
                self.expr(node.test)
            else:
                self.bind(node.target, self.element(self.expr(node.iter), node.iter))
            self.block(node.body)
            self.environment = _joined([before, self.environment])
            if _unchanged(before, self.environment):  # then the repeat would do the same again
                self.returned += self.returned[returned:]
                break
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
        left = self.expr(node.target)
        right = self.expr(node.value)
        if left.kind is Kind.CONTAINER:
            self.bind(node.target, with_element(left, right.elem or UNKNOWN))
            return
        self.bind(node.target, self.arithmetic(left, right))


def _unchanged(before: Environment, after: Environment) -> bool:
    """Joining keeps a value itself where the other one behaves alike."""
    return len(before) == len(after) and all(after[name] is value for name, value in before.items())


def _joined(environments: list[Environment]) -> Environment:
    if len(environments) == 1:
        return environments[0]
    done = dict(environments[0])
    for environment in environments[1:]:
        for name, value in environment.items():
            held = done.setdefault(name, value)
            if held is not value:
                done[name] = join(held, value)
    return done


E = Evaluation
_ARMS: dict[type[ast.stmt], Callable[..., None]] = {
    ast.Assign: E.assign, ast.AugAssign: E.augment, ast.AnnAssign: E.annotated, ast.Expr: E.expression,
    ast.Return: E.return_, ast.If: E.branches, ast.For: E.loop, ast.AsyncFor: E.loop, ast.While: E.loop,
    ast.With: E.with_, ast.AsyncWith: E.with_, ast.Try: E.try_, ast.Delete: E.delete, ast.Match: E.match,
    ast.FunctionDef: E.nothing, ast.AsyncFunctionDef: E.nothing, ast.ClassDef: E.nothing,
}  # fmt: skip
if hasattr(ast, "TryStar"):  # since Python 3.11
    _ARMS[ast.TryStar] = E.try_
