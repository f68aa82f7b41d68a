"""What becomes of the graphs that a function's forwards record: trained on, returned, stored, read and dropped.

One walk over the statements, loops twice and branches joined, that carries which names hang on which
forward and what each module was last switched to. Calls into the project are walked with their arguments.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torchmemlint.facts import switches
from torchmemlint.facts.children import expressions, subtree
from torchmemlint.facts.graph_calls import Calls
from torchmemlint.facts.graph_origins import ASKS, CUTS, NONE, Fate, Held, Origin, is_plain_value
from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of, root_of
from torchmemlint.facts.structure import Function
from torchmemlint.facts.switches import Switch, Switches
from torchmemlint.facts.values import UNKNOWN

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts


CONDITIONS: Table[ast.If, switches.Condition] = Table()


class Walk:
    """The walk over one function. `origins` by node, `trains` the training calls met, `switches` as at the end."""

    def __init__(self, facts: FileFacts, function: Function, known: Switches, depth: int, follows: bool = True) -> None:
        self.facts = facts
        self.follows = follows
        self.function = function
        self.depth = depth
        self.origins: dict[ast.AST, Origin] = {}
        self.trains: list[ast.AST] = []
        self.switches = known
        self.held: dict[str, Held] = {}
        self.returned: list[Switch] = []
        self.values = facts.evaluation(function).values
        self.calls = Calls(self)
        self.aliases = {
            name: by[0].value
            for name, by in function.bound.items()
            if len(by) == 1 and isinstance(by[0], ast.Assign) and isinstance(by[0].targets[0], ast.Name)
        }

    def run(self) -> Walk:
        for param in self.function.params:
            if param.arg != self.function.self_name():
                self.origins[param] = origin = Origin(param)
                self.held[param.arg] = frozenset({origin})
        if isinstance(self.function.node, ast.Lambda):
            self.mark(self.flow(self.function.node.body), Fate.RETURNED, self.function.node)
        else:
            self.block(self.function.body)
        return self

    # ---- statements -------------------------------------------------------------------------------

    def block(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        _STATEMENTS.get(type(node), Walk.other)(self, node)

    def other(self, node: ast.stmt) -> None:
        for child in expressions(node):
            self.flow(child)

    def nothing(self, node: ast.stmt) -> None:
        """What is defined here runs elsewhere; what is deleted is read no more."""

    def assigned(self, node: ast.Assign) -> None:
        self.assign(node.targets, node.value)

    def annotated(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.assign([node.target], node.value)

    def augmented(self, node: ast.AugAssign) -> None:
        held = self.flow(node.value) | self.held_by(path_of(node.target))
        self.bind(node.target, held if not self.is_plain(node.target) else NONE, None)

    def if_(self, node: ast.If) -> None:
        self.flow(node.test)
        known = self.facts.parsed.memory.table(CONDITIONS)
        if node not in known:
            known[node] = switches.condition_of(node.test, self.aliases)
        self.alternatives([node.body, node.orelse], known[node])

    def with_(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            held = self.flow(item.context_expr)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, held, None)
        self.block(node.body)

    def match(self, node: ast.Match) -> None:
        self.flow(node.subject)
        self.alternatives([case.body for case in node.cases] + [[]], None)

    def mark_passed(self, node: ast.Expr) -> None:
        """A statement that is a call: what it was given and nobody takes back went somewhere."""
        held = self.flow(node.value)
        if isinstance(node.value, ast.Call):
            self.mark(held - {self.origins.get(node.value, Origin(node))}, Fate.PASSED, node.value)

    def return_(self, node: ast.Return) -> None:
        if node.value is None:
            return
        held = self.flow(node.value)
        self.mark(held, Fate.RETURNED, node)
        self.returned.append(self.calls.switch_of(node.value))

    def alternatives(self, bodies: Sequence[Sequence[ast.stmt]], condition: switches.Condition | None) -> None:
        held, known = self.held, self.switches
        ends: list[tuple[dict[str, Held], Switches]] = []
        for body in bodies:
            self.held, self.switches = dict(held), known.copy()
            self.block(body)
            if not _leaves(body):
                ends.append((self.held, self.switches))
        if not ends:
            self.held, self.switches = held, known
            return
        self.held, self.switches = ends[0]
        for other, switched in ends[1:]:
            self.held = _united(self.held, other)
            self.switches = self.switches.merge(switched, condition if len(bodies) == 2 else None)

    def loop(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        before, known = dict(self.held), self.switches.copy()
        for _ in range(2):
            if isinstance(node, ast.While):
                self.flow(node.test)
            else:
                self.bind(node.target, self.flow(node.iter), None)
                self.spread(node.target, node.iter, inward=True)
            self.block(node.body)
            if not isinstance(node, ast.While):
                self.spread(node.target, node.iter, inward=False)
                for path, frozen in switches.frozen_modules(node.iter, node.body):
                    self.switches.freeze(path, frozen)
            self.held = _united(before, self.held)
            self.switches = (
                known.merge(self.switches) if isinstance(node, ast.While) or not self.whole(node) else self.switches
            )
        self.block(node.orelse)

    def whole(self, node: ast.For | ast.AsyncFor) -> bool:
        """A loop over modules or their parameters is taken to run: what it switches is switched afterwards."""
        return (
            not any(isinstance(n, (ast.For, ast.While)) for s in node.body for n in subtree(s)) and len(node.body) <= 3
        )

    def spread(self, target: ast.expr, over: ast.expr, inward: bool) -> None:
        """`for m in models: m.eval()` switches the models; `for m in models: m(x)` runs switched ones."""
        if not isinstance(target, ast.Name):
            return
        named = over
        if (
            isinstance(over, ast.Call)
            and isinstance(over.func, ast.Attribute)
            and over.func.attr in ("values", "modules")
        ):
            named = over.func.value
        source = path_of(named)
        elements = over.elts if isinstance(over, (ast.Tuple, ast.List)) else []
        if inward and source is not None:
            self.switches.bind(target.id, self.switches.of(source))
        elif not inward:
            switch = self.switches.known.get(target.id)
            for path in [source, *[path_of(element) for element in elements]]:
                if switch is not None and path is not None:
                    self.switches.bind(path, switch)

    def try_(self, node: ast.Try) -> None:
        start = dict(self.held)
        self.block(node.body)
        after, known = self.held, self.switches
        for handler in node.handlers:
            self.held, self.switches = _united(start, after), known.copy()
            self.block(handler.body)
            if not _leaves(handler.body):
                after = _united(after, self.held)
        self.held, self.switches = after, known
        self.block(node.orelse)
        self.block(node.finalbody)

    def captured(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """A nested function that reads a value may do with it what it likes, later."""
        if not self.held:
            return
        inner = self.facts.structure.function_of[node]
        trains = any(isinstance(c.func, ast.Attribute) and c.func.attr == "backward" for c in inner.calls)
        for part in subtree(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id not in inner.bound:
                self.mark(self.held.get(part.id, NONE), Fate.TRAINED if trains else Fate.PASSED, part)

    # ---- binding ----------------------------------------------------------------------------------

    def assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        if len(targets) == 1 and isinstance(targets[0], ast.Tuple) and isinstance(value, ast.Tuple):
            if len(targets[0].elts) == len(value.elts):
                parts = [(self.flow(part), part) for part in value.elts]
                for target, (held, part) in zip(targets[0].elts, parts, strict=True):
                    self.bind(target, held, part)
                return
        held = self.flow(value)
        for target in targets:
            self.bind(target, held, value)

    def bind(self, target: ast.expr, held: Held, value: ast.expr | None) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self.bind(element, held, None)
            return
        if isinstance(target, ast.Starred):
            self.bind(target.value, held, None)
            return
        if held and self.is_plain(target):
            self.mark(held, Fate.READ, target)
            held = NONE
        path = path_of(target)
        root = root_of(target)
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.attr == "requires_grad":
            return
        if path is not None:
            if value is not None and not isinstance(target, ast.Subscript):
                self.switches.bind(path, self.calls.switch_of(value))
            below = (f"{path}.", f"{path}[")
            for known in [k for k in self.held if k == path or k.startswith(below)]:
                del self.held[known]
            if held:
                self.held[path] = held
        if isinstance(target, (ast.Attribute, ast.Subscript)) and held and root is not None:
            self.keep(root, path_of(target.value) or root, held, target)

    def keep(self, root: str, path: str, held: Held, node: ast.AST) -> None:
        """A value put into an object or container: one of this function, or one that outlives it."""
        self.held[path] = self.held_by(path) | held
        if not self.is_local(root):
            self.mark(held, Fate.STORED, node)

    def is_local(self, root: str) -> bool:
        params = {param.arg for param in self.function.params}
        return (
            root in self.function.bound
            and root not in params
            and root not in self.function.globals
            and not self.function.is_module
        )

    def is_plain(self, node: ast.expr) -> bool:
        """Whether a value certainly has no graph."""
        return is_plain_value(self.values.get(node, UNKNOWN))

    def mark(self, held: Held, fate: Fate, node: ast.AST) -> None:
        for origin in held:
            origin.fates[(fate, node)] = None

    def held_by(self, path: str | None) -> Held:
        while path:
            if path in self.held:
                return self.held[path]
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else None
        return NONE

    # ---- expressions ------------------------------------------------------------------------------

    def flow(self, node: ast.expr) -> Held:
        """The graphs that the value of an expression hangs on; uses on the way are marked."""
        return _EXPRESSIONS.get(type(node), Walk.mixed)(self, node)

    def name(self, node: ast.Name) -> Held:
        return self.held_by(node.id)

    def call(self, node: ast.Call) -> Held:
        return self.calls.call(node)

    def constant(self, node: ast.Constant) -> Held:
        return NONE

    def subscript(self, node: ast.Subscript) -> Held:
        self.flow(node.slice)
        path = path_of(node)
        return self.held_by(path) if path is not None else self.flow(node.value)

    def lambda_(self, node: ast.Lambda) -> Held:
        for part in subtree(node.body):
            if isinstance(part, ast.Name):
                self.mark(self.held.get(part.id, NONE), Fate.PASSED, part)
        return NONE

    def named(self, node: ast.NamedExpr) -> Held:
        held = self.flow(node.value)
        self.bind(node.target, held, node.value)
        return held

    def yielded(self, node: ast.Yield | ast.YieldFrom) -> Held:
        self.mark(self.parts(node), Fate.YIELDED, node)
        return NONE

    def mixed(self, node: ast.expr) -> Held:
        held = self.parts(node)
        if held and (self.is_plain(node) or isinstance(node, (ast.JoinedStr, ast.FormattedValue, ast.Compare))):
            self.mark(held, Fate.READ, node)
            return NONE
        return held

    def parts(self, node: ast.expr) -> Held:
        """What the parts of an expression hang on, together."""
        held = NONE
        for child in expressions(node):
            held |= self.flow(child)
        return held

    def attribute(self, node: ast.Attribute) -> Held:
        path = path_of(node)
        held = self.held_by(path) if path is not None else self.flow(node.value)
        if not held or (path is not None and path in self.held):
            return held
        if node.attr in ASKS:
            self.mark(held, Fate.ASKED, node)
            return NONE
        if self.is_plain(node) or node.attr == "data":
            self.mark(held, Fate.CUT if node.attr in CUTS else Fate.READ, node)
            return NONE
        return held

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Held:
        saved = dict(self.held)
        for generator in node.generators:
            self.bind(generator.target, self.flow(generator.iter), None)
            for condition in generator.ifs:
                self.flow(condition)
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        held = frozenset().union(*[self.flow(part) for part in parts])
        if not isinstance(node, ast.DictComp):
            for path, frozen in switches.frozen_modules(node.generators[0].iter, [node.elt]):
                self.switches.freeze(path, frozen)
        self.held = saved
        return held


W = Walk
_STATEMENTS: dict[type[ast.stmt], Callable[..., None]] = {
    ast.Assign: W.assigned, ast.AnnAssign: W.annotated, ast.AugAssign: W.augmented, ast.Return: W.return_,
    ast.If: W.if_, ast.For: W.loop, ast.AsyncFor: W.loop, ast.While: W.loop, ast.With: W.with_,
    ast.AsyncWith: W.with_, ast.Try: W.try_, ast.Match: W.match, ast.FunctionDef: W.captured,
    ast.AsyncFunctionDef: W.captured, ast.Expr: W.mark_passed, ast.ClassDef: W.nothing, ast.Delete: W.nothing,
}  # fmt: skip
if hasattr(ast, "TryStar"):  # since Python 3.11
    _STATEMENTS[ast.TryStar] = W.try_
_EXPRESSIONS: dict[type[ast.expr], Callable[..., Held]] = {
    ast.Name: W.name, ast.Constant: W.constant, ast.Attribute: W.attribute, ast.Subscript: W.subscript,
    ast.Call: W.call, ast.Lambda: W.lambda_, ast.NamedExpr: W.named, ast.ListComp: W.comprehension,
    ast.SetComp: W.comprehension, ast.GeneratorExp: W.comprehension, ast.DictComp: W.comprehension,
    ast.Yield: W.yielded, ast.YieldFrom: W.yielded,
}  # fmt: skip


def _leaves(body: Sequence[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))


def _united(one: dict[str, Held], two: dict[str, Held]) -> dict[str, Held]:
    return {path: one.get(path, NONE) | two.get(path, NONE) for path in [*one, *[p for p in two if p not in one]]}
