"""Reports pass what their consumers themselves check them with, where that is at hand; `.ci/formats` brings it.

SARIF_MULTITOOL names Microsoft's validator (npm: @microsoft/sarif-multitool), TORCHMEMLINT_SCHEMAS a folder
with the published schemas. Without them, as in `.ci/run`, these tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from commands import lint
from made_results import HARD_FILES, results_of
from torchmemlint.faces.formats import render

EXAMPLE = Path(__file__).resolve().parent.parent / "fixtures" / "example"
VALIDATOR = os.environ.get("SARIF_MULTITOOL", "")
SCHEMAS = os.environ.get("TORCHMEMLINT_SCHEMAS", "")
needs_validator = pytest.mark.skipif(not VALIDATOR, reason="SARIF_MULTITOOL names no validator")
needs_schemas = pytest.mark.skipif(not SCHEMAS, reason="TORCHMEMLINT_SCHEMAS names no folder")
BROKEN_RUN = ["gone.py: No such file or directory", "interrupted: 3 of 9 files were checked"]


def report(output_format: str, kind: str) -> str:
    """A report of hard files, of none, or of the example project by the real rules."""
    if kind == "example":
        flags = ("--isolated", "--no-cache", "--output-format", output_format)
        return lint(*flags, ".", cwd=EXAMPLE, stand_ins=False).stdout
    if kind == "clean":
        return render(output_format, results_of({}))
    return render(output_format, results_of(HARD_FILES, problems=BROKEN_RUN))


KINDS = ("hard", "clean", "example")


def validated(path: Path) -> list[tuple[str, str]]:
    """What the validator says of a SARIF file."""
    verdict = path.with_suffix(".verdict")
    command = [VALIDATOR, "validate", "--rule-kind", "Sarif;Gh", str(path), "--output", str(verdict)]
    subprocess.run([*command, "--log", "ForceOverwrite"], capture_output=True, check=True)
    (run,) = json.loads(verdict.read_text(encoding="utf-8-sig"))["runs"]
    return [(one.get("level", "warning"), one["ruleId"]) for one in run.get("results", [])]


@needs_validator
@pytest.mark.parametrize("kind", KINDS)
def test_sarif_is_fit_for_github(tmp_path: Path, kind: str) -> None:
    (tmp_path / "report.sarif").write_text(report("sarif", kind), encoding="utf-8")
    said = validated(tmp_path / "report.sarif")
    assert [one for one in said if one[0] in ("error", "warning")] == []


@needs_validator
def test_the_validator_would_say_something(tmp_path: Path) -> None:
    log = json.loads(report("sarif", "hard"))
    del log["runs"][0]["tool"]["driver"]["rules"][0]["help"]
    (tmp_path / "report.sarif").write_text(json.dumps(log), encoding="utf-8")
    assert ("error", "GH2012") in validated(tmp_path / "report.sarif")


@needs_schemas
@pytest.mark.parametrize("kind", KINDS)
def test_gitlab_reads_the_report(kind: str) -> None:
    jsonschema: Any = pytest.importorskip("jsonschema")
    schema = json.loads((Path(SCHEMAS) / "codeclimate.json").read_text(encoding="utf-8"))
    for issue in json.loads(report("gitlab", kind)):
        jsonschema.validate(issue, schema)


@needs_schemas
@pytest.mark.parametrize("kind", KINDS)
def test_reviewdog_reads_the_report(kind: str) -> None:
    jsonschema: Any = pytest.importorskip("jsonschema")
    schema = json.loads((Path(SCHEMAS) / "DiagnosticResult.json").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(schema).validate(json.loads(report("rdjson", kind)))


@needs_schemas
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schema", ["JUnit.xsd", "junit-10.xsd"])
def test_ant_and_jenkins_read_the_report(tmp_path: Path, kind: str, schema: str) -> None:
    xmlschema: Any = pytest.importorskip("xmlschema")
    (tmp_path / "report.xml").write_text(report("junit", kind), encoding="utf-8")
    xmlschema.XMLSchema(str(Path(SCHEMAS) / schema)).validate(str(tmp_path / "report.xml"))
