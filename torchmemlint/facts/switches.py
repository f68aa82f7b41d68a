"""Train or eval mode and freezing of modules: what a path was last switched to, statement by statement.

A small abstract state that the walk of `graph_fate` carries along. May not know what a graph is used for.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchmemlint.facts.children import subtree
from torchmemlint.facts.paths import path_of


class Mode(enum.Enum):
    """What a module was last switched to."""

    EVAL = "eval"
    TRAIN = "train"
    UNKNOWN = "unknown"


UNSET = frozenset({Mode.UNKNOWN})
EVAL = frozenset({Mode.EVAL})
TRAIN = frozenset({Mode.TRAIN})


@dataclass(frozen=True, eq=False)
class Condition:
    """The test that decides between train and eval: train where the dump is `positive`, `node` is `upright`."""

    dump: str
    positive: bool
    node: ast.expr
    upright: bool = True

    @property
    def turned(self) -> Condition:
        return Condition(self.dump, not self.positive, self.node, not self.upright)


@dataclass(frozen=True, eq=False)
class Switch:
    """The possible modes of a module, whether its parameters are frozen, the call that put it to eval."""

    modes: frozenset[Mode] = UNSET
    frozen: bool = False
    by: ast.AST | None = None
    condition: Condition | None = None


NOTHING = Switch()


def join(one: Switch, two: Switch, condition: Condition | None = None) -> Switch:
    """The switch of a module that either path may have set; freezing on one path is enough to hold back."""
    modes = one.modes | two.modes
    decided = one.condition or two.condition
    if (
        condition is not None
        and Mode.UNKNOWN not in modes
        and len(one.modes) == len(two.modes) == 1
        and len(modes) == 2
    ):
        decided = condition if one.modes == TRAIN else condition.turned
    by = one.by if Mode.EVAL in one.modes else two.by
    return Switch(modes, one.frozen or two.frozen, by, decided)


class Switches:
    """Switches by path; a path inherits from the path it hangs on."""

    def __init__(self, known: dict[str, Switch] | None = None) -> None:
        self.known: dict[str, Switch] = dict(known or {})

    def copy(self) -> Switches:
        return Switches(self.known)

    def of(self, path: str | None) -> Switch:
        """The switch of a path: its own, or that of the nearest owner."""
        found = NOTHING
        while path:
            own = self.known.get(path)
            if own is not None:
                found = Switch(
                    own.modes if found.modes == UNSET else found.modes,
                    own.frozen or found.frozen,
                    found.by or own.by,
                    found.condition or own.condition,
                )
            if found.modes != UNSET and found.frozen:
                break
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else ""
        return found

    def set(self, path: str, modes: frozenset[Mode], by: ast.AST, condition: Condition | None = None) -> None:
        """Switch a module and all below it."""
        for below in self._below(path):
            self.known[below] = replace(self.known[below], modes=modes, by=by, condition=condition)
        frozen = self.known[path].frozen if path in self.known else False
        self.known[path] = Switch(modes, frozen, by, condition)

    def freeze(self, path: str, frozen: bool) -> None:
        """Set whether the parameters of a module record anything."""
        for below in self._below(path):
            self.known[below] = replace(self.known[below], frozen=frozen)
        self.known[path] = replace(self.known.get(path, NOTHING), frozen=frozen)

    def bind(self, path: str, switch: Switch) -> None:
        """A name gets another value: what it knew goes, what the value knew comes."""
        for below in self._below(path):
            del self.known[below]
        self.known.pop(path, None)
        if switch.modes != UNSET or switch.frozen:
            self.known[path] = switch

    def merge(self, other: Switches, condition: Condition | None = None) -> Switches:
        """What is known after either of two ways; `self` is the way where the condition holds."""
        paths = dict.fromkeys([*self.known, *other.known])
        return Switches({path: join(self.of(path), other.of(path), condition) for path in paths})

    def _below(self, path: str) -> list[str]:
        below = (f"{path}.", f"{path}[")
        return [known for known in self.known if known.startswith(below)]


def condition_of(test: ast.expr, aliases: dict[str, ast.expr]) -> Condition:
    """A test in comparable form: negations counted, names that are bound once replaced by what they stand for."""
    positive, node = True, test
    while True:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            positive, test = not positive, test.operand
        elif isinstance(test, ast.Name) and test.id in aliases:
            test = aliases[test.id]
        else:
            break
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], (ast.NotEq, ast.IsNot)):
        positive = not positive
        mirrored: ast.cmpop = ast.Eq() if isinstance(test.ops[0], ast.NotEq) else ast.Is()
        test = ast.Compare(test.left, [mirrored], test.comparators)
    return Condition(ast.dump(test), positive, node)


def train_argument(call: ast.Call, aliases: dict[str, ast.expr]) -> tuple[frozenset[Mode], Condition | None]:
    """What `.train(...)` switches to."""
    given = call.args[0] if call.args else call.keywords[0].value if call.keywords else None
    if given is None:
        return TRAIN, None
    if isinstance(given, ast.Constant):
        return (TRAIN if given.value else EVAL), None
    return TRAIN | EVAL, condition_of(given, aliases)


def frozen_modules(loop_iter: ast.expr, body: list[ast.stmt] | list[ast.expr]) -> Iterator[tuple[str, bool]]:
    """`for p in m.parameters(): p.requires_grad = False`: the modules that are frozen or unfrozen so."""
    given = _requires_grad(body)
    if given is None:
        return
    if isinstance(loop_iter, ast.Name):  # `for p in params` of a helper that is given `m.parameters()`
        yield loop_iter.id, not given
    for node in subtree(loop_iter):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("parameters", "named_parameters")
        ):
            path = path_of(node.func.value)
            if path is not None:
                yield path, not given


def _requires_grad(body: list[ast.stmt] | list[ast.expr]) -> bool | None:
    """What the statements of a loop body set `requires_grad` to, whatever their parameter; conditions do not count."""
    for node in body:
        value = node.value if isinstance(node, ast.Expr) else node
        if (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Attribute)
            and value.func.attr == "requires_grad_"
        ):
            return _literal(value.args[0]) if value.args else True
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Attribute) and t.attr == "requires_grad" for t in node.targets
        ):
            return _literal(node.value)
    return None


def _literal(node: ast.expr) -> bool | None:
    """A flag that is not a literal, such as the parameter of a `set_requires_grad` helper, counts as freezing."""
    return bool(node.value) if isinstance(node, ast.Constant) else False
