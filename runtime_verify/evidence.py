"""Verdicts kept in a file, so that a machine without a device can show them and see when they are out of date.

The file is JSON: `schema`, `written_by`, and `verdicts` by the key of their case, which is a hash of what was run and
what was claimed. A finding whose key is not in the file was changed since, or never verified.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from runtime_verify import verdict as verdicts
from runtime_verify.case import Case
from runtime_verify.verdict import Verdict
from torchmemlint import __version__

SCHEMA = 1


class BadEvidence(Exception):
    """A file that is no evidence, or cannot be read or written; the message names it."""


@dataclass(frozen=True)
class Entry:
    """One verdict, and what it was about when it was made (for people: only the key counts)."""

    code: str
    path: str
    line: int
    function: str
    verdict: Verdict


def entry_of(case: Case, verdict: Verdict) -> Entry:
    """The entry that a case's verdict makes."""
    return Entry(case.code, case.path, case.line, case.original.function, verdict)


def read(path: str) -> dict[str, Entry]:
    """The entries by key; none where there is no such file. Raises BadEvidence."""
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadEvidence(f"{path}: cannot be read as evidence: {error}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise BadEvidence(f"{path}: is no evidence of schema {SCHEMA}, but of {schema}")
    try:
        return {str(key): _entry(value) for key, value in data["verdicts"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadEvidence(f"{path}: is damaged: {type(error).__name__}: {error}") from None


def merged(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> dict[str, Entry]:
    """Both, the newer verdict of a case counting, but for an inconclusive one where there was a decision."""
    kept = dict(old)
    for key, entry in new.items():
        if key not in kept or entry.verdict.decided or not kept[key].verdict.decided:
            kept[key] = entry
    return kept


def write(path: str, entries: Mapping[str, Entry]) -> None:
    """Writes the file whole or not at all, sorted so that it diffs well. Raises BadEvidence."""
    rows = [
        f"  {json.dumps(key)}: {json.dumps(_as_json(entry))}"
        for key, entry in sorted(entries.items(), key=lambda item: (item[1].path, item[1].line, item[0]))
    ]
    body = "{\n" + ",\n".join(rows) + "\n }" if rows else "{}"
    head = json.dumps(f"torchmemlint {__version__}")
    text = f'{{\n "schema": {SCHEMA},\n "written_by": {head},\n "verdicts": {body}\n}}\n'
    temporary = ""
    try:
        folder = os.path.dirname(os.path.abspath(path))
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, prefix=".evidence-", delete=False) as file:
            temporary = file.name
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise BadEvidence(f"{path}: cannot be written: {error.strerror or error}") from None


def _as_json(entry: Entry) -> dict[str, Any]:
    about = {"code": entry.code, "filename": entry.path, "row": entry.line, "function": entry.function}
    return about | verdicts.as_json(entry.verdict)


def _entry(data: Mapping[str, Any]) -> Entry:
    return Entry(
        str(data["code"]), str(data["filename"]), int(data["row"]), str(data["function"]), verdicts.from_json(data)
    )
