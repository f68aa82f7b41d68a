"""The marker grammar of fixtures/README.md."""

from __future__ import annotations

import pytest

from markers import Marker, MarkerError, read


def test_trailing_and_above() -> None:
    text = "x = 1  # expect\n# expect: TML102\n\n# prose between\ny = (\n    2)\n"
    assert read(text, "TML101") == [Marker("expect", 1, "TML101"), Marker("expect", 5, "TML102")]


def test_several_items_and_texts() -> None:
    text = 'x = 1  # expect: TML101 "hot", TML102 "`x` is bound"\ny = 2  # expect: "only text"\n'
    assert read(text, "TML103") == [
        Marker("expect", 1, "TML101", "hot"),
        Marker("expect", 1, "TML102", "`x` is bound"),
        Marker("expect", 2, "TML103", "only text"),
    ]


def test_reasons() -> None:
    text = "a = 1  # ok: released: by del\nb = 1  # missed TML301: two hops\nc = 1  # false-alarm: bounded\n"
    assert read(text, "TML101") == [
        Marker("ok", 1, "TML101", why="released: by del"),
        Marker("missed", 2, "TML301", why="two hops"),
        Marker("false-alarm", 3, "TML101", why="bounded"),
    ]


def test_two_markers_in_one_comment() -> None:
    assert read("a = 1  # expect  # names: only the name says so\n", "TML301") == [
        Marker("expect", 1, "TML301"),
        Marker("names", 1, "TML301", why="only the name says so"),
    ]


def test_prose_is_no_marker() -> None:
    text = "# what we expect: nothing\n# okay then\nx = '# expect'\n# expected: no marker\n"
    assert read(text, "TML101") == []


@pytest.mark.parametrize(
    "text",
    [
        "x = 1  # expect TML101\n",
        "x = 1  # expect: nonsense\n",
        "x = 1  # ok\n",
        "x = 1  # missed:\n",
        "x = 1  # ok to do this\n",
        "x = 1\n# expect\n",
    ],
)
def test_misspelt_markers_are_errors(text: str) -> None:
    with pytest.raises(MarkerError):
        read(text, "TML101")


def test_a_bare_marker_needs_a_folder_code() -> None:
    with pytest.raises(MarkerError):
        read("x = 1  # expect\n")
