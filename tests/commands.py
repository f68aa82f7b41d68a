"""Runs the command and flake8 as a user does, in processes of their own. Knows no rules and asserts nothing.

With `stand_ins` the rules of `tests/face_rules/` are there besides the real ones, so that a test decides
what is flagged.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
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


def interrupted(
    folder: Path,
    *flags: str,
    number: int = signal.SIGINT,
    send: Callable[[int, int], None] = os.killpg,
    start: Sequence[str] = ("-m", "torchmemlint"),
) -> subprocess.CompletedProcess[str]:
    """What comes of a signal once a file that takes for ever has been begun. Raises TimeoutError if something goes on.

    send   gives it to all processes, as a terminal and `timeout` do, or `os.kill` to the first alone.
    start  what Python is to run.
    """
    command = [sys.executable, *start, *ISOLATED, *flags, "."]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, children too
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=folder, env=environment(), start_new_session=True, **pipes)
    signal.signal(signal.SIGINT, before)
    patience = time.monotonic() + 60
    while not (folder / "asleep").exists() and time.monotonic() < patience:
        time.sleep(0.05)
    send(process.pid, number)
    try:
        out, said = process.communicate(timeout=20)
        while _running(process.pid):
            if time.monotonic() > patience:
                raise TimeoutError("something was left running")
            time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, said)


def _running(group: int) -> bool:
    """Whether anything runs in a process group; what helped Python to start processes ends a moment later."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


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
