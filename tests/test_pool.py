"""Worker processes that are not forked, as on other systems and from Python 3.14 on, find the same."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from commands import ISOLATED, lint, python, write

STARTED = """
import multiprocessing, sys
from torchmemlint.faces.cli import main

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
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
