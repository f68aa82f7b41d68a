"""The plain facts that instrumented code carries about itself: places, roles of statements, steering. No torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
DEFS = (ast.FunctionDef, ast.AsyncFunctionDef)
JUMPS = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass
class Sites:
    """What the runtime looks up by the numbers that stand in instrumented code.

    hints   site -> names that its result is bound to, where they say something.
    forced  site of a condition -> the outcome that leads to the mark; `onward`: until it was passed often enough.
    refusing  site of a condition -> the outcome that does not end in `raise`: made-up values are no reason to refuse.
    expected  site -> names of errors that a handler around it waits for.
    optional  lines of imports that may fail.
    around  sites of loops around the mark: they go on until the mark was passed often enough.
    slices  first line of a function -> lines that its result, or the mark's statement, depends on.
    """

    path: str
    hints: dict[int, tuple[str, ...]] = field(default_factory=dict)
    lines: dict[int, int] = field(default_factory=dict)
    forced: dict[int, bool] = field(default_factory=dict)
    onward: dict[int, bool] = field(default_factory=dict)
    around: set[int] = field(default_factory=set)
    slices: dict[int, frozenset[int]] = field(default_factory=dict)
    target: tuple[int, int] = (0, 0)
    refusing: dict[int, bool] = field(default_factory=dict)
    expected: dict[int, frozenset[str]] = field(default_factory=dict)
    optional: set[int] = field(default_factory=set)


def bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The blocks of statements right under a node."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block
    for handler in getattr(node, "handlers", ()):
        yield handler.body
    for case in getattr(node, "cases", ()):
        yield case.body


def last_line(node: ast.AST) -> int:
    last: int | None = getattr(node, "end_lineno", None)
    return last or first_line(node)


def first_line(node: ast.AST) -> int:
    """The line where a statement begins, decorators included."""
    own: int = getattr(node, "lineno", 0)
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([own, *(decorator.lineno for decorator in decorators)])


@dataclass(frozen=True)
class Place:
    """Where the mark goes: before `block[index]`, or behind the block's end. `path` leads there from the module."""

    block: list[ast.stmt]
    index: int
    path: tuple[ast.AST, ...]

    @property
    def statement(self) -> ast.stmt | None:
        return self.block[self.index] if self.index < len(self.block) else None


def place_of(tree: ast.Module, line: int) -> Place:
    """The innermost block around a line, and the first statement in it at or behind the line."""
    block: list[ast.stmt] = tree.body
    path: list[ast.AST] = [tree]
    while True:
        inner = next((s for s in block if first_line(s) <= line <= last_line(s)), None)
        deeper = None if inner is None else next((b for b in bodies(inner) if _covers(b, line)), None)
        if inner is None or deeper is None:
            break
        path.append(inner)
        handler = next((h for h in getattr(inner, "handlers", ()) if h.body is deeper), None)
        if handler is not None:
            path.append(handler)
        block = deeper
    index = next((n for n, s in enumerate(block) if last_line(s) >= line), len(block))
    return Place(block, index, tuple(path))


def _covers(block: list[ast.stmt], line: int) -> bool:
    return bool(block) and first_line(block[0]) <= line <= last_line(block[-1])


def names_read(node: ast.AST) -> set[str]:
    """Names, and attributes of `self` as "self.x", that an expression or statement reads."""
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self":
            found.add(f"self.{part.attr}")
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id != "self":
            found.add(part.id)
    return found


def names_bound(node: ast.AST) -> set[str]:
    """Names that a statement's own header binds or changes in place."""
    found: set[str] = set()
    for target in _targets(node):
        for part in ast.walk(target):
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self":
                found.add(f"self.{part.attr}")
            elif isinstance(part, ast.Name) and part.id != "self":
                if isinstance(part.ctx, ast.Store) or part is _root(target):
                    found.add(part.id)
    return found


KEEPING = frozenset({"append", "appendleft", "add", "extend", "insert", "update", "setdefault"})


def _targets(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Assign):
        yield from node.targets
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For, ast.AsyncFor)):
        yield node.target
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        yield from (item.optional_vars for item in node.items if item.optional_vars is not None)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        method = node.value.func
        if isinstance(method, ast.Attribute) and method.attr in KEEPING:
            yield method.value
    for part in _header(node):
        for inner in ast.walk(part):
            if isinstance(inner, ast.NamedExpr):
                yield inner.target


def _root(node: ast.AST) -> ast.AST:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        node = node.value
    return node


def _header(statement: ast.AST) -> Iterator[ast.AST]:
    """The expressions of a statement that are not inside its blocks."""
    blocks = {id(inner) for block in bodies(statement) for inner in block}
    for child in ast.iter_child_nodes(statement):
        if id(child) not in blocks and not isinstance(child, (ast.ExceptHandler, ast.stmt)):
            yield child


def statements(function: ast.AST) -> Iterator[ast.stmt]:
    """All statements of a function, those of functions inside it too."""
    for node in ast.walk(function):
        if isinstance(node, ast.stmt) and node is not function:
            yield node


def slice_lines(function: ast.AST, wanted: ast.AST | None) -> frozenset[int]:
    """Lines that `wanted`, or else the function's results, depend on: coarse, by name, without regard to order."""
    everything = list(statements(function))
    reading: set[str] = set()
    lines: set[int] = set()
    if wanted is not None:
        reading |= names_read(wanted) if not isinstance(wanted, DEFS) else set()
        lines |= set(range(first_line(wanted), _header_end(wanted) + 1))
    else:
        for statement in everything:
            results = [statement.value] if isinstance(statement, ast.Return) and statement.value else []
            results += [n.value for n in ast.walk(statement) if isinstance(n, (ast.Yield, ast.YieldFrom)) and n.value]
            for value in results:
                reading |= names_read(value)
                lines |= set(range(value.lineno, last_line(value) + 1))
    changed = True
    while changed:
        changed = False
        for statement in everything:
            if isinstance(statement, (*DEFS, ast.ClassDef)):
                continue
            span = set(range(statement.lineno, _header_end(statement) + 1))
            if names_bound(statement) & reading and not (span <= lines and _reads(statement) <= reading):
                lines |= span
                reading |= _reads(statement)
                changed = True
    return frozenset(lines)


def _reads(statement: ast.AST) -> set[str]:
    return {name for part in _header(statement) for name in names_read(part)}


def _header_end(statement: ast.AST) -> int:
    """The last line of a statement before its first block."""
    starts = [first_line(block[0]) for block in bodies(statement) if block]
    return max(min(starts) - 1, getattr(statement, "lineno", 0)) if starts else last_line(statement)
