"""Memory stays bounded however many files and projects there are."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from torchmemlint.disk import DiskFiles, Target
from torchmemlint.faces import pool
from torchmemlint.faces.check import MAX_PROJECTS, Choice
from torchmemlint.facts import parsed_files, reach
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
    project = Project(DiskFiles(str(tmp_path)))
    assert project.carrier_names("empties_cache") == {"empty_cache", *(f"release{n}" for n in range(12))}
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
