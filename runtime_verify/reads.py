"""What a statement reads from the module around it, and what it binds there.

A read is a chain of names ("torch", "cuda", "empty_cache"): the root as the statement sees it, and the
attributes taken from it. Locals of functions, lambdas and comprehensions are no reads. Names imported
inside a function count as reads, with the import beside them. May not know of files.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

Chain = tuple[str, ...]
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Imported:
    """One alias of an import: `bound` stands for `name` of `module` (or for the module, where `name` is "").

    level   leading dots of a relative import.
    text    the alias as it is written, "a.b as c".
    """

    bound: str
    module: str
    name: str = ""
    level: int = 0
    text: str = ""


@dataclass
class Reads:
    """Chains read from the module's names, and the imports made inside functions."""

    chains: set[Chain] = field(default_factory=set)
    imports: list[Imported] = field(default_factory=list)


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[Imported]:
    """The aliases of one import statement; `import a.b` binds `a` and stands for the module `a`."""
    for alias in node.names:
        text = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
        if isinstance(node, ast.ImportFrom):
            yield Imported(alias.asname or alias.name, node.module or "", alias.name, node.level, text)
        elif alias.asname:
            yield Imported(alias.asname, alias.name, text=text)
        else:
            top = alias.name.split(".")[0]
            yield Imported(top, top, text=text)


def reads(nodes: Iterable[ast.AST]) -> Reads:
    """What statements of a module's body read from the module."""
    found = Reads()
    for node in nodes:
        _Reader(found).visit(node, frozenset())
    return found


def binds(node: ast.stmt) -> set[str]:
    """Names that a statement of a module's body binds there, also in blocks below it."""
    found: set[str] = set()
    for inner in _same_scope([node]):
        found.update(_bound_by(inner))
    return found


def chain_of(node: ast.expr) -> Chain | None:
    """`a.b.c` as names; None for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else None


class _Reader:
    """Walks statements with the names that are local where it stands."""

    def __init__(self, found: Reads) -> None:
        self._found = found

    def visit(self, node: ast.AST, local: frozenset[str]) -> None:
        """Add what a node reads. Recursive, as deep as the syntax tree is."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            self._name(node, local)
        elif isinstance(node, (*_FUNCTIONS, ast.Lambda)):
            self._function(node, local)
        elif isinstance(node, _COMPREHENSIONS):
            inside = local | {name for gen in node.generators for name in _stored(gen.target)}
            self._children(node, inside)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            pass
        else:
            self._children(node, local)

    def _children(self, node: ast.AST, local: frozenset[str]) -> None:
        for child in ast.iter_child_nodes(node):
            self.visit(child, local)

    def _name(self, node: ast.Name | ast.Attribute, local: frozenset[str]) -> None:
        chain = chain_of(node)
        if chain is None:
            self._children(node, local)
        elif chain[0] not in local and (len(chain) > 1 or isinstance(node.ctx, ast.Load)):
            self._found.chains.add(chain)

    def _function(self, node: Scope, local: frozenset[str]) -> None:
        arguments = node.args
        outside: list[ast.AST | None] = [*arguments.defaults, *arguments.kw_defaults]
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        given += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
        outside += [argument.annotation for argument in given]
        body: Sequence[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else node.body
        if not isinstance(node, ast.Lambda):
            outside += [*node.decorator_list, node.returns]
        for part in outside:
            if part is not None:
                self.visit(part, local)
        inside = local | {argument.arg for argument in given} | self._locals(body)
        for part in body:
            self.visit(part, inside)

    def _locals(self, body: Sequence[ast.AST]) -> set[str]:
        """Names bound in a function's own scope, less those it declares as the module's and those it imports."""
        bound: set[str] = set()
        elsewhere: set[str] = set()
        for node in _same_scope(body):
            if isinstance(node, ast.Global):
                elsewhere.update(node.names)
                self._found.chains.update((name,) for name in node.names)
            elif isinstance(node, ast.Nonlocal):
                elsewhere.update(node.names)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                aliases = list(imported(node))
                self._found.imports += aliases
                elsewhere.update(alias.bound for alias in aliases)
            else:
                bound.update(_bound_by(node))
        return bound - elsewhere


def _same_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Nodes that run in the scope of the given ones, not inside functions, classes and comprehensions."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.Lambda)):
            continue
        if isinstance(node, _COMPREHENSIONS):  # only `:=` binds outside
            waiting += [inner for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
            continue
        waiting += ast.iter_child_nodes(node)


def _bound_by(node: ast.AST) -> Iterator[str]:
    """Names that one node by itself binds."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.bound for alias in imported(node))
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        if node.name is not None:
            yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest is not None:
        yield node.rest


def _stored(target: ast.AST) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name):
            yield node.id
