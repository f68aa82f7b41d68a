"""The way to a statement and on from it: what runs before it in its function, and what may run after it.

Statements are visited nearest first. A loop around the statement brings its whole body twice: as the rest of the
previous pass on the way in, as the next pass on the way out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torchmemlint.facts.bindings import begins
from torchmemlint.facts.children import subtree
from torchmemlint.facts.cleanup import cleanup
from torchmemlint.facts.deeds import Act, Deed, deeds, deeds_of
from torchmemlint.facts.guards import GuardKind, classify, leaves
from torchmemlint.facts.memory import Table
from torchmemlint.facts.structure import LOOPS, Block, Function
from torchmemlint.facts.uses import uses

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAX_WAYS = 16
MAX_MET = 4000  # statements and deeds on the way to a statement; five times the most seen in real code
CARRIED: Table[ast.stmt, tuple[Deed, ...]] = Table()
LOADS: Table[ast.AST, dict[str, list[ast.Name]]] = Table()
BINDS: Table[ast.stmt, frozenset[str]] = Table()
EMPTIED: Table[ast.stmt, ast.Call | None] = Table()


@dataclass(frozen=True)
class Approach:
    """One way from the start of the function, or from the last time the cache was emptied.

    `before` is done in the same pass of every loop around the statement, `carried` by earlier passes; `blocks` are
    the arms of conditions that this way goes through.
    """

    before: tuple[Deed, ...] = ()
    carried: tuple[Deed, ...] = ()
    since: ast.Call | None = None  # the call that emptied the cache before
    handler: bool = False  # the statement stands in an except or finally block
    blocks: tuple[ast.stmt, ...] = ()  # the first statements of the arms

    def acts(self, carried: bool = True) -> frozenset[Act]:
        """The kinds of deeds met."""
        return frozenset({deed.act for deed in (*self.before, *(self.carried if carried else ()))})


def approaches(facts: FileFacts, statement: ast.stmt) -> list[Approach] | None:
    """The ways to a statement: one for each arm of the conditions before it, as far as they are few.

    None where more was met than `MAX_MET`: each of many statements of a very long function would ask for all of it.
    """
    ways = [Approach()]
    done: list[Approach] = []
    room = MAX_MET
    for place in facts.structure.place(statement).chain():
        met: list[Deed] = []  # since the ways last parted
        for earlier in facts.structure.before(statement) if ways else ():
            more = deeds(facts, earlier)
            emptied = _empties(facts, earlier)
            if emptied is None and (not isinstance(earlier, ast.If) or len(ways) >= MAX_WAYS):
                met += more
            else:
                ways, ended = _parted(facts, _lengthened(ways, met), earlier, emptied)
                met = []
                done += ended
            room -= 1 + len(more)
            if room < 0 or not ways:
                break
        ways = _lengthened(ways, met)
        if place.block in (Block.FUNCTION, Block.MODULE, Block.CLASS) or not ways:
            break
        handler = place.block in (Block.HANDLER, Block.FINALLY)
        owner = facts.structure.statement(place.node)
        head = tuple(_head(facts, owner, place.block))
        carried = _carried(facts, owner) if place.block is Block.LOOP and isinstance(owner, LOOPS) else ()
        room -= len(head) + len(carried)
        if room < 0:
            break
        ways = [
            replace(way, before=(*way.before, *head), carried=(*way.carried, *carried), handler=way.handler or handler)
            for way in ways
        ]
        statement = owner
    return done + ways if room >= 0 else None


def _lengthened(ways: list[Approach], met: list[Deed]) -> list[Approach]:
    return [replace(way, before=(*way.before, *met)) for way in ways] if met else ways


def _carried(facts: FileFacts, loop: ast.For | ast.AsyncFor | ast.While) -> tuple[Deed, ...]:
    """What the earlier passes of a loop did, remembered."""
    table = facts.project.memory.table(CARRIED)
    if loop not in table:
        table[loop] = tuple(deed for inner in loop.body for deed in deeds(facts, inner, repeated=True))
    return table[loop]


def _parted(
    facts: FileFacts, ways: list[Approach], earlier: ast.stmt, emptied: ast.Call | None
) -> tuple[list[Approach], list[Approach]]:
    """The ways through the arms of a condition, and those that end in a statement because it empties the cache."""
    if emptied is not None or not isinstance(earlier, ast.If):
        return [], [replace(way, since=emptied) for way in ways]
    going: list[Approach] = []
    ended: list[Approach] = []
    test = deeds_of(facts, earlier.test)
    for arm in (earlier.body, earlier.orelse):
        if leaves(arm):
            continue
        met, since = _arm(facts, arm)
        if not arm:  # what is released on a condition may have been released
            met = tuple(deed for deed in _arm(facts, earlier.body)[0] if deed.act is Act.RELEASES)
        first = (arm[0],) if arm else ()
        for way in ways:
            longer = replace(way, before=(*way.before, *met), since=since, blocks=(*way.blocks, *first))
            if since is None:
                going.append(replace(longer, before=(*longer.before, *test)))
            else:
                ended.append(longer)
    return going, ended


def _arm(facts: FileFacts, arm: list[ast.stmt]) -> tuple[tuple[Deed, ...], ast.Call | None]:
    """What one arm of a condition does after the last time it empties the cache."""
    met: list[Deed] = []
    for statement in reversed(arm):
        emptied = _empties(facts, statement)
        if emptied is not None:
            return tuple(met), emptied
        met.extend(deeds(facts, statement))
    return tuple(met), None


def _head(facts: FileFacts, owner: ast.stmt, block: Block) -> Iterator[Deed]:
    """What a compound statement evaluates before the block runs."""
    parts: list[ast.expr] = []
    if isinstance(owner, (ast.If, ast.While)):
        parts = [owner.test]
    elif isinstance(owner, (ast.For, ast.AsyncFor)):
        parts = [owner.iter]
    elif isinstance(owner, (ast.With, ast.AsyncWith)):
        parts = [item.context_expr for item in owner.items]
    elif isinstance(owner, ast.Try) and block in (Block.PLAIN, Block.FINALLY, Block.HANDLER):
        for inner in owner.body:
            yield from deeds(facts, inner)
    elif isinstance(owner, (ast.For, ast.While)) and block is Block.PLAIN:
        for inner in owner.body:
            yield from deeds(facts, inner, repeated=True)
    for part in parts:
        yield from deeds_of(facts, part)


def _empties(facts: FileFacts, statement: ast.stmt) -> ast.Call | None:
    """The call of a statement that empties the cache whenever it runs, if only on the device at hand; remembered."""
    table = facts.project.memory.table(EMPTIED)
    if statement not in table:
        table[statement] = _emptying(facts, statement)
    return table[statement]


def _emptying(facts: FileFacts, statement: ast.stmt) -> ast.Call | None:
    if isinstance(statement, ast.If):
        if classify(facts, statement.test, facts.structure.function(statement)) is not GuardKind.DEVICE:
            return None
        return next(filter(None, (_empties(facts, inner) for inner in statement.body)), None)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        found = cleanup(facts, statement.value)
        return found.call if found is not None and found.empties else None
    return None


def following(facts: FileFacts, statement: ast.stmt) -> Iterator[ast.stmt]:
    """Statements that may run after one, nearest first, to the end of the function; no next passes of loops."""
    while True:
        for later in facts.structure.after(statement):
            yield later
            if isinstance(later, (ast.Return, ast.Raise)):
                return
        place = facts.structure.place(statement)
        if place.block in (Block.FUNCTION, Block.MODULE, Block.CLASS):
            return
        statement = facts.structure.statement(place.node)
        yield from rest_of_try(statement, place.block)


def rest_of_try(node: ast.stmt, block: Block) -> Iterator[ast.stmt]:
    """What may run after a block of a statement, where that is a `try`: its other blocks."""
    if not isinstance(node, ast.Try) or block not in (Block.TRY, Block.PLAIN, Block.HANDLER):
        return
    if block is Block.TRY:
        for handler in node.handlers:
            yield from handler.body
        yield from node.orelse
    yield from node.finalbody


def reads_after(facts: FileFacts, statement: ast.stmt, name: str) -> list[ast.Name]:
    """Places that may read a name's present value after a statement, in this pass or in a later one."""
    loops = [loop for loop in facts.structure.place(statement).loops() if not isinstance(loop, ast.comprehension)]
    reads = uses(facts, facts.structure.function(statement)).reads(name)
    start = begins(facts, loops[-1] if loops else statement)
    if all(begins(facts, facts.structure.statement(read)) < start for read in reads):
        return []
    found: list[ast.Name] = []
    for later in following(facts, statement):
        found.extend(_loads(facts, later, name))
        if name in _binds(facts, later):
            break
    for loop in loops:
        found.extend(_next_pass(facts, loop, name))
    return found


def _next_pass(facts: FileFacts, loop: ast.For | ast.AsyncFor | ast.While, name: str) -> list[ast.Name]:
    found: list[ast.Name] = []
    if isinstance(loop, ast.While):
        found.extend(_loads(facts, loop.test, name))
    elif any(isinstance(n, ast.Name) and n.id == name for n in subtree(loop.target)):
        return []
    for inner in loop.body:
        found.extend(_loads(facts, inner, name))
        if name in _binds(facts, inner):
            return found
    return found


def _loads(facts: FileFacts, node: ast.AST, name: str) -> Sequence[ast.Name]:
    """The places in a node that read a name; the node is gone through once for all names."""
    table = facts.parsed.memory.table(LOADS)
    if node not in table:
        found: dict[str, list[ast.Name]] = {}
        for part in subtree(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                found.setdefault(part.id, []).append(part)
        table[node] = found
    return table[node].get(name, ())


def _binds(facts: FileFacts, statement: ast.stmt) -> frozenset[str]:
    """The names to which a statement certainly gives a new meaning, or which it ends; remembered."""
    table = facts.parsed.memory.table(BINDS)
    if statement not in table:
        table[statement] = frozenset(_bound_by(facts, statement))
    return table[statement]


def _bound_by(facts: FileFacts, statement: ast.stmt) -> Iterator[str]:
    targets: list[ast.expr] = []
    if isinstance(statement, (ast.Assign, ast.Delete)):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        for inner in statement.body:
            yield from _binds(facts, inner)
    for node in (node for target in targets for node in subtree(target)):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id


def captured(function: Function, name: str) -> bool:
    """Whether a function defined inside reads a name, so that it may live on."""
    return any((name not in inner.bound and name in inner.reads) or captured(inner, name) for inner in function.inner)
