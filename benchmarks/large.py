"""Millions of lines in one run, and once more unchanged: `python benchmarks/large.py FOLDER`.

Shows how long it took, the CPU seconds of all processes, and the memory of the largest. The findings go to the file
named by --output, for whoever wants to read them. Unix only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.compare import Tool, lines_of, run


def timed(command: Sequence[str], folder: str) -> str:
    """What one run took, in words."""
    begun = time.monotonic()
    cost = run(Tool("torchmemlint", tuple(command)), [folder], folder)
    wall = time.monotonic() - begun
    return f"{wall:.0f} s, {cost.seconds:.0f} CPU s, largest process {cost.memory:.0f} MiB"


def told(output: Path) -> str:
    """How many findings a report holds, by code."""
    codes = Counter(row["code"] for row in json.loads(output.read_text()))
    return f"{codes.total()} findings: " + ", ".join(f"{code} {count}" for code, count in sorted(codes.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("folder", metavar="FOLDER", help="a folder of Python files, of one project or of many")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, metavar="FILE", help="keep the findings here, as JSON")
    asked = parser.parse_args(arguments)
    if not os.path.isdir(asked.folder):
        parser.error(f"{asked.folder}: no such folder")
    files = sum(1 for path in Path(asked.folder).rglob("*.py") if path.is_file())
    print(f"{asked.folder}: {files} files, {lines_of([asked.folder])} lines, {asked.jobs} processes", flush=True)
    with tempfile.TemporaryDirectory() as cache:
        output = asked.output or Path(cache, "findings.json")
        command = (sys.executable, "-m", "torchmemlint", "--isolated", "--exit-zero", "--jobs", str(asked.jobs))
        report = ("--output-format", "json", "--output-file", str(output), "--cache-dir", str(Path(cache, "cache")))
        print(f"  first run:  {timed((*command, *report), asked.folder)}", flush=True)
        print(f"              {told(output)}")
        print(f"  unchanged:  {timed((*command, *report), asked.folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
