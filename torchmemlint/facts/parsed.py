"""One file understood by itself: its tree, shape and names, and what can be looked up in them alone.

Nothing here depends on other files, so all sessions share it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property

from torchmemlint.facts.children import is_deep
from torchmemlint.facts.consulted import module_name
from torchmemlint.facts.memory import Memory, Table
from torchmemlint.facts.names import Names
from torchmemlint.facts.structure import Class, Function, Structure
from torchmemlint.facts.traversal import structure_of
from torchmemlint.source import Source, Tree

MAX_DEPTH = 100
"""Nodes in one another; of ten thousand public files three have more."""
MENTIONS: Table[tuple[str, ...], bool] = Table()


@dataclass(frozen=True, eq=False)
class Parsed:
    """One file's tree, shape and names. `memory` has answers that follow from these alone."""

    source: Source
    tree: Tree
    structure: Structure
    names: Names
    memory: Memory = field(default_factory=Memory)

    def mentions(self, words: tuple[str, ...]) -> bool:
        """Whether any of some words occurs in the file, remembered."""
        table = self.memory.table(MENTIONS)
        if words not in table:
            table[words] = self.source.mentions(words)
        return table[words]

    @cached_property
    def is_deep(self) -> bool:
        """Whether what stands in the file nests deeper than anybody writes."""
        return is_deep(self.tree.module, MAX_DEPTH)

    @cached_property
    def own(self) -> dict[str, Function | Class]:
        """Functions and classes by qualified name."""
        found: dict[str, Function | Class] = {f.qualname: f for f in self.structure.functions if f.qualname}
        found.update({c.qualname: c for c in self.structure.classes})
        return found

    @cached_property
    def assigns(self) -> dict[Class, dict[str, list[Function]]]:
        """For each class, which methods assign which attributes of the instance."""
        found: dict[Class, dict[str, list[Function]]] = {}
        for node in self.structure.place_of:
            targets: list[ast.expr] = []
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            flat = [part for t in targets for part in (t.elts if isinstance(t, ast.Tuple) else [t])]
            for target in flat:
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                    function = self.structure.function(node)
                    if function.owner is not None and target.value.id == function.self_name():
                        methods = found.setdefault(function.owner, {}).setdefault(target.attr, [])
                        if function not in methods:
                            methods.append(function)
        return found

    @cached_property
    def calls_named(self) -> dict[str, list[ast.Call]]:
        """Calls by the last part of what they call."""
        found: dict[str, list[ast.Call]] = {}
        for call in self.structure.calls:
            func = call.func
            name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
            found.setdefault(name, []).append(call)
            if name and isinstance(func, ast.Name):
                dotted = self.names.name(name, self.structure.function(call))
                if dotted is not None and (last := dotted.rsplit(".", 1)[-1]) != name:
                    found.setdefault(last, []).append(call)
        return found


def parsed(source: Source, tree: Tree, relative: str) -> Parsed:
    """Shape and names of a parsed file."""
    module = module_name(relative)
    structure = structure_of(tree.module, module)
    package = module if relative.endswith("__init__.py") else module.rpartition(".")[0]
    return Parsed(source, tree, structure, Names(structure, package))
