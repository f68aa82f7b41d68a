"""The shape of a file: functions, classes, calls, and for every node what encloses it.

`traversal` builds it. A `Place` is a link to the enclosing block: asking it for its chain
answers "which loops, conditions, handlers and with-blocks is this in". May not interpret names or values.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

FunctionNode: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda"
LoopNode: TypeAlias = "ast.For | ast.AsyncFor | ast.While | ast.comprehension"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)


class Block(enum.Enum):
    """Which part of its owner a block is."""

    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"
    LOOP = "loop"  # the body; a loop's `else` is PLAIN
    THEN = "then"
    ELSE = "else"
    WITH = "with"
    TRY = "try"
    HANDLER = "handler"
    FINALLY = "finally"
    PLAIN = "plain"


@dataclass(eq=False)
class Place:
    """A block and what encloses it. `node` owns the block, `function` is the function it runs in."""

    block: Block
    node: ast.AST
    parent: Place | None
    function: Function

    def chain(self) -> Iterator[Place]:
        """This place and all outer ones up to the function's body (inclusive), innermost first."""
        place: Place | None = self
        while place is not None and place.function is self.function:
            yield place
            place = place.parent

    def loops(self) -> list[LoopNode]:
        """Enclosing loops within the function, innermost first."""
        return [p.node for p in self.chain() if p.block is Block.LOOP and isinstance(p.node, LOOPS)]


@dataclass(frozen=True)
class Inside:
    """The loops and calls that stand in the body of a loop, at whatever depth, in source order."""

    loops: list[LoopNode] = field(default_factory=list)
    calls: list[ast.Call] = field(default_factory=list)


@dataclass(eq=False)
class Class:
    """A class statement."""

    node: ast.ClassDef
    qualname: str
    module: str
    function: Function  # where the class statement itself runs
    methods: dict[str, Function] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        return f"{self.module}.{self.qualname}"


@dataclass(eq=False)
class Function:
    """A function, method, lambda, or the module's own body (`node` is then the module)."""

    node: FunctionNode | ast.Module
    name: str
    qualname: str
    module: str
    outer: Function | None
    owner: Class | None  # set for methods
    calls: list[ast.Call] = field(default_factory=list)
    loops: list[LoopNode] = field(default_factory=list)
    inner: list[Function] = field(default_factory=list)
    returns: list[ast.Return] = field(default_factory=list)
    yields: list[ast.Yield | ast.YieldFrom] = field(default_factory=list)
    globals: set[str] = field(default_factory=set)
    bound: dict[str, list[ast.AST]] = field(default_factory=dict)  # name -> nodes that bind it here

    @cached_property
    def key(self) -> str:
        return f"{self.module}.{self.qualname}" if self.qualname else self.module

    @cached_property
    def reads(self) -> frozenset[str]:
        """The names read anywhere inside it."""
        names = (node for node in ast.walk(self.node) if isinstance(node, ast.Name))
        return frozenset(node.id for node in names if isinstance(node.ctx, ast.Load))

    @property
    def is_module(self) -> bool:
        return isinstance(self.node, ast.Module)

    @property
    def body(self) -> list[ast.stmt]:
        return [] if isinstance(self.node, ast.Lambda) else self.node.body

    @property
    def args(self) -> ast.arguments | None:
        return None if isinstance(self.node, ast.Module) else self.node.args

    @cached_property
    def params(self) -> list[ast.arg]:
        args = self.args
        return [] if args is None else [*args.posonlyargs, *args.args, *args.kwonlyargs]

    @property
    def decorators(self) -> list[ast.expr]:
        return self.node.decorator_list if isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef)) else []

    def is_static(self) -> bool:
        return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in self.decorators)

    @property
    def left_to_others(self) -> bool:
        """A body for subclasses to write: `pass`, `...`, `raise NotImplementedError`."""
        return all(
            isinstance(node, (ast.Pass, ast.Raise))
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            for node in self.body
        )

    @cached_property
    def returns_no_object(self) -> bool:
        """Every return gives nothing, or a number or text that is written there."""
        plain = (ast.Constant, ast.JoinedStr)
        return not isinstance(self.node, ast.Lambda) and all(
            node.value is None or isinstance(node.value, plain) for node in self.returns
        )

    def self_name(self) -> str | None:
        """The name of the instance (or class) parameter of a method."""
        return self._self_name

    @cached_property
    def _self_name(self) -> str | None:
        if self.owner is None or self.is_static() or not self.params:
            return None
        return self.params[0].arg

    def default(self, name: str) -> ast.expr | None:
        """The default value of a parameter."""
        args = self.args
        if args is None:
            return None
        plain = [*args.posonlyargs, *args.args]
        for param, value in zip(reversed(plain), reversed(args.defaults), strict=False):
            if param.arg == name:
                return value
        for param, kw_value in zip(args.kwonlyargs, args.kw_defaults, strict=True):
            if param.arg == name:
                return kw_value
        return None


class Structure:
    """The result of the traversal."""

    def __init__(self, module: ast.Module, name: str) -> None:
        self.module = module
        self.name = name
        self.body = Function(module, "", "", name, None, None)
        self.functions: list[Function] = [self.body]
        self.classes: list[Class] = []
        self.calls: list[ast.Call] = []
        self.imports: list[tuple[Function, ast.Import | ast.ImportFrom]] = []
        self.parent: dict[ast.AST, ast.AST] = {}
        self.place_of: dict[ast.AST, Place] = {}  # statements, calls, comprehensions, lambdas' bodies
        self.block_of: dict[ast.stmt, tuple[list[ast.stmt], int]] = {}
        self.function_of: dict[ast.AST, Function] = {}  # function nodes -> Function
        self.class_of: dict[ast.AST, Class] = {}
        self._statements: dict[Function, list[ast.stmt]] = {}
        self._inside: dict[Function, dict[LoopNode, Inside]] = {}

    def statements(self, function: Function) -> list[ast.stmt]:
        """The statements that a function runs itself, in source order."""
        if not self._statements:
            for node, place in self.place_of.items():
                if isinstance(node, ast.stmt):
                    self._statements.setdefault(place.function, []).append(node)
        return self._statements.get(function, [])

    def place(self, node: ast.AST) -> Place:
        """The block that a node stands in."""
        while node not in self.place_of:
            node = self.parent[node]
        return self.place_of[node]

    def statement(self, node: ast.AST) -> ast.stmt:
        """The statement that a node is part of."""
        while not isinstance(node, ast.stmt):
            node = self.parent[node]
        return node

    def function(self, node: ast.AST) -> Function:
        """The function whose body runs a node."""
        return self.place(node).function

    def inside(self, loop: LoopNode) -> Inside:
        """What its function runs in the body of a loop."""
        function = self.function(loop)
        if function not in self._inside:
            self._inside[function] = found = {loop: Inside() for loop in function.loops}
            for other in function.loops:
                for around in self.place(other).loops():
                    if around is not other:
                        found[around].loops.append(other)
            for call in function.calls:
                for around in self.place(call).loops():
                    found[around].calls.append(call)
        return self._inside[function][loop]

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Enclosing nodes, innermost first."""
        while node in self.parent:
            node = self.parent[node]
            yield node

    def before(self, statement: ast.stmt) -> list[ast.stmt]:
        """Earlier statements of the same block, nearest first."""
        block, index = self.block_of.get(statement, ([], 0))
        return block[:index][::-1]

    def after(self, statement: ast.stmt) -> list[ast.stmt]:
        """Later statements of the same block, nearest first."""
        block, index = self.block_of.get(statement, ([], 0))
        return block[index + 1 :]
