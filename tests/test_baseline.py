"""Baselines: what is recognised, what counts as new, when a file of accepted findings shrinks and when it grows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from commands import flake8, write
from torchmemlint.baseline import BaselineError, Entry, entry, read, recognise, written
from torchmemlint.faces.cli import main
from torchmemlint.model import Confidence, Finding, Position, Severity, Span

STEP = """    total = 0
    for x, y in loader:
        loss = model(x).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        total += loss
    return total
"""
TRAIN = f"import torch\n\n\ndef train(model, loader, opt):\n{STEP}"
BOTH = TRAIN.replace("    return", "        torch.cuda.empty_cache()\n    return")  # TML302 and, behind it, TML101
FILE = "b.json"


# ---- recognising ----------------------------------------------------------------------------------


def made(what: str, symbol: str = "f", nth: int = 1) -> Finding:
    place = Span(Position(1, 0), Position(1, 1))
    print_ = f"{what:_<8}{symbol + str(nth):_<8}"
    ranks = Severity.WARNING, Confidence.HIGH
    return Finding("x.py", place, "TML101", "n", *ranks, "m", symbol=symbol, fingerprint=print_)


def new(
    before: dict[str, list[Finding]], now: dict[str, list[Finding]], freed: tuple[str, ...] = ()
) -> dict[str, list[Finding]]:
    entries = {path: [entry(one) for one in those] for path, those in before.items()}
    judged = recognise(entries, now, lambda path: path in freed)
    count = sum(map(len, entries.values()))
    assert sum(map(len, judged.known.values())) + sum(map(len, judged.unneeded.values())) == count
    return {path: those for path, those in judged.new.items() if those}


def test_the_same_findings_are_none_new() -> None:
    two = [made("x"), made("x", nth=2)]
    assert new({"a.py": two}, {"a.py": two}) == {}
    assert new({"a.py": two}, {"a.py": two[:1]}) == {}


def test_one_more_of_the_same_kind_is_new() -> None:
    assert new({"a.py": [made("x")]}, {"a.py": [made("x"), made("x", nth=2)]}) == {"a.py": [made("x", nth=2)]}
    assert new({"a.py": [made("x")]}, {"a.py": [made("x"), made("x", "g")]}) == {"a.py": [made("x", "g")]}


def test_a_function_of_another_name_has_its_findings_still() -> None:
    assert new({"a.py": [made("x", "f")]}, {"a.py": [made("x", "g")]}) == {}
    assert new({"a.py": [made("x", "f")]}, {"a.py": [made("y", "g")]}) == {"a.py": [made("y", "g")]}


def test_findings_move_with_their_code_only_from_where_they_are_gone() -> None:
    now = {"b.py": [made("x")]}
    assert new({"a.py": [made("x")]}, now, freed=("a.py",)) == {}
    assert new({"a.py": [made("x")]}, now) == now  # nobody looked at a.py
    assert new({"a.py": [made("x")]}, {"a.py": [made("x")], **now}, freed=("a.py",)) == now  # a copy
    assert new({"a.py": [made("x", "f")]}, {"b.py": [made("x", "g")]}, freed=("a.py",)) == {"b.py": [made("x", "g")]}
    twice = {"b.py": [made("x")], "c.py": [made("x")]}
    assert new({"a.py": [made("x")]}, twice, freed=("a.py",)) == {"c.py": [made("x")]}


# ---- the file -------------------------------------------------------------------------------------


def test_the_text_is_sorted_and_read_back() -> None:
    entries = {
        "src/b c.py": [Entry("g", "TML102", "2" * 16, "low", "é"), Entry("f", "TML301", "1" * 16, "high", "m")],
        "a.py": [],
        "a/é.py": [Entry("", "TML101", "3" * 16, "medium", '"')],
    }
    text = written(entries)
    back = {path: sorted(kept) for path, kept in entries.items() if kept}
    assert read(text) == back and written(back) == text
    assert [line.strip()[:30] for line in text.splitlines()[3:6]] == [
        '"a/é.py": [',
        '{"code": "TML101", "symbol": "',
        "],",
    ]
    assert read(written({})) == {}
    odd = {os.fsdecode(b"caf\xe9.py"): [Entry("f", "TML101", "1" * 16, "high", "m")]}
    assert read(written(odd).encode("utf-8").decode()) == odd


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no baseline, or damaged (line 1)"),
        ("[]", "is no baseline of torchmemlint"),
        ('{"files": {}}', "is no baseline of torchmemlint"),
        ('{\n<<<<<<< HEAD\n"torchmemlint-baseline": 1', "is no baseline, or damaged (line 2)"),
        (
            '{"torchmemlint-baseline": 2, "files": {}}',
            "was written by a newer torchmemlint (format 2, this one reads 1)",
        ),
        ('{"torchmemlint-baseline": 1}', "is damaged: an entry lacks what it should have"),
        ('{"torchmemlint-baseline": 1, "files": {"a": [{"code": "x"}]}}', "is damaged: an entry lacks"),
        ("[" * 100_000, "is no baseline"),
    ],
)
def test_what_is_no_baseline(text: str, why: str) -> None:
    with pytest.raises(BaselineError) as raised:
        read(text)
    assert str(raised.value).startswith(why)


# ---- the command ----------------------------------------------------------------------------------


class Run:
    """The command in this process, in a folder of its own; what it said last."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.said = ""

    def __call__(self, *arguments: str) -> tuple[int, list[str]]:
        """The exit status and the codes with their files."""
        status = main(["--no-cache", "--output-format", "concise", *arguments])
        out, self.said = self._capsys.readouterr()
        rows = [line.split(" ") for line in out.splitlines()]
        return status, [f"{row[0].split(':')[0]} {row[1]}" for row in rows]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    return Run(capsys)


def test_it_hides_what_it_knows_and_only_grows_when_told(tmp_path: Path, run: Run) -> None:
    write(tmp_path, a_py=TRAIN)
    assert run("--write-baseline", FILE, "a.py") == (0, [])
    assert run.said == "Wrote b.json: 1 finding\n"
    assert run("--baseline", FILE, ".") == (0, [])
    assert run.said == "1 finding known to b.json\n"
    write(tmp_path, a_py="\n# moved\n" + BOTH)
    assert run("--baseline", FILE, ".") == (1, ["a.py TML101"])
    before = (tmp_path / FILE).read_bytes()
    assert run("--write-baseline", FILE, ".") == (1, ["a.py TML101"])
    assert run.said == "Wrote b.json: 1 finding; 1 new one left out: --accept-new takes it in\n"
    assert (tmp_path / FILE).read_bytes() == before
    assert run("--write-baseline", FILE, "--accept-new", ".") == (0, [])
    assert run.said == "Wrote b.json: 2 findings (1 added)\n"
    write(tmp_path, a_py=TRAIN)
    assert run("--baseline", FILE, ".") == (0, [])
    assert run.said.splitlines()[1] == "1 entry of b.json no longer found: --write-baseline b.json takes it out"
    assert run("--write-baseline", FILE, ".") == (0, [])
    assert run.said == "Wrote b.json: 1 finding (1 dropped)\n"
    assert (tmp_path / FILE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_what_was_not_looked_at_stays(tmp_path: Path, run: Run) -> None:
    write(tmp_path, a_py=BOTH, b_py=TRAIN)
    run("--write-baseline", FILE, ".")
    before = (tmp_path / FILE).read_bytes()
    for arguments in (["a.py"], ["--select", "TML2", "."], ["--min-confidence", "high", "--ignore", "TML101", "."]):
        assert run("--write-baseline", FILE, *arguments) == (0, []), arguments
        assert (tmp_path / FILE).read_bytes() == before, arguments
    write(tmp_path, b_py=TRAIN + "x = (\n")  # nobody can say what else is in it now
    assert run("--write-baseline", FILE, ".") == (1, ["b.py TML001"])
    assert (tmp_path / FILE).read_bytes() == before
    (tmp_path / "b.py").unlink()
    assert run("--write-baseline", FILE, "a.py") == (0, [])
    assert set(json.loads((tmp_path / FILE).read_text())["files"]) == {"a.py"}


def test_a_file_that_cannot_be_parsed_can_be_accepted(tmp_path: Path, run: Run) -> None:
    write(tmp_path, a_py="import torch\ntorch.cuda.empty_cache()\nprint 'two'\n")
    assert run("--write-baseline", FILE, ".") == (0, [])
    write(tmp_path, a_py="import torch\n\ntorch.cuda.empty_cache()\nx = 1\nprint 'two'\n")
    assert run("--baseline", FILE, ".") == (0, [])


def test_renamed_files_and_moved_functions(tmp_path: Path, run: Run) -> None:
    write(tmp_path, a_py=BOTH, c_py="x = 1\n")
    run("--write-baseline", FILE, ".")
    (tmp_path / "a.py").rename(tmp_path / "renamed.py")
    assert run("--baseline", FILE, "renamed.py") == (0, [])
    (tmp_path / "renamed.py").rename(tmp_path / "a.py")
    write(tmp_path, a_py="x = 1\n", c_py=BOTH)
    assert run("--baseline", FILE, ".") == (0, [])
    assert run("--baseline", FILE, "c.py") == (1, ["c.py TML302", "c.py TML101"])  # what of a.py?
    write(tmp_path, c_py=BOTH.replace("def train", "def fit"), a_py=BOTH)
    assert run("--baseline", FILE, ".")[1] == ["c.py TML302", "c.py TML101"]


def test_it_is_found_from_everywhere(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, src__deep__a_py=TRAIN, ci__x_py="")
    run("--write-baseline", "ci/b.json", ".")
    assert list(json.loads((tmp_path / "ci/b.json").read_text())["files"]) == ["../src/deep/a.py"]
    (tmp_path / "torchmemlint.toml").write_text('baseline = "ci/b.json"\n')
    assert run(".") == (0, [])
    assert run("--no-baseline", ".") == run("--isolated", ".") == (1, ["src/deep/a.py TML302"])
    assert run("--no-baseline", "--baseline", "x", ".")[0] == 2
    monkeypatch.chdir(tmp_path / "src")
    assert run("deep") == run(str(tmp_path / "src/deep/a.py")) == (0, [])
    done = flake8("--select", "TML", ".", cwd=tmp_path, stand_ins=False)
    assert done.stdout == ""


def test_what_is_known_is_not_fixed(tmp_path: Path, run: Run) -> None:
    write(tmp_path, a_py=TRAIN)
    run("--write-baseline", FILE, ".")
    write(tmp_path, a_py=TRAIN + "\n\n" + TRAIN.replace("import torch\n", "").replace("train", "again"))
    assert run("--baseline", FILE, "--fix", ".") == (0, [])
    lines = (tmp_path / "a.py").read_text().splitlines()
    assert [line.strip() for line in lines if "+=" in line] == ["total += loss", "total += loss.detach()"]


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        (None, ["--baseline", FILE], "baseline b.json does not exist; --write-baseline b.json makes one"),
        ("{", ["--baseline", FILE], "b.json is no baseline, or damaged (line 1); remove it and write it anew with"),
        ("{", ["--write-baseline", FILE], "b.json is no baseline, or damaged (line 1); remove it and write it anew"),
        ("\xff", ["--baseline", FILE], "b.json is no baseline, or damaged"),
        (None, ["--baseline", "sub"], "baseline sub is a folder"),
        (None, ["--write-baseline", "no/b.json"], "--write-baseline: no/b.json: no such folder"),
        (None, ["--write-baseline", FILE, "--fix"], "--write-baseline and --fix exclude each other"),
        (None, ["--accept-new"], "--accept-new needs --write-baseline FILE"),
        (None, ["--write-baseline", FILE, "--baseline", "c.json"], "--baseline and --write-baseline name different"),
        (None, ["--write-baseline", FILE, "-"], "--write-baseline needs --stdin-filename to call standard input by"),
    ],
)
def test_every_mistake_is_one_line_and_nothing_is_written(
    tmp_path: Path, run: Run, content: str | None, flags: list[str], message: str
) -> None:
    write(tmp_path, sub__a_py=TRAIN)
    if content is not None:
        (tmp_path / FILE).write_bytes(content.encode("latin-1"))
    assert run(*flags) == (2, [])
    assert run.said.startswith(f"error: {message}") and run.said.count("\n") == 1
    assert (tmp_path / FILE).exists() is (content is not None)
    if content is not None:
        assert (tmp_path / FILE).read_bytes() == content.encode("latin-1")
