"""The files of a project as parsed text: read, parsed and indexed once, shared by all that ask.

Holds nothing inferred, so what one question learns cannot change the answer to another. Bounded: the
trees of files not asked for lately are dropped and parsed again when needed.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from torchmemlint.facts.consulted import Basis, Consulted, module_name
from torchmemlint.facts.words import Words, contains
from torchmemlint.source import BadFile, Source, Tree

if TYPE_CHECKING:
    from torchmemlint.facts.parsed import Parsed

MAX_FILE = 2_000_000
MAX_KEPT = 8_000_000  # bytes of source text whose trees are kept; a tree takes fifty times as much


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


class Edited:
    """A project's files, one of them with other content than it has."""

    def __init__(self, files: Files, path: str, data: bytes) -> None:
        self._files = files
        self._path = path
        self._data = data
        self.paths = files.paths
        self.relative = files.relative
        self.named = files.named

    def read(self, path: str) -> bytes | None:
        """The bytes of one file."""
        return self._data if path == self._path else self._files.read(path)


class ParsedFiles:
    """All files of a project, parsed when asked for."""

    def __init__(self, files: Files | None) -> None:
        self.files = files
        self.carriers: dict[str, tuple[frozenset[str], Basis]] = {}  # effect -> names of functions that end in it
        self.consulted = Consulted()
        self._kept: OrderedDict[str, Parsed | None] = OrderedDict()
        self._kept_bytes = 0
        self._dropped_bytes = 0
        self._mentions: dict[str, list[str]] = {}
        self._words = Words(files.paths, files.read) if files is not None else None
        self._modules: dict[str, list[tuple[tuple[str, ...], str]]] | None = None
        self._packages: set[str] = set()

    def seeing(self, relative: str, data: bytes) -> ParsedFiles:
        """The same project with other content in one of its files; what does not rest on that is not asked again."""
        before = self.files.read(relative) if self.files is not None else None
        if self.files is None or before is None or before == data:
            return self
        made = ParsedFiles(Edited(self.files, relative, data))
        made._kept = OrderedDict((path, one) for path, one in self._kept.items() if path != relative)
        made._kept_bytes = sum(len(one.source.data) for one in made._kept.values() if one is not None)
        made._modules, made._packages = self._modules, self._packages
        words = {word for word in self._mentions if contains(before, word) != contains(data, word)}
        made._mentions = {word: paths for word, paths in self._mentions.items() if word not in words}
        made.carriers = {
            effect: (names, basis)
            for effect, (names, basis) in self.carriers.items()
            if relative not in basis.files and basis.words.isdisjoint(words)
        }
        return made

    @contextmanager
    def recording(self) -> Iterator[Consulted]:
        """What is asked in the block, apart from what is asked around it."""
        outer, self.consulted = self.consulted, Consulted()
        try:
            yield self.consulted
        finally:
            self.consulted = outer

    @property
    def mentions(self) -> Mapping[str, list[str]]:
        """The words looked for so far, and the files that contain them."""
        return self._mentions

    def relative(self, path: str) -> str:
        """The root-relative form of a path; a path outside stands for itself."""
        found = self.files.relative(path) if self.files is not None else None
        return found if found is not None else path

    def parse(self, relative: str) -> Parsed | None:
        """A parsed file, or None where it cannot be read or parsed."""
        self.consulted.files.add(relative)
        if relative in self._kept:
            self._kept.move_to_end(relative)
            return self._kept[relative]
        return self._keep(relative, self._parse(relative))

    def adopt(self, source: Source) -> None:
        """Give a file that is to be linted the tree that it already has here."""
        kept = self._kept.get(self.relative(source.path))
        if kept is not None and kept.source.path == source.path and kept.source.data == source.data:
            source.screen = kept.source.screen

    def of(self, source: Source, tree: Tree) -> Parsed:
        """The shape and names of a file that is linted; shared where the tree is what others would see too."""
        relative = self.relative(source.path)
        kept = self._kept.get(relative)
        if kept is not None and kept.tree is tree:
            return kept
        from torchmemlint.facts.parsed import parsed  # most files come to no rule

        made = parsed(source, tree, relative)
        if relative not in self._kept and tree is source.screen and self._is_on_disk(source, relative):
            self._keep(relative, made)
        return made

    def _is_on_disk(self, source: Source, relative: str) -> bool:
        if self.files is None or len(source.data) > MAX_FILE or self.files.named(relative) != source.path:
            return False
        return self.files.read(relative) == source.data

    def _keep(self, relative: str, made: Parsed | None) -> Parsed | None:
        self._kept[relative] = made
        self._kept_bytes += len(made.source.data) if made is not None else 0
        while self._kept_bytes > MAX_KEPT and len(self._kept) > 1:
            self._drop_oldest()
        if self._dropped_bytes > MAX_KEPT:
            self._collect()
        return made

    def drop_trees(self) -> None:
        """Forget all trees, and what can be parsed again; the index and what else was learnt stays."""
        while self._kept:
            self._drop_oldest()
        if self._dropped_bytes:
            self._collect()

    def _drop_oldest(self) -> None:
        _, dropped = self._kept.popitem(last=False)
        size = len(dropped.source.data) if dropped is not None else 0
        self._kept_bytes -= size
        self._dropped_bytes += size

    def _collect(self) -> None:
        """Functions and classes of a tree point at each other: only the collector gets rid of them."""
        self._dropped_bytes = 0
        gc.collect()

    def _parse(self, relative: str) -> Parsed | None:
        data = self.files.read(relative) if self.files is not None else None
        if data is None or len(data) > MAX_FILE or self.files is None:
            return None
        from torchmemlint.facts.parsed import parsed

        try:
            source = Source(self.files.named(relative), data)
            return parsed(source, source.screen or source.tree, relative)
        except (BadFile, RecursionError):
            return None

    def mentioning(self, word: str) -> list[str]:
        """Files that contain a word, in the order of their paths."""
        self.consulted.words.add(word)
        if word not in self._mentions:
            self._mentions[word] = self._words.files_with(word) if self._words is not None else []
        return self._mentions[word]

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
        self.consulted.modules.add(wanted[-1])
        best: tuple[int, str] | None = None
        here = near.split("/")[:-1]
        for parts, path in self._index().get(wanted[-1], ()):
            if parts[-len(wanted) :] != wanted:
                continue
            base = list(parts[: -len(wanted)])
            if here[: len(base)] == base or self._is_root(base):
                shared = _shared(here, path.split("/")[:-1])
                if best is None or shared > best[0]:
                    best = (shared, path)
        return best[1] if best else None

    def _is_root(self, base: list[str]) -> bool:
        """A folder that is no package, near the top, is a place that code is imported from (`src/`)."""
        return len(base) <= 2 and "/".join(base) not in self._packages


def _shared(one: list[str], two: list[str]) -> int:
    """How many leading folders two paths have in common."""
    count = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        count += 1
    return count
