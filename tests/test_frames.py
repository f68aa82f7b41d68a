"""Code frames: marks stand under what they mark, whatever the text is made of, and nothing reaches the terminal raw."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest

from torchmemlint.faces import frames
from torchmemlint.faces.frames import Label, cut, frame, printable, width
from torchmemlint.model import Position, Span


def span(line: int, start: int, end: int, last: int = 0) -> Span:
    return Span(Position(line, start), Position(last or line, end))


def drawn(text: str, *labels: Label, limit: int = 80) -> list[str]:
    lines: Sequence[str] = io.StringIO(text, newline="").readlines()
    return ["".join(piece for piece, _ in row).rstrip() for row in frame(lines, labels, 2, limit)]


def flagged(where: Span, words: str = "") -> Label:
    return Label(where, words, "bold red", "^")


def reason(where: Span, words: str) -> Label:
    return Label(where, words, "cyan")


@pytest.mark.parametrize(
    ("line", "start", "end", "shown", "marks"),
    [
        ("x = bad\n", 4, 7, "x = bad", "    ^^^"),
        ("\t\tbad\n", 2, 5, "        bad", "        ^^^"),
        ("日本 = bad\r\n", 5, 8, "日本 = bad", "       ^^^"),
        ('s = "日本", bad\n', 4, 8, 's = "日本", bad', "    ^^^^^^"),
        ("e\u0301 = bad\n", 5, 8, "e\u0301 = bad", "    ^^^"),
        ("\x1b[31m = bad\n", 8, 11, "\ufffd[31m = bad", "        ^^^"),
        ("'\u202e' + bad\n", 6, 9, "'\ufffd' + bad", "      ^^^"),
        ("x = (\n", 6, 6, "x = (", "     ^"),
        ("\x0cbad\n", 1, 4, "\ufffdbad", " ^^^"),
    ],
)
def test_marks_stand_under_what_is_meant(line: str, start: int, end: int, shown: str, marks: str) -> None:
    assert drawn(line, flagged(span(1, start, end))) == [f" 1 | {shown}", f"   | {marks}"]


def test_reasons_stand_in_the_order_of_the_text() -> None:
    text = "for x in loader:\n    y = f(x)\n    pass\n    total += y\n\n\nmain()\n"
    shown = drawn(
        text,
        flagged(span(4, 4, 14), "sums it"),
        reason(span(7, 0, 6), "called here"),
        reason(span(1, 0, 16), "loop"),
        reason(span(2, 8, 12), "a graph"),
        reason(span(4, 13, 14), "this one"),
    )
    assert shown == [
        " 1 | for x in loader:",
        "   | ---------------- loop",
        " 2 |     y = f(x)",
        "   |         ---- a graph",
        " 3 |     pass",  # one line alone is shown, more are left out
        " 4 |     total += y",
        "   |     ^^^^^^^^^^ sums it",
        "   |              - this one",
        "...",
        " 7 | main()",
        "   | ------ called here",
    ]


def test_a_flagged_stretch_is_shown_to_its_end_and_a_reason_only_where_it_begins() -> None:
    text = "call(\n    1,\n\n    2,\n)\n"
    shown = [" 1 | call(", "   | ^^^^^", " 2 |     1,", "   |     ^^", " 3 |", " 4 |     2,", "   |     ^^", " 5 | )"]
    assert drawn(text, flagged(span(1, 0, 1, last=5), "all of it")) == [*shown, "   | ^ all of it"]
    assert drawn(text, reason(span(1, 0, 1, last=5), "from here")) == [" 1 | call(", "   | ----- from here"]


def test_a_long_stretch_is_cut_in_the_middle() -> None:
    text = "call(\n" + "    1,\n" * 20 + ")\n"
    shown = drawn(text, flagged(span(1, 0, 1, last=22), "all of it"))
    assert [row for row in shown if "^" not in row] == [
        *(" 1 | call(", " 2 |     1,", " 3 |     1,", " 4 |     1,"),
        *("...", "22 | )"),
    ]
    assert shown[-1] == "   | ^ all of it"


@pytest.mark.parametrize("begin", [0, 40, 200, 385])
def test_a_long_line_is_cut_around_its_marks(begin: int) -> None:
    line = "a" * begin + "MARKED" + "b" * (394 - begin)
    code, marks = drawn(line + "\n", flagged(span(1, begin, begin + 6), "this"), limit=60)
    assert len(code) <= len(" 1 | ") + 60
    assert code[marks.index("^") : marks.rindex("^") + 1] == "MARKED"
    assert code.startswith(" 1 | ...") == (begin > 50) and code.endswith("...") == (begin < 385)


def test_a_stretch_longer_than_the_screen_begins_where_it_begins() -> None:
    code, marks = drawn("x = " + "y" * 300 + "\n", flagged(span(1, 4, 304)), limit=60)
    assert code.endswith("yyy...") and 60 < len(code) <= len(" 1 | ") + 60
    assert marks.startswith("   |     ^^^") and len(marks) <= len(code)


def test_places_that_the_text_no_longer_has_are_left_out() -> None:
    assert drawn("x\n", flagged(span(7, 0, 1))) == []
    assert drawn("x\n", flagged(span(1, 10, 20))) == [" 1 | x", "   |  ^"]


def test_nothing_that_steers_a_terminal_is_printed() -> None:
    raw = "a\x1b]8;;http://x\x07\r\n\u2028\u2066b\t."
    assert printable(raw).isprintable() or "\ufffd" in printable(raw)
    assert not any(character in printable(raw) for character in "\x1b\x07\r\n\u2028\u2066\t")
    assert width("日\ta\u0301") == 2 + 4 + 1
    assert cut("x" * 50, 20) == "x" * 14 + "..."


def test_a_line_is_measured_once_for_all_that_is_marked_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    monkeypatch.setattr(frames, "_cells", lambda character: measured.append(character) or 1)
    lines = ["abc " * 500]
    for column in range(0, 2000, 4):
        assert list(frame(lines, [flagged(span(1, column, column + 3))], 2, 80))
    assert len(measured) == 1999
