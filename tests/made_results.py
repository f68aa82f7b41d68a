"""Results of made-up runs for tests of reports: flagged words of files that exist only in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from torchmemlint.faces.formats.results import Results
from torchmemlint.faces.formats.texts import Texts
from torchmemlint.model import (
    Applicability,
    Confidence,
    Edit,
    Finding,
    Fix,
    Position,
    Severity,
    Span,
    Why,
)
from torchmemlint.source import Source

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
CODES = {"ALPHA": "TML101", "BETA": "TML302", "BROKEN": "TML001", "CRASH": "TML000"}
SEVERITIES = {"ALPHA": Severity.WARNING, "BETA": Severity.INFO, "BROKEN": Severity.ERROR, "CRASH": Severity.ERROR}
HARD_FILES = {
    "a folder/50% of it.py": b"import torch\nALPHA; BETA\nALPHA\n",
    "sub,dir:x/na\xefve \U0001f600.py": 'x = "日本\U0001f600é"; ALPHA(\n  1)\n'.encode(),
    "crlf.py": b"import torch\r\nif 1:\r\n\tALPHA\r\n\r\n    \r\nALPHA\r\nALPHA\r\n",
    "cr.py": b"import torch\rALPHA\rBETA\r",
    "bom.py": b"\xef\xbb\xbfimport torch; ALPHA\nALPHA",
    "latin.py": '# -*- coding: latin-1 -*-\nx = "é"; ALPHA\n'.encode("latin-1"),
    "emoji.py": 'x = "\U0001f600\U0001f600"; BETA  # \U0001f600\n\x0cALPHA\n'.encode(),
    "bad\udcff.py": b"import torch\nALPHA\n",
    "BROKEN.py": b"import torch\nBROKEN\0\n",
    "CRASH.py": b"CRASH\n",
}
_WORD = re.compile(r"(ALPHA|BETA|BROKEN|CRASH)(\([^)]*\))?")


def findings_in(path: str, data: bytes) -> list[Finding]:
    """A finding for each flagged word."""
    text = Source(path, data.replace(b"\0", b" ")).text
    found = []
    for nth, match in enumerate(_WORD.finditer(text), 1):
        span = Span(_position(text, match.start()), _position(text, match.end()))
        word = match[1]
        message = f"`{word}` costs 50%: memory, and\n time"
        why = (Why("the file `x[0](y)` imports torch", path, Span(Position(1, 0), Position(1, 6))),)
        fix = Fix(f"remove `{word}`", Applicability.SAFE, (Edit(span, "if 0:\n    pass"),))
        name, severity = f"word-{word.lower()}", SEVERITIES[word]
        found.append(
            Finding(
                path, span, CODES[word], name, severity, Confidence.HIGH, message, why, "f", fix, fingerprint=f"{nth:x}"
            )
        )
    return found


def _position(text: str, offset: int) -> Position:
    before = re.split(r"\r\n|\r|\n", text[:offset])
    return Position(len(before), len(before[-1]))


def results_of(
    files: Mapping[str, bytes],
    findings: Sequence[Finding] | None = None,
    problems: Sequence[str] = (),
    notes: Mapping[Finding, str] | None = None,
    evidence: Mapping[Finding, Mapping[str, Any]] | None = None,
) -> Results:
    """The results of linting files, or of the findings given."""
    found = findings if findings is not None else [one for path in files for one in findings_in(path, files[path])]
    texts = Texts(files.get)
    return Results(found, problems, len(files), lambda path: path, texts, STARTED, notes or {}, evidence or {})
