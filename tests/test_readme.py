"""The README's commands are the ones that CI runs, and its output is what the command prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command(name: str) -> str:
    found = re.search(rf"<!-- command: {name} -->\n```console\n\$ (.+)\n```", README)
    assert found is not None, f"README has no command called {name}"
    return found[1]


def test_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert command("test") in script


def test_the_example_command_lints_the_example_that_exists() -> None:
    assert command("example").endswith("torchmemlint --isolated fixtures/example")
    assert (ROOT / "fixtures" / "example" / "train.py").is_file()


def test_every_flag_the_readme_names_exists() -> None:
    run = subprocess.run([sys.executable, "-m", "torchmemlint", "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"--[a-z-]+", run.stdout))
    named = set(re.findall(r"torchmemlint[^`\n]*?(--[a-z-]+)", README)) | set(re.findall(r"`(--[a-z-]+)`", README))
    assert named - known - {"--enable-extensions"} == set()
