"""--diff-base: what a change brings is reported, what was there before is not, however the change moved it."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from commands import write
from torchmemlint.faces.cli import main

LOOP = """
def train(model, loader, opt):
    total = 0
    for x, y in loader:
        loss = model(x).sum()
        loss.backward()
        opt.step()
        total += loss
    return total
"""
OLD = f"import torch\n{LOOP}"  # one TML302
CLEAN = OLD.replace("total += loss", "total += loss.item()")
CALLER = CLEAN.replace("import torch", "import torch\nfrom clean import tidy").replace(
    "opt.step()", "opt.step(); tidy()"
)
Lint = Callable[..., tuple[int, list[str]]]


def git(folder: Path, *arguments: str) -> None:
    name = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree with findings in a.py and sub/b.py, none in the others, committed on `main`."""
    write(tmp_path, a_py=OLD, sub__b_py=OLD, caller_py=CALLER, clean_py="def tidy():\n    pass\n")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lint(capsys: pytest.CaptureFixture[str]) -> Lint:
    def lint(*arguments: str, since: str = "main") -> tuple[int, list[str]]:
        """The exit status, and files and codes; or what was said where it could not be done."""
        flags = ("--isolated", "--no-cache", "--output-format", "concise", f"--diff-base={since}")
        status = main([*flags, *(arguments or (".",))])
        out, err = capsys.readouterr()
        if status == 2:
            return status, err.splitlines()
        rows = [line.rsplit("[", 1)[0].split(":") for line in out.splitlines()]
        return status, [f"{row[0]} {row[3].split()[0]}" for row in rows]

    return lint


def test_nothing_has_changed(work: Path, lint: Lint) -> None:
    assert lint() == lint(since="HEAD") == (0, [])


def test_what_only_moved_is_not_new(work: Path, lint: Lint) -> None:
    write(work, a_py="# more\n\n" + OLD.replace("def train", "def fit").replace("    return", "\n    return"))
    (work / "sub/b.py").rename(work / "sub/ünï cödé.py")
    assert lint() == (0, [])
    git(work, "add", "-A")
    assert lint() == (0, [])
    git(work, "commit", "-qm", "two")
    assert lint(since="HEAD~1") == (0, [])
    write(work, a_py="x = 1\n", c_py=OLD)  # the function moved to a new file
    assert lint(since="HEAD~1") == (0, [])
    write(work, a_py=OLD)  # now it is a copy
    assert lint(since="HEAD") == (1, ["c.py TML302"])


def test_an_edit_beside_an_old_finding_brings_none_and_one_to_it_does(work: Path, lint: Lint) -> None:
    write(work, a_py=OLD.replace("opt.step()", "opt.step(); print(y)").replace("+= loss", "+=  loss  # sum"))
    assert lint() == (0, [])
    write(work, a_py=OLD.replace("+= loss", "+= loss * 2"))
    assert lint() == (1, ["a.py TML302"])
    write(work, a_py=OLD + LOOP.replace("train", "again"))
    assert lint() == (1, ["a.py TML302"])


def test_the_same_smell_in_another_function_that_was_there_is_new(work: Path, lint: Lint) -> None:
    both = CLEAN + LOOP.replace("def train", "def second")
    write(work, a_py=both)
    git(work, "commit", "-qam", "two")
    write(work, a_py=OLD + LOOP.replace("def train", "def second").replace("+= loss", "+= loss.item()"))
    assert lint(since="HEAD") == (1, ["a.py TML302"])


def test_an_edited_helper_brings_findings_in_callers_that_nobody_touched(work: Path, lint: Lint) -> None:
    write(work, clean_py="import torch\n\n\ndef tidy():\n    torch.cuda.empty_cache()\n")
    assert lint() == (1, ["caller.py TML101"])
    git(work, "commit", "-qam", "two")
    assert lint(since="HEAD~1") == (1, ["caller.py TML101"])
    assert lint("caller.py", since="HEAD") == (0, [])


def test_a_comment_that_silenced_is_part_of_the_past(work: Path, lint: Lint) -> None:
    write(work, a_py=OLD.replace("+= loss", "+= loss  # torchmemlint: ignore[TML302] short"))
    assert lint() == (0, [])
    git(work, "commit", "-qam", "two")
    write(work, a_py=OLD)
    assert lint(since="HEAD") == (1, ["a.py TML302"])


def test_new_files_count_before_they_are_added_and_ignored_ones_do_not(work: Path, lint: Lint) -> None:
    write(work, new_py=OLD, ignored_py=OLD)
    assert lint(".", "ignored.py") == (1, ["new.py TML302"])
    git(work, "add", "new.py")
    assert lint() == (1, ["new.py TML302"])


def test_the_base_is_where_the_histories_part(work: Path, lint: Lint) -> None:
    git(work, "switch", "-qc", "topic")
    write(work, clean_py="x = 1\n")
    git(work, "commit", "-qam", "topic")
    git(work, "switch", "-q", "main")
    write(work, a_py=CLEAN)
    git(work, "commit", "-qam", "mended on main")
    git(work, "switch", "-q", "topic")
    assert lint() == (0, [])  # the finding that main has mended is none of this branch's


def test_from_a_subfolder_by_link_and_from_a_hook(work: Path, lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    write(work, sub__b_py=OLD + LOOP.replace("train", "again"))
    (work / "link.py").symlink_to("sub/b.py")
    assert lint("link.py") == (1, ["link.py TML302"])
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/index")
    monkeypatch.chdir(work / "sub")
    assert lint() == (1, ["b.py TML302"])
    assert lint("../a.py") == (0, [])


def test_standard_input(work: Path, lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in ((OLD, []), (OLD + LOOP.replace("train", "again"), ["a.py TML302"])):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        assert lint("-", "--stdin-filename", "a.py") == (int(bool(expected)), expected)


def test_a_baseline_comes_first(work: Path, lint: Lint, capsys: pytest.CaptureFixture[str]) -> None:
    write(work, new_py=OLD)
    assert main(["--isolated", "--no-cache", "-q", "--write-baseline", "b.json", "new.py"]) == 0
    assert lint("--baseline", "b.json", ".") == (0, [])
    assert main(["--isolated", "--no-cache", "--write-baseline", "b.json", "--diff-base", "main"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_every_mistake_is_one_line(
    work: Path, lint: Lint, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert lint(since="nope") == (2, ["error: --diff-base: unknown revision `nope`"])
    assert lint(since="-x") == (2, ["error: --diff-base: unknown revision `-x`"])
    assert lint(since="HEAD:a.py") == (2, ["error: --diff-base: unknown revision `HEAD:a.py`"])
    git(work, "switch", "-q", "--orphan", "other")
    write(work, a_py=OLD)
    assert lint() == (2, ["error: --diff-base: nothing is committed yet"])
    git(work, "add", "-A")
    git(work, "commit", "-qm", "other")
    assert lint() == (2, ["error: --diff-base: `main` and HEAD have no commit in common"])
    outside = tmp_path_factory.mktemp("outside")
    write(outside, a_py=OLD)
    assert lint(str(outside)) == (2, [f"error: --diff-base: {outside} is in no work tree of git"])
    monkeypatch.setenv("PATH", str(outside))
    assert lint() == (2, ["error: --diff-base: git is not installed, or not on the path"])
