"""The files of a project seen through one question: facts of each, definitions across them, callers.

A project is a session over shared parsed files. Every file is linted in a session of its own, so findings
do not depend on which other files were linted, or in what order.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torchmemlint.facts.memory import Memory
from torchmemlint.facts.parsed_files import Files, ParsedFiles
from torchmemlint.facts.words import contains

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts
    from torchmemlint.facts.reach import Reach
    from torchmemlint.facts.structure import Class, Function

__all__ = ["Files", "Project", "TooManyCallers"]

EFFECT_WORDS = {"empties_cache": "empty_cache", "collects_garbage": "collect", "synchronizes": "synchronize"}
"""How the library's own function of an effect is called."""
MODULE_WORDS = {"collects_garbage": ("gc",)}
"""What else stands in a file that calls it by its name; `collect` alone is part of many words."""
REEXPORTS = 6
MAX_CALLER_FILES = 150
MAX_ENTERED = 1_000_000
"""Bytes of other files after which a session looks for no more callers; after twice as many it opens no more files."""


class Project:
    """A lazy view of the files that belong together."""

    gate: tuple[str, ...] = ("torch",)

    def __init__(
        self, files: Files | None = None, shared: ParsedFiles | None = None, unseen: frozenset[str] = frozenset()
    ) -> None:
        self.shared = shared if shared is not None else ParsedFiles(files)
        self._unseen = unseen
        self.memory = Memory()
        self._facts: dict[str, FileFacts | None] = {}
        self._given: list[FileFacts] = []
        self._caller_paths: dict[tuple[str, str], list[str] | None] = {}
        self._entered_bytes = 0
        self._level = 0
        self._reach: dict[str, Reach] = {}
        self._loaded: dict[str, FileFacts] = {}
        self.classes: dict[str, tuple[FileFacts, Class]] = {}

    def session(self) -> Project:
        """A fresh view of the same files that has inferred nothing yet."""
        return Project(shared=self.shared, unseen=self._unseen)

    def without(self, paths: frozenset[str]) -> Project:
        """The same project where nothing is known of some files."""
        return Project(shared=self.shared, unseen=paths)

    def seeing(self, path: str, data: bytes) -> Project:
        """The same project with other content in the file that the user calls `path`."""
        return Project(shared=self.shared.seeing(self.shared.relative(path), data))

    def close(self) -> None:
        """End the session: nothing that was inferred in it stays in memory, without waiting for the collector."""
        for facts in self._facts.values():
            if facts is not None:
                facts.forget()
        for held in (self._facts, self._given, self._reach, self._loaded, self.classes):
            held.clear()
        self.memory = Memory()

    # ---- files ------------------------------------------------------------------------------------

    def enter(self, facts: FileFacts) -> None:
        """Make these the facts of their file: questions from other files lead back to the same nodes."""
        self._given.append(facts)
        self._know(facts)

    def _know(self, facts: FileFacts) -> None:
        self._facts[facts.relative] = facts
        self._loaded[facts.module] = facts

    def facts(self, relative: str) -> FileFacts | None:
        """The facts of a file, or None where it cannot be read or parsed, or the session has opened too many."""
        from torchmemlint.facts.file_facts import FileFacts

        if relative not in self._facts:
            self._facts[relative] = None
            full = self._entered_bytes >= 2 * MAX_ENTERED
            parsed = self.shared.parse(relative) if not full and relative not in self._unseen else None
            if parsed is not None:
                self._entered_bytes += len(parsed.source.data)
                self._know(FileFacts(parsed, relative, self))
        return self._facts[relative]

    def entered(self) -> list[str]:
        """The files whose facts are at hand."""
        return [relative for relative, facts in self._facts.items() if facts is not None]

    def by_key(self, key: str) -> tuple[FileFacts, Function | Class] | None:
        """A function or class by its key, among the files understood so far."""
        parts = key.split(".")
        for size in range(len(parts) - 1, 0, -1):
            facts = self._loaded.get(".".join(parts[:size]))
            if facts is not None:
                own = facts.own(".".join(parts[size:]))
                if own is not None:
                    return facts, own
        return None

    @contextmanager
    def asking(self) -> Iterator[int]:
        """How many questions wait for the answer to this one, itself among them."""
        self._level += 1
        try:
            yield self._level
        finally:
            self._level -= 1

    # ---- definitions ------------------------------------------------------------------------------

    def definition(self, dotted: str, near: str, depth: int = 0) -> tuple[FileFacts, Function | Class] | None:
        """The function or class of the project that a dotted name means when used in the file `near`."""
        parts = dotted.split(".")
        for size in range(len(parts) - 1, 0, -1):
            path = self.shared.module(".".join(parts[:size]), near)
            if path is None:
                continue
            facts = self.facts(path)
            return self._member(facts, parts[size:], depth) if facts is not None else None
        return None

    def _member(self, facts: FileFacts, rest: list[str], depth: int) -> tuple[FileFacts, Function | Class] | None:
        if depth > REEXPORTS or not rest:
            return None
        own = facts.own(".".join(rest))
        if own is not None:
            return facts, own
        dotted = facts.names.name(rest[0], facts.structure.body)
        if dotted is not None and not dotted.startswith("builtins."):
            if dotted.startswith(f"{facts.module}."):
                local = facts.own(dotted[len(facts.module) + 1 :])
                if local is not None:
                    return (facts, local) if len(rest) == 1 else None
            return self.definition(".".join([dotted, *rest[1:]]), facts.relative, depth + 1)
        for star in facts.names.stars:
            found = self.definition(".".join([star, *rest]), facts.relative, depth + 1)
            if found is not None:
                return found
        return None

    def reach(self, effect: str) -> Reach:
        """Which calls of the project end in an effect."""
        from torchmemlint.facts.reach import Reach

        if effect not in self._reach:
            self._reach[effect] = Reach(self, effect)
        return self._reach[effect]

    def carrier_names(self, effect: str) -> frozenset[str]:
        """Names of functions that end in an effect; where no file has its word there are none to look for."""
        word = EFFECT_WORDS[effect]
        words = (word, *MODULE_WORDS.get(effect, ()))
        if effect not in self.shared.carriers and not all(self.shared.mentioning(one) for one in words):
            return frozenset((word,))
        return self.reach(effect).names()

    # ---- callers ----------------------------------------------------------------------------------

    def mentioning(self, word: str) -> list[str]:
        """Files that contain a word, those entered here among them, which may have other content than on the disk."""
        given = [facts.relative for facts in self._given if contains(facts.source.data, word)]
        return list(dict.fromkeys([*self.shared.mentioning(word), *given]))

    def callers(self, function: Function, facts: FileFacts) -> Iterator[tuple[FileFacts, ast.Call]]:
        """Calls that may run a function, in its own file and in others. Raises TooManyCallers."""
        name = function.name if function.name != "__init__" else (function.owner.node.name if function.owner else "")
        yield from facts.calls_to(function, name)
        if function.outer is not None and not function.outer.is_module and function.owner is None:
            return  # a nested function is called where it is defined
        for path in self._caller_files(name, facts.relative):
            other = self.facts(path)
            if other is not None:
                yield from other.calls_to(function, name)

    def _caller_files(self, name: str, own: str) -> list[str]:
        """Other files that may call a name. Decided when first asked, so that asking again gets the same answer."""
        key = (name, own)
        if key not in self._caller_paths:
            paths = [path for path in self.mentioning(name) if path != own]
            if len(paths) > MAX_CALLER_FILES:  # a short name is part of many words
                called = set(self.mentioning(f"{name}("))
                paths = [path for path in paths if path in called]
            too_many = paths and (len(paths) > MAX_CALLER_FILES or self._entered_bytes >= MAX_ENTERED)
            self._caller_paths[key] = None if too_many else paths
        found = self._caller_paths[key]
        if found is None:
            raise TooManyCallers
        return found


class TooManyCallers(Exception):
    """The name is so common, or so much was read already, that looking for its callers would read the whole project."""
