"""Which calls end in an effect, such as emptying the allocator's cache, directly or through helpers.

Guards compose along the way: a call inherits the conditions inside what it calls. Works across files,
starting from the files that mention the effect's words.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmemlint.facts.guards import RARE, Guard, GuardKind, guards
from torchmemlint.facts.library import library
from torchmemlint.facts.project import EFFECT_WORDS, MODULE_WORDS
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import Kind

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts
    from torchmemlint.facts.parsed_files import ParsedFiles
    from torchmemlint.facts.project import Project

MAX_HOPS = 3
MAX_FILES = 40  # a name in more files than this says nothing about what is called


@dataclass(frozen=True)
class Carry:
    """A call that ends in an effect: the calls on the way (outermost first), and the guards met inside callees."""

    call: ast.Call
    steps: tuple[tuple[FileFacts, ast.Call], ...]
    guards: tuple[Guard, ...]

    @property
    def direct(self) -> bool:
        return len(self.steps) == 1


class Reach:
    """Carriers of one effect in a project."""

    def __init__(self, project: Project, effect: str) -> None:
        self._project = project
        self._effect = effect
        self._inside: dict[Function, Carry | None] = {}
        self._names: frozenset[str] | None = None

    def carry(self, facts: FileFacts, call: ast.Call) -> Carry | None:
        """How a call ends in the effect, or None."""
        return self._carry(facts, call, 0)

    def _carry(self, facts: FileFacts, call: ast.Call, hops: int) -> Carry | None:
        if is_direct(facts, call, self._effect):
            return Carry(call, ((facts, call),), ())
        if hops >= MAX_HOPS or last_name(call) not in self.names():
            return None
        target = facts.resolve(call)
        if target is None or isinstance(target[1], Class):
            return None
        inside = self._of_function(target[0], target[1], hops + 1)
        if inside is None:
            return None
        return Carry(call, ((facts, call), *inside.steps), inside.guards)

    def _of_function(self, facts: FileFacts, function: Function, hops: int) -> Carry | None:
        """The least guarded way a function ends in the effect on each call."""
        if function not in self._inside:
            self._inside[function] = None
            best: Carry | None = None
            for call in function.calls:
                found = self._carry(facts, call, hops)
                if found is None:
                    continue
                met = (*guards(facts, call, None), *found.guards)
                candidate = Carry(call, found.steps, met)
                if best is None or weight(candidate.guards) < weight(best.guards):
                    best = candidate
            self._inside[function] = best
        return self._inside[function]

    def names(self) -> frozenset[str]:
        """Names of functions that end in the effect: a file that mentions none of them cannot reach it."""
        shared = self._project.shared
        shared.consulted.effects.add(self._effect)
        if self._names is None:
            self._names = frozenset()  # a circle sees none
            if self._effect not in shared.carriers:
                with shared.recording() as asked:
                    found = self._climbed()
                shared.carriers[self._effect] = found, asked.basis()
            entered = (self._project.facts(path) for path in self._project.entered())
            own = {name for facts in entered if facts is not None for name in _calling(facts, [self._word])}
            self._names = shared.carriers[self._effect][0] | own
        return self._names

    @property
    def _word(self) -> str:
        return EFFECT_WORDS[self._effect]

    def _climbed(self) -> frozenset[str]:
        """From the direct calls to the functions that run them, a few levels up, through the project.

        Goes by the names of calls alone: what a call runs is asked where one may be reported, and would cost
        more here than it saves there. Each file is read by itself and let go of: a project may have more of
        them than fit in memory.
        """
        found = {self._word}
        new = self._calling_in({path: [self._word] for path in files_with(self._project.shared, self._effect)})
        for _ in range(MAX_HOPS - 1):
            found |= new
            new = self._calling_in(self._by_file(new)) - found
        return frozenset(found | new)

    def _by_file(self, names: set[str]) -> dict[str, list[str]]:
        """The files that contain some names, and which; a name that is everywhere says nothing."""
        files: dict[str, list[str]] = {}
        for name in sorted(names):
            there = self._project.shared.mentioning(name)
            for path in there if len(there) <= MAX_FILES else ():
                files.setdefault(path, []).append(name)
        return files

    def _calling_in(self, files: Mapping[str, Sequence[str]]) -> set[str]:
        found: set[str] = set()
        for path, names in files.items():
            session = self._project.without(frozenset())  # what is shared must not depend on who asks
            facts = session.facts(path)
            with suppress(RecursionError):  # whatever is in one file, the others are linted
                found.update(_calling(facts, names) if facts is not None else ())
            session.close()
        return found


def files_with(shared: ParsedFiles, effect: str) -> list[str]:
    """The files that may call the library's own function of an effect."""
    paths = shared.mentioning(EFFECT_WORDS[effect])
    for word in MODULE_WORDS.get(effect, ()):
        there = set(shared.mentioning(word))
        paths = [path for path in paths if path in there]
    return paths


def _calling(facts: FileFacts, names: Sequence[str]) -> Iterator[str]:
    """Names of the functions of a file that call something of these names: that only opens the gate wider."""
    for name in names:
        for call in facts.calls_named.get(name, ()):
            yield from _opening(facts, facts.structure.function(call))


def _opening(facts: FileFacts, function: Function) -> Iterator[str]:
    """The name by which a function is called elsewhere, if it says anything."""
    if not (function.is_module or function.name == "<lambda>" or function.name.startswith("__")):
        if "hot" not in facts.framework_effects(function):
            yield function.name


def is_direct(facts: FileFacts, call: ast.Call, effect: str) -> bool:
    """Whether a call is the library's own: by its dotted name, or `empty_cache()` on an unknown device module."""
    if effect in _named_effects(facts, call):
        return True  # most calls are named in full: nothing needs to be evaluated for them
    if last_name(call) != EFFECT_WORDS[effect]:
        return False
    if effect in facts.effects(call):
        return True
    if effect != "empties_cache" or call.args or not isinstance(call.func, ast.Attribute):
        return False
    dotted = facts.names.dotted(call.func.value, facts.structure.function(call)) or ""
    if dotted.startswith("torch.") and dotted.count(".") == 1:
        return True  # a back end that nobody has described yet
    receiver = call.func.value
    if isinstance(receiver, ast.Name):  # an alias such as `device_module`, handed in or chosen at run time
        function = facts.structure.function(call)
        value = facts.value(receiver)
        return value.kind is Kind.UNKNOWN and receiver.id != function.self_name()
    return False


def _named_effects(facts: FileFacts, call: ast.Call) -> frozenset[str]:
    dotted = facts.names.dotted(call.func, facts.structure.function(call))
    signature = library().function(dotted) if dotted is not None else None
    return signature.effects if signature is not None else frozenset()


def last_name(call: ast.Call) -> str:
    """The last part of what a call calls."""
    func = call.func
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def weight(found: tuple[Guard, ...] | list[Guard]) -> int:
    """How much a set of guards holds back: 0 not at all, 2 rarely runs."""
    kinds = {guard.kind for guard in found}
    if kinds & RARE:
        return 2
    return 1 if GuardKind.OTHER in kinds else 0
