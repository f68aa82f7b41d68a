"""How hot a loop is: from the object it iterates and from what its body does, through calls.

A loop is hot by facts only: it iterates a DataLoader, or trains, or runs a module, each pass. A loop around
a hot loop is cold. May not look at names.
"""

from __future__ import annotations

import ast
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.children import subtree
from torchmemlint.facts.memory import Table
from torchmemlint.facts.runs import builds_run
from torchmemlint.facts.structure import Block, Function, LoopNode
from torchmemlint.facts.values import Device, Kind, Reason

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

SMALL = 10


class Heat(enum.Enum):
    """How often a body runs, compared with the steps of the work."""

    HOT = "hot"  # once per batch or optimiser step
    WARM = "warm"  # once per module call: tokens, tiles, images
    COLD = "cold"  # epochs, phases, retries, a handful of things
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class LoopHeat:
    """A loop's heat and why."""

    heat: Heat
    why: Reason
    evidence: ast.AST | None = None  # the call in the body that makes it hot


@dataclass(frozen=True)
class Pulse:
    """What one call of a function does outside its own loops, and whether it loops hotly inside."""

    trains: ast.AST | None = None
    forwards: ast.AST | None = None
    loops: bool = False


NO_PULSE = Pulse()
MAX_HOPS = 40
BEGUN: Table[Function, None] = Table()  # whose pulse is being worked out


class HeatMap:
    """Heat of the loops of one file."""

    def __init__(self, facts: FileFacts) -> None:
        self._facts = facts
        self._heat: dict[LoopNode, LoopHeat] = {}
        self._pulse: dict[Function, Pulse] = {}

    def forget(self) -> None:
        """Let go of what was worked out."""
        self._heat.clear()
        self._pulse.clear()

    def of(self, loop: LoopNode) -> LoopHeat:
        """The heat of a loop."""
        if loop not in self._heat:
            self._heat[loop] = LoopHeat(Heat.UNKNOWN, self._why("a loop", loop))  # while it is being worked out
            self._heat[loop] = self._judge(loop)
        return self._heat[loop]

    def _why(self, text: str, node: ast.AST) -> Reason:
        return Reason(text, node, self._facts.relative)

    def _judge(self, loop: LoopNode) -> LoopHeat:
        if not isinstance(loop, ast.While):
            value = self._facts.value(loop.iter)
            if value.kind is Kind.LOADER:
                return LoopHeat(Heat.HOT, self._why("loop over a DataLoader", loop))
        if builds_run(self._facts, loop):
            return LoopHeat(
                Heat.COLD, self._why("loop over whole runs, each with a model or optimizer of its own", loop)
            )
        trains, forwards, inner = self._body(loop)
        if trains is not None:
            return LoopHeat(Heat.HOT, self._why("loop that runs a training step each pass", loop), trains)
        if not isinstance(loop, ast.While) and self._few(loop.iter):
            return LoopHeat(Heat.COLD, self._why("a loop of a few passes", loop))
        if self._slices(loop):
            return LoopHeat(Heat.WARM, self._why("loop over slices of a batch", loop))
        if inner:
            return LoopHeat(Heat.COLD, self._why("loop around a hot loop", loop))
        if forwards is not None and not (isinstance(loop, ast.While) and self._sometimes(forwards, loop)):
            return LoopHeat(Heat.WARM, self._why("loop that runs a module each pass", loop), forwards)
        device = self._device_work(loop)
        if device is not None:
            return LoopHeat(Heat.WARM, self._why("loop that makes device tensors each pass", loop), device)
        return LoopHeat(Heat.UNKNOWN, self._why("a loop", loop))

    def _few(self, node: ast.expr) -> bool:
        """A literal of a few things, or `range` of a small constant."""
        if isinstance(node, (ast.Tuple, ast.List, ast.Set, ast.Dict)):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
            last = node.args[-1] if len(node.args) < 2 else node.args[1] if node.args else None
            return isinstance(last, ast.Constant) and isinstance(last.value, int) and last.value <= SMALL
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("enumerate", "reversed"):
            return bool(node.args) and self._few(node.args[0])
        return False

    def _slices(self, loop: LoopNode) -> bool:
        """`for i in range(0, n, size)` whose body cuts `x[i : i + size]`: one pass a piece of a batch."""
        if not isinstance(loop, ast.For) or not isinstance(loop.target, ast.Name):
            return False
        over = loop.iter.args[0] if isinstance(loop.iter, ast.Call) and loop.iter.args else loop.iter
        ranges = [c for c in (loop.iter, over) if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)]
        if not any(
            c.func.id in ("range", "trange") and len(c.args) == 3 for c in ranges if isinstance(c.func, ast.Name)
        ):
            return False
        counters = {loop.target.id}
        cut = False
        for node in (n for statement in loop.body for n in subtree(statement)):
            if isinstance(node, ast.Assign) and any(
                isinstance(n, ast.Name) and n.id in counters for n in subtree(node.value)
            ):
                counters.update(n.id for t in node.targets for n in subtree(t) if isinstance(n, ast.Name))
            if isinstance(node, ast.Slice) and isinstance(node.lower, ast.Name) and node.lower.id in counters:
                cut = True
        return cut and self._works(loop)

    def _device_work(self, loop: LoopNode) -> ast.AST | None:
        """A tensor certainly made on the device, directly in the body of a counting loop."""
        if isinstance(loop, (ast.While, ast.comprehension)) or not _counts(loop.iter):
            return None
        for call in self._facts.structure.inside(loop).calls:
            if self._loops_around(call)[0] is loop and not self._in_handler(call, loop):
                value = self._facts.value(call)
                if value.is_tensor and value.device is Device.ACCELERATOR:
                    return call
        return None

    def _works(self, loop: LoopNode) -> bool:
        """Whether the body makes tensors at all."""
        inside = self._facts.structure.inside(loop).calls
        return any(self._facts.value(call).is_tensor or self.pulse_of_call(call).forwards for call in inside)

    def _body(self, loop: LoopNode) -> tuple[ast.AST | None, ast.AST | None, bool]:
        """What the body does directly: trains, runs modules; and whether a hot loop is inside."""
        inside = self._facts.structure.inside(loop)
        trains: ast.AST | None = None
        forwards: ast.AST | None = None
        inner = False
        for other in inside.loops:
            inner = inner or self.of(other).heat in (Heat.HOT, Heat.WARM)
        for call in inside.calls:
            if self._in_handler(call, loop):
                continue
            pulse = self.pulse_of_call(call)
            if self._loops_around(call)[0] is loop:
                trains = trains or pulse.trains
                forwards = forwards or pulse.forwards
            inner = inner or pulse.loops
        return trains, forwards, inner

    def _loops_around(self, node: ast.AST) -> list[LoopNode]:
        return self._facts.structure.place(node).loops()

    def _in_handler(self, node: ast.AST, loop: LoopNode) -> bool:
        for place in self._facts.structure.place(node).chain():
            if place.node is loop:
                return False
            if place.block is Block.HANDLER:
                return True
        return False

    def _sometimes(self, node: ast.AST, loop: LoopNode) -> bool:
        """Under a condition: an event loop runs the module when somebody asks for it."""
        for place in self._facts.structure.place(node).chain():
            if place.node is loop:
                return False
            if place.block in (Block.THEN, Block.ELSE):
                return True
        return False

    def pulse_of_call(self, call: ast.Call) -> Pulse:
        """What one call does."""
        facts = self._facts
        if facts.has_effect(call, "backward", "steps"):
            return Pulse(trains=call)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "backward":
            return Pulse(trains=call)
        target = facts.resolve(call)
        called = facts.value(call.func)
        if target is not None and isinstance(target[1], Function):
            inside = target[0].heat.pulse(target[1])
            if called.kind is Kind.MODULE or target[1].name == "forward":
                return Pulse(forwards=call)
            return Pulse(call if inside.trains else None, call if inside.forwards else None, inside.loops)
        return Pulse(forwards=call) if called.kind is Kind.MODULE else NO_PULSE

    def pulse(self, function: Function) -> Pulse:
        """What one call of a function of this file does, through no more than so many further calls."""
        if function not in self._pulse:
            begun = self._facts.project.memory.table(BEGUN)
            if len(begun) > MAX_HOPS:
                return NO_PULSE
            self._pulse[function] = NO_PULSE
            begun[function] = None
            self._pulse[function] = self._worked_out(function)
            del begun[function]
        return self._pulse[function]

    def _worked_out(self, function: Function) -> Pulse:
        if builds_run(self._facts, function):  # a whole run, not a step of one
            return Pulse(loops=True)
        trains: ast.AST | None = None
        forwards: ast.AST | None = None
        loops = any(self.of(loop).heat in (Heat.HOT, Heat.WARM) for loop in function.loops)
        for call in function.calls:
            pulse = self.pulse_of_call(call)
            loops = loops or pulse.loops
            if not self._loops_around(call):
                trains = trains or pulse.trains
                forwards = forwards or pulse.forwards
        return Pulse(trains, forwards, loops)


def _counts(node: ast.expr) -> bool:
    """`range(...)`, also inside `tqdm` and the like: passes of one kind of work, not a list of cases."""
    while isinstance(node, ast.Call) and node.args:
        if isinstance(node.func, ast.Name) and node.func.id == "range":
            return True
        node = node.args[0]
    return False
