"""A module as a list of units: the statements of its body with the names they bind, read and change.

A unit is one statement with the lines it stands on, or several that share a line. The body of
`if __name__ == "__main__"` is taken apart into units of its own. May not know of other files.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from runtime_verify.reads import Chain, Imported, Reads, binds, chain_of, imported, reads

LONGEST_LOOP = 12
"""Lines of a loop in a module's body that may fill a table; longer ones are taken for the program itself."""
_ENDS = frozenset({("sys", "exit"), ("exit",), ("quit",), ("os", "_exit")})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


@dataclass(frozen=True, eq=False)
class Unit:
    """One statement of a module's body, or several that share a line.

    first, last  its lines, from 1.
    nodes        the statements themselves.
    binds        names it binds in the module.
    touches      names whose objects it changes without binding them: `args.lr = 1`, `parser.add_argument()`.
    calls        what is called for its effect alone, as chains.
    ends         it may end the program.
    long_loop    it is, or holds, a loop too long to be preparation.
    guard        line of the `if __name__ == "__main__"` around it, 0 for none.
    imports      the aliases, where the whole unit is one import.
    future       it is an import from `__future__`.
    defines      it is one function or class.
    """

    first: int
    last: int
    nodes: tuple[ast.stmt, ...]
    binds: frozenset[str]
    touches: frozenset[str]
    calls: frozenset[Chain]
    ends: bool = False
    long_loop: bool = False
    guard: int = 0
    imports: tuple[Imported, ...] = ()
    future: bool = False
    defines: bool = False

    @cached_property
    def reads(self) -> Reads:
        """What it reads from the module, and the imports that it makes in blocks and functions."""
        found = reads(self.nodes)
        if not self.imports:
            found.imports += [alias for node in self.nodes for alias in _inner_imports(node)]
        return found


@dataclass(frozen=True, eq=False)
class Outline:
    """The units of one module, the names of its classes' methods, and its `from x import *` by unit."""

    units: tuple[Unit, ...]
    methods: frozenset[str]
    stars: tuple[tuple[int, Imported], ...] = ()

    @cached_property
    def binders(self) -> dict[str, list[int]]:
        """Name -> numbers of the units that bind it."""
        return _index(self.units, lambda unit: unit.binds)

    @cached_property
    def touchers(self) -> dict[str, list[int]]:
        """Name -> numbers of the units that change its object and do not bind it."""
        return _index(self.units, lambda unit: unit.touches - unit.binds)


def outline(module: ast.Module) -> Outline:
    """The outline of a parsed module."""
    units: list[Unit] = []
    for group in _groups(module.body):
        guard = group[0]
        if len(group) == 1 and isinstance(guard, ast.If) and is_main_guard(guard) and not guard.orelse:
            if guard.test.end_lineno == guard.lineno < first_line(guard.body[0]):
                units += [_unit(inner, guard.lineno) for inner in _groups(guard.body)]
                continue
        units.append(_unit(group))
    methods = frozenset(
        inner.name
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
        for inner in node.body
        if isinstance(inner, _DEFINITIONS)
    )
    stars = [(number, alias) for number, unit in enumerate(units) for alias in unit.imports if alias.name == "*"]
    return Outline(tuple(units), methods, tuple(stars))


def is_main_guard(node: ast.AST) -> bool:
    """`if __name__ == "__main__":`"""
    if not isinstance(node, ast.If) or not isinstance(node.test, ast.Compare):
        return False
    sides = [node.test.left, *node.test.comparators]
    names = {side.id for side in sides if isinstance(side, ast.Name)}
    values = {side.value for side in sides if isinstance(side, ast.Constant)}
    return len(sides) == 2 and names == {"__name__"} and values == {"__main__"} and isinstance(node.test.ops[0], ast.Eq)


def first_line(node: ast.stmt) -> int:
    """The line a statement begins on, its decorators among it."""
    above: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in above)])


def last_line(node: ast.stmt) -> int:
    """The line a statement ends on."""
    return node.end_lineno or node.lineno


def _groups(body: Iterable[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """Statements one by one, those that share a line together."""
    group: list[ast.stmt] = []
    for node in body:
        if group and first_line(node) > last_line(group[-1]):
            yield group
            group = []
        group.append(node)
    if group:
        yield group


def _unit(group: list[ast.stmt], guard: int = 0) -> Unit:
    one = group[0]
    alone = len(group) == 1
    aliases = tuple(imported(one)) if alone and isinstance(one, (ast.Import, ast.ImportFrom)) else ()
    return Unit(
        first_line(one),
        last_line(group[-1]),
        tuple(group),
        frozenset(name for node in group for name in binds(node) if name != "*"),
        frozenset(name for node in group for name in _touched(node)),
        frozenset(chain for node in group for chain in _called(node)),
        any(_ends(node) for node in group),
        any(_long_loop(node) for node in group),
        guard,
        aliases,
        isinstance(one, ast.ImportFrom) and one.module == "__future__",
        alone and isinstance(one, _DEFINITIONS),
    )


def _inner_imports(node: ast.stmt) -> Iterator[Imported]:
    """Imports of a block in the module's body; those inside functions are found with their reads."""
    for inner in _leaves(node):
        if isinstance(inner, (ast.Import, ast.ImportFrom)):
            yield from imported(inner)


def _leaves(node: ast.stmt) -> Iterator[ast.stmt]:
    """The statement and those in its blocks, not those of functions and classes."""
    yield node
    if isinstance(node, _DEFINITIONS):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _leaves(child)
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            for inner in child.body:
                yield from _leaves(inner)


def _touched(node: ast.stmt) -> Iterator[str]:
    """Roots of attribute and subscript targets, and of methods called for their effect."""
    for leaf in _leaves(node):
        targets: list[ast.expr] = []
        if isinstance(leaf, (ast.Assign, ast.Delete)):
            targets = leaf.targets
        elif isinstance(leaf, (ast.AugAssign, ast.AnnAssign)):
            targets = [leaf.target]
        elif isinstance(leaf, ast.Expr) and isinstance(leaf.value, ast.Call):
            targets = [leaf.value.func]
        for target in targets:
            if isinstance(target, (ast.Attribute, ast.Subscript)) and (root := _root(target)) is not None:
                yield root


def _called(node: ast.stmt) -> Iterator[Chain]:
    for leaf in _leaves(node):
        if isinstance(leaf, ast.Expr):
            value = leaf.value.value if isinstance(leaf.value, ast.Await) else leaf.value
            if isinstance(value, ast.Call):
                yield chain_of(value.func) or ("",)


def _ends(node: ast.stmt) -> bool:
    return any(isinstance(leaf, ast.Raise) for leaf in _leaves(node)) or bool(_ENDS & set(_called(node)))


def _long_loop(node: ast.stmt) -> bool:
    return any(isinstance(leaf, _LOOPS) and last_line(leaf) - leaf.lineno >= LONGEST_LOOP for leaf in _leaves(node))


def _root(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _index(units: tuple[Unit, ...], names: Callable[[Unit], frozenset[str]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, unit in enumerate(units):
        for name in names(unit):
            found.setdefault(name, []).append(number)
    return found
