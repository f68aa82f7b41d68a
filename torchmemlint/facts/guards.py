"""The conditions between a place and the loop or function around it, and what each means for how often it runs."""

from __future__ import annotations

import ast
import enum
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.memory import Table
from torchmemlint.facts.structure import Block, Class, Function, Place

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

BACKENDS = frozenset({"cuda", "xpu", "npu", "mps", "mlu", "musa", "hpu", "cpu", "gpu", "dml", "xla", "rocm"})
CLOCKS = frozenset({"time.time", "time.monotonic", "time.perf_counter"})


class GuardKind(enum.Enum):
    """What a condition says about how often the code under it runs."""

    DEVICE = "device"  # asks which device there is: no guard at all
    RATE = "rate"  # every n-th time
    MEMORY = "memory"  # only when memory is short
    ONCE = "once"  # the first time, a lazily built value
    HANDLER = "handler"  # after an exception
    EXIT = "exit"  # the loop ends right after
    OPT_IN = "opt in"  # a flag that is off by default
    OPT_OUT = "opt out"  # a flag that is on by default
    OTHER = "other"


RARE = frozenset(
    {GuardKind.RATE, GuardKind.MEMORY, GuardKind.ONCE, GuardKind.HANDLER, GuardKind.EXIT, GuardKind.OPT_IN}
)


@dataclass(frozen=True)
class Guard:
    """One condition, the statement it belongs to, and whether the code runs when it is false."""

    kind: GuardKind
    node: ast.AST
    negated: bool = False


@dataclass(frozen=True)
class Turns:
    """The statements of a block that may leave it, by where they stand: conditions whose body leaves, and exits."""

    ifs: list[int]
    exits: list[int]


TURNS: Table[ast.stmt, Turns] = Table()  # by the first statement of the block


def guards(facts: FileFacts, node: ast.AST, until: ast.AST | None) -> list[Guard]:
    """Conditions between a node and the block owned by `until` (a loop), or its whole function for None."""
    found: list[Guard] = []
    structure = facts.structure
    statement = structure.statement(node)
    for place in structure.place(node).chain():
        found.extend(_in_block(facts, statement, place, until is not None))
        if place.node is until or place.block in (Block.FUNCTION, Block.MODULE):
            break
        kind = _of_place(facts, place)
        if kind is not None:
            found.append(Guard(kind, place.node, place.block is Block.ELSE))
        if isinstance(place.node, ast.comprehension):
            continue
        statement = structure.statement(place.node)
    return found


def _of_place(facts: FileFacts, place: Place) -> GuardKind | None:
    if place.block is Block.HANDLER:
        return GuardKind.HANDLER
    if place.block in (Block.THEN, Block.ELSE) and isinstance(place.node, ast.If):
        return classify(facts, place.node.test, place.function, negated=place.block is Block.ELSE)
    if place.block is Block.THEN:
        return GuardKind.OTHER
    return None


def _in_block(facts: FileFacts, statement: ast.stmt, place: Place, in_loop: bool) -> list[Guard]:
    """Guards that stand beside a statement: an `if` before it that leaves, an exit after it."""
    found: list[Guard] = []
    leaving = ast.Continue if in_loop else ast.Return
    block, index = facts.structure.block_of.get(statement, ([], 0))
    turns = _turns(facts, block)
    for at in reversed(turns.ifs[: bisect_left(turns.ifs, index)]):
        earlier = block[at]
        if isinstance(earlier, ast.If) and isinstance(earlier.body[-1], leaving):
            kind = classify(facts, earlier.test, place.function, negated=True)
            if kind is not GuardKind.DEVICE and not _absent(earlier.test):
                found.append(Guard(kind, earlier, negated=True))
    if in_loop and place.block is not Block.FUNCTION:
        found += [Guard(GuardKind.EXIT, block[at]) for at in turns.exits[bisect_right(turns.exits, index) :]]
    return found


def _turns(facts: FileFacts, block: list[ast.stmt]) -> Turns:
    """Where a block may be left, remembered: it may have any number of statements that ask."""
    if not block:
        return Turns([], [])
    table = facts.parsed.memory.table(TURNS)
    if block[0] not in table:
        leaving = (ast.Continue, ast.Return)
        bare = [(at, s) for at, s in enumerate(block) if isinstance(s, ast.If) and not s.orelse]
        table[block[0]] = Turns(
            [at for at, s in bare if isinstance(s.body[-1], leaving)],
            [at for at, s in enumerate(block) if isinstance(s, (ast.Return, ast.Raise, ast.Break))],
        )
    return table[block[0]]


def _absent(test: ast.expr) -> bool:
    """`if x is None`, `if not x`, `if len(x) == 0`: nothing to do this time, which is not the rule."""
    if isinstance(test, ast.BoolOp):
        return all(_absent(part) for part in test.values)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return not isinstance(test.operand, (ast.Compare, ast.BoolOp))
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], (ast.Is, ast.Eq, ast.LtE)):
        right = test.comparators[0]
        return isinstance(right, ast.Constant) and right.value in (None, 0) and right.value is not False
    return False


def leaves(body: list[ast.stmt]) -> bool:
    """Whether a block never falls through to what follows it."""
    return bool(body) and isinstance(body[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))


def classify(facts: FileFacts, test: ast.expr, function: Function, negated: bool = False) -> GuardKind:
    """What a condition means. `negated`: the code runs when it is false."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return classify(facts, test.operand, function, not negated)
    if isinstance(test, ast.BoolOp):
        kinds = [classify(facts, part, function, negated) for part in test.values]
        every = isinstance(test.op, ast.And) is not negated
        return _strongest(kinds) if every else _weakest(kinds)
    if any(_is_modulo(part) for part in subtree(test)):
        return GuardKind.RATE if _holds_rarely(test, negated) else GuardKind.DEVICE
    if _reads_memory(facts, test, function):
        return GuardKind.MEMORY
    if _asks_device(facts, test, function):
        return GuardKind.DEVICE
    if isinstance(test, ast.Compare):
        return _comparison(facts, test, function, negated)
    if isinstance(test, ast.Name):
        return _flag(facts, test, function, negated)
    if isinstance(test, ast.Attribute):
        return _attribute_flag(facts, test, function, negated)
    return GuardKind.OTHER


def _is_modulo(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mod)
        and not isinstance(node.left, (ast.Constant, ast.JoinedStr))
    )


def _holds_rarely(test: ast.expr, negated: bool) -> bool:
    """`i % n == 0` holds once in n passes, `i % n` and `i % n != 0` on all the others."""
    if _is_modulo(test) or (isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.NotEq)):
        return negated
    return not (negated and isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq))


def _strongest(kinds: list[GuardKind]) -> GuardKind:
    for kind in kinds:
        if kind in RARE:
            return kind
    return GuardKind.OTHER if GuardKind.OTHER in kinds else kinds[0]


def _weakest(kinds: list[GuardKind]) -> GuardKind:
    for weak in (GuardKind.DEVICE, GuardKind.OPT_OUT, GuardKind.OTHER):
        if weak in kinds:
            return weak
    return kinds[0]


def _comparison(facts: FileFacts, test: ast.Compare, function: Function, negated: bool) -> GuardKind:
    operator, right = test.ops[0], test.comparators[0]
    equal = (isinstance(operator, (ast.Eq, ast.Is)) and not negated) or (
        isinstance(operator, (ast.NotEq, ast.IsNot)) and negated
    )
    if isinstance(right, ast.Constant) and equal:
        if right.value is None or (isinstance(right.value, int) and not isinstance(right.value, bool)):
            return GuardKind.ONCE
    if isinstance(operator, ast.In) and not negated and not isinstance(right, ast.Constant):
        return GuardKind.RATE
    for part in subtree(test):
        if isinstance(part, ast.Call) and facts.names.dotted(part.func, function) in CLOCKS:
            return GuardKind.RATE
    return GuardKind.OTHER


def _flag(facts: FileFacts, test: ast.Name, function: Function, negated: bool) -> GuardKind:
    """A boolean parameter says by its default whether the code runs unless asked otherwise."""
    default = _literal(function.default(test.id))
    if default is None and test.id in function.bound:
        bindings = function.bound[test.id]
        if len(bindings) == 1 and isinstance(bindings[0], ast.Assign) and not isinstance(bindings[0].value, ast.Name):
            value = bindings[0].value
            if _reads_memory(facts, value, function):
                return GuardKind.MEMORY
            if isinstance(value, (ast.Compare, ast.BoolOp)):
                return classify(facts, value, function, negated)
    return _by_default(default, negated)


def _attribute_flag(facts: FileFacts, test: ast.Attribute, function: Function, negated: bool) -> GuardKind:
    """`self.flag`, set in `__init__` from a parameter with a default."""
    if function.owner is None or not isinstance(test.value, ast.Name) or test.value.id != function.self_name():
        return GuardKind.OTHER
    init = function.owner.methods.get("__init__")
    if init is None:
        return GuardKind.OTHER
    values = _assigned(function.owner, test.attr)
    if len(values) != 1:
        return GuardKind.OTHER
    default = init.default(values[0].id) if isinstance(values[0], ast.Name) else values[0]
    return _by_default(_literal(default), negated)


def _assigned(owner: Class, attr: str) -> list[ast.expr]:
    """What the methods of a class assign to an attribute of the instance."""
    found = []
    for method in owner.methods.values():
        for statement in subtree(method.node):
            if isinstance(statement, ast.Assign):
                for target in statement.targets:
                    if isinstance(target, ast.Attribute) and target.attr == attr and isinstance(target.value, ast.Name):
                        found.append(statement.value)
    return found


def _by_default(default: bool | None, negated: bool) -> GuardKind:
    if default is None:
        return GuardKind.OTHER
    return GuardKind.OPT_OUT if default is not negated else GuardKind.OPT_IN


def _literal(node: ast.expr | None) -> bool | None:
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (bool, int))):
        return bool(node.value)
    return None


def _reads_memory(facts: FileFacts, test: ast.expr, function: Function) -> bool:
    for part in subtree(test):
        if isinstance(part, ast.Call) and part in facts.structure.place_of and facts.has_effect(part, "reads_memory"):
            return True
        if isinstance(part, ast.Name):
            for binding in function.bound.get(part.id, ()):
                if isinstance(binding, ast.Assign) and any(
                    isinstance(c, ast.Call) and c in facts.structure.place_of and facts.has_effect(c, "reads_memory")
                    for c in subtree(binding.value)
                ):
                    return True
    return False


def _asks_device(facts: FileFacts, test: ast.expr, function: Function) -> bool:
    """`torch.cuda.is_available()`, `device.type == "cuda"`, `hasattr(torch, "xpu")`."""
    if isinstance(test, ast.Compare):
        sides = [test.left, *test.comparators]
        texts = [s.value for s in sides if isinstance(s, ast.Constant) and isinstance(s.value, str)]
        texts += [e.value for s in sides if isinstance(s, (ast.Tuple, ast.List, ast.Set)) for e in s.elts
                  if isinstance(e, ast.Constant) and isinstance(e.value, str)]  # fmt: skip
        if texts and all(text.split(":")[0] in BACKENDS for text in texts):
            return True
        for side in sides:
            if isinstance(side, ast.Call) and facts.names.dotted(side.func, function) == "torch.device":
                return True
    if isinstance(test, ast.Call):
        dotted = facts.names.dotted(test.func, function) or ""
        name = dotted.rsplit(".", 1)[-1]
        if dotted.startswith("torch.") or (name.startswith("is_") and name.endswith("_available")):
            return True
        if isinstance(test.func, ast.Attribute) and test.func.attr in ("is_available", "startswith"):
            return not test.args or (isinstance(test.args[0], ast.Constant) and test.args[0].value in BACKENDS)
        if dotted == "builtins.hasattr" and test.args:
            return (facts.names.dotted(test.args[0], function) or "").startswith("torch")
    if isinstance(test, ast.Attribute) and test.attr in ("is_cuda",):
        return True
    if isinstance(test, ast.Name):
        bindings = function.bound.get(test.id) or facts.structure.body.bound.get(test.id) or []
        for binding in bindings:
            if isinstance(binding, ast.Assign) and isinstance(binding.value, (ast.Call, ast.Compare)):
                return _asks_device(facts, binding.value, function)
    return False
