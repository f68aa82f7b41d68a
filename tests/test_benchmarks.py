"""The benchmarks run, on little, and print what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cases import ROOT


def printed(script: str, *arguments: str, cwd: Path) -> list[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=300).stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_tools_are_compared_on_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import torch\nx = torch.zeros(3)\n")
    head, columns, *rows = printed("compare.py", "--rounds", "1", str(tmp_path), cwd=tmp_path)
    assert head.startswith("2 lines")
    assert columns.split() == ["CPU", "s", "KLOC/s", "times", "ours", "MiB"]
    assert rows[0].startswith("torchmemlint ") and rows[1].startswith("torchmemlint, unchanged")
    assert all(float(row[24:].split()[0]) > 0 for row in rows)


def test_cost_is_shown_against_size(tmp_path: Path) -> None:
    rows = printed("scaling.py", "--files", "1", "3", "--lengths", "200", cwd=tmp_path)
    assert [row.split()[0] for row in rows] == ["starting:", "1", "3", "one"]
    assert rows[2].split()[5] == str(3 * int(rows[1].split()[5]))


def test_a_tree_is_linted_in_every_way(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import torch\nfor x in y:\n    f(x).backward()\n    torch.cuda.empty_cache()\n")
    (tmp_path / "b.py").write_text("import torch\ntorch.cuda.empty_cache(\n")
    counts, faults = printed("sturdiness.py", str(tmp_path), cwd=tmp_path)
    assert counts.startswith(f"{tmp_path}: 2 files, 6 lines, 1 findings, 1 unreadable, 1 fixes, ")
    assert faults == "  0 faults"


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_a_large_folder_is_linted_twice(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import torch\nfor x in y:\n    f(x).backward()\n    torch.cuda.empty_cache()\n")
    head, first, findings, again = printed("large.py", "--jobs", "2", str(tmp_path), cwd=tmp_path)
    assert head == f"{tmp_path}: 1 files, 4 lines, 2 processes"
    assert first.split()[:2] == ["first", "run:"] and again.split()[0] == "unchanged:"
    assert findings.strip() == "1 findings: TML101 1"
