"""Findings that are accepted as they are: kept in a file, and recognised again. Pure.

A finding is recognised by its fingerprint, which knows no line numbers: what is flagged, in which function, the
how manyth. In three steps, each of which gives an entry to one finding at most: the same file and fingerprint;
the same file and flagged text, where the function is called otherwise now; the same text and function in another
file, where the entry's own file is gone or has been looked at and needs it no more (moved or renamed).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torchmemlint.model import Confidence, Finding

FORMAT = 1
KEY = "torchmemlint-baseline"
WHAT = 8
"""How much of a fingerprint names what is flagged; the rest says where."""


class BaselineError(Exception):
    """Why a text is no baseline, as the end of a sentence."""


@dataclass(frozen=True, order=True)
class Entry:
    """One accepted finding; `symbol`, `code` and `message` are for those who read the file."""

    symbol: str
    code: str
    fingerprint: str
    confidence: str
    message: str

    @property
    def what(self) -> str:
        return self.fingerprint[:WHAT]


Entries = Mapping[str, Sequence[Entry]]
"""The accepted findings of each file, by its path with forward slashes."""


@dataclass(frozen=True)
class Recognised:
    """What became of findings and entries, by path: not known, known, and entries that no finding needs."""

    new: dict[str, list[Finding]]
    known: dict[str, list[Finding]]
    unneeded: dict[str, list[Entry]]


def entry(finding: Finding) -> Entry:
    """What a baseline keeps of a finding."""
    words = " ".join(finding.message.split())
    return Entry(finding.symbol, finding.code, finding.fingerprint, finding.confidence.value, words)


def recognise(
    entries: Entries,
    found: Mapping[str, Sequence[Finding]],
    freed: Callable[[str], bool] = lambda path: False,
    renamed: Callable[[str, Finding], bool] = lambda path, finding: True,
) -> Recognised:
    """Holds findings against entries.

    freed    whether entries of a file that it does not need may stand for findings of others.
    renamed  whether a finding may be an old one of the same text in a function of another name.
    """
    left = {path: list(kept) for path, kept in entries.items()}
    known: dict[str, list[Finding]] = {path: [] for path in found}
    new: dict[str, list[Finding]] = {}
    for path in sorted(found):
        pool = left.get(path, [])
        rest = _taken(found[path], pool, known[path], lambda f: f.fingerprint, lambda e: e.fingerprint)
        new[path] = [finding for finding in rest if not renamed(path, finding)]
        again = [finding for finding in rest if renamed(path, finding)]
        new[path] += _taken(again, pool, known[path], lambda f: f.fingerprint[:WHAT], lambda e: e.what)
    for other in sorted(path for path, kept in left.items() if kept and freed(path)):
        for path in sorted(path for path, those in new.items() if those and path != other):
            new[path] = _taken(
                new[path],
                left[other],
                known[path],
                lambda f: (f.fingerprint[:WHAT], f.symbol),
                lambda e: (e.what, e.symbol),
            )
    return Recognised(new, known, {path: kept for path, kept in left.items() if kept})


def _taken(
    findings: Iterable[Finding],
    pool: list[Entry],
    known: list[Finding],
    of_finding: Callable[[Finding], object],
    of_entry: Callable[[Entry], object],
) -> list[Finding]:
    """Moves what is recognised from the findings to `known` and its entries out of the pool; gives the others."""
    rest = []
    for finding in findings:
        match = next((one for one in pool if of_entry(one) == of_finding(finding)), None)
        if match is None:
            rest.append(finding)
        else:
            pool.remove(match)
            known.append(finding)
    return rest


# ---- the file --------------------------------------------------------------------------------------


def written(entries: Entries) -> str:
    """The text of a baseline: sorted, an entry a line, without anything that changes when lines move."""
    files = []
    for path in sorted(path for path, kept in entries.items() if kept):
        rows = [f"   {_quoted(_fields(one))}" for one in sorted(entries[path])]
        files.append(f"  {_quoted(path)}: [\n" + ",\n".join(rows) + "\n  ]")
    inside = "{\n" + ",\n".join(files) + "\n }" if files else "{}"
    return f'{{\n "{KEY}": {FORMAT},\n "files": {inside}\n}}\n'


def _quoted(value: object) -> str:
    """JSON that reads well; names that are no Unicode are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.encode("utf-8", "replace").decode() == text else json.dumps(value)


def _fields(one: Entry) -> dict[str, str]:
    fields = asdict(one)
    return {name: fields[name] for name in ("code", "symbol", "message", "confidence", "fingerprint")}


def read(text: str) -> dict[str, list[Entry]]:
    """The entries in a baseline's text. Raises BaselineError."""
    try:
        data = json.loads(text)
    except ValueError as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BaselineError(f"is no baseline, or damaged{where}") from None
    except RecursionError:
        raise BaselineError("is no baseline") from None
    if not isinstance(data, dict) or not isinstance(data.get(KEY), int):
        raise BaselineError("is no baseline of torchmemlint")
    if data[KEY] > FORMAT:
        raise BaselineError(f"was written by a newer torchmemlint (format {data[KEY]}, this one reads {FORMAT})")
    try:
        return {str(path): [_entry(fields) for fields in kept] for path, kept in data["files"].items()}
    except (LookupError, TypeError, AttributeError, ValueError):
        raise BaselineError("is damaged: an entry lacks what it should have") from None


def _entry(fields: Mapping[str, Any]) -> Entry:
    made = Entry(*(fields[name] for name in ("symbol", "code", "fingerprint", "confidence", "message")))
    if not all(isinstance(value, str) for value in asdict(made).values()):
        raise ValueError
    Confidence(made.confidence)
    return made
