"""What is imported when: flake8 users and people without torch pay for nothing they do not use."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import python, write

HEAVY = ("libcst", "torch", "rich", "pathspec", "flake8", "tomllib", "tomli", "concurrent.futures", "difflib")
RUN = """
import sys
from torchmemlint.faces.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
"""
NEEDLESS = tuple(f"torchmemlint.{name}" for name in ("faces.fixing", "faces.full", "facts.parsed", "stale", "suppress"))
"""Modules of ours that a file without findings has no use for."""
SHOW = f"import sys; print('loaded', *[name for name in {HEAVY + NEEDLESS!r} if name in sys.modules])"


def loaded(code: str, *arguments: str, cwd: Path, stand_ins: bool = False) -> set[str]:
    done = python(f"{code}\n{SHOW}", *arguments, cwd=cwd, stand_ins=stand_ins)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("module", ["torchmemlint", "torchmemlint.faces.flake8_plugin", "torchmemlint.faces.cli"])
def test_importing_is_light(tmp_path: Path, module: str) -> None:
    assert loaded(f"import {module}", cwd=tmp_path) == set()


def test_asking_for_the_version_is_light(tmp_path: Path) -> None:
    assert loaded(RUN, "--version", cwd=tmp_path) == set()


def test_a_file_without_torch_is_light(tmp_path: Path) -> None:
    write(tmp_path, a_py="import numpy\nx = [1]\n")
    assert loaded(RUN, "a.py", cwd=tmp_path) == set()


def test_a_file_that_no_rule_looks_at_is_light(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nx = torch.zeros(3)\n")
    assert loaded(RUN, "--no-cache", "a.py", cwd=tmp_path) == set()


def test_a_notebook_without_torch_is_light(tmp_path: Path) -> None:
    write(tmp_path, **{"a.ipynb": '{"cells": [{"cell_type": "code", "source": ["!ls\\n", "x = [1]"]}]}'})
    assert loaded(RUN, "a.ipynb", cwd=tmp_path) == set()


def test_through_flake8_a_file_without_torch_is_light(tmp_path: Path) -> None:
    write(tmp_path, a_py="import numpy\nx = [1]\n")
    code = "from flake8.main.cli import main; main(['--isolated', '--jobs', '1', 'a.py'])"
    assert not loaded(code, cwd=tmp_path) & {"libcst", "torch", "rich", "pathspec"}


def test_linting_torch_code_imports_libcst_and_never_torch(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA\n", torch_py="raise SystemExit('imported the user')\n")
    assert loaded(RUN, "a.py", cwd=tmp_path, stand_ins=True) & {"libcst", "torch", "rich"} == {"libcst"}
