"""Whether code is a test of the linted project, by what pytest and unittest collect."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.structure import Function

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MADE_UP = frozenset({"randn", "rand", "randint", "zeros", "ones", "empty", "full", "arange", "randn_like", "ones_like"})
LOADS = frozenset({"load_state_dict", "from_pretrained", "load_from_checkpoint", "load", "load_weights"})
TEST_FOLDERS = frozenset({"tests", "testing", "unittests", "unit_tests"})


def is_test(facts: FileFacts, function: Function) -> bool:
    """A test's function or its helper: tests run once, on small tensors."""
    parts = facts.relative.split("/")
    if TEST_FOLDERS & set(parts[:-1]) or parts[-1] == "conftest.py":
        return True
    scope: Function | None = function
    while scope is not None:
        if scope.owner is not None and facts.derives(scope.owner, "unittest.TestCase"):
            return True
        scope = scope.outer
    collected = parts[-1].startswith("test_") or parts[-1].endswith("_test.py")
    return collected and any(
        f.name.startswith("test") for f in facts.structure.functions if f.outer is not None and f.outer.is_module
    )


def is_smoke_test(facts: FileFacts, function: Function, path: str | None, call: ast.Call) -> bool:
    """Whether a forward only tries a module out: made right here, no weights loaded, run on made-up numbers."""
    root = path.split(".")[0] if path is not None else ""
    made = [node.value for node in function.bound.get(root, ()) if isinstance(node, ast.Assign)]
    if not made or not all(isinstance(value, ast.Call) for value in made):
        return False
    if any(isinstance(c.func, ast.Attribute) and c.func.attr in LOADS for c in function.calls):
        return False
    if any(
        k.arg in ("pretrained", "weights")
        for value in made
        for c in subtree(value)
        if isinstance(c, ast.Call)
        for k in c.keywords
    ):
        return False
    given = [argument for argument in call.args if not isinstance(argument, ast.Constant)]
    return bool(given) and all(_made_up(facts, function, argument) for argument in given)


def _made_up(facts: FileFacts, function: Function, node: ast.expr, depth: int = 0) -> bool:
    """`torch.randn(...)`, moved or reshaped, directly or through a name."""
    if isinstance(node, ast.Name) and depth < 3:
        bound = function.bound.get(node.id, [])
        return bool(bound) and all(
            isinstance(b, ast.Assign) and _made_up(facts, function, b.value, depth + 1) for b in bound
        )
    if isinstance(node, ast.Subscript):
        return _made_up(facts, function, node.value, depth)
    if not isinstance(node, ast.Call):
        return False
    dotted = facts.names.dotted(node.func, function) or ""
    if dotted.startswith("torch.") and dotted.rsplit(".", 1)[-1] in MADE_UP:
        return True
    if dotted == "torch.autograd.Variable" and node.args:
        return _made_up(facts, function, node.args[0], depth)
    return isinstance(node.func, ast.Attribute) and _made_up(facts, function, node.func.value, depth)
