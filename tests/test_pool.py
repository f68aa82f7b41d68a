"""Worker processes that are not forked, as on other systems and from Python 3.14 on, find the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from commands import ISOLATED, interrupted, lint, python, write

STARTED = """
import multiprocessing, sys
from torchmemlint.faces.cli import main

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
"""

ALONE = """
from torchmemlint.disk import Target
from torchmemlint.faces.check import Choice
from torchmemlint.faces.pool import _alone

if __name__ == "__main__":
    _alone(Choice(isolated=True), [Target("a.py", "a.py")], {})
"""


@pytest.mark.parametrize("method", [one for one in multiprocessing.get_all_start_methods() if one != "fork"])
def test_however_processes_are_started(tmp_path: Path, method: str) -> None:
    write(tmp_path, **{f"m{number:02}_py": "import torch\nALPHA\n" for number in range(4)})
    write(tmp_path, m02_py="import torch\nALPHA  # DIE\n", m03_py="import torch\nx = (\n")
    arguments = (*ISOLATED, "--output-format", "concise", ".")
    done = python(STARTED, method, "--jobs", "2", *arguments, cwd=tmp_path, stand_ins=True)
    assert (done.returncode, done.stderr) == (2, "error: m02.py: the process that analysed it died\n")
    (tmp_path / "m02.py").unlink()
    assert done.stdout == lint("--jobs", "1", *arguments, cwd=tmp_path).stdout != ""


@pytest.mark.parametrize("method", [one for one in multiprocessing.get_all_start_methods() if one != "fork"])
def test_however_they_are_started_they_do_not_outlive_the_main_process(tmp_path: Path, method: str) -> None:
    write(tmp_path, **{f"m{number}_py": "import torch\nALPHA  # SLEEP\n" for number in range(4)})
    done = interrupted(tmp_path, "--jobs", "2", number=signal.SIGKILL, send=os.kill, start=("-c", STARTED, method))
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_interrupting_ends_the_process_that_looks_for_a_deadly_file(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA  # SLEEP\n")
    done = interrupted(tmp_path, send=os.kill, start=("-c", ALONE))
    assert done.returncode == -signal.SIGINT and done.stderr.endswith("\nKeyboardInterrupt\n")
