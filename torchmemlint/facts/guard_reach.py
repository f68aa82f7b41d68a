"""How far a guard that switches grad off may reach beyond the calls that it is for.

One guard around a loop reads better than one in it. It is wrong where something else in the loop trains, and where
the loop hands over to other code, by `yield` or `await`, which would then run with grad off as well.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from torchmemlint.facts.children import children
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
HANDING_OVER: Table[ast.AST, bool] = Table()
CALLS: Table[ast.stmt, dict[ast.Call, None]] = Table()


def hands_over(facts: FileFacts, node: ast.AST) -> bool:
    """Whether other code may run while this does."""
    table = facts.parsed.memory.table(HANDING_OVER)
    if node not in table:
        table[node] = isinstance(node, HANDS_OVER) or any(isinstance(part, HANDS_OVER) for part in _here(node))
    return table[node]


class Besides:
    """What loops do besides the calls that a guard is for, each loop looked at once."""

    def __init__(self, facts: FileFacts, wanted: Collection[ast.Call]) -> None:
        self._facts = facts
        self._wanted = wanted
        self._answers: dict[tuple[ast.stmt, ast.stmt | None], bool] = {}
        self._each: dict[tuple[ast.Call, bool], bool] = {}

    def may_train(self, loop: ast.stmt, inside: ast.stmt) -> bool:
        """Whether a loop may train by other calls.

        Around another loop (`inside`) every call must be known; a loop by itself is suspected only of calls that are
        named after training.
        """
        nested = isinstance(inside, (ast.For, ast.While))
        key = loop, inside if nested else None
        if key not in self._answers:
            known = _calls(self._facts, inside) if nested else {}
            others = (c for c in _calls(self._facts, loop) if c not in self._wanted and c not in known)
            self._answers[key] = any(self._trains(call, nested) for call in others)
        return self._answers[key]

    def _trains(self, call: ast.Call, nested: bool) -> bool:
        key = call, nested
        if key not in self._each:
            self._each[key] = _may_train(self._facts, call, nested, 0)
        return self._each[key]


def is_passive(statement: ast.stmt) -> bool:
    """Whether a statement only names and selects: grad or not, it does the same."""
    if not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Pass)):
        return False
    return not any(isinstance(node, (ast.Call, ast.BinOp, ast.UnaryOp, *HANDS_OVER)) for node in _here(statement))


def _calls(facts: FileFacts, loop: ast.stmt) -> dict[ast.Call, None]:
    """The calls that run when a loop runs, in order."""
    table = facts.parsed.memory.table(CALLS)
    if loop not in table:
        table[loop] = dict.fromkeys(node for node in _here(loop) if isinstance(node, ast.Call))
    return table[loop]


def _here(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when this runs: the bodies of functions that are only defined here do not."""
    left = children(node)[::-1]
    while left:
        part = left.pop()
        if not isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield part
            left += children(part)[::-1]


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
