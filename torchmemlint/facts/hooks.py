"""Hooks that hold on: they keep what they are handed and are never removed, or pile up step by step.

Brings together where hooks are registered, what they keep, and who lets go. May not phrase messages.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.guards import RARE, GuardKind, guards
from torchmemlint.facts.hook_bodies import HookBody, Stored, hook_body, lets_go, stored
from torchmemlint.facts.hook_handles import Fate, Registration, registrations
from torchmemlint.facts.letting_go import last_part
from torchmemlint.facts.paths import path_of, root_of
from torchmemlint.facts.step_routes import repeated_reason
from torchmemlint.facts.structure import Function
from torchmemlint.facts.uses import uses
from torchmemlint.facts.values import Kind, Reason
from torchmemlint.model import Confidence

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts


@dataclass(frozen=True)
class HeldByHook:
    """A registration that holds tensors or piles up.

    `kept` is what the hook stores (None: the hook itself is the trouble), `step` why it is registered every
    step, `editable` whether the hook stands in this file.
    """

    registration: Registration
    kept: Stored | None
    step: Reason | None
    confidence: Confidence
    editable: bool

    @property
    def call(self) -> ast.Call:
        return self.registration.call

    @property
    def passing(self) -> str:
        """What passes the hook, in words."""
        return "gradient that passes" if self.registration.of_gradients else "tensor that passes, with its graph,"

    @property
    def handle(self) -> str:
        """What becomes of the handle, in words."""
        return self.registration.fate.value

    @property
    def why(self) -> tuple[Reason, ...]:
        """The chain of reasons."""
        reasons = []
        if self.kept is not None:
            reasons.append(
                Reason(f"the hook keeps a tensor in `{self.kept.path}`", self.kept.node, self.kept.facts.relative)
            )
        if self.step is not None:
            reasons.append(self.step)
        return tuple(reasons)


def held_by_hooks(facts: FileFacts) -> Iterator[HeldByHook]:
    """The hooks of a file that hold on; one for a run of statements that register the same hook."""
    last: tuple[ast.AST, int, Function | None] | None = None
    for registration in registrations(facts):
        if registration.fate is Fate.REMOVED:
            continue
        function = facts.structure.function(registration.call)
        if _dies_here(facts, registration.call, function):
            continue
        body = hook_body(facts, registration.hook, function)
        found = _repeated(facts, registration, function) or _keeping(facts, registration, function, body)
        if found is None:
            continue
        _, index = facts.structure.block_of[facts.structure.statement(registration.call)]
        here = (facts.structure.place(registration.call).node, index, body.function if body is not None else None)
        adjacent = (
            last is not None
            and last[0] is here[0]
            and here[1] - last[1] <= 1
            and here[2] is last[2]
            and here[2] is not None
        )
        last = here
        if not adjacent:
            yield found


def _repeated(facts: FileFacts, registration: Registration, function: Function) -> HeldByHook | None:
    """Registered by code that runs every step: one more hook each time."""
    call = registration.call
    step = repeated_reason(facts, function, call)
    if step is None:
        return None
    kinds = {g.kind for g in guards(facts, call, None)}
    if kinds & RARE:
        return None
    confidence = Confidence.LOW if GuardKind.OTHER in kinds else Confidence.HIGH
    return HeldByHook(registration, None, step[0], confidence, False)


def _keeping(
    facts: FileFacts, registration: Registration, function: Function, body: HookBody | None
) -> HeldByHook | None:
    """Registered for good, and keeps what it is handed."""
    if body is None or not registration.on_module:
        return None
    arguments = _argument_names(registration.hook)
    for kept in stored(body, registration.ends_in_output):
        if (registration.of_gradients and not kept.grows) or lets_go(facts, body, kept, arguments):
            continue
        confidence = Confidence.HIGH if kept.grows and registration.fate is Fate.DROPPED else Confidence.MEDIUM
        if function.is_module or {g.kind for g in guards(facts, registration.call, None)} & {GuardKind.OPT_IN}:
            confidence = Confidence.LOW
        return HeldByHook(registration, kept, None, confidence, body.facts is facts)
    return None


def _argument_names(hook: ast.expr) -> list[str]:
    """What a factory or `partial` was handed: the hook may fill it under another name."""
    if not isinstance(hook, ast.Call):
        return []
    given = [*hook.args, *[k.value for k in hook.keywords]]
    return [last_part(path) for path in map(path_of, given) if path is not None]


def _dies_here(facts: FileFacts, call: ast.Call, function: Function) -> bool:
    """Whether the module was made in this very function and does not leave it: its hooks go with it."""
    func = call.func
    root = root_of(func.value) if isinstance(func, ast.Attribute) else None
    if root is None or function.is_module or root not in function.bound:
        return False
    bindings = function.bound[root]
    if not all(isinstance(b, ast.Assign) and isinstance(b.value, ast.Call) for b in bindings):
        return False
    made = [b.value for b in bindings if isinstance(b, ast.Assign)]
    if not all(facts.value(value).kind is Kind.MODULE for value in made):
        return False
    return root not in uses(facts, function).leaving
