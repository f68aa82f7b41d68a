"""How cost grows with the number of files and with the length of one: `python benchmarks/scaling.py`.

The code is made up, of training and evaluation steps, the same for every size; what is shown is CPU seconds beyond
those of starting, and per 1,000 lines, which a straight line keeps the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.compare import Tool, run

STEP = """

class Model{n}(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


def train{n}(model, loader, optimizer, log):
    total = 0.0
    for step, (x, y) in enumerate(loader):
        loss = nn.functional.cross_entropy(model(x.cuda()), y.cuda())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if step % 100 == 0:
            log.append(total / (step + 1))
    return total


def evaluate{n}(model, loader):
    model.eval()
    hits = 0
    with torch.no_grad():
        for x, y in loader:
            hits += (model(x.cuda()).argmax(1) == y.cuda()).sum().item()
    return hits
"""
FILES = (1, 10, 100, 1000)
LENGTHS = (1_000, 5_000, 20_000)


def text(lines: int, first: int = 0) -> str:
    """A module of about so many lines."""
    count = max(1, lines // STEP.count("\n"))
    return "import torch\nfrom torch import nn\n" + "".join(STEP.replace("{n}", str(first + n)) for n in range(count))


def seconds(folder: str) -> float:
    """CPU seconds of linting a folder, least of two."""
    command = (sys.executable, "-m", "torchmemlint", "--isolated", "--no-cache", "--exit-zero", "--jobs", "1")
    return min(run(Tool("torchmemlint", command), [folder], folder).seconds for _ in range(2))


def measured(files: Sequence[str]) -> float:
    """CPU seconds for files of these contents, in a project of their own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").touch()
        for number, one in enumerate(files):
            Path(folder, f"part_{number}.py").write_text(one)
        here = os.getcwd()
        os.chdir(folder)
        try:
            return seconds(folder)
        finally:
            os.chdir(here)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--files", type=int, nargs="+", default=FILES)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    asked = parser.parse_args(arguments)
    start = measured(["x = 1\n"])
    print(f"starting: {start:.2f} s")
    for count in asked.files:
        _row(f"{count} files of 72 lines", [text(72, number * 100) for number in range(count)], start)
    for length in asked.lengths:
        _row(f"one file of {length} lines", [text(length)], start)
    return 0


def _row(name: str, files: Sequence[str], start: float) -> None:
    taken = max(0.0, measured(files) - start)
    lines = sum(one.count("\n") for one in files)
    print(f"{name:32} {lines:>8} lines {taken:>8.2f} s {taken / lines * 1e6:>8.0f} ms per 1,000 lines", flush=True)


if __name__ == "__main__":
    sys.exit(main())
