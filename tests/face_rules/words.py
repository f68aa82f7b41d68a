"""What the stand-in rules share: a finding for each place of a word, or a failure where the word asks for one.

`WORD` flags the word, `WORD(...)` the whole call up to the closing bracket. On the same line behind the word
`CRASH` makes the rule fail, `DIE` kills the process and `SLEEP` keeps it busy,
which a file `asleep` in the current folder tells. The fix puts `pass` in the place of the word, unless a word
on the line asks for a bad one: `BREAKS` for one that does not parse, `STAYS` for one that cures nothing,
`BRINGS` for one that brings BETA.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torchmemlint.model import Position
from torchmemlint.rule import Applicability, Confidence, Edit, Finding, Fix, Rule, Span, Why

APPLICABILITIES = {
    "ALPHA": Applicability.SAFE,
    "BETA": Applicability.UNSAFE,
    "GAMMA": Applicability.PROOF,
    "OMEGA": Applicability.SAFE,
}


def flagged(file: Any, rule: Rule, word: str, confidence: str) -> Iterator[Finding]:
    text: str = file.source.text
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if text[end : end + 1] == "(":
            end = text.index(")", end) + 1
        _misbehave(text[at:].splitlines()[0])
        span = Span(_position(text, at), _position(text, end))
        whole = Span(Position(1, 0), Position(1, 6))
        why = (Why("the file imports torch", file.source.path, whole),)
        fix = Fix(f"remove `{word}`", APPLICABILITIES[word], (Edit(span, _instead(text[at:], word)),))
        yield Finding(
            file.source.path,
            span,
            rule.code,
            rule.name,
            rule.severity,
            Confidence(confidence),
            f"`{word}` is here",
            why,
            "",
            fix,
        )
        at = text.find(word, end)


def _instead(rest: str, word: str) -> str:
    bad = {"BREAKS": "(", "STAYS": f"({word})", "BRINGS": "BETA"}
    line = rest.splitlines()[0]
    return next((text for asked, text in bad.items() if asked in line), "pass")


def _misbehave(line: str) -> None:
    if "CRASH" in line:
        raise ZeroDivisionError("asked to\ncrash")
    if "DIE" in line:
        os.kill(os.getpid(), signal.SIGKILL)
    if "SLEEP" in line:
        Path("asleep").touch()
        time.sleep(60)


def _position(text: str, at: int) -> Position:
    before = text[:at].replace("\r\n", "\n ").replace("\r", "\n")
    line = before.count("\n") + 1
    start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    return Position(line, at - start)
