"""Where the code of a function mentions each name, with that of functions defined in it: one walk for all questions.

May not interpret anything.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.memory import Table
from torchmemlint.facts.structure import Function

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

USES: Table[Function, Uses] = Table()


@dataclass(frozen=True)
class Uses:
    """The names of a function by what they are called, and the attributes that it reads."""

    names: dict[str, list[ast.Name]]
    attributes: frozenset[str]
    leaving: frozenset[str]  # names in what is returned, yielded, or stored in something other than a name

    def reads(self, name: str) -> list[ast.Name]:
        """The places that read a name."""
        return [node for node in self.names.get(name, ()) if isinstance(node.ctx, ast.Load)]

    def deletions(self, name: str) -> list[ast.Name]:
        """The places that delete a name."""
        return [node for node in self.names.get(name, ()) if isinstance(node.ctx, ast.Del)]


def uses(facts: FileFacts, function: Function) -> Uses:
    """The names that a function mentions, remembered."""
    table = facts.parsed.memory.table(USES)
    if function not in table:
        names: dict[str, list[ast.Name]] = {}
        attributes: set[str] = set()
        leaving: set[str] = set()
        for node in subtree(function.node):
            if isinstance(node, ast.Name):
                names.setdefault(node.id, []).append(node)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                attributes.add(node.attr)
            elif (value := _leaving(node)) is not None:
                leaving.update(part.id for part in subtree(value) if isinstance(part, ast.Name))
        table[function] = Uses(names, frozenset(attributes), frozenset(leaving))
    return table[function]


def _leaving(node: ast.AST) -> ast.expr | None:
    """`return model`, `self.model = model`, `yield model`, `model` inside what is returned."""
    if isinstance(node, (ast.Return, ast.Yield)):
        return node.value
    return node.value if isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name) else None
