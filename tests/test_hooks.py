"""What others call us by, pre-commit's hooks and the GitHub Action: each command there is run as it is written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import ROOT, environment, lint, write

yaml = pytest.importorskip("yaml")

BAD = "import torch\nALPHA\n"
GROWS = (
    "import torch\n\n\ndef train(model, loader, optimizer):\n    total = 0\n    for x, y in loader:\n"
    "        loss = torch.nn.functional.cross_entropy(model(x.cuda()), y.cuda())\n        loss.backward()\n"
    "        optimizer.step()\n        total += loss\n    return total\n"
)


def hooks() -> dict[str, dict[str, Any]]:
    listed = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    return {hook["id"]: hook for hook in listed}


def hook(name: str, folder: Path, *files: str, stand_ins: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a hook's entry on files, as pre-commit does once it is installed."""
    command, *flags = shlex.split(hooks()[name]["entry"])
    assert command == "torchmemlint"
    return lint(*flags, "--no-cache", *files, cwd=folder, stand_ins=stand_ins)


def test_the_hook_lints_what_it_is_handed_and_leaves_out_what_is_excluded(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.torchmemlint]\nextend-exclude = ['third_party']\n")
    write(tmp_path, a_py=BAD, third_party__b_py=BAD, script=f"#!/usr/bin/env python\n{BAD}")
    assert hook("torchmemlint", tmp_path, "third_party/b.py").returncode == 0
    done = hook("torchmemlint", tmp_path, "a.py", "third_party/b.py", "script")
    assert done.returncode == 1 and done.stdout.count("TML181 ") == 2


def test_the_fixing_hook_writes(tmp_path: Path) -> None:
    write(tmp_path, a_py=GROWS)
    hook("torchmemlint-fix", tmp_path, "a.py", stand_ins=False)
    assert (tmp_path / "a.py").read_text() == GROWS.replace("+= loss", "+= loss.detach()")


def test_the_verifying_hook_runs_by_hand_in_the_projects_own_environment(tmp_path: Path) -> None:
    verify = hooks()["torchmemlint-verify"]
    assert (verify["stages"], verify["language"], verify["pass_filenames"]) == (["manual"], "system", False)
    assert "additional_dependencies" not in verify
    write(tmp_path, a_py=GROWS)
    _, *flags = shlex.split(verify["entry"])
    done = lint(*flags, "--no-cache", "--dry-run", cwd=tmp_path, stand_ins=False)
    assert (done.returncode, done.stderr) == (0, "") and "TML302" in done.stdout


def acted(folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The action's step that lints, with the variables of a runner."""
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "lint")
    given = {"paths": "a.py", "args": "--isolated --no-cache", "python": sys.executable, "sarif-file": "out.sarif"}
    given |= inputs
    filled = {name: given[value[len("${{ inputs.") : -len(" }}")]] for name, value in step["env"].items()}
    outputs = {"GITHUB_OUTPUT": str(folder / "out"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
    path = environment()["PYTHONPATH"]
    script = step["run"].replace('PYTHONPATH="$RUNNER_TEMP/torchmemlint"', f"PYTHONPATH={shlex.quote(path)}")
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        command, cwd=folder, env=environment(**filled, **outputs), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("text", "code"), [("x = 1\n", 0), (BAD, 1), ("import torch\nALPHA  # CRASH\n", 2)])
def test_the_action_lints_annotates_and_writes_sarif(tmp_path: Path, text: str, code: int) -> None:
    write(tmp_path, a_py=text)
    done = acted(tmp_path)
    assert (done.returncode, (tmp_path / "out").read_text()) == (code, f"exit-code={code}\n")
    assert ("::warning title=TML181" in done.stdout) == (code == 1)
    assert '"version": "2.1.0"' in (tmp_path / "out.sarif").read_text()


def test_the_action_fails_where_its_report_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path, a_py="x = 1\n")
    done = acted(tmp_path, **{"sarif-file": "missing/out.sarif"})
    assert (done.returncode, (tmp_path / "out").read_text()) == (2, "exit-code=2\n")
    assert "missing/out.sarif" in done.stderr


def test_the_action_says_what_all_its_inputs_are() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    named = {name for name, one in action["inputs"].items() if one["description"]}
    used = set(re.findall(r"inputs\.([a-z-]+)", (ROOT / "action.yml").read_text("utf-8")))
    assert named == used


def snippet(name: str) -> Any:
    """A piece of YAML from the README."""
    readme = (ROOT / "README.md").read_text("utf-8")
    found = re.search(rf"<!-- snippet: {name} -->\n```yaml\n(.+?)```", readme, re.DOTALL)
    assert found is not None, f"README has no snippet called {name}"
    return yaml.safe_load(found[1])


def test_the_readmes_github_job_gives_the_action_what_it_takes() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    (ours,) = [step for step in snippet("github") if step["uses"].startswith("torchmemlint/")]
    assert set(ours["with"]) <= set(action["inputs"])
    (upload,) = [step for step in snippet("github") if "upload-sarif" in step["uses"]]
    assert upload["with"]["sarif_file"] == ours["with"]["sarif-file"] and upload["if"] == "always()"


def test_the_readmes_gitlab_job_writes_the_report_that_it_names(tmp_path: Path) -> None:
    write(tmp_path, a_py=BAD)
    job = snippet("gitlab")["torchmemlint"]
    install, run = job["script"]
    assert install.split()[-1] == "torchmemlint" and job["artifacts"]["when"] == "always"
    done = lint(*shlex.split(run)[1:], "--no-cache", cwd=tmp_path)
    report = tmp_path / job["artifacts"]["reports"]["codequality"]
    assert done.returncode == 1 and '"TML181"' in report.read_text()
