"""What a mutation asks of a file: its scopes, loops, sums, model calls. Syntax only, by the standard `ast`.

Nothing of the linter is used here: what is judged may not be its own witness.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

Loop = ast.For | ast.While
Function = ast.FunctionDef | ast.AsyncFunctionDef
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
LOOPS = (ast.For, ast.While)
BLOCKS = ("body", "orelse", "finalbody")
MODEL = re.compile(r"(^|_)(model|net|network|generator|unet|classifier|backbone|discriminator|transformer)$", re.I)
GRAD_OFF = frozenset({"torch.no_grad", "torch.inference_mode"})
NUMBER_METHODS = frozenset({"item", "detach"})
PEELED = NUMBER_METHODS | {"cpu"}


@dataclass(frozen=True)
class Sum:
    """`total += x.item()` or `xs.append(x.item())`.

    node    the statement. total: the name that collects. value: the name that is added.
    number  the expression that makes a number, or a value without a graph, of it: `x.item()`.
    list    whether it is an append.
    """

    node: ast.stmt
    total: str
    value: str
    number: ast.expr
    list: bool


class Scope:
    """A function that stands in no other, or the module's body."""

    def __init__(self, code: Code, node: Function | ast.Module, owner: ast.ClassDef | None = None) -> None:
        self.code, self.node, self.owner = code, node, owner

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Its own nodes in order of place, not those of functions and classes within."""
        found: list[ast.AST] = []
        waiting: list[ast.AST] = list(self.node.body)
        while waiting:
            node = waiting.pop()
            found.append(node)
            if not isinstance(node, SCOPES):
                waiting += ast.iter_child_nodes(node)
        return sorted(found, key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0)))

    @property
    def statements(self) -> Iterator[ast.stmt]:
        return (node for node in self.nodes if isinstance(node, ast.stmt))

    @property
    def loops(self) -> Iterator[Loop]:
        return (node for node in self.nodes if isinstance(node, LOOPS))

    @property
    def parameters(self) -> set[str]:
        if isinstance(self.node, ast.Module):
            return set()
        given = self.node.args
        return {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}

    @cached_property
    def grad_is_off(self) -> bool:
        """A decorator turns grad mode off in the whole of it."""
        if isinstance(self.node, ast.Module):
            return False
        return any("no_grad" in ast.unparse(one) or "inference" in ast.unparse(one) for one in self.node.decorator_list)

    @cached_property
    def declares(self) -> set[str]:
        """Names that are not its own although it binds them."""
        return {name for node in self.nodes if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names}

    def stores(self, name: str) -> list[ast.stmt]:
        """The statements that bind a name."""
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load):
                found.append(self.code.statement(node))
        return found

    def calls_model(self, node: ast.AST) -> str:
        """`model` of a statement or call `model(x)`, `self.model(x)` where that is a value and no function's name."""
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and (call.args or call.keywords):
                name = dotted(call.func)
                whole = name.removeprefix("self.")
                if "." not in whole and MODEL.search(whole) and self._is_value(name):
                    return name
        return ""

    def _is_value(self, name: str) -> bool:
        """A parameter, something assigned, or an attribute that is no method."""
        if name.startswith("self."):
            methods = [one.name for one in (self.owner.body if self.owner else ()) if isinstance(one, ast.FunctionDef)]
            return name.removeprefix("self.") not in methods
        module = self.code.scopes[0]
        return name in self.parameters or any(
            isinstance(one, ast.Assign) for one in (*self.stores(name), *module.stores(name))
        )

    def mentions(self, *names: str) -> bool:
        """Whether it calls or takes an attribute of one of these names."""
        attributes = {node.attr for node in self.nodes if isinstance(node, ast.Attribute)}
        return bool(attributes & set(names)) or bool({n.id for n in self.nodes if isinstance(n, ast.Name)} & set(names))


class Code:
    """One parsed file. Raises SyntaxError, ValueError or RecursionError for what is no Python.

    trained  whether some file of the repository trains: what is seen here is not only ever run with grad mode off.
    """

    def __init__(self, path: str, text: str, trained: bool = True) -> None:
        self.path, self.text, self.trained = path, text, trained
        self.lines = text.split("\n")
        self.tree = ast.parse(text)
        self.parents: dict[ast.AST, ast.AST] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node

    @cached_property
    def scopes(self) -> list[Scope]:
        """The module's body, functions that stand in no other, methods of the module's classes."""
        found = [Scope(self, self.tree)]
        for node in self.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found.append(Scope(self, node))
            elif isinstance(node, ast.ClassDef):
                found += [Scope(self, one, node) for one in node.body if isinstance(one, ast.FunctionDef)]
        return found

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """What stands around a node, the nearest first, up to its function."""
        while (node := self.parents.get(node, self.tree)) is not self.tree:
            yield node
            if isinstance(node, SCOPES):
                return

    def statement(self, node: ast.AST) -> ast.stmt:
        """The statement that an expression belongs to."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def loop_of(self, node: ast.AST) -> Loop | None:
        """The innermost loop around a node, in whose body (not in whose `else`) it stands."""
        inner = node
        for outer in self.above(node):
            if isinstance(outer, LOOPS):
                return outer if inner in outer.body else None
            inner = outer
        return None

    def block_of(self, node: ast.stmt) -> Sequence[ast.stmt]:
        """The block that a statement stands in."""
        parent = self.parents[node]
        blocks = [getattr(parent, name, None) for name in BLOCKS]
        return next(block for block in blocks if isinstance(block, list) and node in block)

    def dominates(self, one: ast.stmt, other: ast.stmt) -> bool:
        """Whether `one` stands before `other`, in its block or one around it."""
        block = self.block_of(one)
        around = next((node for node in (other, *self.above(other)) if node in block), None)
        return isinstance(around, ast.stmt) and block.index(one) < block.index(around)

    def under_grad_off(self, node: ast.AST) -> bool:
        """Within a `with` that turns grad mode off."""
        return any(isinstance(one, ast.With) and turns_grad_off(one) for one in self.above(node))

    def indent(self, line: int) -> str:
        """The white space that a line (from 1) begins with."""
        text = self.lines[line - 1]
        return text[: len(text) - len(text.lstrip())]

    def alone(self, node: ast.stmt) -> bool:
        """Whether a statement has its lines to itself."""
        last = self.lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset :].decode()
        before = self.lines[node.lineno - 1].encode()[: node.col_offset].decode()
        return not before.strip() and (not last.strip() or last.strip().startswith("#"))

    def replaced(self, node: ast.expr, text: str) -> str:
        """The line of an expression with the expression replaced."""
        line = self.lines[node.lineno - 1].encode()
        return (line[: node.col_offset] + text.encode() + line[node.end_col_offset :]).decode()


def dotted(node: ast.AST) -> str:
    """`a.b.c` as text, "" for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def turns_grad_off(node: ast.With) -> bool:
    """`with torch.no_grad():`, alone or with others, or any other way of turning grad mode off."""
    return any(
        "no_grad" in (text := ast.unparse(item)) or "grad_enabled" in text or "inference_mode" in text
        for item in node.items
    )


def backward_of(node: ast.AST) -> str:
    """The name whose graph a statement goes back through: `loss.backward()`, `scaler.scale(loss).backward()`,
    `(loss / 4).backward()`, `accelerator.backward(loss)`; "" for other nodes."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return ""
    call = node.value
    if not isinstance(call.func, ast.Attribute):
        return ""
    if call.func.attr in ("backward", "manual_backward") and dotted(call.func).split(".")[-2:-1] in (
        ["accelerator"],
        ["fabric"],
        ["self"],
    ):
        return call.args[0].id if call.args and isinstance(call.args[0], ast.Name) else ""
    if call.func.attr != "backward":
        return ""
    value = call.func.value
    if (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr == "scale"
        and value.args
    ):
        value = value.args[0]
    if (
        isinstance(value, ast.BinOp)
        and isinstance(value.op, (ast.Div, ast.Mult))
        and isinstance(value.right, ast.Constant)
    ):
        value = value.left
    return value.id if isinstance(value, ast.Name) else ""


def peeled(node: ast.expr) -> str:
    """`x` of `x.item()`, `x.detach().cpu().item()`, `x.data`, `float(x)`: of what has no graph; "" for others."""
    cut = False
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "float"
        and len(node.args) == 1
    ):
        node, cut = node.args[0], True
    while True:
        if isinstance(node, ast.Attribute) and node.attr == "data":
            node, cut = node.value, True
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in PEELED
            and not node.args
        ):
            cut = cut or node.func.attr in NUMBER_METHODS
            node = node.func.value
        else:
            return node.id if cut and isinstance(node, ast.Name) else ""


def sum_at(node: ast.stmt) -> Sum | None:
    """The sum or append that a statement is; None for others and for those over several lines."""
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add) and isinstance(node.target, ast.Name):
        total, value, listed = node.target.id, node.value, False
    elif (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.BinOp)
        and isinstance(node.value.op, ast.Add)
        and isinstance(node.value.left, ast.Name)
        and node.value.left.id == node.targets[0].id
    ):
        total, value, listed = node.targets[0].id, node.value.right, False
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and len(node.value.args) == 1:
        owner = dotted(node.value.func)
        total, value, listed = owner.removesuffix(".append"), node.value.args[0], True
        if not owner.endswith(".append") or "." in total:
            return None
    else:
        return None
    number = value.left if isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Mult, ast.Div)) else value
    name = peeled(number)
    if not name or node.lineno != node.end_lineno:
        return None
    others = [one for one in ast.walk(node) if isinstance(one, ast.Name) and one.id == name]
    return Sum(node, total, name, number, listed) if len(others) == 1 and name != total else None


def is_zero(node: ast.stmt, name: str) -> bool:
    """`name = 0`, or `name = other = 0.0`."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, (int, float)) and any(
        isinstance(t, ast.Name) and t.id == name for t in node.targets
    )


def is_empty_list(node: ast.stmt, name: str) -> bool:
    """`name = []`."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.List) or node.value.elts:
        return False
    return any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
