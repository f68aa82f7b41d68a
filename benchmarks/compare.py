"""CPU seconds and peak memory of torchmemlint and of others on the same files: `python benchmarks/compare.py TREE...`.

Every tool runs in one process, with its default rules, without its cache, and gets the same list of folders; rounds are
interleaved, and the medians are shown. Tools that are not installed are named and left out. Unix only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1024.0
"""What ru_maxrss counts, in MiB, on Linux."""


@dataclass(frozen=True)
class Tool:
    """A command line without its paths; `settings` are added to the environment."""

    name: str
    command: tuple[str, ...]
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Cost:
    """Of one run: CPU seconds, with those of its children, and the largest process in MiB."""

    seconds: float
    memory: float


def tools(rivals: str) -> list[Tool]:
    """What there is to compare. `rivals`: the folder of the others' programs; "" for the search path."""
    path = f"{rivals}{os.pathsep}{os.environ['PATH']}" if rivals else None

    def program(name: str) -> str:
        return shutil.which(name, path=path) or ""

    ours = (sys.executable, "-m", "torchmemlint", "--isolated", "--exit-zero", "--jobs", "1", "--output-format", "json")
    one_thread = (("RAYON_NUM_THREADS", "1"),)
    return [
        Tool("torchmemlint", (*ours, "--no-cache")),
        Tool("torchmemlint, unchanged", ours),
        Tool("torchfix", (program("torchfix"), "-j", "1")),
        Tool("torch-preflight", (program("torch-preflight"), "check")),
        Tool("flake8", (program("flake8"), "--isolated", "-j1", "--exit-zero")),
        Tool("ruff", (program("ruff"), "check", "--isolated", "--no-cache", "--exit-zero"), one_thread),
    ]


def run(tool: Tool, trees: Sequence[str], folder: str) -> Cost:
    """One run, its output thrown away. Raises OSError where it cannot be started."""
    environment = {**os.environ, **dict(tool.settings)}
    cached = ("--cache-dir", folder) if tool.name == "torchmemlint, unchanged" else ()
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*tool.command, *cached, *trees], env=environment, **quiet) as process:  # type: ignore[call-overload]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / MIB)


def lines_of(trees: Sequence[str]) -> int:
    """Lines of Python in the trees."""
    return sum(path.read_bytes().count(b"\n") for tree in trees for path in Path(tree).rglob("*.py") if path.is_file())


def table(costs: dict[str, list[Cost]], lines: int) -> list[str]:
    """The medians, and how many times torchmemlint's seconds each took."""
    seconds = {name: statistics.median(cost.seconds for cost in runs) for name, runs in costs.items()}
    ours = seconds["torchmemlint"]
    rows = [f"{'':24}{'CPU s':>10}{'KLOC/s':>10}{'times ours':>12}{'MiB':>8}"]
    for name, taken in seconds.items():
        memory = statistics.median(cost.memory for cost in costs[name])
        rows.append(f"{name:24}{taken:>10.2f}{lines / 1000 / taken:>10.1f}{taken / ours:>12.2f}{memory:>8.0f}")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("trees", nargs="+", metavar="TREE", help="folders of Python files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rivals", default="", metavar="DIR", help="folder of the others' programs, such as VENV/bin")
    asked = parser.parse_args(arguments)
    there = [tool for tool in tools(asked.rivals) if tool.command[0]]
    for tool in tools(asked.rivals):
        if not tool.command[0]:
            print(f"{tool.name} is not installed: left out", file=sys.stderr)
    costs: dict[str, list[Cost]] = {tool.name: [] for tool in there}
    with tempfile.TemporaryDirectory() as folder:
        for tool in there:
            run(tool, asked.trees, folder)  # reads the files once for all, and fills the one cache that is used
        for _ in range(asked.rounds):
            for tool in there:
                costs[tool.name].append(run(tool, asked.trees, folder))
    lines = lines_of(asked.trees)
    print(f"{lines} lines, median of {asked.rounds} interleaved rounds, one process each")
    print("\n".join(table(costs, lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
