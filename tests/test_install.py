"""What an installation brings and promises, by its metadata: no torch, nothing pinned, the Pythons that CI runs."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from commands import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def test_linting_needs_little_and_no_torch(project: dict[str, Any]) -> None:
    needed = {re.split(r"[^\w-]", one)[0]: one for one in project["dependencies"]}
    assert set(needed) == {"libcst", "pathspec", "rich", "tomli"}
    bounded = [one for one in needed.values() if re.search(r"==|~=|<[^;]*$", one.split(";")[0])]
    assert not bounded, "an upper bound keeps others from living beside us; TorchFix needs libcst below 1.6"


def test_every_extra_says_what_the_command_asks_for(project: dict[str, Any]) -> None:
    asked = set()
    for path in (ROOT / "torchmemlint" / "faces").rglob("*.py"):
        asked |= set(re.findall(r"torchmemlint\[(\w+)\]", path.read_text("utf-8")))
    assert asked and asked <= set(project["optional-dependencies"])


def test_ci_runs_the_pythons_that_are_promised(project: dict[str, Any]) -> None:
    promised = [one.rsplit(" ", 1)[1] for one in project["classifiers"] if re.search(r"Python :: 3\.\d+$", one)]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    matrix = re.search(r"python-version: \[(.+)\]", workflow)
    assert matrix is not None and [one.strip(' "') for one in matrix[1].split(",")] == promised
    assert project["requires-python"] == f">={promised[0]}"
