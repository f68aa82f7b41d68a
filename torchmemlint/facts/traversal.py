"""The one traversal of a file's tree, which builds its `Structure`. May not interpret names or values."""

from __future__ import annotations

import ast

from torchmemlint.facts.children import children
from torchmemlint.facts.structure import Block, Class, Function, FunctionNode, Place, Structure


def structure_of(module: ast.Module, name: str) -> Structure:
    """The shape of a parsed module."""
    structure = Structure(module, name)
    _Walk(structure).module()
    return structure


class _Walk:
    """The one traversal."""

    def __init__(self, into: Structure) -> None:
        self.into = into

    def module(self) -> None:
        body = self.into.body
        self.into.function_of[self.into.module] = body
        self.block(self.into.module.body, Place(Block.MODULE, self.into.module, None, body), self.into.module, None)

    def block(self, body: list[ast.stmt], place: Place, parent: ast.AST, owner: Class | None) -> None:
        for index, statement in enumerate(body):
            self.into.parent[statement] = parent
            self.into.place_of[statement] = place
            self.into.block_of[statement] = (body, index)
            self.statement(statement, place, owner)

    def statement(self, node: ast.stmt, place: Place, owner: Class | None) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.function(node, node.name, place, owner)
        elif isinstance(node, ast.ClassDef):
            self.class_(node, place, owner)
        elif isinstance(node, (ast.If, ast.While, ast.For, ast.AsyncFor)):
            self.branching(node, place, owner)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                self.children(item, node, place)
            self.bind_targets([item.optional_vars for item in node.items if item.optional_vars], node, place)
            self.block(node.body, Place(Block.WITH, node, place, place.function), node, owner)
        elif isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            self.try_(node, place, owner)  # type: ignore[arg-type]
        elif isinstance(node, ast.Match):
            self.expression(node.subject, node, place)
            for case in node.cases:
                self.into.parent[case] = node
                if case.guard is not None:
                    self.expression(case.guard, case, place)
                self.block(case.body, Place(Block.THEN, node, place, place.function), case, owner)
        else:
            self.simple(node, place)

    def simple(self, node: ast.stmt, place: Place) -> None:
        function = place.function
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self.into.imports.append((function, node))
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                function.bound.setdefault(bound, []).append(node)
            return
        if isinstance(node, ast.Return):
            function.returns.append(node)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            function.globals.update(node.names)
        elif isinstance(node, ast.Assign):
            self.bind_targets(node.targets, node, place)
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            self.bind_targets([node.target], node, place)
        for child in children(node):
            self.expression(child, node, place)

    def branching(self, node: ast.If | ast.While | ast.For | ast.AsyncFor, place: Place, owner: Class | None) -> None:
        function = place.function
        if isinstance(node, (ast.If, ast.While)):
            self.expression(node.test, node, place)
        else:
            self.expression(node.iter, node, place)
            self.expression(node.target, node, place)
            self.bind_targets([node.target], node, place)
        if isinstance(node, ast.If):
            self.block(node.body, Place(Block.THEN, node, place, function), node, owner)
            self.block(node.orelse, Place(Block.ELSE, node, place, function), node, owner)
        else:
            function.loops.append(node)
            self.block(node.body, Place(Block.LOOP, node, place, function), node, owner)
            self.block(node.orelse, Place(Block.PLAIN, node, place, function), node, owner)

    def try_(self, node: ast.Try, place: Place, owner: Class | None) -> None:
        function = place.function
        self.block(node.body, Place(Block.TRY, node, place, function), node, owner)
        for handler in node.handlers:
            self.into.parent[handler] = node
            if handler.type is not None:
                self.expression(handler.type, handler, place)
            if handler.name:
                function.bound.setdefault(handler.name, []).append(handler)
            self.block(handler.body, Place(Block.HANDLER, handler, place, function), handler, owner)
        self.block(node.orelse, Place(Block.PLAIN, node, place, function), node, owner)
        self.block(node.finalbody, Place(Block.FINALLY, node, place, function), node, owner)

    def function(self, node: FunctionNode, name: str, place: Place, owner: Class | None) -> None:
        outer = place.function
        base = owner.qualname if owner is not None else outer.qualname
        made = Function(node, name, f"{base}.{name}" if base else name, self.into.name, outer, owner)
        self.into.functions.append(made)
        self.into.function_of[node] = made
        outer.inner.append(made)
        if owner is not None:
            owner.methods[name] = made
        elif not isinstance(node, ast.Lambda):
            outer.bound.setdefault(name, []).append(node)
        for decorator in made.decorators:
            self.expression(decorator, node, place)
        for default in [*node.args.defaults, *[d for d in node.args.kw_defaults if d is not None]]:
            self.expression(default, node, place)
        for param in [*made.params, node.args.vararg, node.args.kwarg]:
            if param is not None:
                self.into.parent[param] = node
                made.bound.setdefault(param.arg, []).append(param)
                if param.annotation is not None:
                    self.expression(param.annotation, param, place)
        body = Place(Block.FUNCTION, node, place, made)
        if isinstance(node, ast.Lambda):
            self.into.place_of[node.body] = body
            self.expression(node.body, node, body)
        else:
            self.block(node.body, body, node, None)

    def class_(self, node: ast.ClassDef, place: Place, owner: Class | None) -> None:
        base = owner.qualname if owner is not None else place.function.qualname
        made = Class(node, f"{base}.{node.name}" if base else node.name, self.into.name, place.function)
        self.into.classes.append(made)
        self.into.class_of[node] = made
        if owner is None:
            place.function.bound.setdefault(node.name, []).append(node)
        for child in [*node.bases, *node.keywords, *node.decorator_list]:
            self.expression(child, node, place)
        self.block(node.body, Place(Block.CLASS, node, place, place.function), node, made)

    # ---- expressions ------------------------------------------------------------------------------

    def expression(self, node: ast.AST, parent: ast.AST, place: Place) -> None:
        self.into.parent[node] = parent
        kind = type(node)
        if kind is ast.Name or kind is ast.Constant:
            return
        if kind is ast.Call:
            assert isinstance(node, ast.Call)
            place.function.calls.append(node)
            self.into.calls.append(node)
            self.into.place_of[node] = place
        elif isinstance(node, ast.Lambda):
            self.into.place_of[node] = place
            self.function(node, "<lambda>", place, None)
            return
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            self.comprehension(node, place)
            return
        elif isinstance(node, (ast.Yield, ast.YieldFrom)):
            place.function.yields.append(node)
        elif isinstance(node, ast.NamedExpr):
            self.bind_targets([node.target], node, place)
        self.children(node, None, place)

    def children(self, node: ast.AST, parent: ast.AST | None, place: Place) -> None:
        if parent is not None:
            self.into.parent[node] = parent
        for child in children(node):
            self.expression(child, node, place)

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, place: Place) -> None:
        self.into.place_of[node] = place
        for generator in node.generators:
            self.into.parent[generator] = node
            self.into.place_of[generator] = place
            self.expression(generator.iter, generator, place)
            place.function.loops.append(generator)
            place = Place(Block.LOOP, generator, place, place.function)
            self.expression(generator.target, generator, place)
            for condition in generator.ifs:
                self.expression(condition, generator, place)
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for part in parts:
            self.into.place_of[part] = place
            self.expression(part, node, place)

    def bind_targets(self, targets: list[ast.expr], by: ast.AST, place: Place) -> None:
        for target in targets:
            if isinstance(target, ast.Name):
                place.function.bound.setdefault(target.id, []).append(by)
            elif isinstance(target, (ast.Tuple, ast.List)):
                self.bind_targets(target.elts, by, place)
            elif isinstance(target, ast.Starred):
                self.bind_targets([target.value], by, place)
