"""Recovery inside an except handler, while the error's traceback still holds the frames that failed.

Emptying the cache there, repeating the work, or doing it another way all run with the failed frames' tensors in
memory; the same after the try statement does not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from torchmemlint.facts.approach import following
from torchmemlint.facts.children import subtree
from torchmemlint.facts.cleanup import cleanup
from torchmemlint.facts.quiet import is_quiet
from torchmemlint.facts.running_out import About, about
from torchmemlint.facts.structure import Function
from torchmemlint.facts.values import Kind, Reason
from torchmemlint.model import Confidence

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import Definition, FileFacts


@dataclass(frozen=True)
class Recovery:
    """The call by which a handler recovers. `empties` the cache, or else repeats or replaces the work."""

    handler: ast.ExceptHandler
    attempt: ast.Try
    call: ast.Call
    empties: bool
    retry: ast.Call | None
    confidence: Confidence
    why: tuple[Reason, ...]


def recoveries(facts: FileFacts) -> Iterator[Recovery]:
    """Every handler of a file that recovers from memory running out before it has ended."""
    for node in list(facts.structure.place_of):
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                found = _recovery(facts, node, handler)
                if found is not None:
                    yield found


def _recovery(facts: FileFacts, attempt: ast.Try, handler: ast.ExceptHandler) -> Recovery | None:
    kind = about(facts, handler)
    if kind is About.OTHER:
        return None
    calls = _calls(facts, handler)
    if any(facts.has_effect(call, "clears_frames") for call in calls) or _drops_traceback(handler):
        return None
    emptying = next((call for call in calls if (c := cleanup(facts, call)) is not None and c.empties), None)
    retry = next((call for call in calls if _repeats(facts, attempt, handler, call)), None)
    if (emptying is None and (retry is None or kind is About.WIDE)) or not _device_work(facts, attempt):
        return None
    call = emptying or retry
    assert call is not None
    confidence = _confidence(facts, attempt, handler, kind, emptying, retry)
    return Recovery(
        handler,
        attempt,
        call,
        emptying is not None,
        retry,
        confidence,
        tuple(_why(facts, attempt, handler, call, retry)),
    )


def _calls(facts: FileFacts, handler: ast.ExceptHandler) -> list[ast.Call]:
    """Calls that run in the handler itself, in the order they stand, not those of functions defined in it."""
    function = facts.structure.function(handler.body[0])
    inside = {node for statement in handler.body for node in subtree(statement) if isinstance(node, ast.Call)}
    return [call for call in function.calls if call in inside]


def _drops_traceback(handler: ast.ExceptHandler) -> bool:
    """`error.__traceback__ = None`: the frames are let go of."""
    return any(
        isinstance(target, ast.Attribute) and target.attr == "__traceback__"
        for statement in handler.body
        for node in subtree(statement)
        if isinstance(node, ast.Assign)
        for target in node.targets
    )


# ---- the same work again --------------------------------------------------------------------------


def _repeats(facts: FileFacts, attempt: ast.Try, handler: ast.ExceptHandler, call: ast.Call) -> bool:
    """Whether a call in the handler does the failed work again: the same callable, or the function around it."""
    if _raised(facts, call, handler) or is_quiet(facts, call):
        return False
    if facts.value(call.func).kind is Kind.MODULE:
        return True
    mine = facts.resolve(call)
    if mine is not None and mine[1] is facts.structure.function(attempt):
        return True
    for statement in attempt.body:
        for node in subtree(statement):
            if (
                isinstance(node, ast.Call)
                and node in facts.structure.place_of
                and _same_work(facts, call, mine, node, handler.name)
            ):
                return True
    return False


def _same_work(facts: FileFacts, call: ast.Call, mine: Definition | None, other: ast.Call, error: str | None) -> bool:
    """Two calls of one callable that does the work; of an unknown one, with something to work on."""
    theirs = facts.resolve(other)
    if mine is not None and theirs is not None:
        return mine[1] is theirs[1] and isinstance(mine[1], Function) and _runs_modules(mine[0], mine[1])
    if mine is not None or theirs is not None or facts.effects(call) or not _works(facts, other):
        return False
    return (
        ast.unparse(other.func) == ast.unparse(call.func)
        and bool(call.args or call.keywords)
        and not _reports(call, error)
    )


def _runs_modules(facts: FileFacts, function: Function) -> bool:
    pulse = facts.heat.pulse(function)
    return pulse.trains is not None or pulse.forwards is not None or pulse.loops


def _reports(call: ast.Call, error: str | None) -> bool:
    """A call that is told a text or the error: it logs."""
    given = [*call.args, *[keyword.value for keyword in call.keywords]]
    if any(isinstance(node, ast.Name) and node.id == error for argument in given for node in subtree(argument)):
        return True
    return bool(given) and (
        isinstance(given[0], ast.JoinedStr) or (isinstance(given[0], ast.Constant) and isinstance(given[0].value, str))
    )


def _works(facts: FileFacts, call: ast.Call) -> bool:
    """Whether a call may be the work that ran out of memory."""
    if is_quiet(facts, call) or (
        isinstance(call.func, ast.Attribute) and call.func.attr in ("to", "cpu", "cuda", "detach")
    ):
        return False
    signature = facts.signature(call, facts.structure.function(call), None)
    return signature is None or signature.result != "Host"


def _raised(facts: FileFacts, call: ast.Call, handler: ast.ExceptHandler) -> bool:
    """Part of a `raise`: the error is handed on, not recovered from."""
    for node in facts.structure.ancestors(call):
        if isinstance(node, ast.Raise):
            return True
        if node is handler:
            return False
    return False


def _device_work(facts: FileFacts, attempt: ast.Try) -> bool:
    """Whether the attempt may have had tensors: it calls something that is not known to leave the device alone."""
    for statement in attempt.body:
        for node in subtree(statement):
            if isinstance(node, ast.Call) and node in facts.structure.place_of:
                if not is_quiet(facts, node) and cleanup(facts, node) is None:
                    return True
    return False


# ---- how sure, and why ----------------------------------------------------------------------------


def _confidence(
    facts: FileFacts,
    attempt: ast.Try,
    handler: ast.ExceptHandler,
    kind: About,
    emptying: ast.Call | None,
    retry: ast.Call | None,
) -> Confidence:
    if emptying is not None and retry is None and _again_later(facts, attempt, handler, emptying):
        return Confidence.LOW
    if kind is About.WIDE:
        return Confidence.LOW if _hands_on(handler) else Confidence.MEDIUM
    return Confidence.HIGH if emptying is not None else Confidence.MEDIUM


def _hands_on(handler: ast.ExceptHandler) -> bool:
    """The handler ends by raising: it only tidies up."""
    return isinstance(handler.body[-1], ast.Raise)


def _again_later(facts: FileFacts, attempt: ast.Try, handler: ast.ExceptHandler, emptying: ast.Call) -> bool:
    """Whether the cache is emptied once more after the handler: behind the attempt, or first in the next pass."""
    statement = facts.structure.statement(emptying)
    if any(isinstance(later, (ast.Break, ast.Return, ast.Raise)) for later in facts.structure.after(statement)):
        return False
    inside = {node for inner in handler.body for node in subtree(inner)}
    outside = list(islice((later for later in following(facts, statement) if later not in inside), 2))
    loops = facts.structure.place(attempt).loops()
    if loops and not isinstance(loops[0], ast.comprehension):
        outside += loops[0].body[:2]
    return any(_empties(facts, later) for later in outside if later is not attempt)


def _empties(facts: FileFacts, statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    found = cleanup(facts, call) if isinstance(call, ast.Call) else None
    return found is not None and found.empties


def _why(
    facts: FileFacts, attempt: ast.Try, handler: ast.ExceptHandler, call: ast.Call, retry: ast.Call | None
) -> Iterator[Reason]:
    yield Reason("while this handler runs, the error's traceback holds the failed frames", handler, facts.relative)
    yield Reason("its frames hold the tensors of what ran here", attempt.body[0], facts.relative)
    if retry is not None and retry is not call:
        yield Reason("the work is repeated with them still in memory", retry, facts.relative)
    found = cleanup(facts, call)
    if found is not None and found.inside is not None:
        where, inner = found.inside
        yield Reason(f"calls `{ast.unparse(inner.func)}()`", inner, where.relative)
