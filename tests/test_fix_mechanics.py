"""`torchmemlint.fix` on its own: order, overlap, line ends, encodings and refusals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmemlint.fix import Applied, apply
from torchmemlint.model import Applicability, Edit, Fix, Position, Span
from torchmemlint.source import BadFile, Source


def edit(line: int, start: int, end: int, text: str, last: int | None = None) -> Edit:
    return Edit(Span(Position(line, start), Position(last or line, end)), text)


def fix(*edits: Edit) -> Fix:
    return Fix("do it", Applicability.SAFE, edits)


def test_two_fixes_in_any_order() -> None:
    source = Source("a.py", b"a = 1\nb = 2\n")
    first, second = fix(edit(1, 4, 5, "10")), fix(edit(2, 4, 5, "20"))
    for fixes in ([first, second], [second, first]):
        result = apply(source, fixes)
        assert result.data == b"a = 10\nb = 20\n" and not result.waiting and not result.refused


def test_overlap_waits_for_the_next_round() -> None:
    source = Source("a.py", b"a = b + c\n")
    outer, inner = fix(edit(1, 4, 9, "d")), fix(edit(1, 8, 9, "e"))
    result = apply(source, [outer, inner])
    assert (result.data, result.applied, result.waiting) == (b"a = d\n", (outer,), (inner,))


def test_two_insertions_in_one_place_wait_and_equal_ones_are_one() -> None:
    source = Source("a.py", b"x = 1\n")
    one, same, other = fix(edit(1, 0, 0, "y = 2\n")), fix(edit(1, 0, 0, "y = 2\n")), fix(edit(1, 0, 0, "z = 3\n"))
    result = apply(source, [one, same, other])
    assert result.data == b"y = 2\nx = 1\n" and result.applied == (one, same) and result.waiting == (other,)


def test_an_edit_shared_by_two_fixes_is_made_once() -> None:
    source = Source("a.py", b"import a\nf(x)\ng(y)\n")
    add = edit(1, 0, 0, "import gc\n")
    result = apply(source, [fix(add, edit(2, 2, 3, "1")), fix(add, edit(3, 2, 3, "2"))])
    assert result.data == b"import gc\nimport a\nf(1)\ng(2)\n"


def test_neighbours_do_not_overlap() -> None:
    source = Source("a.py", b"f(a)\ng(b)\nh(c)\n")
    result = apply(source, [fix(edit(1, 0, 0, "", last=2)), fix(edit(2, 0, 0, "", last=3))])
    assert result.data == b"h(c)\n" and len(result.applied) == 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbfx = f(1)\n", b"\xef\xbb\xbfx = f(\n    2)\n"),
        (b"x = f(1)\r\n", b"x = f(\r\n    2)\r\n"),
        (b"x = f(1)\ry = 2\r", b"x = f(\r    2)\ry = 2\r"),
        (b"x = f(1)", b"x = f(\n    2)"),
        (
            b"x = f(1)\n\x0c\ny = '\xc3\xa9\xf0\x9f\x98\x80'\n",
            b"x = f(\n    2)\n\x0c\ny = '\xc3\xa9\xf0\x9f\x98\x80'\n",
        ),
        (b"x = f(1)\nif x:\n\ty = 1\n", b"x = f(\n    2)\nif x:\n\ty = 1\n"),
        (b"x = f(1)  \t\n\n\n  # odd \t\n", b"x = f(\n    2)  \t\n\n\n  # odd \t\n"),
    ],
)
def test_everything_else_survives(data: bytes, expected: bytes) -> None:
    assert apply(Source("a.py", data), [fix(edit(1, 6, 7, "\n    2"))]).data == expected


def test_a_coding_cookie_is_kept() -> None:
    source = Source("a.py", b"# coding: latin-1\nx = f('\xe9', 1)\n")
    assert apply(source, [fix(edit(2, 11, 12, "2"))]).data == b"# coding: latin-1\nx = f('\xe9', 2)\n"


def test_mixed_line_ends_stay_mixed() -> None:
    source = Source("a.py", b"a = 1\r\nb = 2\nc = 3\r\n")
    result = apply(source, [fix(edit(2, 0, 0, "x = 0\n")), fix(edit(3, 0, 0, "y = 0\n"))])
    assert result.data == b"a = 1\r\nx = 0\nb = 2\ny = 0\r\nc = 3\r\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            b"# coding: unicode_escape\nx = f(1)\n",
            "text in unicode_escape can be written in several ways: the rest of the file would change",
        ),
        (
            b"# coding: raw_unicode_escape\nx = f(1)  # \\u0041\n",
            "text in raw_unicode_escape can be written in several ways: the rest of the file would change",
        ),
    ],
)
def test_a_file_that_would_not_be_written_as_it_was_stays(data: bytes, reason: str) -> None:
    made = fix(edit(2, 6, 7, "2"))
    assert apply(Source("a.py", data), [made]) == Applied(data, refused=((made, reason),))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (fix(edit(1, 4, 5, "(")), "valid Python"),
        (fix(edit(9, 0, 0, "x")), "line 9"),
        (fix(edit(1, 40, 41, "x")), "column 41"),
        (fix(edit(1, 5, 4, "x")), "ends before"),
        (fix(edit(1, 4, 5, "1")), "changes nothing"),
        (fix(), "no edits"),
        (fix(edit(1, 0, 5, "y = 2"), edit(1, 4, 5, "3")), "overlap"),
    ],
)
def test_refusals_say_why(made: Fix, reason: str) -> None:
    result = apply(Source("a.py", b"x = 1\n"), [made])
    assert result.data == b"x = 1\n" and not result.applied
    assert [why for _, why in result.refused if reason in why]


def test_a_text_that_the_encoding_cannot_hold_is_refused() -> None:
    source = Source("a.py", b"# coding: latin-1\nx = '\xe9'\n")
    result = apply(source, [fix(edit(2, 5, 6, "😀")), fix(edit(2, 5, 6, "ü"))])
    assert result.data == b"# coding: latin-1\nx = '\xfc'\n" and "latin" in result.refused[0][1].replace(
        "iso-8859-1", "latin"
    )


def test_fixes_that_are_only_fine_alone_are_taken_one_at_a_time() -> None:
    source = Source("a.py", b"if a:\n    f()\n    g()\n")
    drop_f, drop_g = fix(edit(2, 0, 0, "", last=3)), fix(edit(3, 0, 0, "", last=4))
    result = apply(source, [drop_f, drop_g])
    assert result.data == b"if a:\n    g()\n" and result.waiting == (drop_g,)


def test_a_file_that_cannot_be_decoded_is_no_surprise() -> None:
    with pytest.raises(BadFile):
        apply(Source("a.py", b"x = '\xff'\n"), [fix(edit(1, 0, 1, "y"))])


NAMES = ["a", "bb", "é", "d"]


@settings(max_examples=100, deadline=None)
@given(
    lines=st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), min_size=1, max_size=5),
    ends=st.sampled_from(["\n", "\r\n"]),
    picks=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from(["x", "yyy", "(z)"])), max_size=8),
)
def test_any_replacements(lines: list[list[str]], ends: str, picks: list[tuple[int, int, str]]) -> None:
    """Against a model that replaces words in lists of words."""
    source = Source("a.py", "".join(" + ".join(words) + ends for words in lines).encode())
    wanted: dict[tuple[int, int], str] = {}
    fixes = []
    for row, column, text in picks:
        if row < len(lines) and column < len(lines[row]):
            start = sum(len(word) + 3 for word in lines[row][:column])
            fixes.append(fix(edit(row + 1, start, start + len(lines[row][column]), text)))
            wanted.setdefault((row, column), text)
    expected = [[wanted.get((r, c), word) for c, word in enumerate(words)] for r, words in enumerate(lines)]
    result = apply(source, fixes)
    assert result.data == "".join(" + ".join(words) + ends for words in expected).encode()
    assert len(result.applied) + len(result.waiting) == len(fixes) and not result.refused
