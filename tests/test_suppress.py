"""Suppression comments: flake8's meaning of noqa, measured against flake8, and our own form."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import ISOLATED, flake8, lint_json, write
from torchmemlint.model import Confidence, Finding, Position, Severity, Span
from torchmemlint.suppress import Suppressions

SUPPRESSED = [
    "ALPHA  # noqa",
    "ALPHA  # NoQA",
    "ALPHA  # noqa: TML181",
    "ALPHA  # noqa:TML1",
    "ALPHA  # noqa: TML",
    "ALPHA  # noqa: E501,TML181",
    "ALPHA  # noqa: E501 TML181",
    "ALPHA  # noqa: TML181 because",
    "ALPHA  # why # noqa: TML181",
    "ALPHA  # noqa:  TML181",  # two blanks: a blanket one
    "ALPHA  # noqa:  E501",
    "ALPHA  # noqa : E501",
    "ALPHA  # noqa: why E501",
    'x = ALPHA, """\n"""  # noqa: TML181',  # a string joins its lines
    "x = ALPHA + \\\n    1  # noqa: TML181",  # so does a backslash
]
NOT_SUPPRESSED = [
    "ALPHA",
    "ALPHA  # noqa: tml181",
    "ALPHA  #noqa: TML181",
    "ALPHA  # noqa: E501",
    "ALPHA  # noqa: TML182",
    "ALPHA  # noqa: TML1812",
    "x = [\n    ALPHA,\n    1,\n]  # noqa: TML181",  # brackets do not join lines
    "x = [  # noqa\n    ALPHA,\n]",
    "ALPHA\n# noqa",
    "x = ALPHA, '''\n'''\n# noqa",
    "ALPHA  # a line # flake8: noq",
]
WHOLE_FILE = ["# flake8: noqa\nALPHA", "ALPHA\n    # flake8: noqa", "# FLAKE8= NOQA: E501\nALPHA"]


@pytest.mark.parametrize("text", [*SUPPRESSED, *WHOLE_FILE])
def test_suppressed(text: str) -> None:
    assert silenced(text)


@pytest.mark.parametrize("text", NOT_SUPPRESSED)
def test_not_suppressed(text: str) -> None:
    assert not silenced(text)


def test_flake8_agrees_with_both_tables(tmp_path: Path) -> None:
    """flake8 itself is the authority; the command must answer the same on every row."""
    texts = [*SUPPRESSED, *NOT_SUPPRESSED, *WHOLE_FILE]
    write(tmp_path, **{f"case{number:02}_py": f"import torch\n{text}\n" for number, text in enumerate(texts)})
    done = flake8("--isolated", "--select", "TML", ".", cwd=tmp_path)
    by_flake8 = {line.split(":")[0].removeprefix("./") for line in done.stdout.splitlines()}
    by_command = {row["filename"] for row in lint_json(*ISOLATED, ".", cwd=tmp_path)}
    unsuppressed = range(len(SUPPRESSED), len(SUPPRESSED) + len(NOT_SUPPRESSED))
    assert by_command == by_flake8 == {f"case{number:02}.py" for number in unsuppressed}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALPHA  # torchmemlint: ignore[TML181] it is small", True),
        ("ALPHA  # torchmemlint:ignore[E501, TML1]", True),
        ("ALPHA  # torchmemlint: ignore[word-alpha]", True),
        ("ALPHA  # reason first # torchmemlint: ignore[TML181]", True),
        ("ALPHA  # torchmemlint: ignore[TML182]", False),
        ("ALPHA  # torchmemlint: ignore[]", False),
        ("ALPHA  # torchmemlint: ignore", False),
        ("ALPHA  # ignore[TML181]", False),
        ("ALPHA; '# torchmemlint: ignore[TML181]'", False),
        ("# torchmemlint: ignore[TML181]\nALPHA", True),
        ("# torchmemlint: ignore[TML181]\n\n# a word on it\nALPHA", True),
        ("# torchmemlint: ignore[TML181]\nx = [\n    1,\n    ALPHA,\n]", True),  # the whole statement
        ("# torchmemlint: ignore[TML181]\nx = 1\nALPHA", False),
        ("ALPHA\n# torchmemlint: ignore[TML181]", False),
        ("x = [\n    # torchmemlint: ignore[TML181]\n    ALPHA,\n]", True),
        ("x = [\n    # torchmemlint: ignore[TML181]\n    1,\n    ALPHA,\n]", False),  # the next line in brackets
        ("# torchmemlint: ignore[TML182]\n# torchmemlint: ignore[TML181]\nALPHA", True),
        ("if x:  # torchmemlint: ignore[TML181]\n    ALPHA", False),
        ("# torchmemlint: disable[TML181]\nx = 1\nALPHA", True),
        ("# torchmemlint: disable[TML181]\nx = 1\n# torchmemlint: enable[TML181]\nALPHA", False),
        ("# torchmemlint: disable[TML181, TML182]\n# torchmemlint: enable[TML182]\nALPHA", True),
        ("if x:\n    # torchmemlint: disable[TML181]\n    y\nALPHA", False),  # ends with its block
        ("if x:\n    # torchmemlint: disable[TML181]\n    if y:\n        y\n    ALPHA", True),
        ("ALPHA\n# torchmemlint: disable[TML181]", False),
        ("x = 1  # torchmemlint: disable[TML181]\nALPHA", False),  # not on a line of its own
        ("ALPHA\n# torchmemlint: file-ignore[word-alpha] small", True),
        ("ALPHA\n# torchmemlint: file-ignore[word-beta]", False),
        ("ALPHA  # torchmemlint: file-ignore[TML181]", False),
    ],
)
def test_own_form(text: str, expected: bool) -> None:
    assert silenced(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALPHA(  # noqa: TML181\n    1,\n)", True),
        ("ALPHA(\n    1,\n)  # noqa: TML181", True),
        ("ALPHA(\n    1,\n)  # torchmemlint: ignore[TML181]", True),
        ("ALPHA(\n    1,  # noqa: TML181\n)", False),
    ],
)
def test_first_and_last_line_of_what_is_flagged(text: str, expected: bool) -> None:
    assert silenced(text) is expected


def test_a_comment_inside_a_string_is_none() -> None:
    assert not silenced("x = ALPHA, '# noqa: TML181'")
    assert not silenced('"""\n# flake8: noqa\n"""\nALPHA')


def test_text_that_cannot_be_tokenized_still_has_its_comments() -> None:
    assert silenced("x = (\nALPHA  # noqa: TML181\n")
    assert silenced("'''\nALPHA  # noqa: TML181\n")
    assert not silenced("'''\nALPHA  # noqa: TML182\n")


def silenced(text: str) -> bool:
    """Whether the finding at ALPHA, or at the whole call of it, is silenced."""
    lines = text.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines, 1) if "ALPHA" in line)
    last = len(lines) if "ALPHA(" in text else first
    span = Span(Position(first, 0), Position(last, 1))
    return Suppressions(lines).silence(
        Finding("x.py", span, "TML181", "word-alpha", Severity.WARNING, Confidence.HIGH, "")
    )
