"""Dotted names: what a name or attribute chain refers to, through imports, aliases and definitions.

Only what the file itself says; other files are the project's business. May not interpret values.
"""

from __future__ import annotations

import ast
import builtins

from torchmemlint.facts.structure import Class, Function, Structure

BUILTINS = frozenset(dir(builtins))
MODULE_GETTERS = frozenset({"get_accelerator", "get_torch_device", "get_device_module"})
MAX_ALIASES = 20
"""Names that stand for one another; only made-up code has so many."""


class Names:
    """Resolves expressions of one file to dotted names."""

    def __init__(self, structure: Structure, package: str) -> None:
        self._structure = structure
        self._package = package  # what a relative import of level 1 starts from
        self._own = {function.node: function for function in structure.functions}
        self._imports: dict[Function, dict[str, list[str]]] = {}
        self._assigned: dict[Function, dict[str, list[ast.expr]]] = {}
        self._known: dict[tuple[str, Function], str | None] = {}
        self._chains: dict[tuple[ast.expr, Function], str | None] = {}
        self._busy: set[tuple[Function, str]] = set()
        self.stars: list[str] = []
        for function, node in structure.imports:
            self._import(function, node)

    def _import(self, function: Function, node: ast.Import | ast.ImportFrom) -> None:
        table = self._imports.setdefault(function, {})
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                table.setdefault(bound, []).append(alias.name if alias.asname else bound)
            return
        base = node.module or ""
        if node.level:
            package = self._package.split(".") if self._package else []
            package = package[: len(package) - (node.level - 1)] if node.level > 1 else package
            base = ".".join([*package, *([base] if base else [])])
        for alias in node.names:
            if alias.name == "*":
                self.stars.append(base)
            else:
                table.setdefault(alias.asname or alias.name, []).append(f"{base}.{alias.name}" if base else alias.name)

    def dotted(self, node: ast.expr, function: Function) -> str | None:
        """The dotted name an expression refers to, or None.

        `getattr(torch, x)` and the accelerator getters of common libraries give `torch.accelerator`.
        """
        if isinstance(node, ast.Name):
            return self.name(node.id, function)
        if not isinstance(node, (ast.Attribute, ast.Call)):
            return None
        key = (node, function)
        if key in self._chains:
            return self._chains[key]
        found = self._chain(node, function)
        if not self._busy and node in self._structure.parent:  # a node of the file, which stays
            self._chains[key] = found
        return found

    def _chain(self, node: ast.Attribute | ast.Call, function: Function) -> str | None:
        if isinstance(node, ast.Call):
            return self._device_module(node, function)
        base = self.dotted(node.value, function)
        return f"{base}.{node.attr}" if base else None

    def _device_module(self, node: ast.Call, function: Function) -> str | None:
        called = self.dotted(node.func, function) or ""
        if called == "builtins.getattr" and len(node.args) >= 2 and self.dotted(node.args[0], function) == "torch":
            return "torch.accelerator"
        if called.rsplit(".", 1)[-1] in MODULE_GETTERS:
            return "torch.accelerator"
        if isinstance(node.func, ast.Attribute) and node.func.attr in MODULE_GETTERS:
            return "torch.accelerator"
        return None

    def name(self, name: str, function: Function) -> str | None:
        """The dotted name of a bare name used in a function."""
        key = (name, function)
        if key not in self._known:
            found = self._look_up(name, function)
            if self._busy:  # an answer in the middle of a circle is not for keeping
                return found
            self._known[key] = found
        return self._known[key]

    def _look_up(self, name: str, function: Function) -> str | None:
        scope: Function | None = function
        while scope is not None:
            if name in scope.bound and name not in scope.globals:
                return self._bound(name, scope)
            scope = scope.outer
        if name in BUILTINS:
            return f"builtins.{name}"
        return None

    def _bound(self, name: str, scope: Function) -> str | None:
        if (scope, name) in self._busy or len(self._busy) >= MAX_ALIASES:
            return None
        self._busy.add((scope, name))
        try:
            imported = self._imports.get(scope, {}).get(name)
            if imported:
                return imported[0]
            found: list[str] = []
            for node in scope.bound[name]:
                dotted = self._binding(node, name, scope)
                if dotted is None and len(scope.bound[name]) == 1:
                    return None
                if dotted is not None:
                    found.append(dotted)
            return found[0] if found and len({self._family(f) for f in found}) == 1 else None
        finally:
            self._busy.discard((scope, name))

    def _family(self, dotted: str) -> str:
        """Alternatives such as `torch.cuda` and `torch.xpu` are one name: a device module of torch."""
        head, _, tail = dotted.rpartition(".")
        return "torch device module" if head == "torch" and tail in DEVICE_MODULES else dotted

    def _binding(self, node: ast.AST, name: str, scope: Function) -> str | None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return self._own[node].key
        if isinstance(node, ast.ClassDef):
            return self._structure.class_of[node].key
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            value = node.value
            if isinstance(value, ast.IfExp):
                return self.dotted(value.body, scope) or self.dotted(value.orelse, scope)
            if isinstance(value, (ast.Name, ast.Attribute, ast.Call)):
                return self.dotted(value, scope)
        return None

    def local_class(self, dotted: str) -> Class | None:
        """A class of this file by its key."""
        return next((c for c in self._structure.classes if c.key == dotted), None)


DEVICE_MODULES = frozenset({"cuda", "xpu", "npu", "mps", "mlu", "musa", "hpu", "accelerator", "cpu"})
