"""Comments that silence nothing: which are reported, what is said, and that the fix takes away them and no more."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from commands import flake8, lint, lint_json, write
from torchmemlint.engine import fingerprinted
from torchmemlint.fix import apply
from torchmemlint.model import Confidence, Finding, Position, Severity, Span
from torchmemlint.source import Source
from torchmemlint.stale import Judged, stale
from torchmemlint.suppress import Suppressions

WORDS = {"ALPHA": ("TML181", "word-alpha"), "BETA": ("TML182", "word-beta")}
RULES = dict(WORDS.values()) | {"TML981": "word-omega"}
NOTICES = {"TML001": "file-not-parsed", "TML002": "unused-suppression"}


def found(text: str) -> list[Finding]:
    """A finding at each word that stands in front of a comment."""
    return [
        Finding("x.py", Span(Position(number, 0), Position(number, 1)), *WORDS[word], *ranks, message="")
        for number, line in enumerate(text.splitlines(), 1)
        for word in WORDS
        if word in line.split("#")[0]
        for ranks in [(Severity.WARNING, Confidence.LOW)]
    ]


def about(text: str, ran: Collection[str] = tuple(RULES), noqa: bool = True, reasons: bool = False) -> list[Finding]:
    source = Source("x.py", text.encode())
    judged = Judged(
        found(text), ran, RULES, {"TML001": "file-not-parsed", "TML002": "unused-suppression"}, noqa, reasons
    )
    return list(stale("x.py", source.lines, Suppressions(source.lines), judged))


USED = [
    "ALPHA  # noqa: TML181",
    "ALPHA  # torchmemlint: ignore[TML181]",
    "ALPHA; BETA  # torchmemlint: ignore[TML181, word-beta]",
    "ALPHA  # torchmemlint: ignore[TML18]",
    "ALPHA  # noqa: TML181  # torchmemlint: ignore[TML181]",  # each is for a tool of its own
    "# torchmemlint: disable[TML181]\nALPHA\n# torchmemlint: enable[TML181]",
    "# torchmemlint: file-ignore[TML181]\nALPHA",
    "x  # noqa",  # a blanket one is not for us alone
    "x  # noqa: E501, F401",
    "x  # noqa:  TML181",  # two blanks: a blanket one
    "x  # torchmemlint: ignore[TML002]",
    "# torchmemlint: file-ignore[TML001]\nx",
    "x  # torchmemlint: ignore[TML181, TML002] another version finds it",
    "# torchmemlint: file-ignore[unused-suppression]\nx  # torchmemlint: ignore[TML181]",
    "# flake8: noqa\nx  # torchmemlint: ignore[TML181]",
    "'# torchmemlint: ignore[TML181]'",
]


@pytest.mark.parametrize("text", USED)
def test_nothing_to_say(text: str) -> None:
    assert about(text) == []


UNUSED = [
    ("x  # noqa: TML181", "`TML181` silences nothing here", "x"),
    ("x  # noqa: TML181 small", "`TML181` silences nothing here", "x"),
    ("x  # noqa: E501, TML181", "`TML181` silences nothing here", "x  # noqa: E501"),
    ("x  # noqa: TML181 E501", "`TML181` silences nothing here", "x  # noqa: E501"),
    ("x  # type: ignore # noqa: TML181", "`TML181` silences nothing here", "x  # type: ignore"),
    ("x  # noqa: TML181 # type: ignore", "`TML181` silences nothing here", "x  # type: ignore"),
    ("x\t# torchmemlint: ignore[TML18] issue #12", "`TML18` silences nothing here", "x"),
    ("BETA  # torchmemlint: ignore[TML181,TML182] ok", "`TML181` silences", "BETA  # torchmemlint: ignore[TML182] ok"),
    ("ALPHA  # torchmemlint: ignore[TML181, TML182]", "`TML182` silences", "ALPHA  # torchmemlint: ignore[TML181]"),
    ("x  # torchmemlint: ignore[TML181, TML182] both", "`TML181`, `TML182` silences", "x"),
    ("# torchmemlint: ignore[TML181]\r\nx\r\nALPHA", "`TML181` silences nothing here", "x\r\nALPHA"),
    ("    # torchmemlint: file-ignore[word-alpha]\nx", "`word-alpha` silences nothing here", "x"),
    ("x\n# torchmemlint: disable[TML181]", "`TML181` silences nothing here", "x\n"),
    (
        "# torchmemlint: disable[TML181]\nx\n# torchmemlint: enable[TML181]\nALPHA",
        "`TML181` silences nothing here",
        "x\nALPHA",
    ),
    (
        "# torchmemlint: disable[TML181, TML182]\nBETA\n# torchmemlint: enable[TML182, TML181]\n",
        "`TML181` silences nothing here",
        "# torchmemlint: disable[TML182]\nBETA\n# torchmemlint: enable[TML182]\n",
    ),
    ("x\n# torchmemlint: enable[TML181]\nx", "`TML181` ends no `disable`", "x\nx"),
]


@pytest.mark.parametrize(("text", "message", "mended"), UNUSED)
def test_unused_and_mended(text: str, message: str, mended: str) -> None:
    (finding,) = about(text)
    assert finding.message.startswith(message)
    assert (finding.code, finding.severity, finding.confidence) == ("TML002", Severity.INFO, Confidence.HIGH)
    assert finding.fix is not None
    assert apply(Source("x.py", text.encode()), [finding.fix]).data.decode() == mended
    assert about(mended) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ALPHA  # torchmemlint: ignore", "this comment silences nothing: `ignore` names no codes, as in"),
        ("ALPHA  # torchmemlint: ignore[]", "this comment silences nothing: `ignore` names no codes"),
        ("ALPHA  # torchmemlint: ignore[TML181", "this comment silences nothing: the bracket after `ignore` is not"),
        ("ALPHA  # torchmemlint: igonre[TML181]", "this comment silences nothing: `igonre` is none of ignore, dis"),
        ("ALPHA  # torchmemlint: [TML181]", "this comment silences nothing: names none of ignore, disable, enable"),
        ("ALPHA  # torchmemlint: disable[TML181]", "this comment silences nothing: `disable` stands on a line with"),
        ("x  # torchmemlint: ignore[TML189]", "`TML189` is no rule: it silences nothing; did you mean `TML"),
        ("x  # torchmemlint: ignore[tml181]", "`tml181` is no rule: it silences nothing; did you mean `TML181`?"),
        (
            "x  # torchmemlint: ignore[word-alpah]",
            "`word-alpah` is no rule: it silences nothing; did you mean `TML181`",
        ),
        ("x  # noqa: TML777", "`TML777` is no rule: it silences nothing"),
    ],
)
def test_what_cannot_be_understood_is_said_and_left_alone(text: str, message: str) -> None:
    (finding,) = about(text)
    assert finding.message.startswith(message) and finding.fix is None


def test_only_what_has_been_looked_for_can_be_missing() -> None:
    assert about("x  # noqa: TML181", ran=["TML182"]) == []
    assert about("x  # torchmemlint: ignore[TML18]", ran=["TML182"]) == []  # TML181 may be there
    assert about("x  # torchmemlint: ignore[TML981]", ran=["TML181", "TML182"]) == []
    assert about("x  # noqa: TML181", noqa=False) == []


def test_a_reason_is_asked_for_only_on_request() -> None:
    assert about("ALPHA  # torchmemlint: ignore[TML181]") == []
    (finding,) = about("ALPHA  # torchmemlint: ignore[TML181]", reasons=True)
    assert finding.message == "`ignore` gives no reason"
    assert about("ALPHA  # torchmemlint: ignore[TML181]: small", reasons=True) == []
    assert about("ALPHA  # noqa: TML181", reasons=True) == []


def test_the_command_reports_them_without_failing_the_build(tmp_path: Path) -> None:
    write(tmp_path, a_py="x = 1  # torchmemlint: ignore[TML181]\n", b_py="import torch\nGAMMA  # noqa: TML183\n")
    done = lint("--no-cache", "--output-format", "concise", ".", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == "a.py:1:8: TML002 [*] [high] `TML181` silences nothing here\n"  # TML183 has low confidence
    for flags in (["--ignore", "TML002"], ["--select", "TML18"], ["--select", "TML002", "--ignore", "TML181"]):
        assert lint_json("--no-cache", *flags, ".", cwd=tmp_path) == [], flags
    assert lint("--no-cache", "--severity", "TML002=warning", ".", cwd=tmp_path).returncode == 1
    (tmp_path / "torchmemlint.toml").write_text("[per-file-ignores]\n'a.py' = ['TML181']\n")
    assert lint_json("--no-cache", ".", cwd=tmp_path) == []


def test_an_error_in_a_rule_or_a_file_makes_nobody_unused(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA  # CRASH\nBETA  # noqa: TML182\nx  # noqa: TML183\n")
    write(tmp_path, b_py="import torch\nALPHA = (\nx  # noqa: TML183\n")
    assert {row["code"] for row in lint_json("--isolated", "--no-cache", ".", cwd=tmp_path)} == {"TML000", "TML001"}


def test_flake8_says_the_same(tmp_path: Path) -> None:
    write(
        tmp_path, a_py="import torch\nx = 1  # noqa: TML181\ny = 1  # torchmemlint: ignore[TML182]\nz  # noqa: TML981\n"
    )
    rows = flake8("--isolated", "--select", "TML", "a.py", cwd=tmp_path).stdout.splitlines()
    assert rows == [
        "a.py:2:8: TML002 `TML181` silences nothing here",
        "a.py:3:8: TML002 `TML182` silences nothing here",
    ]


# ---- lines that nobody writes ---------------------------------------------------------------------


def work(text: str) -> int:
    """The calls that judging a text's comments takes."""
    calls = 0

    def count(frame: object, event: str, what: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()  # what others do when it runs is no work of ours
    sys.setprofile(count)
    try:
        about(text)
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls


@pytest.mark.parametrize(
    "shape",
    [
        lambda n: f"# torchmemlint: ignore[{'TML181,' * n}]\nx = 1\n",
        lambda n: f"ALPHA  # noqa: {'TML182,' * n}\n",
        lambda n: f"{'# torchmemlint: ignore[TML181] ' * n}\nx = 1\n",
        lambda n: "# torchmemlint: ignore[TML181]\n" * n + "x = 1\n",
        lambda n: f"# torchmemlint: disable[{'TML181,' * n}]\n# torchmemlint: enable[{'TML181,' * n}]\n",
        lambda n: "".join(f"# torchmemlint: file-ignore[x{k}]\n" for k in range(n)) + "ALPHA\n" * n,
    ],
)
def test_judging_comments_is_linear(shape: Callable[[int], str]) -> None:
    about(shape(3))  # imports and compiles what is needed
    assert work(shape(400)) < 5 * work(shape(100))  # a square is sixteen times as much


@pytest.mark.parametrize("comment", ["# noqa:", "# torchmemlint: ignore[TML181]"])
def test_blanks_behind_a_comment_are_read_once(comment: str) -> None:
    began = time.process_time()
    about(f"# torchmemlint:\n{comment}{' ' * 300_000}x\n")
    assert time.process_time() - began < 20  # milliseconds; it would be minutes


def test_a_text_that_many_findings_share_is_read_once() -> None:
    source = Source("x.py", b"# torchmemlint: file-ignore[TML181]\n")
    span = Span(Position(1, 0), Position(1, 30))
    many = [Finding("x.py", span, *WORDS["ALPHA"], Severity.INFO, Confidence.HIGH, message="")] * 5
    asked: list[Span] = []
    source.slice = lambda span: asked.append(span) or "x"  # type: ignore[method-assign, func-returns-value]
    assert len({one.fingerprint for one in fingerprinted(source, many)}) == 5
    assert len(asked) == 1
