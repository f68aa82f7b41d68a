"""Forwards whose graph nobody needs: run in eval mode, or read and dropped, with grad on.

Puts together what becomes of the graph, what the module is switched to and whether the callers guard.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts import switches
from torchmemlint.facts.caller_mode import CallerMode, effective_mode
from torchmemlint.facts.forwards import Certainty, confirmed, given_value
from torchmemlint.facts.grad_mode import GradMode, function_mode
from torchmemlint.facts.graph_begins import may_begin
from torchmemlint.facts.graph_fate import Walk
from torchmemlint.facts.graph_origins import Fate, Origin
from torchmemlint.facts.graph_walks import walk
from torchmemlint.facts.project import TooManyCallers
from torchmemlint.facts.structure import Block, Function
from torchmemlint.facts.tests_of_user import is_smoke_test, is_test
from torchmemlint.facts.values import Grad, Kind, Reason
from torchmemlint.model import Confidence

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts


@dataclass(frozen=True)
class NeedlessGraph:
    """The first of some forwards of one function that record a graph for nothing; `others` are the rest of them."""

    call: ast.Call
    others: tuple[ast.Call, ...]
    keeps: tuple[ast.AST, ...]  # what must stay with grad on: other forwards and training in the same function
    confidence: Confidence
    why: tuple[Reason, ...]
    condition: switches.Condition | None = None  # what decides between training and evaluation in one function


@dataclass(frozen=True)
class _Verdict:
    origin: Origin
    call: ast.Call
    region: ast.AST | None
    confidence: Confidence
    why: tuple[Reason, ...]


def needless_graphs(facts: FileFacts) -> Iterator[NeedlessGraph]:
    """Every needless graph of a file, one finding for a function and switch to eval mode."""
    for function in facts.structure.functions:
        if not function.calls or _is_differentiable_by_trade(facts, function) or not may_begin(facts, function):
            continue
        found = walk(facts, function)
        verdicts = list(_verdicts(facts, found)) if found is not None else []
        for group in _groups(facts, verdicts):
            best = max((v.confidence for v in group), key=lambda c: c.rank)
            first = next(v for v in group if v.confidence is best)
            others = tuple(v.call for v in group if v is not first)
            also = tuple(Reason("so does this call", call, facts.relative) for call in others[:6])
            keeps = _keeps(found, {v.call for v in group}) if found is not None else ()
            chosen = next((v.origin.switch.condition for v in group if v.origin.has(Fate.TRAINED)), None)
            yield NeedlessGraph(first.call, others, keeps, best, (*first.why, *also), chosen)


def _groups(facts: FileFacts, verdicts: list[_Verdict]) -> Iterator[list[_Verdict]]:
    """Verdicts of one function by the switch to eval; what works on the output of another goes with it."""
    region_of = {verdict.origin: verdict.region for verdict in verdicts}
    for verdict in verdicts:
        above = [region_of[origin] for origin in verdict.origin.inputs - {verdict.origin} if origin in region_of]
        region_of[verdict.origin] = next((region for region in above if region is not None), verdict.region)
    for region in dict.fromkeys(region_of.values()):
        group = [verdict for verdict in verdicts if region_of[verdict.origin] is region]
        yield sorted(group, key=lambda verdict: facts.tree.places.span(verdict.call))


def _keeps(found: Walk, needless: set[ast.Call]) -> tuple[ast.AST, ...]:
    """Training, and forwards whose graph somebody trains on, returns or stores."""
    wanted = (Fate.TRAINED, Fate.STORED, Fate.YIELDED, Fate.RETURNED)
    kept = [
        o.node
        for o in found.origins.values()
        if isinstance(o.node, ast.Call) and o.node not in needless and o.has(*wanted)
    ]
    return (*kept, *found.trains)


def _is_differentiable_by_trade(facts: FileFacts, function: Function) -> bool:
    """Functions whose graph is for others: `forward`, training hooks; and those that are guarded as a whole."""
    if function_mode(facts, function) in (GradMode.OFF, GradMode.MAYBE) or "hot" in facts.framework_effects(function):
        return True
    return (
        function.owner is not None
        and function.name in ("forward", "__call__")
        and facts.derives(function.owner, "torch.nn.Module")
    )


def _verdicts(facts: FileFacts, found: Walk) -> Iterator[_Verdict]:
    if _legacy(found.function):
        return
    for origin in found.origins.values():
        if isinstance(origin.node, ast.Call):
            verdict = _judge(facts, found, origin, origin.node)
            if verdict is not None:
                yield verdict


def _judge(facts: FileFacts, found: Walk, origin: Origin, call: ast.Call) -> _Verdict | None:
    """Whether the graph of one forward is needless, and how sure that is."""
    evaluates = origin.modes == switches.EVAL
    if _has_no_graph(facts, origin, call) or not _unwanted(facts, found, origin):
        return None
    if any(inner.modes == switches.EVAL for _, inner in origin.inner):
        return None  # told where it runs
    if origin.forward is not None and not confirmed(facts, call, origin.forward):
        return None
    if _frozen_by_callers(facts, found.function, origin.path, 0):
        return None
    return _sized(facts, found, origin, call, evaluates)


def _has_no_graph(facts: FileFacts, origin: Origin, call: ast.Call) -> bool:
    """Frozen, or shown to be without a graph; or it is the gradient of an input that is wanted."""
    return origin.switch.frozen or origin.has(Fate.BARE) or _wants_input_gradient(facts, call)


def _unwanted(facts: FileFacts, found: Walk, origin: Origin) -> bool:
    """Whether nobody needs the graph: its fate by the mode of its module."""
    if origin.has(Fate.STORED, Fate.YIELDED):
        return False
    if origin.has(Fate.TRAINED):
        return _only_when_training(found, origin)
    if origin.modes != switches.EVAL:
        return _read_and_dropped(facts, found, origin)
    if origin.has(Fate.PASSED) and origin.has(Fate.STEPPED):
        return False
    return not origin.has(Fate.RETURNED) or _callers_drop(facts, found.function, 0)


def _sized(facts: FileFacts, found: Walk, origin: Origin, call: ast.Call, evaluates: bool) -> _Verdict | None:
    """Confidence and reasons, once the callers have been asked for their grad mode."""
    mode = effective_mode(facts, call)
    if mode.mode is GradMode.OFF:
        return None
    confidence = Confidence.HIGH if evaluates and mode.certain and not origin.has(Fate.TRAINED) else Confidence.MEDIUM
    own = evaluates and origin.switch.by is not None and facts.structure.function(origin.switch.by) is found.function
    if (mode.mode is GradMode.MAYBE and not (mode.unseen and own)) or is_test(facts, found.function):
        confidence = Confidence.LOW  # a method that switches to eval itself guards itself, whoever calls it
    if not origin.has(Fate.READ, Fate.CUT, Fate.PASSED, Fate.RETURNED, Fate.TRAINED):
        confidence = Confidence.LOW  # a probe for shapes, a warm-up
    if not own and not origin.has(Fate.TRAINED) and _makes_graphs(found):
        confidence = (
            Confidence.LOW
        )  # a part of something that is trained on: whose graph is cut where is its own affair
    if is_smoke_test(facts, found.function, origin.path, call):
        confidence = Confidence.LOW
    if not evaluates and found.function.name == "__init__":
        confidence = Confidence.LOW  # once, while something is built
    if not evaluates and origin.has(Fate.LENT) and not origin.has(Fate.TRAINED):
        confidence = Confidence.LOW  # who knows what that keeps
    if origin.forward is not None and origin.forward.certainty is Certainty.METHOD and not origin.has(Fate.CUT):
        confidence = Confidence.LOW
    return _Verdict(
        origin,
        call,
        origin.switch.by if evaluates else None,
        confidence,
        tuple(_reasons(facts, origin, call, mode, evaluates)),
    )


def _reasons(facts: FileFacts, origin: Origin, call: ast.Call, mode: CallerMode, evaluates: bool) -> Iterator[Reason]:
    by = origin.switch.by
    if evaluates and by is not None:
        yield Reason("in eval mode from here, which does not switch grad off", by, facts.relative)
    for fate, text in ((Fate.CUT, "its graph is cut off here"), (Fate.READ, "only its value is read here")):
        for node in origin.places(fate)[:1]:
            yield Reason(text, node, facts.relative)
    if origin.has(Fate.TRAINED):
        for node in origin.places(Fate.TRAINED)[:1]:
            yield Reason("backward runs only in train mode", node, facts.relative)
    yield Reason("grad is on: no guard here" + (" nor in its callers" if mode.why else ""), call, facts.relative)
    yield from mode.why


def _read_and_dropped(facts: FileFacts, found: Walk, origin: Origin) -> bool:
    """Every use throws the graph away, and nothing is trained in the function."""
    if switches.Mode.TRAIN in origin.modes or found.trains or not origin.has(Fate.READ, Fate.CUT):
        return False
    if origin.has(Fate.RETURNED, Fate.PASSED) or (origin.inner and not origin.has(Fate.CUT)):
        return False
    return not _part_of_forward(facts, found.function, 0)


def _makes_graphs(found: Walk) -> bool:
    """Whether a function also runs forwards whose graph it hands on."""
    kept = (Fate.TRAINED, Fate.RETURNED, Fate.STORED, Fate.YIELDED)
    return any(isinstance(o.node, ast.Call) and (o.forward or o.inner) and o.has(*kept) for o in found.origins.values())


def _part_of_forward(facts: FileFacts, function: Function, level: int) -> bool:
    """A helper that the `forward` of a module ends up calling is part of a differentiable whole."""
    if function.owner is None or level > 3:
        return False
    try:
        for other, call in facts.project.callers(function, facts):
            caller = other.structure.function(call)
            if caller.name == "forward" or "hot" in other.framework_effects(caller):
                return True
            if caller is not function and _part_of_forward(other, caller, level + 1):
                return True
    except TooManyCallers:
        return True
    return False


def _only_when_training(found: Walk, origin: Origin) -> bool:
    """Backward stands under the very condition that chose train mode: in the other case the graph is for nothing."""
    condition = origin.switch.condition
    if condition is None or origin.modes != switches.EVAL | switches.TRAIN:
        return False
    return all(_under(found, node, condition, origin.path) for node in origin.places(Fate.TRAINED))


def _under(found: Walk, node: ast.AST, condition: switches.Condition, path: str | None) -> bool:
    for place in found.facts.structure.place(node).chain():
        if place.block not in (Block.THEN, Block.ELSE) or not isinstance(place.node, ast.If):
            continue
        test = switches.condition_of(place.node.test, found.aliases)
        positive = test.positive is (place.block is Block.THEN)
        if test.dump == condition.dump and positive is condition.positive:
            return True
        if (
            isinstance(place.node.test, ast.Attribute)
            and place.node.test.attr == "training"
            and place.block is Block.THEN
        ):
            return True
    return False


def _legacy(function: Function) -> bool:
    """Inputs marked `volatile=True`: written for a torch that switched grad off by them; a rule of its own says so."""
    return any(keyword.arg == "volatile" for call in function.calls for keyword in call.keywords)


def _wants_input_gradient(facts: FileFacts, call: ast.Call) -> bool:
    """An input that requires grad: somebody is after its gradient."""
    for node in [*call.args, *[keyword.value for keyword in call.keywords]]:
        value = facts.value(node)
        if value.kind is Kind.TENSOR and value.grad is Grad.LEAF:
            return True
    return False


def _callers_drop(facts: FileFacts, function: Function, level: int) -> bool:
    """A returned graph is needless when every caller is known and drops it."""
    mode = effective_mode(facts, function.body[0]) if function.body else None
    if mode is None or mode.mode is not GradMode.ON:
        return False
    try:
        calls = list(facts.project.callers(function, facts))
    except TooManyCallers:
        return False
    if not calls or level > 1:
        return False
    for other, call in calls:
        found = walk(other, other.structure.function(call))
        origin = found.origins.get(call) if found is not None else None
        if found is None or origin is None or origin.has(Fate.TRAINED, Fate.STORED, Fate.YIELDED):
            return False
        if origin.has(Fate.RETURNED) and not _callers_drop(other, found.function, level + 1):
            return False
    return True


def _frozen_by_callers(facts: FileFacts, function: Function, path: str | None, level: int) -> bool:
    """A caller froze the module before it handed it in, or a method of the class freezes its own."""
    if path is None or level > 1:
        return False
    root = path.replace("[", ".").split(".")[0]
    if root == function.self_name() and function.owner is not None:
        freezes = facts.source.mentions(("requires_grad",))
        others = [m for m in function.owner.methods.values() if m is not function and freezes]
        found = [walk(facts, method, 1) for method in others]
        return any(w is not None and w.switches.of(path).frozen for w in found)
    if root not in {param.arg for param in function.params}:
        return False
    try:
        calls = list(facts.project.callers(function, facts))
    except TooManyCallers:
        return False
    for other, call in calls:
        caller = other.structure.function(call)
        found_there = walk(other, caller, 1)
        outer = found_there.calls.path_from(call, function, path) if found_there is not None else None
        if found_there is not None and outer is not None and found_there.switches.of(outer).frozen:
            return True
        if _frozen_by_callers(other, caller, outer, level + 1):
            return True
    return given_value(facts, function, root).frozen
