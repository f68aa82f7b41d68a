"""How far a guard that switches grad off may reach beyond the calls that it is for.

One guard around a loop reads better than one in it. It is wrong where something else in the loop trains, and where
the loop hands over to other code, by `yield` or `await`, which would then run with grad off as well.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from torchmemlint.facts.memory import Table
from torchmemlint.facts.quiet import is_quiet
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import Kind

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

TRAINING = frozenset({"backward", "steps"})
TRAINING_WORDS = frozenset({"backward", "fit", "learn", "minimize", "optimize", "step", "train", "update"})
"""What calls that train are named after, where nothing else is known of them."""
HANDS_OVER = (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith)
MAX_DEPTH = 3
TRAINS: Table[tuple[Function, bool], bool] = Table()


def hands_over(node: ast.AST) -> bool:
    """Whether other code may run while this does."""
    return any(isinstance(part, HANDS_OVER) for part in _here(node)) or isinstance(node, HANDS_OVER)


def may_train_besides(facts: FileFacts, loop: ast.stmt, inside: ast.stmt, wanted: Collection[ast.Call]) -> bool:
    """Whether a loop may train by other calls than these.

    Around another loop (`inside`) every call must be known; a loop by itself is suspected only of calls that are
    named after training.
    """
    nested = isinstance(inside, (ast.For, ast.While))
    known = set(_here(inside)) if nested else set()
    return any(
        isinstance(node, ast.Call) and node not in wanted and node not in known and _may_train(facts, node, nested, 0)
        for node in _here(loop)
    )


def is_passive(statement: ast.stmt) -> bool:
    """Whether a statement only names and selects: grad or not, it does the same."""
    if not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Pass)):
        return False
    return not any(isinstance(node, (ast.Call, ast.BinOp, ast.UnaryOp, *HANDS_OVER)) for node in _here(statement))


def _here(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when this runs: the bodies of functions that are only defined here do not."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield child
            yield from _here(child)


def _may_train(facts: FileFacts, call: ast.Call, nested: bool, depth: int) -> bool:
    receiver = facts.value(call.func.value) if isinstance(call.func, ast.Attribute) else None
    signature = facts.signature(call, facts.structure.function(call), receiver)
    if signature is not None:
        return bool(signature.effects & TRAINING)
    target = facts.resolve(call)
    if target is None:
        return _is_named_after_training(facts, call) or (nested and not is_quiet(facts, call))
    home, definition = target
    return not isinstance(definition, Class) and _function_may_train(home, definition, nested, depth + 1)


def _function_may_train(facts: FileFacts, function: Function, nested: bool, depth: int) -> bool:
    table = facts.project.memory.table(TRAINS)
    key = function, nested
    if key not in table:
        if depth > MAX_DEPTH:
            return nested
        table[key] = False  # for a function that calls itself
        table[key] = any(_may_train(facts, call, nested, depth) for call in function.calls)
    return table[key]


def _is_named_after_training(facts: FileFacts, call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if TRAINING_WORDS.isdisjoint(name.lower().split("_")):
        return False
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    plain = all(isinstance(one, ast.Constant) or facts.value(one).kind is Kind.HOST for one in given)
    return not given or not plain
