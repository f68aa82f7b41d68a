"""Every fix that the fixtures' findings offer: alone it cures its finding, changes nothing else and causes no other.

The goldens `bad.fixed.py` hold what all safe and unsafe fixes make of `bad.py`; `--accept` rewrites them.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from cases import FIXTURES, Case, all_cases, lint_files
from torchmemlint.fix import ON_REQUEST, apply
from torchmemlint.fix_rounds import Outcome, fix_until_quiet
from torchmemlint.model import Confidence, Edit, Finding
from torchmemlint.source import Source

Key = tuple[str, str, str, str]
BAD = [case for case in all_cases() if case.code and Path(case.name).name.startswith("bad")]


def key(files: dict[str, bytes], finding: Finding) -> Key:
    """Which finding it is, wherever it has moved to: file, code, function and flagged text without layout."""
    text = Source(finding.path, files[finding.path]).slice(finding.span)
    return (finding.path, finding.code, finding.symbol, "".join(text.split()))


def keys(files: dict[str, bytes], findings: Iterable[Finding]) -> Counter[Key]:
    return Counter(key(files, f) for f in findings if f.confidence.rank >= Confidence.MEDIUM.rank)


def spliced(text: str, edits: Iterable[Edit]) -> str:
    """The edits made in the plainest way: whatever lies between them is copied."""
    lines = text.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    done, at = "", 0
    for edit in sorted(edits):
        first = starts[edit.span.start.line - 1] + edit.span.start.column
        last = starts[edit.span.end.line - 1] + edit.span.end.column
        done += text[at:first] + edit.text
        at = last
    return done + text[at:]


def describe(finding: Finding, text: bytes) -> str:
    fix = finding.fix
    where = f"{finding.path}:{finding.span.start.line} {finding.code}"
    return f"{where} ({fix.title if fix else ''}, {fix.applicability.value if fix else ''}):\n{text.decode()}"


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_each_fix_alone(case: Case) -> None:
    before = keys(case.files, case.findings())
    for finding in case.findings():
        if finding.fix is None:
            continue
        source = Source(finding.path, case.files[finding.path])
        result = apply(source, [finding.fix])
        assert result.applied == (finding.fix,), f"{describe(finding, b'')}refused: {result.refused}"
        ast.parse(result.data)
        assert result.data.decode() == spliced(source.text, finding.fix.edits)
        files = {**case.files, finding.path: result.data}
        after = keys(files, lint_files(files, case.rules()))
        mine = key(case.files, finding)
        assert after[mine] < before[mine], f"still reported after its own fix: {describe(finding, result.data)}"
        new = after - before
        assert not new, f"the fix causes {sorted(new)}: {describe(finding, result.data)}"


def fixed(case: Case) -> Outcome:
    """All safe and unsafe fixes of a single file, round by round."""
    (path,) = case.files
    rules = case.rules()
    return fix_until_quiet(
        Source(path, case.files[path]),
        lambda source: [
            finding
            for finding in lint_files({path: source.data}, rules)
            if finding.confidence.rank >= Confidence.MEDIUM.rank
        ],
        ON_REQUEST,
    )


def golden(case: Case) -> Path:
    return FIXTURES / case.name.replace(".py", ".fixed.py")


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_golden(case: Case, accept: bool) -> None:
    outcome = fixed(case)
    (path,) = case.files
    changed = outcome.data != case.files[path]
    if accept:
        if changed:
            golden(case).write_bytes(outcome.data)
        else:
            golden(case).unlink(missing_ok=True)
    assert not outcome.refused
    assert golden(case).exists() == changed, "run pytest tests/test_fixes.py --accept, and read what it wrote"
    if changed:
        assert outcome.data.decode() == golden(case).read_text(encoding="utf-8")
        ast.parse(outcome.data)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_fixing_again_changes_nothing(case: Case) -> None:
    once = fixed(case)
    (path,) = case.files
    again = fixed(Case(case.name + " fixed", case.code, {path: once.data}))
    assert again.data == once.data and not again.fixed


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_all_fixes_together_cure_and_cause_nothing(case: Case) -> None:
    (path,) = case.files
    outcome = fixed(case)
    before = keys(case.files, case.findings())
    after = keys({path: outcome.data}, outcome.left)
    assert not after - before
    offered = [f for f in case.findings() if f.fix and f.fix.applicability in ON_REQUEST]
    cured = keys(case.files, offered)
    assert all(after[which] <= before[which] - count for which, count in cured.items())
