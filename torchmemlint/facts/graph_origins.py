"""Where a graph begins and what becomes of it: the plain values that the walk over a function collects."""

from __future__ import annotations

import ast
import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torchmemlint.facts import switches
from torchmemlint.facts.forwards import Certainty, Forward
from torchmemlint.facts.switches import Switch
from torchmemlint.facts.values import Grad, Kind, Value

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

ASKS = frozenset(
    {"shape", "size", "dim", "ndim", "device", "dtype", "numel", "nelement", "is_cuda", "requires_grad", "grad_fn"}
)
ASKS |= {
    "stride",
    "element_size",
    "get_device",
    "data_ptr",
    "is_contiguous",
    "builtins.len",
    "builtins.isinstance",
    "builtins.type",
}
CUTS = frozenset({"detach", "detach_", "data", "numpy"})


class Fate(enum.Enum):
    """One thing that happens to a value that hangs on a graph."""

    TRAINED = "trained"  # backward, autograd.grad
    STORED = "stored"  # kept by something that outlives the call
    RETURNED = "returned"
    YIELDED = "yielded"
    PASSED = "passed"  # given to a call that is not known
    LENT = "lent"  # given to a call that is not known, whose result is used
    BARE = "bare"  # `.numpy()` with nothing cut before: raises on a graph, so there is none
    CUT = "cut"  # detached
    READ = "read"  # turned into something without a graph
    ASKED = "asked"  # only its shape, device or the like
    STEPPED = "stepped"  # an optimizer ran while its module was still in eval mode


Held = frozenset["Origin"]
NONE: Held = frozenset()


@dataclass(eq=False)
class Origin:
    """Where a graph begins: a forward, a call that returns a graph, or a parameter that may carry one."""

    node: ast.AST
    forward: Forward | None = None
    path: str | None = None
    modes: frozenset[switches.Mode] = frozenset()
    switch: Switch = switches.NOTHING
    inputs: Held = NONE
    inner: tuple[tuple[FileFacts, Origin], ...] = ()  # for a call: the forwards inside whose graph it returns
    fates: dict[tuple[Fate, ast.AST], None] = field(default_factory=dict)

    def has(self, *wanted: Fate) -> bool:
        return any(fate in wanted for fate, _ in self.fates)

    def places(self, wanted: Fate) -> list[ast.AST]:
        return [node for fate, node in self.fates if fate is wanted]


def is_plain_value(value: Value) -> bool:
    if value.kind is Kind.HOST:
        return True
    if value.kind is Kind.TENSOR:
        return value.grad is Grad.NONE
    if value.kind is Kind.TUPLE:
        return bool(value.parts) and all(is_plain_value(part) for part in value.parts)
    return value.kind is Kind.CONTAINER and value.elem is not None and is_plain_value(value.elem)


def gives_graph(origin: Origin) -> bool:
    """A forward inside a callee whose graph the callee returns."""
    sure = origin.inner or (origin.forward is not None and origin.forward.certainty is Certainty.MODULE)
    return bool(sure) and not origin.switch.frozen and origin.has(Fate.RETURNED) and not origin.has(Fate.TRAINED)
