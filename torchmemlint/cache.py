"""Findings of an earlier run, and which of them still hold: an answer holds while nothing it rests on has changed.

Pure but for `load` and `save`. A store tells of one state of a project's files, all of it together, so whichever
of two runs writes last leaves a store that is right. What cannot be read, is cut short, or was made by another
version is as if it were not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torchmemlint.facts.consulted import Basis, module_name
from torchmemlint.facts.words import contains
from torchmemlint.model import Applicability, Confidence, Edit, Finding, Fix, Position, Severity, Span, Why

MAGIC = "torchmemlint cache 1"
IGNORE = "# Made by torchmemlint. May be deleted at any time.\n*\n"
MOST_CHANGED = 0.3
"""Share of the files that have changed from which on the old answers are not worth the look."""


def digest(data: bytes | None) -> str:
    """A name for some content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest() if data is not None else ""


@dataclass(frozen=True)
class Answer:
    """The findings of one file. `digest` names its content and what else they were asked with."""

    digest: str
    findings: tuple[Finding, ...]
    basis: Basis


@dataclass
class Store:
    """What is known of a project.

    digests   of all its files, by path.
    answers   by path.
    carriers  effect -> names of functions that end in it, and what that rests on.
    mentions  word -> the files that contain it, of all words that something here rests on.
    """

    digests: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    carriers: dict[str, tuple[frozenset[str], Basis]] = field(default_factory=dict)
    mentions: dict[str, frozenset[str]] = field(default_factory=dict)


# ---- what still holds ------------------------------------------------------------------------------


def brought_up_to_date(
    store: Store,
    digests: Mapping[str, str],
    read: Callable[[str], bytes | None],
    carriers: Callable[[str], tuple[frozenset[str], Basis]],
) -> Store:
    """What of a store holds for the files as they are now.

    digests   of the files now.
    read      a file's bytes.
    carriers  works out anew which functions end in an effect.
    """
    changed = {path for path in {*store.digests, *digests} if store.digests.get(path) != digests.get(path)}
    if not changed:
        return store
    if len(changed) > MOST_CHANGED * len(digests):
        return Store(dict(digests))
    stale = _Stale(store, changed, digests, read)
    kept: dict[str, tuple[frozenset[str], Basis]] = {}
    spoken_of: dict[str, _Naming] = {}
    for effect, (names, basis) in store.carriers.items():
        kept[effect] = (names, basis) if stale.holds(basis) else carriers(effect)
        if names != kept[effect][0]:
            spoken_of[effect] = _Naming(names ^ kept[effect][0], read)
    answers = {
        path: answer
        for path, answer in store.answers.items()
        if path not in changed
        and stale.holds(answer.basis)
        and not any(
            naming.any_of({path, *answer.basis.files})
            for effect, naming in spoken_of.items()
            if effect in answer.basis.effects
        )
    }
    mentions = {word: paths for word, paths in store.mentions.items() if word not in stale.words}
    return Store(dict(digests), answers, kept, mentions)


class _Stale:
    """What of a basis no longer holds."""

    def __init__(
        self, store: Store, changed: set[str], digests: Mapping[str, str], read: Callable[[str], bytes | None]
    ) -> None:
        self._changed = changed
        contents = {path: (read(path) or b"") if path in digests else b"" for path in changed}
        self.words = {
            word
            for word, paths in store.mentions.items()
            if any((path in paths) != contains(data, word) for path, data in contents.items())
        }
        moved = [path for path in changed if (path in digests) != (path in store.digests)]
        self._modules = frozenset(module_name(path).rpartition(".")[2] for path in moved)
        self._packages = any(path.endswith("__init__.py") for path in moved)

    def holds(self, basis: Basis) -> bool:
        """Whether the same questions would get the same answers."""
        if not basis.files.isdisjoint(self._changed) or not basis.words.isdisjoint(self.words):
            return False
        return not (self._packages and basis.modules) and basis.modules.isdisjoint(self._modules)


class _Naming:
    """Which files have some names in them; calls of other names are answered as they were."""

    def __init__(self, names: frozenset[str], read: Callable[[str], bytes | None]) -> None:
        self._names = [name.encode("utf-8", "surrogatepass") for name in names]
        self._read = read
        self._known: dict[str, bool] = {}

    def any_of(self, paths: set[str]) -> bool:
        return any(self._has(path) for path in paths)

    def _has(self, path: str) -> bool:
        if path not in self._known:
            data = self._read(path) or b""
            self._known[path] = any(name in data for name in self._names)
        return self._known[path]


# ---- on disk ---------------------------------------------------------------------------------------


def load(path: str, key: str) -> Store:
    """The store in a file; an empty one where there is none that was made with the same `key`."""
    if not os.path.isfile(path):  # reading a pipe would wait for ever
        return Store()
    try:
        with open(path, encoding="utf-8") as file:
            head = file.readline().split("\t")
            text = file.read()
        if head == [MAGIC, key, f"{digest(text.encode())}\n"]:
            return _unpacked(json.loads(text))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass
    return Store()


def save(store: Store, path: str, key: str) -> None:
    """Writes a store whole or not at all; a disk that cannot take it is no error."""
    import tempfile  # slow to import, and most runs have nothing new to keep

    text = json.dumps(_packed(store), separators=(",", ":"), ensure_ascii=True)
    folder = os.path.dirname(path)
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
        ignore = os.path.join(folder, ".gitignore")
        if not os.path.exists(ignore):
            with open(ignore, "w", encoding="utf-8") as file:
                file.write(IGNORE)
        handle, draft = tempfile.mkstemp(dir=folder, suffix=".part")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(f"{MAGIC}\t{key}\t{digest(text.encode())}\n{text}")
            os.replace(draft, path)
        except OSError:
            os.unlink(draft)
            raise


class _Numbers:
    """Texts that occur often, as numbers."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def of(self, texts: frozenset[str]) -> list[int]:
        return [self.texts.setdefault(text, len(self.texts)) for text in sorted(texts)]


def _packed(store: Store) -> dict[str, Any]:
    numbers = _Numbers()

    def basis(one: Basis) -> list[list[int]]:
        return [numbers.of(texts) for texts in (one.files, one.words, one.modules, one.effects)]

    answers = {
        path: [one.digest, [_finding_out(finding) for finding in one.findings], basis(one.basis)]
        for path, one in store.answers.items()
    }
    carriers = {effect: [sorted(names), basis(rests)] for effect, (names, rests) in store.carriers.items()}
    mentions = {word: numbers.of(paths) for word, paths in store.mentions.items()}
    made = {"digests": store.digests, "answers": answers, "carriers": carriers, "mentions": mentions}
    return made | {"texts": list(numbers.texts)}


def _unpacked(data: dict[str, Any]) -> Store:
    texts = data["texts"]

    def several(numbers: list[int]) -> frozenset[str]:
        return frozenset([texts[number] for number in numbers])

    def basis(parts: list[list[int]]) -> Basis:
        return Basis(*map(several, parts))

    answers = {
        path: Answer(name, tuple(map(_finding_in, findings)), basis(rests))
        for path, (name, findings, rests) in data["answers"].items()
    }
    carriers = {effect: (frozenset(names), basis(rests)) for effect, (names, rests) in data["carriers"].items()}
    mentions = {word: several(numbers) for word, numbers in data["mentions"].items()}
    return Store(data["digests"], answers, carriers, mentions)


def _finding_out(one: Finding) -> list[Any]:
    why = [[step.message, step.path, _span_out(step.span), step.cell, _stored_out(step.stored)] for step in one.why]
    edits = [[_span_out(edit.span), edit.text, edit.cell] for edit in one.fix.edits] if one.fix else []
    fix = one.fix and [one.fix.title, one.fix.applicability.value, edits]
    names = [one.code, one.name, one.severity.value, one.confidence.value, one.message]
    placed = [one.cell, _stored_out(one.stored)]
    return [one.path, _span_out(one.span), *names, why, one.symbol, fix, *placed, one.fingerprint]


def _finding_in(data: list[Any]) -> Finding:
    path, span, code, name, severity, confidence, message, why, symbol, fix, cell, stored, fingerprint = data
    steps = tuple(Why(text, where, _span_in(at), inside, _stored_in(there)) for text, where, at, inside, there in why)
    made = None
    if fix is not None:
        edits = tuple(Edit(_span_in(at), text, inside) for at, text, inside in fix[2])
        made = Fix(fix[0], Applicability(fix[1]), edits)
    ranks = Severity(severity), Confidence(confidence)
    placed = cell, _stored_in(stored)
    return Finding(path, _span_in(span), code, name, *ranks, message, steps, symbol, made, *placed, fingerprint)


def _span_out(span: Span) -> list[int]:
    return [span.start.line, span.start.column, span.end.line, span.end.column]


def _span_in(numbers: list[int]) -> Span:
    line, column, end_line, end_column = numbers
    return Span(Position(line, column), Position(end_line, end_column))


def _stored_out(span: Span | None) -> list[int] | None:
    return _span_out(span) if span is not None else None


def _stored_in(numbers: list[int] | None) -> Span | None:
    return _span_in(numbers) if numbers is not None else None
