"""Findings kept from run to run are those that linting anew would give, whatever happens to files and cache."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cases import ROOT
from commands import lint
from torchmemlint import cache
from torchmemlint.disk import Filters, Target, discover
from torchmemlint.faces import pool
from torchmemlint.faces.check import Checker, Choice
from torchmemlint.faces.pool import Outcome, check_all
from torchmemlint.model import Finding

HELPER = "import torch\n\n\ndef tidy():\n    torch.cuda.empty_cache()\n"
CALLER = """
import torch

from tools.memory import tidy


def train(model, loader, optimizer):
    for x in loader:
        loss = model(x.cuda()).sum()
        loss.backward()
        optimizer.step()
        tidy()
"""
OTHER = "import torch\n\n\ndef scale(x):\n    return x.detach() * 2\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A helper that empties the cache, a caller of it, and a file that has nothing to do with either."""
    files = {"tools/__init__.py": "", "tools/memory.py": HELPER, "train.py": CALLER, "other.py": OTHER}
    for name, text in {**files, "pyproject.toml": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def linted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are really linted, as they are."""
    names: list[str] = []
    real = pool.check_one

    def seen(checker: Checker, target: Target) -> Outcome:
        names.append(target.shown)
        return real(checker, target)

    monkeypatch.setattr(pool, "check_one", seen)
    return names


def findings(folder: Path, cached: bool = True, jobs: int = 1, cache_folder: str = "") -> list[Finding]:
    """All findings below a folder, at any confidence."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        choice = Choice({"min-confidence": "low"}, "", True, str(folder), cached, cache_folder)
        checker = Checker(choice)
        targets = discover(["."], Filters(checker.excluded)).targets
        return [one for outcome in check_all(choice, targets, jobs) for one in outcome.findings]
    finally:
        os.chdir(here)


def codes(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.path, one.code) for one in found]


def test_nothing_is_linted_twice(project: Path, linted: list[str]) -> None:
    first = findings(project)
    assert ("train.py", "TML101") in codes(first) and len(linted) == 4
    linted.clear()
    assert findings(project) == first
    assert linted == []


def test_an_edited_helper_has_exactly_its_callers_judged_again(project: Path, linted: list[str]) -> None:
    findings(project)
    linted.clear()
    guarded = HELPER.replace("    torch", "    if torch.cuda.memory_reserved() > 2**34:\n        torch")
    (project / "tools/memory.py").write_text(guarded)
    found = findings(project)
    assert sorted(linted) == [os.path.join("tools", "memory.py"), "train.py"]
    assert found == findings(project, cached=False)


def test_a_new_file_that_a_name_leads_to_is_seen(project: Path, linted: list[str]) -> None:
    memory = (project / "tools/memory.py").read_text()
    (project / "tools/memory.py").unlink()
    assert ("train.py", "TML101") not in codes(findings(project))
    (project / "tools/memory.py").write_text(memory)
    linted.clear()
    assert ("train.py", "TML101") in codes(findings(project))
    assert "train.py" in linted


LOOP = """
import torch
from extra import loss_of


def train(model: torch.nn.Module, loader, optimizer):
    total = 0
    for x in loader:
        loss = loss_of(model, x)
        loss.backward()
        optimizer.step()
        total += loss
    return total
"""


def test_a_new_module_of_an_imported_name_is_seen(project: Path) -> None:
    (project / "loop.py").write_text(LOOP)
    assert ("loop.py", "TML302") in codes(findings(project))
    (project / "extra.py").write_text("import torch\n\n\ndef loss_of(model, x):\n    return model(x).sum().item()\n")
    assert ("loop.py", "TML302") not in codes(findings(project))


def test_a_new_file_with_a_dot_in_its_name_is_seen_as_linting_anew_sees_it(project: Path) -> None:
    (project / "loop.py").write_text(LOOP)
    findings(project)
    (project / "x.extra.py").write_text("import torch\n\n\ndef loss_of(model, x):\n    return model(x).sum().item()\n")
    assert findings(project) == findings(project, cached=False)


def test_a_renamed_helper_has_only_those_judged_again_that_speak_of_it(project: Path, linted: list[str]) -> None:
    """And what was found then is kept, though the search for helpers looked for words that no answer rests on."""
    for number in range(8):
        (project / f"apart{number}.py").write_text(OTHER)
    findings(project)
    linted.clear()
    (project / "tools/memory.py").write_text(HELPER.replace("tidy", "clean"))
    found = findings(project)
    assert sorted(linted) == [os.path.join("tools", "memory.py"), "train.py"]
    assert found == findings(project, cached=False)
    linted.clear()
    assert findings(project) == found and linted == []


def test_settings_and_folders_have_findings_of_their_own(project: Path) -> None:
    assert lint("--isolated", ".", cwd=project).returncode == 1
    assert lint("--isolated", "--ignore", "TML1", ".", cwd=project).returncode == 0
    assert lint("--isolated", ".", cwd=project).returncode == 1
    within = lint("--isolated", "--output-format", "concise", "../train.py", cwd=project / "tools")
    assert within.returncode == 1 and within.stdout.startswith("../train.py:")


def test_suppressions_count_at_once(project: Path) -> None:
    assert ("train.py", "TML101") in codes(findings(project))
    (project / "train.py").write_text(CALLER.replace("        tidy()", "        tidy()  # noqa: TML101"))
    assert ("train.py", "TML101") not in codes(findings(project))


# ---- a cache that is not as it was left ------------------------------------------------------------


def stored(project: Path) -> Path:
    (path,) = (project / ".torchmemlint_cache").glob("*.json")
    return path


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "of another version": lambda data: data.replace(b"torchmemlint cache 1", b"torchmemlint cache 0", 1),
    "changed by hand": lambda data: data.replace(b"TML101", b"TML102"),
    "no text": lambda data: b"\xff" * 100,
    "something else": lambda data: b"torchmemlint cache 1\n[]",
}


@pytest.mark.parametrize("how", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_cache_is_none(project: Path, linted: list[str], how: Callable[[bytes], bytes]) -> None:
    first = findings(project)
    stored(project).write_bytes(how(stored(project).read_bytes()))
    linted.clear()
    assert findings(project) == first
    assert len(linted) == 4
    assert findings(project) == first and len(linted) == 4  # and is made good


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_cache(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = findings(project)
    path = stored(project)
    path.unlink()
    os.mkfifo(path)

    def waits(*arguments: object, **more: object) -> None:
        raise AssertionError("it would wait for ever")

    with monkeypatch.context() as patched:
        patched.setattr(cache, "open", waits, raising=False)
        assert cache.load(str(path), "") == cache.Store()
    assert findings(project) == first and path.is_file()  # made good


def test_findings_of_an_older_release_are_not_believed(
    project: Path, linted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    findings(project)
    linted.clear()
    monkeypatch.setattr("torchmemlint.__version__", "0.0.1")
    findings(project)
    assert len(linted) == 4


def test_a_folder_that_cannot_be_written_to_is_no_error(project: Path, tmp_path: Path) -> None:
    (project / ".torchmemlint_cache").write_text("in the way")
    assert ("train.py", "TML101") in codes(findings(project))
    assert (project / ".torchmemlint_cache").read_text() == "in the way"


def test_a_full_disk_leaves_the_old_cache(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings(project)
    before = stored(project).read_bytes()
    (project / "other.py").write_text(OTHER + "\n")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        found = findings(project)
    assert found == findings(project, cached=False)
    assert stored(project).read_bytes() == before
    assert [path.name for path in (project / ".torchmemlint_cache").iterdir() if path.suffix == ".part"] == []


def test_a_file_that_changes_while_it_is_linted_is_linted_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pool.check_one

    def changing(checker: Checker, target: Target) -> Outcome:
        made = real(checker, target)
        if target.shown == "train.py":
            (project / "tools/memory.py").write_text("def tidy():\n    pass\n")
        return made

    with monkeypatch.context() as patch:
        patch.setattr(pool, "check_one", changing)
        findings(project)
    assert not list((project / ".torchmemlint_cache").glob("*.json"))
    assert findings(project) == findings(project, cached=False)


def test_two_runs_at_once_leave_a_whole_cache(project: Path) -> None:
    command = [sys.executable, "-m", "torchmemlint", "--isolated", "--output-format", "json", "."]
    runs = [subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE) for _ in range(4)]
    answers = {one.communicate()[0] for one in runs}
    assert len(answers) == 1
    assert cache.load(str(stored(project)), stored(project).read_text().split("\t")[1]).answers


def test_the_cache_keeps_itself_out_of_version_control_and_can_be_moved_or_left_out(
    project: Path, tmp_path: Path
) -> None:
    lint("--isolated", "--no-cache", ".", cwd=project)
    assert not (project / ".torchmemlint_cache").exists()
    elsewhere = tmp_path / "elsewhere"
    lint("--isolated", "--cache-dir", str(elsewhere), ".", cwd=project)
    assert not (project / ".torchmemlint_cache").exists()
    assert "*" in (elsewhere / ".gitignore").read_text().split()
    assert len(list(elsewhere.glob("*.json"))) == 1


# ---- whatever is edited ----------------------------------------------------------------------------


def edited(text: str, dice: random.Random) -> str:
    """The text with one line dropped, doubled, or a word in it renamed."""
    lines = text.split("\n")
    place = dice.randrange(len(lines))
    how = dice.randrange(4)
    if how == 0:
        lines[place : place + 1] = []
    elif how == 1:
        lines.insert(place, lines[dice.randrange(len(lines))])
    elif how == 2:
        words = [word for word in ("empty_cache", "tidy", "loss", "model", "torch", "def ", "self.") if word in text]
        return text.replace(dice.choice(words), "renamed", 1) if words else text
    else:
        lines[place] += "  # noqa"
    return "\n".join(lines)


def projects_of_rules() -> Iterator[Path]:
    for folder in sorted((ROOT / "fixtures").glob("tml*/proj_*")):
        if folder.is_dir():
            yield folder


@pytest.mark.parametrize("seed", range(3))
def test_after_any_edit_findings_are_those_of_linting_anew(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    for folder in projects_of_rules():
        shutil.copytree(folder, tmp_path / f"{folder.parent.name}_{folder.name}")
    (tmp_path / "pyproject.toml").write_text("")
    findings(tmp_path)
    for _ in range(6):
        paths = sorted(path for path in tmp_path.rglob("*.py"))
        chosen = dice.choice(paths)
        how = dice.randrange(6)
        if how == 0:
            chosen.unlink()
        elif how == 1:
            shutil.copy(chosen, chosen.with_name(f"copy_{dice.randrange(99)}.py"))
        else:
            chosen.write_text(edited(chosen.read_text(), dice))
        assert findings(tmp_path) == findings(tmp_path, cached=False), chosen


def test_a_store_survives_being_written_and_read(project: Path) -> None:
    found = findings(project)
    head, _, body = stored(project).read_text().partition("\n")
    key = head.split("\t")[1]
    store = cache.load(str(stored(project)), key)
    assert [one for path in sorted(store.answers) for one in store.answers[path].findings] == found
    assert json.loads(body)["carriers"]["empties_cache"]
    copy = project / "copy.json"
    cache.save(store, str(copy), key)
    assert cache.load(str(copy), key) == store
