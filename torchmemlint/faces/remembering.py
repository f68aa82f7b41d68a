"""Which findings of earlier runs still hold, and what this one found, for the next.

The projects' files are read and hashed each time: nothing is believed for its date. May not lint or print.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

import torchmemlint
from torchmemlint.cache import Answer, Store, brought_up_to_date, digest, load, save
from torchmemlint.disk import DiskFiles, Target, read_bytes
from torchmemlint.faces.check import Checker
from torchmemlint.facts.consulted import Basis
from torchmemlint.facts.parsed_files import Files
from torchmemlint.model import Finding
from torchmemlint.rule import INTERNAL_ERROR

FOLDER = ".torchmemlint_cache"
Carriers = dict[str, tuple[frozenset[str], Basis]]
Found = tuple[Target, str, tuple[Finding, ...], Basis]
"""A file, the name of its content, its findings and what they rest on."""


@dataclass(frozen=True)
class Learnt:
    """What a worker came to know of one project: who carries which effect, which files contain which words."""

    carriers: Mapping[str, tuple[frozenset[str], Basis]] = field(default_factory=dict)
    mentions: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Remembered:
    """The stores of the projects that files belong to, each opened when the first of its files is asked for."""

    def __init__(self, checker: Checker, folder: str = "") -> None:
        self._checker = checker
        self._folder = folder
        self._projects: dict[str, _Project] = {}

    def recall(self, target: Target) -> tuple[Finding, ...] | None:
        """The findings of a file if an earlier run's still hold, None if it has to be linted."""
        data = read_bytes(target.path)
        if data is None:
            return None
        project = self._project(self._checker.root(os.path.dirname(target.path)))
        answer = project.store.answers.get(project.called(target))
        return answer.findings if answer is not None and answer.digest == self._checker.named(target, data) else None

    def carriers(self) -> dict[str, Carriers]:
        """What is known of the projects, by root, for those who go on linting."""
        return {root: dict(project.store.carriers) for root, project in self._projects.items()}

    def keep(self, found: Iterable[Found], learnt: Iterable[tuple[str, Learnt]]) -> None:
        """Adds what was found and writes the stores of the projects whose files have stayed as they were."""
        for root, one in learnt:
            self._project(root).learn(one)
        for target, name, findings, basis in found:
            self._project(self._checker.root(os.path.dirname(target.path))).add(target, Answer(name, findings, basis))
        for project in self._projects.values():
            project.write()

    def _project(self, root: str) -> _Project:
        if root not in self._projects:
            self._projects[root] = _Project(self._checker, root, self._folder or os.path.join(root, FOLDER))
        return self._projects[root]


class _Project:
    """One project's store, brought up to date."""

    def __init__(self, checker: Checker, root: str, folder: str) -> None:
        files = checker.project(root).shared.files
        assert files is not None
        self._files: Files = files
        self._root = root
        self._key = _version()
        self._path = os.path.join(folder, digest(f"{root}\0{os.getcwd()}".encode("utf-8", "surrogateescape")) + ".json")
        self._seen = self._stats()
        digests = {path: digest(read_bytes(self._full(path))) for path in self._seen}
        old = load(self._path, self._key)
        self.store = brought_up_to_date(old, digests, files.read, lambda effect: _carriers(checker, root, effect))
        self._changed = self.store is not old
        if not (old.digests or old.answers):  # a project may be notebooks alone
            self.store = Store(digests)
        found = checker.project(root).shared.mentions  # what working out the carriers anew has looked for
        self._mentions: dict[str, frozenset[str]] = {
            **self.store.mentions,
            **{word: frozenset(paths) for word, paths in found.items()},
        }

    def called(self, target: Target) -> str:
        """What the store calls a file: relative to the root, so that the same folder elsewhere has another name."""
        return self._files.relative(target.path) or target.path

    def learn(self, one: Learnt) -> None:
        self.store.carriers.update(one.carriers)
        self._mentions.update({word: frozenset(paths) for word, paths in one.mentions.items()})
        self._changed = True

    def add(self, target: Target, answer: Answer) -> None:
        if all(finding.code != INTERNAL_ERROR for finding in answer.findings):
            self.store.answers[self.called(target)] = answer
            self._changed = True

    def write(self) -> None:
        """Unless a file has changed since it was hashed: then nobody knows which state was linted."""
        if not self._changed or self._stats() != self._seen:
            return
        rests = [answer.basis for answer in self.store.answers.values()]
        rests += [basis for _, basis in self.store.carriers.values()]
        wanted = frozenset().union(*(basis.words for basis in rests))
        if not wanted <= self._mentions.keys():
            return
        self.store.mentions = {word: self._mentions[word] for word in wanted}
        save(self.store, self._path, self._key)

    def _full(self, path: str) -> str:
        return os.path.join(self._root, path.replace("/", os.sep))

    def _stats(self) -> dict[str, tuple[int, int, int] | None]:
        """The files that are there now, and what tells whether one of them is written to."""
        return {path: _stat(self._full(path)) for path in DiskFiles(self._root).paths()}


def _stat(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _carriers(checker: Checker, root: str, effect: str) -> tuple[frozenset[str], Basis]:
    """Works out anew which functions of a project end in an effect."""
    project = checker.project(root)
    project.reach(effect).names()
    return project.shared.carriers[effect]


def _version() -> str:
    """What findings depend on besides the files: Python's grammar, libcst, and every file of ours."""
    libcst = find_spec("libcst")
    parts = [torchmemlint.__version__, str(sys.version_info[:3])]
    if libcst is not None and libcst.origin:
        parts.append(f"{libcst.origin} {os.stat(libcst.origin).st_mtime_ns}")
    for folder, folders, names in os.walk(os.path.dirname(torchmemlint.__file__)):
        folders[:] = sorted(set(folders) - {"__pycache__"})
        for name in sorted(names):
            found = os.stat(os.path.join(folder, name))
            parts.append(f"{name} {found.st_size} {found.st_mtime_ns}")
    return digest("\0".join(parts).encode("utf-8", "surrogateescape"))
