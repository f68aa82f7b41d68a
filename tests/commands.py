"""Runs the command and flake8 as a user does, in processes of their own. Knows no rules and asserts nothing.

With `stand_ins` the rules of `tests/face_rules/` are there besides the real ones, so that a test decides
what is flagged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STAND_INS = Path(__file__).resolve().parent / "face_rules"
UNSET = ("PYTHONPATH", "FORCE_COLOR", "NO_COLOR", "TORCHMEMLINT_OUTPUT_FORMAT", "GITHUB_STEP_SUMMARY")
ISOLATED = ("--isolated", "--no-cache")


def environment(stand_ins: bool = True, **more: str) -> dict[str, str]:
    path = [str(STAND_INS), str(ROOT)] if stand_ins else [str(ROOT)]
    kept = {key: value for key, value in os.environ.items() if key not in UNSET}
    return kept | {"PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"} | more


def lint(
    *arguments: str, cwd: Path, stand_ins: bool = True, stdin: bytes = b"", **more: str
) -> subprocess.CompletedProcess[str]:
    """`torchmemlint arguments...`"""
    return _run([sys.executable, "-m", "torchmemlint", *arguments], cwd, environment(stand_ins, **more), stdin)


def lint_json(*arguments: str, cwd: Path, stand_ins: bool = True, stdin: bytes = b"") -> list[dict[str, Any]]:
    """The findings as JSON objects, whatever the exit status."""
    done = lint("--output-format", "json", *arguments, cwd=cwd, stand_ins=stand_ins, stdin=stdin)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def flake8(*arguments: str, cwd: Path, stand_ins: bool = True, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flake8", "--jobs", "1", *arguments]
    return _run(command, cwd, environment(stand_ins), stdin)


def python(code: str, *arguments: str, cwd: Path, stand_ins: bool = False) -> subprocess.CompletedProcess[str]:
    return _run([sys.executable, "-c", code, *arguments], cwd, environment(stand_ins), b"")


def _run(command: Sequence[str], cwd: Path, env: dict[str, str], stdin: bytes) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env=env, input=stdin, capture_output=True, timeout=120, check=False)
    out, err = (stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def write(folder: Path, **files: str | bytes) -> None:
    """Files by name, with `__` for a slash and `_py` for the suffix: write(tmp, pkg__a_py="...")."""
    for name, content in files.items():
        path = folder / (name.removesuffix("_py").replace("__", "/") + (".py" if name.endswith("_py") else ""))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
