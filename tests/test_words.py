"""Looking for a word in each file and looking it up in the index of all names give the same files."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import ROOT
from torchmemlint.facts import words
from torchmemlint.facts.words import Words, contains

FILES = {str(path): path.read_bytes() for path in sorted((ROOT / "torchmemlint").rglob("*.py"))}
ALPHABET = "ab_1 é.(\\nt\n'"


def both(files: dict[str, bytes], asked: list[str]) -> None:
    """The answers of a scan and of the index to the same questions."""
    scanning, looking = Words(lambda: files, files.get), Words(lambda: files, files.get)
    looking._scans = words.SCANS
    for word in asked:
        scanning._scans = 0
        assert scanning.files_with(word) == looking.files_with(word), word
    assert scanning._index is None and looking._index is not None


def test_real_names() -> None:
    names = sorted({name for data in FILES.values() for name in re.findall(r"[A-Za-z_]\w*", data.decode())})[::40]
    assert len(names) > 50
    both(FILES, [*names, *(f"{name}(" for name in names), *(f".{name}(" for name in names)])


@given(
    st.lists(st.text(ALPHABET, max_size=12).map(str.encode), max_size=4),
    st.from_regex(r"\.?[ab_én][ab_1én]{0,3}\(?", fullmatch=True),
)
def test_made_up_texts(texts: list[bytes], word: str) -> None:
    both({str(number): text for number, text in enumerate(texts)}, [word])


@pytest.mark.parametrize(
    ("text", "found"),
    [("step()", True), ("self.step", True), ("steps", False), ("a_step", False), ("'step'", True), ("éstep", False)],
)
def test_a_name_stands_alone(text: str, found: bool) -> None:
    assert contains(text.encode(), "step") is found


def test_lines_in_the_json_of_a_notebook() -> None:
    assert contains(b'"source": "x = 1\\nstep()\\n\\tf()"', "step") and contains(b'"a\\n\\tf()"', "f")
    assert not contains(b'"a\\nstep()"', "nstep")


def test_many_words_are_looked_up() -> None:
    read: list[str] = []

    def reading(path: str) -> bytes:
        read.append(path)
        return FILES[path]

    asked = Words(lambda: FILES, reading)
    for number in range(words.SCANS + 100):
        asked.files_with(f"name_{number}")
    assert len(read) == (words.SCANS + 1) * len(FILES)


def test_a_project_too_large_to_keep_is_read_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "LARGE", 10)
    read: list[str] = []
    asked = Words(lambda: ["a", "b"], lambda path: read.append(path) or b"x = step()\n")  # type: ignore[func-returns-value]
    assert [asked.files_with(word) for word in ("step", "x", "step", "y")] == [["a", "b"], ["a", "b"], ["a", "b"], []]
    assert len(read) == 6
