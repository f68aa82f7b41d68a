"""Fixing and linting again: a fix is kept when its finding goes and none comes, else refused with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from torchmemlint.fix import ON_REQUEST, SAFE_ONLY
from torchmemlint.fix_rounds import Lint, fix_until_quiet
from torchmemlint.model import Applicability, Confidence, Edit, Finding, Fix, Position, Severity, Span
from torchmemlint.source import Source


def replacing(
    old: str, new: str, how: Applicability = Applicability.SAFE, code: str = "TML999"
) -> Callable[[Source], Iterator[Finding]]:
    """A linter that finds a word wherever it stands and offers another one."""

    def lint(source: Source) -> Iterator[Finding]:
        for number, line in enumerate(source.lines, start=1):
            for match in re.finditer(rf"\b{old}\b", line):
                span = Span(Position(number, match.start()), Position(number, match.end()))
                fix = Fix("do it", how, (Edit(span, new),))
                yield Finding("a.py", span, code, "test", Severity.INFO, Confidence.HIGH, f"`{old}` is here", fix=fix)

    return lint


def both(*linters: Lint) -> Lint:
    def lint(source: Source) -> Iterator[Finding]:
        for one in linters:
            yield from one(source)

    return lint


def test_ends_when_quiet_and_is_idempotent() -> None:
    lint = replacing("a", "b")
    outcome = fix_until_quiet(Source("a.py", b"a = f(a)\na\n"), lint, SAFE_ONLY)
    assert outcome.data == b"b = f(b)\nb\n" and len(outcome.fixed) == 3 and not outcome.left and not outcome.refused
    assert fix_until_quiet(Source("a.py", outcome.data), lint, SAFE_ONLY).data == outcome.data


@pytest.mark.parametrize(
    ("how", "allowed", "expected"),
    [
        (Applicability.UNSAFE, SAFE_ONLY, b"a\n"),
        (Applicability.UNSAFE, ON_REQUEST, b"b\n"),
        (Applicability.PROOF, ON_REQUEST, b"a\n"),
        (Applicability.PROOF, {Applicability.PROOF}, b"b\n"),
    ],
)
def test_applies_only_what_is_allowed(how: Applicability, allowed: set[Applicability], expected: bytes) -> None:
    assert fix_until_quiet(Source("a.py", b"a\n"), replacing("a", "b", how), allowed).data == expected


@pytest.mark.parametrize("new", ["a, a", "(a)", "a.b", "+a"])
def test_a_finding_that_would_not_go_away_refuses_its_fix(new: str) -> None:
    outcome = fix_until_quiet(Source("a.py", b"a\n"), replacing("a", new), SAFE_ONLY)
    assert outcome.data == b"a\n" and not outcome.fixed and len(outcome.left) == 1
    assert [reason for _, reason in outcome.refused] == ["TML999 would still be reported"]


def test_one_that_only_looks_different_has_not_gone_away() -> None:
    lint = both(replacing("a", "c"), replacing("c", "d"))
    outcome = fix_until_quiet(Source("a.py", b"a\n"), lint, SAFE_ONLY)
    assert (outcome.data, [reason for _, reason in outcome.refused]) == (b"a\n", ["TML999 would still be reported"])


def test_a_fix_that_brings_a_finding_is_refused() -> None:
    lint = both(replacing("a", "b"), replacing("b", "c", Applicability.UNSAFE, "TML998"))
    outcome = fix_until_quiet(Source("a.py", b"x\na\n"), lint, SAFE_ONLY)
    assert outcome.data == b"x\na\n"
    assert [reason for _, reason in outcome.refused] == ["it would bring TML998 in line 2: `b` is here"]


def test_what_a_fix_uncovers_is_fixed_too() -> None:
    lint = both(replacing("a", "b"), replacing("b", "c", code="TML998"))

    def uncovers(fixed: Finding, found: Finding) -> bool:
        return (fixed.code, found.code) == ("TML999", "TML998")

    outcome = fix_until_quiet(Source("a.py", b"b\na\n"), lint, SAFE_ONLY, lambda f: f.code == "TML999", uncovers)
    assert (outcome.data, len(outcome.fixed), len(outcome.left)) == (b"b\nc\n", 2, 1)


def test_fixes_that_undo_each_other_end() -> None:
    lint = both(replacing("a", "b"), replacing("b", "a", code="TML998"))
    outcome = fix_until_quiet(Source("a.py", b"a\n"), lint, SAFE_ONLY, uncovers=lambda fixed, found: True)
    assert outcome.data == b"b\n" and len(outcome.fixed) == 1
    assert [reason for _, reason in outcome.refused] == ["it undoes what another fix has done"]


def test_the_good_ones_among_bad_ones_are_kept() -> None:
    lint = both(*(replacing(word, f"{word}{word}") for word in "abcdefgh"), replacing("x", "x, x", code="TML998"))
    outcome = fix_until_quiet(Source("a.py", b"a\nb\nc\nx\nd\ne\nf\nx\ng\nh\n"), lint, SAFE_ONLY)
    assert outcome.data == b"aa\nbb\ncc\nx\ndd\nee\nff\nx\ngg\nhh\n"
    assert len(outcome.fixed) == 8
    assert [(finding.span.start.line, reason) for finding, reason in outcome.refused] == [
        (4, "TML998 would still be reported"),
        (8, "TML998 would still be reported"),
    ]


def test_few_looks_are_needed_for_a_bad_one_among_many() -> None:
    looks = 0

    def lint(source: Source) -> Iterator[Finding]:
        nonlocal looks
        looks += 1
        yield from both(replacing("a", "b"), replacing("x", "x, x", code="TML998"))(source)

    outcome = fix_until_quiet(Source("a.py", b"a\n" * 200 + b"x\n" + b"a\n" * 200), lint, SAFE_ONLY)
    assert len(outcome.fixed) == 400 and len(outcome.refused) == 1 and looks < 40


def test_a_result_that_does_not_parse_is_refused() -> None:
    outcome = fix_until_quiet(Source("a.py", b"a\nx\n"), both(replacing("a", "b"), replacing("x", "(")), SAFE_ONLY)
    assert outcome.data == b"b\nx\n"
    assert [reason for _, reason in outcome.refused] == ["the result would not be valid Python"]


def test_only_the_wanted_ones_also_when_they_move() -> None:
    """The second `a` waits for the first to have made room; what it is called is then found again."""

    def lint(source: Source) -> Iterator[Finding]:
        yield from replacing("drop", "pass; pass")(source)
        yield from replacing("a", "b", code="TML998")(source)

    def third(finding: Finding) -> bool:
        return finding.code == "TML999" or finding.span.start.line == 3

    assert fix_until_quiet(Source("a.py", b"drop\na\na\n"), lint, SAFE_ONLY, third).data == b"pass; pass\na\nb\n"
    wide = replacing("a", "b", code="TML998")

    def clashing(source: Source) -> Iterator[Finding]:
        """The first fix takes the whole of line 1 away, so that of the `a` on line 2 comes a round later."""
        lines = source.lines
        if lines[0] == "drop\n":
            span = Span(Position(1, 0), Position(2, 1))
            fix = Fix("drop it", Applicability.SAFE, (Edit(span, "a"),))
            yield Finding("a.py", span, "TML999", "test", Severity.INFO, Confidence.HIGH, "`drop`", fix=fix)
        yield from wide(source)

    outcome = fix_until_quiet(Source("a.py", b"drop\na\na\n"), clashing, SAFE_ONLY, lambda f: f.span.start.line < 3)
    assert outcome.data == b"b\na\n" and len(outcome.fixed) == 2
