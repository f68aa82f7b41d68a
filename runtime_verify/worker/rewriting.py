"""Rewrites the user's code node by node: each step that can fail becomes a call of the runtime. Pure."""

from __future__ import annotations

import ast
from typing import Any

from runtime_verify.worker.sites import Place, Sites
from runtime_verify.worker.steering import Steering
from runtime_verify.worker.syntax import (
    EXPECTED,
    IMPORT_ERRORS,
    OPERATORS,
    RAW_CALLS,
    bound_names,
    caught_names,
    flat,
    index_value,
    is_kept_decorator,
    is_none,
    refuses,
    runtime,
    site_number,
    target_names,
    target_spec,
    unsure_names,
)


class Rewriter(ast.NodeTransformer):
    def __init__(
        self,
        sites: Sites,
        steering: Steering,
        marks: dict[int, str],
        attempt: ast.Try | None,
        target: ast.AST | None,
        place: Place | None,
    ) -> None:
        self.sites = sites
        self.steering = steering
        self.marks = marks
        self.attempt = attempt
        self.target = target
        self.marked = {id(node) for node in place.path} if place is not None else set()
        self.classes: list[str] = []
        self.functions = 0
        self.expected: list[frozenset[str]] = []

    # -- making nodes

    def site(self, node: ast.AST, hints: tuple[str, ...] = ()) -> ast.Constant:
        number = len(self.sites.lines)
        self.sites.lines[number] = getattr(node, "lineno", 0)
        if hints:
            self.sites.hints[number] = hints
        if any(self.expected):
            self.sites.expected[number] = frozenset().union(*self.expected)
        return ast.Constant(number)

    def ask(self, method: str, node: ast.AST, *arguments: ast.expr, hints: tuple[str, ...] = ()) -> ast.Call:
        """`__tml__.method(site, *arguments)`, standing where the node stands."""
        made = ast.Call(runtime(method), [self.site(node, hints), *arguments], [])
        return ast.copy_location(made, node)

    # -- expressions

    def visit_Call(self, node: ast.Call) -> ast.expr:
        hints = getattr(node, "hints", ())
        if isinstance(node.func, ast.Name) and node.func.id in RAW_CALLS:
            node.args = [self.visit(argument) for argument in node.args]
            return node
        self.generic_visit(node)
        for keyword in node.keywords:
            if keyword.arg is None:
                keyword.value = ast.copy_location(ast.Call(runtime("named"), [keyword.value], []), keyword.value)
        made = ast.Call(runtime("call"), [self.site(node, hints), node.func, *node.args], node.keywords)
        return ast.copy_location(made, node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            return node
        return self.ask("attr", node, node.value, ast.Constant(self._mangled(node.attr)))

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            return node
        return self.ask("item", node, node.value, index_value(node.slice))

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        name = OPERATORS.get(type(node.op))
        plain = isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)
        return node if name is None or plain else self.ask("op", node, ast.Constant(name), node.left, node.right)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if len(node.ops) != 1:
            return node
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            absent = ast.Constant(isinstance(node.ops[0], ast.NotIn))
            return self.ask("among", node, node.left, node.comparators[0], absent)
        name = OPERATORS.get(type(node.ops[0]))
        return node if name is None else self.ask("op", node, ast.Constant(name), node.left, node.comparators[0])

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        node.test = self.ask("test", node.test, node.test)
        return node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
        self.generic_visit(node)
        arguments: list[ast.expr] = [node.value, ast.Constant(node.conversion)]
        if node.format_spec is not None:
            arguments.append(node.format_spec)
        return ast.FormattedValue(self.ask("shown", node, *arguments), -1, None)

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        self.generic_visit(node)
        node.iter = self.ask("loop", node.iter, node.iter, target_spec(node.target))
        return node

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        return self._scope(node)

    # -- definitions

    def _scope(self, node: Any) -> Any:
        expected, self.expected = self.expected, []
        self.functions += 1
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
        for rest in (node.args.vararg, node.args.kwarg):
            if rest is not None:
                rest.annotation = None
        if hasattr(node, "returns"):
            node.returns = None
        self.generic_visit(node)
        self.functions -= 1
        self.expected = expected
        return node

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Any:
        name, line = node.name, node.lineno
        watched = node is self.target or id(node) in self.marked
        decorators, node.decorator_list = node.decorator_list, []
        unsure = unsure_names(node)
        self._scope(node)
        self._bind_first(node, unsure)
        node.decorator_list = [
            self.ask("decorator", decorator, self.visit(decorator))
            for decorator in decorators
            if is_kept_decorator(decorator)
        ]
        if watched:
            what = ast.Constant("target" if node is self.target else "nested")
            node.decorator_list.insert(0, self.ask("defined", node, what, ast.Constant(f"{name}:{line}")))
            bare = ast.Constant("bare target" if node is self.target else "bare nested")
            node.decorator_list.append(self.ask("defined", node, bare, ast.Constant(f"{name}:{line}")))
        return self._marked(node, node)

    def _bind_first(self, node: ast.FunctionDef | ast.AsyncFunctionDef, names: list[str]) -> None:
        """Binds names at the head of a function that a branch not taken would leave unbound."""
        at = (
            1
            if node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            else 0
        )
        declared = [n for n, s in enumerate(node.body) if isinstance(s, (ast.Global, ast.Nonlocal))]
        at = max([at, *(n + 1 for n in declared)])
        for name in names:
            lost = ast.Call(runtime("lost"), [self.site(node), ast.Constant(name)], [])
            bind = ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], lost), node.body[0])
            node.body.insert(at, bind)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return self._definition(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        return self._definition(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        expected, self.expected = self.expected, []
        self.classes.append(node.name)
        body = [self.visit(statement) for statement in node.body]
        self.classes.pop()
        self.expected = expected
        node.bases = [self.ask("base", base, self.visit(base)) for base in node.bases]
        for keyword in node.keywords:
            keyword.value = self.ask("base", keyword.value, self.visit(keyword.value))
        node.decorator_list = [self.ask("decorator", deco, self.visit(deco)) for deco in node.decorator_list]
        node.decorator_list.append(self.ask("own_class", node))
        node.body = flat(body)
        return self._marked(node, node)

    # -- statements

    def visit_Expr(self, node: ast.Expr) -> Any:
        if isinstance(node.value, ast.Constant):
            return self._marked(node, node)
        return self._shielded(node)

    def visit_Assign(self, node: ast.Assign) -> Any:
        names = target_names(node.targets[0])
        if isinstance(node.value, (ast.Call, ast.Await)):
            call = node.value.value if isinstance(node.value, ast.Await) else node.value
            call.hints = names  # type: ignore[attr-defined]
        spec = target_spec(node.targets[0])
        unpacked = isinstance(node.targets[0], (ast.Tuple, ast.List)) and not is_none(spec)

        def finish(done: ast.stmt) -> None:
            if unpacked and isinstance(done, ast.Assign):
                done.value = self.ask("unpack", node, done.value, spec)

        return self._shielded(node, finish)

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        return self._shielded(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is not None:
            node.value = self.visit(node.value)
        return self._marked(node, node)

    def visit_Delete(self, node: ast.Delete) -> Any:
        return self._shielded(node)

    def visit_Return(self, node: ast.Return) -> Any:
        return self._shielded(node)

    def visit_Import(self, node: ast.Import) -> Any:
        return self._import(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if node.module == "__future__":
            return self._marked(node, node)
        return self._import(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> Any:
        if any(names & IMPORT_ERRORS for names in self.expected):
            self.sites.optional.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        return self._shielded(node)

    def visit_Assert(self, node: ast.Assert) -> Any:
        return self._shielded(
            ast.copy_location(ast.Expr(self.ask("asserted", node, self.visit(node.test))), node), original=node
        )

    def visit_Raise(self, node: ast.Raise) -> Any:
        self.generic_visit(node)
        if node.exc is not None:
            node.exc = self.ask("error", node, node.exc)
        return self._marked(node, node)

    def visit_Pass(self, node: ast.Pass) -> Any:
        return self._marked(node, node)

    def visit_Break(self, node: ast.Break) -> Any:
        return self._marked(node, node)

    def visit_Continue(self, node: ast.Continue) -> Any:
        return self._marked(node, node)

    def visit_If(self, node: ast.If) -> Any:
        refused = [refuses(node.body), refuses(node.orelse)]
        test = self.ask("test", node.test, self.visit(node.test))
        self._force(node, test)
        if refused[0] is not refused[1]:
            self.sites.refusing[site_number(test)] = refused[1]
        node.test = test
        node.body = self._block(node.body)
        node.orelse = self._block(node.orelse)
        return self._marked(node, node)

    def visit_While(self, node: ast.While) -> Any:
        test = self.ask("again", node.test, self.visit(node.test))
        if id(node) in self.steering.around:
            self.sites.around.add(site_number(test))
        node.test = test
        node.body = self._block(node.body)
        node.orelse = self._block(node.orelse)
        return self._marked(node, node)

    def _for(self, node: ast.For | ast.AsyncFor) -> Any:
        turns = self.ask("loop", node.iter, self.visit(node.iter), target_spec(node.target))
        if id(node) in self.steering.around:
            self.sites.around.add(site_number(turns))
        node.iter = turns
        node.target = self.visit(node.target)
        node.body = self._block(node.body)
        node.orelse = self._block(node.orelse)
        return self._marked(node, node)

    def visit_For(self, node: ast.For) -> Any:
        return self._for(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> Any:
        plain = ast.copy_location(ast.For(node.target, node.iter, node.body, node.orelse), node)
        if id(node) in self.steering.around:
            self.steering.around.add(id(plain))
        if id(node) in self.marks:
            self.marks[id(plain)] = self.marks[id(node)]
        return self._for(plain)

    def _with(self, node: ast.With | ast.AsyncWith) -> Any:
        for item in node.items:
            bound = target_names(item.optional_vars) if item.optional_vars is not None else ()
            item.context_expr = self.ask("context", item.context_expr, self.visit(item.context_expr), hints=bound)
        plain = ast.copy_location(ast.With(node.items, self._block(node.body)), node)
        return self._marked(node, plain)

    def visit_With(self, node: ast.With) -> Any:
        return self._with(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> Any:
        return self._with(node)

    def visit_Try(self, node: ast.Try) -> Any:
        self.expected.append(frozenset(caught_names(node)) & EXPECTED)
        node.body = self._block(node.body)
        self.expected.pop()
        if id(node) in self.steering.raising:
            caught = [handler.type for handler in node.handlers if id(handler) in self.marked]
            kind = self.visit(caught[0]) if caught and caught[0] is not None else ast.Name("Exception", ast.Load())
            node.body.append(ast.copy_location(ast.Expr(self.ask("must_raise", node, kind)), node.body[-1]))
        if node is self.attempt:
            item = ast.withitem(self.ask("exhausting", node))
            node.body = [ast.copy_location(ast.With([item], node.body), node)]
        for handler in node.handlers:
            if handler.type is not None:
                handler.type = self.ask("caught", handler, self.visit(handler.type))
            handler.body = self._block(handler.body)
        node.orelse = self._block(node.orelse)
        node.finalbody = self._block(node.finalbody)
        return self._marked(node, node)

    def _block(self, block: list[ast.stmt]) -> list[ast.stmt]:
        return flat([self.visit(statement) for statement in block])

    def _force(self, node: ast.If, test: ast.Call) -> None:
        for decided, table in ((self.steering.forced, self.sites.forced), (self.steering.onward, self.sites.onward)):
            if id(node) in decided:
                table[site_number(test)] = decided[id(node)]

    def _shielded(self, node: Any, finish: Any = None, original: ast.stmt | None = None) -> Any:
        """The statement in a `try`; what it would have bound is stood in for where it fails."""
        key = original or node
        names = bound_names(node)
        done: Any = node if original is not None else self.generic_visit(node)
        if finish is not None:
            finish(done)
        site = self.site(key)
        failed: list[ast.stmt] = [ast.Expr(ast.Call(runtime("failed"), [site], []))]
        if isinstance(done, ast.Return):
            failed.append(ast.Return(ast.Call(runtime("lost"), [site, ast.Constant("made")], [])))
        for name in names:
            lost = ast.Call(runtime("lost"), [site, ast.Constant(name)], [])
            failed.append(ast.Assign([ast.Name(name, ast.Store())], lost))
        handler = ast.ExceptHandler(runtime("Failure"), None, failed)
        return self._marked(key, ast.copy_location(ast.Try([done], [handler], [], []), key))

    def _marked(self, original: ast.stmt, done: ast.stmt) -> Any:
        where = self.marks.get(id(original))
        if where is None:
            return done
        before = ast.copy_location(ast.Expr(ast.Call(runtime("mark"), [], [])), original)
        after = ast.copy_location(ast.Expr(ast.Call(runtime("after"), [], [])), original)
        return {"before": [before, done], "both": [before, done, after], "behind": [done, before]}[where]

    def _mangled(self, name: str) -> str:
        if self.classes and name.startswith("__") and not name.endswith("__"):
            return f"_{self.classes[-1].lstrip('_')}{name}"
        return name
