"""Small questions about the user's syntax, and small pieces of new syntax. Pure."""

from __future__ import annotations

import ast
from typing import Any

from runtime_verify.worker.sites import DEFS, bodies


def refuses(block: list[ast.stmt]) -> bool:
    """Whether a branch ends by raising an error."""
    return bool(block) and isinstance(block[-1], ast.Raise) and block[-1].exc is not None


def unsure_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Names that a function binds only inside blocks: a branch that is not taken leaves them unbound."""
    parameters = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    sure: set[str] = set()
    blocked: set[str] = set()
    outer: set[str] = set()
    for statement in function.body:
        simple = not any(True for _ in bodies(statement)) or isinstance(statement, (*DEFS, ast.ClassDef))
        if simple:
            sure |= {str(statement.name)} if hasattr(statement, "name") else set(bound_names(statement))
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            sure |= {n for item in statement.items if item.optional_vars for n in target_names(item.optional_vars)}
        if not isinstance(statement, (*DEFS, ast.ClassDef)):
            blocked |= stored_names(statement, outer)
    return sorted(blocked - sure - parameters - outer)


def stored_names(statement: ast.stmt, outer: set[str]) -> set[str]:
    """Names bound anywhere in a statement's own scope; what it declares global goes into `outer`."""
    found: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*DEFS, ast.ClassDef)):
            found.add(node.name)
            continue
        if isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            continue
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            outer.update(node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        waiting.extend(ast.iter_child_nodes(node))
    return found


def is_kept_decorator(decorator: ast.expr) -> bool:
    """Decorators that register or wrap a program's entry are left off: the function itself is wanted."""
    return not ast.unparse(decorator).startswith(("hydra.", "click.", "app.", "cli."))


def flat(statements: list[Any]) -> list[ast.stmt]:
    found: list[ast.stmt] = []
    for statement in statements:
        found += statement if isinstance(statement, list) else [statement]
    return found


def index_value(node: ast.expr) -> ast.expr:
    """A subscript as a value that can be handed over."""
    if isinstance(node, ast.Slice):
        parts = [part if part is not None else ast.Constant(None) for part in (node.lower, node.upper, node.step)]
        return ast.Call(runtime("slice"), parts, [])
    if isinstance(node, ast.Tuple):
        return ast.Tuple([index_value(part) for part in node.elts], ast.Load())
    return node


def target_spec(target: ast.expr) -> ast.expr:
    """The shape of an assignment's target: a name, or a tuple of shapes; None where it stars."""
    if isinstance(target, (ast.Tuple, ast.List)):
        if any(isinstance(part, ast.Starred) for part in target.elts):
            return ast.Constant(None)
        return ast.Tuple([target_spec(part) for part in target.elts], ast.Load())
    names = target_names(target)
    return ast.Constant(names[0] if names else "")


def is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def target_names(target: ast.expr) -> tuple[str, ...]:
    if isinstance(target, ast.Name):
        return (target.id,)
    if isinstance(target, ast.Attribute):
        return (target.attr,)
    if isinstance(target, (ast.Tuple, ast.List)):
        return tuple(name for part in target.elts for name in (target_names(part) or ("",)))
    return ()


def bound_names(node: ast.stmt) -> list[str]:
    """Plain names that a simple statement binds."""
    if isinstance(node, ast.Assign):
        parts = [part for target in node.targets for part in ast.walk(target)]
        return [part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names if alias.name != "*"]
    return []


IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError"})


def caught_names(node: ast.Try) -> set[str]:
    """The errors that a `try` waits for; a missing module is none where its handler gives up."""
    names: set[str] = set()
    for handler in node.handlers:
        if handler.type is not None:
            parts = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
            caught = {ast.unparse(part).split(".")[-1] for part in parts}
            names |= caught - IMPORT_ERRORS if _gives_up(handler) else caught
    return names


def _gives_up(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    leaves = isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) and ast.unparse(last.value.func)
    return isinstance(last, ast.Raise) or leaves in ("exit", "quit", "sys.exit", "os._exit")


def site_number(call: ast.Call) -> int:
    site = call.args[0]
    assert isinstance(site, ast.Constant) and isinstance(site.value, int)
    return site.value


def runtime(method: str) -> ast.Attribute:
    return ast.Attribute(ast.Name(RUNTIME, ast.Load()), method, ast.Load())


RUNTIME = "__tml__"


OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "truediv",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.MatMult: "matmul",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
}


EXPECTED = frozenset(
    {
        "StopIteration",
        "KeyError",
        "AttributeError",
        "ImportError",
        "ModuleNotFoundError",
        "IndexError",
        "Empty",
        "NameError",
    }
)
"""Errors that code catches because it expects them; behind a handler for one of these they are let through."""


RAW_CALLS = frozenset({"super", "locals", "globals", "vars", "dir", "eval", "exec", "__import__"})
