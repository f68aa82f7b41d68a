"""What calls do to graphs and modules during the walk of `graph_fate`: begin, train, keep, drop, switch.

Calls into the project are walked too, and their deeds told in the caller's words.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts import switches
from torchmemlint.facts.forwards import Certainty, Forward, argument_for, forward_of
from torchmemlint.facts.grad_mode import GradMode, mode_at
from torchmemlint.facts.graph_origins import ASKS, CUTS, NONE, Fate, Held, Origin, gives_graph
from torchmemlint.facts.library import library
from torchmemlint.facts.paths import path_of, root_of
from torchmemlint.facts.structure import Function
from torchmemlint.facts.switches import Switch
from torchmemlint.facts.values import UNKNOWN, Kind

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import Definition, FileFacts
    from torchmemlint.facts.graph_fate import Walk

GROWS = frozenset({"append", "extend", "appendleft"})
GROWS_IF_CONTAINER = frozenset({"add", "insert", "update", "setdefault"})
FIXED = (
    "torch.jit.",
    "torch.quantization.",
    "torch.ao.quantization.",
    "torch.export.",
    "torch2trt.",
    "tensorrt.",
    "onnxruntime.",
)


@dataclass(frozen=True)
class Training:
    """What a call has to do with training: steps an optimizer, goes backward, is given an optimizer."""

    steps: bool
    trains: bool
    optimizes: bool


class Calls:
    """The calls of one walk."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.facts = walk.facts
        self.values = walk.values
        # a walk begins when all values are worked out: what a call is does not change on the way
        self._trainings: dict[ast.Call, Training] = {}
        self._forwards: dict[ast.Call, Forward | None] = {}
        self._targets: dict[ast.Call, Definition | None] = {}

    def forward(self, node: ast.Call) -> Forward | None:
        """The forward that a call is."""
        if node not in self._forwards:
            self._forwards[node] = forward_of(self.facts, node)
        return self._forwards[node]

    def target(self, node: ast.Call) -> Definition | None:
        """The function or class of the project that a call runs."""
        if node not in self._targets:
            self._targets[node] = self.facts.resolve(node)
        return self._targets[node]

    def call(self, node: ast.Call) -> Held:
        func = node.func
        receiver = (
            self.walk.flow(func.value)
            if isinstance(func, ast.Attribute)
            else self.walk.flow(func)
            if not isinstance(func, ast.Name)
            else NONE
        )
        given = frozenset().union(
            *[self.walk.flow(a) for a in node.args], *[self.walk.flow(k.value) for k in node.keywords]
        )
        self.switch(node)
        inputs = receiver | given
        if self.training(node, inputs):
            return NONE
        forward = self.forward(node)
        if forward is not None and (
            forward.certainty is not Certainty.PARAMETER or isinstance(func, ast.Name) or self.target(node) is None
        ):
            return inputs | {self.began(node, forward, inputs)}
        target = self.target(node)
        if target is not None and isinstance(target[1], Function):
            return self.into_project(node, target[0], target[1], inputs)
        if not inputs:
            return NONE
        if isinstance(func, ast.Attribute) and given and self.grows(func):
            root, path = root_of(func.value), path_of(func.value)
            if root is not None:
                self.walk.keep(root, path or root, given, node)
            return inputs if func.attr.endswith("_") else NONE
        return self.through(node, receiver, given)

    def through(self, node: ast.Call, receiver: Held, given: Held) -> Held:
        """A call into a library, or one that is not known: its result hangs on what went in, unless it is plain."""
        func, inputs = node.func, receiver | given
        name = func.attr if isinstance(func, ast.Attribute) and receiver else self.dotted(node)
        if name in ASKS:
            self.walk.mark(inputs, Fate.ASKED, node)
            return NONE
        if receiver and name == "numpy":
            self.walk.mark(receiver, Fate.BARE, node)
        if self.walk.is_plain(node) or (receiver and name in CUTS):
            self.walk.mark(inputs, Fate.CUT if name in CUTS else Fate.READ, node)
            return NONE
        if (
            given
            and not self.dotted(node).startswith(("torch.", "builtins."))
            and self.facts.value(node).kind is Kind.UNKNOWN
        ):
            self.walk.mark(given, Fate.LENT, node)
        return inputs

    def dotted(self, node: ast.Call) -> str:
        return self.facts.names.dotted(node.func, self.walk.function) or ""

    def grows(self, func: ast.Attribute) -> bool:
        if func.attr in GROWS or (func.attr.endswith("_") and not func.attr.endswith("__")):
            return True
        return func.attr in GROWS_IF_CONTAINER and self.values.get(func.value, UNKNOWN).kind in (
            Kind.CONTAINER,
            Kind.TUPLE,
        )

    def training(self, node: ast.Call, inputs: Held) -> bool:
        """Backward, gradients or an optimizer's step: what it is given is trained on."""
        known = self._trainings.get(node)
        if known is None:
            self._trainings[node] = known = self.training_of(node)
        if known.trains or (known.optimizes and inputs):
            self.walk.mark(inputs, Fate.TRAINED, node)
        if known.trains or known.steps:
            self.walk.trains.append(node)
            for origin in self.walk.origins.values():
                if origin.path is not None and self.walk.switches.of(origin.path).modes == switches.EVAL:
                    origin.fates[(Fate.STEPPED, node)] = None
        return known.trains

    def training_of(self, node: ast.Call) -> Training:
        func, dotted = node.func, self.dotted(node)
        name = func.attr if isinstance(func, ast.Attribute) else dotted.rsplit(".", 1)[-1]
        given = [*node.args, *[keyword.value for keyword in node.keywords]]
        return Training(
            steps=self.facts.has_effect(node, "steps"),
            trains=name in ("backward", "manual_backward")
            or dotted == "torch.autograd.grad"
            or self.facts.has_effect(node, "backward"),
            optimizes=any(self.values.get(argument, UNKNOWN).kind is Kind.OPTIMIZER for argument in given),
        )

    def began(self, node: ast.Call, forward: Forward | None, inputs: Held, path: str | None = None) -> Origin:
        """The origin at a call, with what its module is switched to each time it is met."""
        origin = self.walk.origins.get(node)
        if origin is None:
            self.walk.origins[node] = origin = Origin(
                node, forward, path or (forward.path if forward is not None else None)
            )
        switch = self.walk.switches.of(origin.path)
        origin.modes |= switch.modes
        origin.switch = switches.join(switch, origin.switch) if origin.switch is not switches.NOTHING else switch
        origin.inputs |= inputs
        return origin

    def into_project(self, node: ast.Call, facts: FileFacts, function: Function, inputs: Held) -> Held:
        """A call into the project: what it does with its arguments, to its modules, and what it returns."""
        inside = self.inside(facts, function) if self.walk.follows else None
        if mode_at(self.facts, node) in (GradMode.OFF, GradMode.MAYBE):
            if inside is not None:
                self.apply_switches(node, function, inside)
            return NONE
        if inside is None or (self.facts.value(node).kind is Kind.HOST and not inputs and not inside.switches.known):
            return NONE
        if inside.trains:
            self.walk.trains.append(node)
        self.apply_switches(node, function, inside)
        held = self.arguments_into(node, function, inside) if inputs else NONE
        if isinstance(node.func, ast.Attribute):
            held |= self.walk.flow(node.func.value)
        if self.walk.is_plain(node):
            self.walk.mark(held, Fate.READ, node)
            return NONE
        inner = tuple((facts, o) for o in inside.origins.values() if o.node is not None and gives_graph(o))
        if inner and not function.yields:
            paths = [self.path_from(node, function, o.path) for _, o in inner]
            origin = self.began(node, None, inputs, next((p for p in paths if p is not None), None))
            origin.inner = inner
            return held | {origin}
        return held

    def arguments_into(self, node: ast.Call, function: Function, inside: Walk) -> Held:
        back: Held = NONE
        for param in function.params:
            origin = inside.origins.get(param)
            argument = argument_for(function, node, param.arg)
            if origin is None or argument is None:
                continue
            held = self.walk.held_by(path_of(argument)) if path_of(argument) is not None else self.walk.flow(argument)
            for fate, place in list(origin.fates):
                if fate is Fate.RETURNED:
                    back |= held
                elif fate is Fate.STORED and isinstance(place, ast.expr) and root_of(place) == function.self_name():
                    self.kept_by_receiver(node, held)
                else:
                    self.walk.mark(held, fate, node)
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            return back | frozenset().union(
                *[self.walk.flow(a) for a in node.args], *[self.walk.flow(k.value) for k in node.keywords]
            )
        return back

    def kept_by_receiver(self, node: ast.Call, held: Held) -> None:
        """A method stores an argument in its object: one of this function, its own, or somebody's meter."""
        base = path_of(node.func.value) if isinstance(node.func, ast.Attribute) else None
        root = base.split(".")[0] if base is not None else None
        if base is not None and root is not None and self.walk.is_local(root):
            self.walk.held[base] = self.walk.held_by(base) | held
        else:
            self.walk.mark(
                held, Fate.STORED if root == self.walk.function.self_name() and base == root else Fate.PASSED, node
            )

    def path_from(self, node: ast.Call, function: Function, path: str | None) -> str | None:
        """A path of the callee in the caller's words."""
        if path is None:
            return None
        root = path.replace("[", ".").split(".")[0]
        rest = path[len(root) :]
        if root == function.self_name() and isinstance(node.func, ast.Attribute):
            base = path_of(node.func.value)
            return f"{base}{rest}" if base is not None else None
        argument = argument_for(function, node, root)
        if (
            isinstance(argument, ast.Call)
            and isinstance(argument.func, ast.Attribute)
            and argument.func.attr == "parameters"
        ):
            argument = argument.func.value
        base = path_of(argument) if argument is not None else None
        return f"{base}{rest}" if base is not None else None

    # ---- switches ---------------------------------------------------------------------------------

    def switch(self, node: ast.Call) -> None:
        """`.eval()`, `.train()`, `.requires_grad_()` on a module."""
        func = node.func
        if not isinstance(func, ast.Attribute) or (path := path_of(func.value)) is None:
            return
        if func.attr == "eval" and not node.args:
            self.walk.switches.set(path, switches.EVAL, node)
        elif func.attr == "train" and self.facts.resolve(node) is None:
            self.walk.switches.set(path, *_with_node(switches.train_argument(node, self.walk.aliases), node))
        elif func.attr == "requires_grad_":
            given = node.args[0] if node.args else None
            self.walk.switches.freeze(path, given is not None and not (isinstance(given, ast.Constant) and given.value))

    def apply_switches(self, node: ast.Call, function: Function, inside: Walk) -> None:
        for path, switch in inside.switches.known.items():
            outer = self.path_from(node, function, path)
            if outer is None:
                continue
            if switch.modes != switches.UNSET:
                self.walk.switches.set(outer, switch.modes, node, switch.condition)
            if switch.frozen:
                self.walk.switches.freeze(outer, True)

    def switch_of(self, node: ast.expr) -> Switch:
        """The switch of the module that an expression gives."""
        path = path_of(node)
        if path is not None:
            return self.walk.switches.of(path)
        if isinstance(node, ast.IfExp):
            return switches.join(self.switch_of(node.body), self.switch_of(node.orelse))
        if not isinstance(node, ast.Call):
            return switches.NOTHING
        dotted = self.dotted(node)
        if dotted.startswith(FIXED):
            return Switch(switches.UNSET, True)
        if isinstance(node.func, ast.Attribute):
            if node.func.attr == "eval" and not node.args:
                return Switch(switches.EVAL, self.switch_of(node.func.value).frozen, node)
            method = library().method("torch.nn.Module", node.func.attr)
            if method is not None and method.result == "Same":
                frozen = node.func.attr == "requires_grad_" and bool(node.args)
                switch = self.switch_of(node.func.value)
                return Switch(switch.modes, switch.frozen or frozen, switch.by, switch.condition)
        target = self.facts.resolve(node)
        if target is not None:
            inside = self.inside(target[0], target[1]) if isinstance(target[1], Function) else None
            found = inside.returned if inside is not None else []
            return (
                switches.Switch(found[0].modes, found[0].frozen, node if found[0].by else None)
                if len(found) == 1
                else switches.NOTHING
            )
        return self.switch_of(node.args[0]) if node.args and path_of(node.args[0]) is not None else switches.NOTHING

    def inside(self, facts: FileFacts, function: Function) -> Walk | None:
        """The walk of a callee."""
        from torchmemlint.facts.graph_walks import walk

        return walk(facts, function, self.walk.depth + 1)


def _with_node(
    found: tuple[frozenset[switches.Mode], switches.Condition | None], node: ast.AST
) -> tuple[frozenset[switches.Mode], ast.AST, switches.Condition | None]:
    return found[0], node, found[1]
