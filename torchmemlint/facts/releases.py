"""Whether emptying the allocator's cache can return anything: what was released, and what is still held, before it.

Several kinds of evidence, each certain enough to speak: nothing was done before, memory was only taken, a dead name
still holds its tensor, the `del` is commented out. The mere absence of a `del` is none.
"""

from __future__ import annotations

import ast
import enum
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from torchmemlint.facts.approach import Approach, approaches, following, rest_of_try
from torchmemlint.facts.children import subtree
from torchmemlint.facts.cleanup import Cleanup, cleanup, helper
from torchmemlint.facts.deeds import Act, Deed, act_of, deeds, lazily_built, missing
from torchmemlint.facts.guards import GuardKind, guards
from torchmemlint.facts.holders import Holder, holders, live_views
from torchmemlint.facts.library import library
from torchmemlint.facts.memory import Table
from torchmemlint.facts.project import TooManyCallers
from torchmemlint.facts.reach import last_name
from torchmemlint.facts.structure import Block, Function
from torchmemlint.facts.values import Reason
from torchmemlint.model import Confidence

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAX_READING_HOPS = 2
MEASURES: Table[ast.stmt, bool] = Table()
TOLD_BY_REST: Table[ast.stmt, bool | None] = Table()
MAX_PAIRS = 20_000  # names of a function times calls in it that empty the cache; the most in public code was 1,368
COMMENTED_DEL = re.compile(r"#\s*del[ (]\s*([\w, ]+)\)?\s*$")


class Form(enum.Enum):
    """Why nothing, or not what was meant, can come back."""

    FIRST = "first"  # nothing was done before in this function or script
    TAKEN = "taken"  # memory was only taken before
    BUILT = "built"  # buffers are built here for the first time, nothing is old enough to be released
    HELD = "held"  # dead names still hold their tensors
    COMMENTED = "commented"  # the del that would release is a comment


@dataclass(frozen=True)
class Idle:
    """A call that empties the cache and returns nothing, or not what it was meant for."""

    call: ast.Call
    form: Form
    confidence: Confidence
    held: tuple[Holder, ...] = ()
    names: tuple[str, ...] = ()
    why: tuple[Reason, ...] = ()


def idle_calls(facts: FileFacts) -> Iterator[Idle]:
    """The calls of a file that empty the cache for nothing."""
    names = facts.project.reach("empties_cache").names()
    calls = [call for call in facts.structure.calls if last_name(call) in names]
    asked = Counter(facts.structure.function(call) for call in calls)
    for call in calls:
        function = facts.structure.function(call)
        if len(function.bound) * asked[function] > MAX_PAIRS:
            continue  # whether each of its names is still held at each of the calls is too much to ask
        if not isinstance(facts.structure.parent.get(call), ast.Expr):
            continue
        found = cleanup(facts, call)
        if found is None or not found.empties or found.collects:
            continue
        if helper(facts, function):
            continue  # its callers are asked
        idle = _judge(facts, found, function)
        if idle is not None:
            yield idle


def _judge(facts: FileFacts, found: Cleanup, function: Function) -> Idle | None:
    call = found.call
    statement = facts.structure.statement(call)
    ways = approaches(facts, statement)
    if not ways or any(way.handler for way in ways) or isinstance(function.node, ast.Lambda):
        return None
    commented = _commented(facts, statement, function)
    if commented:
        return Idle(call, Form.COMMENTED, Confidence.MEDIUM, names=commented, why=_through(found))
    held = _held(facts, statement, ways)
    if held:
        certain = held[0].certain and not any(way.carried for way in ways)
        confidence = Confidence.HIGH if certain else Confidence.MEDIUM
        why = tuple(
            Reason(f"`{h.name}` is bound to a tensor and not read again", h.binding, facts.relative) for h in held
        )
        return Idle(call, Form.HELD, confidence, tuple(held), tuple(h.name for h in held), (*why, *_through(found)))
    if _measured_after(facts, statement):
        return None
    return _nothing_before(facts, found, function, statement, ways)


def _through(found: Cleanup) -> tuple[Reason, ...]:
    if found.inside is None:
        return ()
    facts, call = found.inside
    return (Reason(f"calls `{ast.unparse(call.func)}()`", call, facts.relative),)


# ---- nothing before -------------------------------------------------------------------------------


def _nothing_before(
    facts: FileFacts, found: Cleanup, function: Function, statement: ast.stmt, ways: list[Approach]
) -> Idle | None:
    acts = frozenset(act for way in ways for act in way.acts())
    since = [way.since for way in ways if way.since is not None]
    if not acts:
        fits = not since and not _held_back(facts, found.call) and _does_more(facts, function, statement)
        confidence = _first(facts, function) if fits else None  # after `since` it may be another back end's turn
        return Idle(found.call, Form.FIRST, confidence, why=_through(found)) if confidence is not None else None
    met = [deed for way in ways for deed in (*way.before, *way.carried)] if acts <= {Act.TAKES, Act.COMPUTES} else []
    if met and all(_plain(facts, deed) for deed in met):
        taken = tuple(Reason("takes memory", deed.node, facts.relative) for deed in met[:3])
        emptied = tuple(Reason("the cache was emptied here before", call, facts.relative) for call in since[:1])
        return Idle(found.call, Form.TAKEN, Confidence.MEDIUM, why=(*taken, *emptied))
    if _builds(facts, statement) and _takes_next(facts, statement):
        return Idle(found.call, Form.BUILT, Confidence.MEDIUM, why=_through(found))
    return None


def _held_back(facts: FileFacts, call: ast.Call) -> bool:
    """Every so often, or when memory is short: then what was released is not the question."""
    for guard in guards(facts, call, None):
        if guard.kind is GuardKind.MEMORY:
            return True
        test = guard.node.test if isinstance(guard.node, ast.If) else None
        if test is not None and any(isinstance(n, ast.BinOp) and isinstance(n.op, ast.Mod) for n in subtree(test)):
            return True
    return False


def _does_more(facts: FileFacts, function: Function, statement: ast.stmt) -> bool:
    """Whether the function has work of its own after the call, or reports on memory before; else it only cleans up."""
    if function.is_module or any(True for later in following(facts, statement) for _ in deeds(facts, later)):
        return True
    reads = [call for call in function.calls if facts.has_effect(call, "reads_memory")]
    return any(not isinstance(parent, ast.If) for call in reads for parent in [facts.structure.statement(call)])


def _builds(facts: FileFacts, statement: ast.stmt) -> bool:
    """Whether a statement stands where something is first built, with nothing but new memory before it there."""
    if not lazily_built(facts, statement):
        return False
    for place in facts.structure.place(statement).chain():
        for earlier in facts.structure.before(statement):
            if any(deed.act is not Act.TAKES for deed in deeds(facts, earlier)):
                return False
        if isinstance(place.node, ast.If) and missing(place.node.test):
            return True
        statement = facts.structure.statement(place.node)
    return False


def _plain(facts: FileFacts, deed: Deed) -> bool:
    """An operation whose result is bound as it is: no inner result was dropped on the way."""
    if deed.act is Act.TAKES:
        return True
    parent = facts.structure.parent.get(deed.node)
    return isinstance(parent, ast.Assign) and not deed.repeated


def _takes_next(facts: FileFacts, statement: ast.stmt) -> bool:
    later = facts.structure.after(statement)
    if not later:
        return False
    calls = [n for n in subtree(later[0]) if isinstance(n, ast.Call) and n in facts.structure.place_of]
    return any(act_of(facts, call) is Act.TAKES for call in calls)


def _first(facts: FileFacts, function: Function) -> Confidence | None:
    """How sure it is that nothing was released either before this function was entered."""
    if function.is_module:
        return Confidence.HIGH
    if _run_by_tests(facts, function):
        return Confidence.LOW
    try:
        callers = list(facts.project.callers(function, facts))
    except TooManyCallers:
        return Confidence.MEDIUM
    found = [approaches(f, f.structure.statement(c)) for f, c in callers]
    ways = [way for one in found if one is not None for way in one]
    if None in found or any(way.handler or (Act.RELEASES in way.acts(carried=False) and _near(way)) for way in ways):
        return None
    start = (
        bool(ways)
        and all(f.structure.function(c).is_module for f, c in callers)
        and not any(way.acts() for way in ways)
    )
    return Confidence.HIGH if start else Confidence.MEDIUM


def _near(way: Approach) -> bool:
    """The caller released something right before it called: that is what the cache is emptied for."""
    return bool(way.before) and way.before[0].act is Act.RELEASES


def _run_by_tests(facts: FileFacts, function: Function) -> bool:
    """A test or its set-up: the runner has just let go of the test before it."""
    if function.owner is not None and facts.derives(function.owner, "unittest.TestCase"):
        return True
    if function.name.startswith("test"):  # what pytest collects
        return True
    return any("fixture" in ast.unparse(decorator) for decorator in function.decorators)


def _measured_after(facts: FileFacts, statement: ast.stmt) -> bool:
    """Memory is read afterwards, or given to another allocator: the cache is emptied for that."""
    while True:
        told = _told_by_rest(facts, statement)
        if told is not None:
            return told
        place = facts.structure.place(statement)
        if place.block in (Block.FUNCTION, Block.MODULE, Block.CLASS):
            return False
        statement = facts.structure.statement(place.node)
        if any(_measures(facts, later) for later in rest_of_try(statement, place.block)):
            return True


def _told_by_rest(facts: FileFacts, statement: ast.stmt) -> bool | None:
    """Whether what follows in the same block measures; None where it goes on behind it. The block is read once."""
    table = facts.project.memory.table(TOLD_BY_REST)
    if statement not in table:
        block, _ = facts.structure.block_of[statement]
        told: bool | None = None
        for one in reversed(block):
            table[one] = told
            if _measures(facts, one):
                told = True
            elif isinstance(one, (ast.Return, ast.Raise)):
                told = False
    return table[statement]


def _measures(facts: FileFacts, statement: ast.stmt) -> bool:
    table = facts.project.memory.table(MEASURES)
    if statement not in table:
        calls = [n for n in subtree(statement) if isinstance(n, ast.Call) and n in facts.structure.place_of]
        waking = _waking_methods()
        table[statement] = any(_reads_memory(facts, call) or last_name(call) in waking for call in calls)
    return table[statement]


def _reads_memory(facts: FileFacts, call: ast.Call, depth: int = 0) -> bool:
    """A reading or a reset of memory figures, of any back end, or a helper around one."""
    dotted = facts.names.dotted(call.func, facts.structure.function(call)) or ""
    same = library().function(f"torch.cuda.{last_name(call)}") if dotted.startswith("torch.") else None
    if facts.has_effect(call, "reads_memory") or (same is not None and "reads_memory" in same.effects):
        return True
    target = facts.resolve(call) if depth < MAX_READING_HOPS else None
    if target is None or not isinstance(target[1], Function):
        return False
    return any(_reads_memory(target[0], inner, depth + 1) for inner in target[1].calls)


@lru_cache(maxsize=1)
def _waking_methods() -> frozenset[str]:
    """Methods of library classes by which another allocator takes device memory."""
    classes = [stub for module in library().modules.values() for stub in module.classes.values()]
    return frozenset(
        name for stub in classes for name, signature in stub.methods.items() if "takes_device" in signature.effects
    )


# ---- still held -----------------------------------------------------------------------------------


def _held(facts: FileFacts, statement: ast.stmt, ways: list[Approach]) -> list[Holder]:
    """Dead names that hold a tensor on some way that lets go of nothing."""
    for way in ways:
        if not _lets_go(way):
            found = holders(facts, statement, partial(_passes, facts, way, statement))
            found = [h for h in found if not any(live_views(facts, statement, h))]
            if any(_ran(facts, deed) for deed in way.before):
                found = [h for h in found if h.moved is not None]
            if found:
                return found
    return []


def _ran(facts: FileFacts, deed: Deed) -> bool:
    """Code that was run for what it does, not for a result: it may have let go of anything."""
    return deed.act is Act.CALLS and isinstance(facts.structure.parent.get(deed.node), ast.Expr)


def _lets_go(way: Approach) -> bool:
    """Something was let go of on the way: said so, by a loop that was left, or by autograd."""
    if any(deed.repeated for deed in way.before):
        return True
    return bool({deed.act for deed in way.before} & {Act.RELEASES, Act.BACKWARD, Act.REBINDS})


def _passes(facts: FileFacts, way: Approach, statement: ast.stmt, node: ast.stmt) -> bool:
    """Whether a way to a statement goes through another one."""
    around = set(facts.structure.place(statement).chain())
    for place in facts.structure.place(node).chain():
        if place in around or facts.structure.block_of[node][0][0] in way.blocks:
            return True
        if place.block not in (Block.WITH, Block.TRY, Block.PLAIN):
            return False
        node = facts.structure.statement(place.node)
    return False


def _commented(facts: FileFacts, statement: ast.stmt, function: Function) -> tuple[str, ...]:
    """Names in a `# del a, b` right above the call that are bound in the function."""
    lines = facts.source.lines
    row = facts.tree.places.span(statement).start.line - 2
    while row >= 0 and (not lines[row].strip() or lines[row].lstrip().startswith("#")):
        match = COMMENTED_DEL.match(lines[row].strip())
        if match:
            names = [name.strip() for name in match.group(1).split(",")]
            return tuple(name for name in names if name in function.bound)
        row -= 1
    return ()
