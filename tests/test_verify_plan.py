"""Findings to cases: every rule's fixtures, small projects on disk, and the reasons why a finding is not planned."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from cases import Case as Fixture
from cases import MemoryFiles, all_cases, lint_files
from runtime_verify.case import Case, as_json, from_json
from runtime_verify.on_disk import OnDisk
from runtime_verify.plan import Refused, plan_findings
from torchmemlint.facts.project import Project
from torchmemlint.model import Applicability, Confidence, Edit, Finding, Fix, Position, Span
from torchmemlint.rule import load_rules
from torchmemlint.source import Source

LEAKING = """\
import torch
from torch.utils.data import DataLoader
from parts import Net, rate


def train(data, optimizer):
    model = Net().cuda()
    total = 0.0
    for x, y in DataLoader(data):
        loss = torch.nn.functional.mse_loss(model(x), y) * rate()
        loss.backward()
        optimizer.step()
        total += loss
    return total
"""
PARTS = """\
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.head(x)


def rate():
    return 1.0


def unused():
    return missing
"""


def planned(files: dict[str, bytes], findings: list[Finding], linted: bool = False) -> list[Case | Refused]:
    project = Project(MemoryFiles(files))
    return list(plan_findings(findings, lambda one: (Source(one.path, files[one.path]), project, one), linted))


def leak() -> tuple[dict[str, bytes], Finding]:
    files = {"train.py": LEAKING.encode(), "parts.py": PARTS.encode()}
    (finding,) = lint_files(files, load_rules())
    return files, finding


def only(answers: list[Case | Refused]) -> Case:
    (answer,) = answers
    assert isinstance(answer, Case), answer
    return answer


def refusal(files: dict[str, bytes], finding: Finding) -> str:
    (answer,) = planned(files, [finding])
    assert isinstance(answer, Refused)
    assert str(answer.reason)
    return answer.reason.code


def line(case: Case, fixed: bool = False) -> str:
    """What stands at the mark."""
    program = case.fixed if fixed else case.original
    return program.modules[0].text.split("\n")[program.mark - 1].strip()


def test_a_finding_becomes_a_case() -> None:
    files, finding = leak()
    case = only(planned(files, [finding]))
    assert (case.code, case.path, case.line, case.original.function) == ("TML302", "train.py", 13, "train")
    assert line(case) == "total += loss" and line(case, fixed=True) == "total += loss.detach()"
    assert case.fixed.kept and case.applicability is finding.fix.applicability  # type: ignore[union-attr]
    assert [module.name for module in case.original.modules] == ["train", "parts"]
    assert "unused" not in case.original.modules[1].text


def test_on_disk_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, finding = leak()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "setup.py").touch()
    monkeypatch.chdir(tmp_path)
    here = only(list(plan_findings([finding], OnDisk())))
    assert here == only(planned(files, [finding]))
    elsewhere = replace(finding, path=str(tmp_path / "train.py"))
    assert only(list(plan_findings([elsewhere], OnDisk()))).key == here.key


def test_the_key_is_of_what_runs() -> None:
    files, finding = leak()
    key = only(planned(files, [finding])).key
    assert len(key) == 16
    other = {**files, "parts.py": PARTS.replace("missing", "lost").encode()}
    assert only(planned(other, [finding])).key == key, "what is not needed does not count"
    changed = {**files, "parts.py": PARTS.replace("1.0", "2.0").encode()}
    assert only(planned(changed, [finding])).key != key


def test_no_fix() -> None:
    files, finding = leak()
    assert refusal(files, replace(finding, fix=None)) == "no_fix"


def test_no_effect() -> None:
    files, finding = leak()
    assert refusal(files, replace(finding, code="TML001")) == "no_effect"


def test_not_reproduced() -> None:
    files, finding = leak()
    cured = {**files, "train.py": LEAKING.replace("+= loss", "+= loss.item()").encode()}
    assert refusal(cured, finding) == "not_reproduced"


def test_a_fix_that_leaves_the_finding() -> None:
    files, finding = leak()
    end = Position(2, 0)
    useless = Fix("a comment", Applicability.SAFE, (Edit(Span(end, end), "# here\n"),))
    assert refusal(files, replace(finding, fix=useless)) == "fix_not_quiet"


def test_a_fix_that_only_renames_leaves_the_finding() -> None:
    files, finding = leak()
    renamed = Fix("other words", Applicability.SAFE, (Edit(finding.span, "total += (loss)"),))
    assert refusal(files, replace(finding, fix=renamed)) == "fix_not_quiet"


def test_a_fix_that_is_no_python() -> None:
    files, finding = leak()
    broken = Fix("broken", Applicability.SAFE, (Edit(finding.span, "total +="),))
    assert refusal(files, replace(finding, fix=broken)) == "fix_not_python"


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    _, finding = leak()
    (answer,) = plan_findings([replace(finding, path=str(tmp_path / "none.py"))], OnDisk())
    assert isinstance(answer, Refused) and answer.reason.code == "unreadable"


def test_one_of_two_alike_is_cured() -> None:
    """Curing the first of two equal findings gives its fingerprint to the second: that is no failure."""
    text = LEAKING.replace("        total += loss\n", "        total += loss\n        total += loss\n")
    files = {"train.py": text.encode(), "parts.py": PARTS.encode()}
    findings = lint_files(files, load_rules())
    assert len(findings) == 2
    first, second = planned(files, findings)
    assert isinstance(first, Case) and isinstance(second, Case)
    assert (first.fixed.mark, second.fixed.mark) == (13, 14) and first.key != second.key


def test_a_silenced_twin_does_not_stand_in_the_way() -> None:
    text = LEAKING.replace("        total += loss\n", "        total += loss\n        total += loss  # noqa\n")
    files = {"train.py": text.encode(), "parts.py": PARTS.encode()}
    reported = lint_files(files, load_rules())[:1]
    only(planned(files, reported, linted=True))


@pytest.mark.parametrize("fixture", [case for case in all_cases() if case.code], ids=lambda case: case.name)
def test_every_finding_of_the_fixtures_is_planned(fixture: Fixture) -> None:
    findings = fixture.findings(Confidence.LOW)
    findings = [one for one in findings if one.code == fixture.code]
    for finding, answer in zip(findings, planned(fixture.files, findings, linted=True), strict=True):
        where = f"{fixture.name}:{finding.span.start.line}"
        assert isinstance(answer, Case), f"{where}: {answer.reason.code} {answer.reason}"
        assert from_json(json.loads(json.dumps(as_json(answer)))) == answer
        assert answer.original.mark <= finding.span.start.line <= answer.original.mark + 12, where
        text = "".join(Source(finding.path, fixture.files[finding.path]).slice(finding.span).split())
        for program in (answer.original, answer.fixed):
            for module in program.modules:
                ast.parse(module.text)
            assert line(answer, program is answer.fixed), f"{where}: nothing stands at the mark"
            assert program.function == "" or f"def {program.function.split('.')[-1]}(" in program.modules[0].text
        if not answer.fixed.kept:
            assert text not in "".join(line(answer, fixed=True).split()), f"{where}: the statement is still there"
