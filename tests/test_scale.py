"""Memory stays bounded however many files and projects there are."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from torchmemlint import disk
from torchmemlint.disk import PROJECT_MARKERS, DiskFiles, Target
from torchmemlint.faces import pool
from torchmemlint.faces.check import MAX_PROJECTS, Choice
from torchmemlint.facts import parsed_files, project, reach
from torchmemlint.facts.file_facts import FileFacts
from torchmemlint.facts.project import Project
from torchmemlint.facts.structure import Function

HELPER = "import torch\n\ndef release{n}():\n    torch.cuda.empty_cache()\n"
LOOP = "import torch\nfrom helper import release0\n\nfor x in y:\n    f(x).sum().backward()\n    release0()\n"


def alive(kind: type) -> int:
    gc.collect()
    return sum(type(thing) is kind for thing in gc.get_objects())


def test_the_search_for_helpers_keeps_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsed_files, "MAX_KEPT", 1)  # what was parsed is kept by nobody else
    for number in range(12):
        (tmp_path / f"helper{number}.py").write_text(HELPER.replace("{n}", str(number)))
    held: list[tuple[int, int]] = []

    def counting(facts: FileFacts, names: Sequence[str]) -> Iterator[str]:
        held.append((alive(FileFacts), alive(Function)))
        return calling(facts, names)

    calling = reach._calling
    monkeypatch.setattr(reach, "_calling", counting)
    asked = Project(DiskFiles(str(tmp_path)))
    assert asked.carrier_names("empties_cache") == {"empty_cache", *(f"release{n}" for n in range(12))}
    assert len(held) >= 12
    assert max(files for files, _ in held) <= min(files for files, _ in held) + 1
    assert max(functions for _, functions in held) <= min(functions for _, functions in held) + 4


def test_projects_are_let_go_of_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SMALL_BATCH", 2)
    targets = []
    for number in range(3 * MAX_PROJECTS):
        folder = tmp_path / f"project{number}"
        folder.mkdir()
        (folder / "pyproject.toml").touch()
        (folder / "helper.py").write_text(HELPER.replace("{n}", "0"))
        (folder / "train.py").write_text(LOOP)
        targets += [Target(str(folder / name), name) for name in ("helper.py", "train.py")]
    outcomes = pool.check_all(Choice(isolated=True), targets, 1)
    assert [[finding.code for finding in one.findings] for one in outcomes] == [[], ["TML101"]] * (3 * MAX_PROJECTS)
    assert pool._checker is not None
    assert len(pool._checker.projects) == MAX_PROJECTS


def callers_of(seen: Project, name: str) -> list[int]:
    helper = seen.facts("helper.py")
    assert helper is not None
    (function,) = (one for one in helper.structure.functions if one.name == name)
    return [call.lineno for _, call in seen.callers(function, helper)]


def test_a_session_opens_no_more_files_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / f"m{number}.py").write_text("x" * 99 + "\n")
    monkeypatch.setattr(project, "MAX_ENTERED", 500)
    seen = Project(DiskFiles(str(tmp_path)))
    assert [seen.facts(f"m{number}.py") is not None for number in range(20)] == [True] * 10 + [False] * 10
    assert seen.facts("m0.py") is not None


def test_callers_are_not_looked_for_once_enough_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "MAX_ENTERED", len(HELPER))
    two = HELPER.replace("{n}", "0") + HELPER.replace("{n}", "1")
    (tmp_path / "helper.py").write_text(two)
    (tmp_path / "train.py").write_text(LOOP)
    with pytest.raises(project.TooManyCallers):
        callers_of(Project(DiskFiles(str(tmp_path))), "release0")
    target = Target(str(tmp_path / "train.py"), "train.py")
    (outcome,) = pool.check_all(Choice(isolated=True), [target], 1)
    assert [finding.code for finding in outcome.findings] == ["TML101"]  # what is called is followed all the same


def test_asked_again_the_callers_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules ask one after the other, and the places of what is shown are asked for once more at the end."""
    (tmp_path / "helper.py").write_text(HELPER.replace("{n}", "0"))
    (tmp_path / "train.py").write_text(LOOP)
    seen = Project(DiskFiles(str(tmp_path)))
    assert callers_of(seen, "release0") == [6]
    monkeypatch.setattr(project, "MAX_ENTERED", 1)  # by now the session is full
    assert callers_of(seen, "release0") == [6]


def test_a_folder_of_projects_is_not_a_project(tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "own.py").touch()
    for marker in PROJECT_MARKERS:
        inner = tmp_path / f"project{marker}" / "src"
        inner.mkdir(parents=True)
        (inner / "theirs.py").touch()
        (inner.parent / marker).touch()
    assert list(DiskFiles(str(tmp_path)).paths()) == ["loose/own.py"]
    (tmp_path / "setup.cfg").touch()  # one project of several packages
    assert len(list(DiskFiles(str(tmp_path)).paths())) == 1 + len(PROJECT_MARKERS) + 1  # setup.py is a file itself


def test_a_home_directory_is_no_project_of_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "MAX_AROUND", 5)
    (tmp_path / "work").mkdir()
    for number in range(5):
        (tmp_path / f"other{number}.py").touch()
    monkeypatch.chdir(tmp_path)
    assert disk.common_folder(["work"]) == str(tmp_path / "work")
    assert disk.common_folder(["."]) == disk.common_folder([]) == str(tmp_path)
    (tmp_path / "other0.py").unlink()
    assert disk.common_folder(["work"]) == str(tmp_path)
    (tmp_path / "other0.py").touch()
    (tmp_path / "pyproject.toml").touch()
    assert disk.common_folder(["work"]) == str(tmp_path)
