"""The other files of a project, read and understood only when a question needs them.

Maps dotted names to files the way Python would from the importing file, follows re-exports, and finds
the callers of a function. Reads only through the `Files` it was given.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from torchmemlint.facts.structure import Class, Function
from torchmemlint.source import BadFile, Source

if TYPE_CHECKING:
    from torchmemlint.facts.reach import Reach
    from torchmemlint.facts.file_facts import FileFacts

REEXPORTS = 6
MAX_CALLER_FILES = 150
MAX_FILE = 2_000_000


class Files(Protocol):
    """Where a project's files come from; the faces give the disk, tests may give a dict."""

    def paths(self) -> Iterable[str]:
        """All Python files of the project, as paths relative to its root with forward slashes."""

    def read(self, path: str) -> bytes | None:
        """The bytes of one of them, or None where it cannot be read."""

    def relative(self, path: str) -> str | None:
        """A path as the user named it, made relative to the root; None where it lies outside."""

    def named(self, path: str) -> str:
        """A root-relative path as the user would name it."""


class Project:
    """A lazy view of the files that belong together."""

    gate: tuple[str, ...] = ("torch",)

    def __init__(self, files: Files | None = None) -> None:
        self.files = files
        self._facts: dict[str, FileFacts | None] = {}
        self._modules: dict[str, list[tuple[tuple[str, ...], str]]] | None = None
        self._mentions: dict[str, list[str]] = {}
        self._packages: set[str] = set()
        self._reach: dict[str, Reach] = {}
        self._loaded: dict[str, FileFacts] = {}
        self.classes: dict[str, tuple[FileFacts, Class]] = {}

    # ---- files ------------------------------------------------------------------------------------

    def relative(self, path: str) -> str:
        """The root-relative form of a path; an unknown path stands for itself."""
        found = self.files.relative(path) if self.files is not None else None
        return found if found is not None else path

    def enter(self, facts: FileFacts) -> None:
        """Make these the facts of their file: questions from other files lead back to the same nodes."""
        self._facts[facts.relative] = facts
        self._loaded[facts.module] = facts

    def facts(self, relative: str) -> FileFacts | None:
        """The facts of a file, or None where it cannot be read or parsed."""
        from torchmemlint.facts.file_facts import FileFacts

        if relative not in self._facts:
            self._facts[relative] = None  # a file that imports itself in a circle finds nothing twice
            data = self.files.read(relative) if self.files is not None else None
            if data is not None and len(data) <= MAX_FILE:
                assert self.files is not None
                try:
                    source = Source(self.files.named(relative), data)
                    self.enter(FileFacts(source, source.screen or source.tree, self))
                except (BadFile, RecursionError):
                    pass
        return self._facts[relative]

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

    # ---- modules ----------------------------------------------------------------------------------

    def _index(self) -> dict[str, list[tuple[tuple[str, ...], str]]]:
        if self._modules is None:
            self._modules = {}
            for path in self.files.paths() if self.files is not None else ():
                if not path.endswith(".py"):
                    continue
                parts = tuple(module_name(path).split("."))
                self._modules.setdefault(parts[-1], []).append((parts, path))
                if path.endswith("__init__.py"):
                    self._packages.add("/".join(path.split("/")[:-1]))
        return self._modules

    def module(self, dotted: str, near: str) -> str | None:
        """The file of an absolute module name, as imported from the file `near`."""
        wanted = tuple(dotted.split("."))
        best: tuple[int, str] | None = None
        here = near.split("/")[:-1]
        for parts, path in self._index().get(wanted[-1], ()):
            if parts[-len(wanted) :] != wanted:
                continue
            base = list(parts[: -len(wanted)])
            if here[: len(base)] == base or self._is_root(base):
                shared = sum(1 for _ in _common(here, path.split("/")[:-1]))
                if best is None or shared > best[0]:
                    best = (shared, path)
        return best[1] if best else None

    def _is_root(self, base: list[str]) -> bool:
        """A folder that is no package, near the top, is a place that code is imported from (`src/`)."""
        return len(base) <= 2 and "/".join(base) not in self._packages

    def definition(self, dotted: str, near: str, depth: int = 0) -> tuple[FileFacts, Function | Class] | None:
        """The function or class of the project that a dotted name means when used in the file `near`."""
        parts = dotted.split(".")
        for size in range(len(parts) - 1, 0, -1):
            path = self.module(".".join(parts[:size]), near)
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

    # ---- callers ----------------------------------------------------------------------------------

    def mentioning(self, word: str) -> list[str]:
        """Files that contain a word."""
        if word not in self._mentions:
            found: list[str] = []
            needle = word.encode()
            for path in self.files.paths() if self.files is not None else ():
                data = self.files.read(path) if self.files is not None else None
                if data is not None and needle in data:
                    found.append(path)
            entered = [facts for facts in self._facts.values() if facts is not None and needle in facts.source.data]
            self._mentions[word] = list(dict.fromkeys([*found, *[facts.relative for facts in entered]]))
        return self._mentions[word]

    def callers(self, function: Function, facts: FileFacts) -> Iterator[tuple[FileFacts, ast.Call]]:
        """Calls that may run a function, in its own file and in others. Raises TooManyCallers."""
        name = function.name if function.name != "__init__" else (function.owner.node.name if function.owner else "")
        yield from facts.calls_to(function, name)
        if function.outer is not None and not function.outer.is_module and function.owner is None:
            return  # a nested function is called where it is defined
        paths = [path for path in self.mentioning(name) if path != facts.relative]
        if len(paths) > MAX_CALLER_FILES:
            raise TooManyCallers
        for path in paths:
            other = self.facts(path)
            if other is not None:
                yield from other.calls_to(function, name)


class TooManyCallers(Exception):
    """The name is so common that looking for its callers would read the whole project."""


def module_name(relative: str) -> str:
    """The dotted name of a root-relative path."""
    name = relative.removesuffix(".py").removesuffix(".pyi").replace("/", ".")
    return name.removesuffix(".__init__") if name.endswith(".__init__") else name


def _common(one: list[str], two: list[str]) -> Iterator[str]:
    for a, b in zip(one, two, strict=False):
        if a != b:
            return
        yield a
