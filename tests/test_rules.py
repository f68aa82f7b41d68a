"""Fixtures: what is reported equals what the markers say, both ways. Rule pages: Bad fires, Good is silent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from cases import FIXTURES, Case, all_cases, is_golden, lint_files
from markers import FIRES, Marker
from torchmemlint.model import Confidence, Finding
from torchmemlint.rule import BAD_FILE, INTERNAL_ERROR, SECTIONS, Rule, load_rules

RULES = {rule.code: rule for rule in load_rules()}
OWN = {INTERNAL_ERROR, BAD_FILE}
FOLDERS = sorted(path for path in FIXTURES.glob("tml*") if path.is_dir())


def differences(path: str, findings: Iterable[Finding], markers: Iterable[Marker]) -> list[str]:
    """What was reported and not expected, and the other way round, as sentences."""
    found: dict[tuple[int, str], Finding] = {}
    for finding in findings:
        found.setdefault((finding.span.start.line, finding.code), finding)
    expected = [marker for marker in markers if marker.kind in FIRES]
    wanted = {(marker.line, marker.code) for marker in expected}
    silent = {(marker.line, marker.code): marker for marker in markers if marker.kind not in FIRES}
    lines = []
    for (line, code), finding in sorted(found.items()):
        if (line, code) not in wanted:
            marker = silent.get((line, code))
            hint = f"  [marked {marker.kind}: {marker.why}]" if marker else ""
            lines.append(f"{path}:{line}: unexpected {code} ({finding.confidence.value}) {finding.message}{hint}")
    for marker in expected:
        finding_there = found.get((marker.line, marker.code))
        if finding_there is None:
            lines.append(
                f"{path}:{marker.line}: {marker.code} was expected and not reported ({marker.kind} {marker.why})"
            )
        elif marker.text not in finding_there.message:
            lines.append(
                f'{path}:{marker.line}: {marker.code} says "{finding_there.message}", expected "{marker.text}" in it'
            )
    return lines


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_findings_equal_markers(case: Case) -> None:
    """In all fixtures, for all rules: a finding without a marker fails, and a marker without its finding."""
    wrong: list[str] = []
    for path in sorted(case.files):
        findings = [finding for finding in case.findings() if finding.path == path]
        markers = [marker for marker in case.markers(path) if marker.code in RULES or marker.kind not in FIRES]
        wrong += differences(path, findings, markers)
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_fixture_names_only_rules_that_exist(case: Case) -> None:
    codes = {marker.code for path in case.files for marker in case.markers(path) if marker.code}
    assert codes <= set(RULES), f"no such rule: {sorted(codes - set(RULES))}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_folder_belongs_to_a_rule_and_holds_no_orphans(folder: Path) -> None:
    assert folder.name.upper() in RULES, "a fixture folder is named after a rule"
    for golden in folder.rglob("*.fixed.py"):
        assert golden.with_name(golden.name.replace(".fixed.py", ".py")).exists(), f"{golden.name} has no source"
    for other in folder.rglob("*.other.py"):
        assert other.with_name(other.name.replace(".other.py", ".py")).exists(), f"{other.name} is other than what?"
    for path in folder.rglob("*"):
        assert path.is_dir() or path.suffix in {".py", ".json", ".toml"} or "__pycache__" in path.parts, (
            f"what is {path}?"
        )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_bad_fires_and_ok_is_silent(folder: Path) -> None:
    """`bad*` files expect something, `probe*` files one finding, `ok*` and `probe_fine*` files none of their rule."""
    code = folder.name.upper()
    for case in all_cases():
        if not case.name.startswith(f"{folder.name}/") or "/proj_" in case.name:
            continue
        stem = Path(case.name).stem
        fires = [
            marker
            for path in case.files
            for marker in case.markers(path)
            if marker.kind == "expect" and marker.code == code
        ]
        if stem.startswith("bad"):
            assert fires, f"{case.name} expects nothing"
        elif stem.startswith("probe") and not stem.startswith("probe_fine"):
            assert len(fires) == 1, f"{case.name} expects {len(fires)} findings, a probe is about one"
        if stem.startswith(("ok", "probe_fine")):
            assert not fires, f"{case.name} expects a finding on line {fires[0].line if fires else 0}"


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_rule_has_fixtures(rule: Rule) -> None:
    folder = FIXTURES / rule.code.lower()
    assert (folder / "bad.py").is_file() and (folder / "ok.py").is_file(), f"{folder.name} needs bad.py and ok.py"


@pytest.mark.parametrize("rule", [r for r in RULES.values() if r.default], ids=lambda rule: rule.code)
def test_default_rule_offers_a_fix(rule: Rule) -> None:
    """Safe, unsafe or proof: without one the verifier has nothing to compare with."""
    fixes = [
        finding.fix
        for case in all_cases()
        if case.name == f"{rule.code.lower()}/bad.py"
        for finding in case.findings()
        if finding.code == rule.code and finding.fix is not None
    ]
    assert fixes, f"no finding of {rule.code} in its bad.py comes with a fix"


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_findings_speak_of_places_that_exist(case: Case) -> None:
    for finding in case.findings(Confidence.LOW):
        assert finding.code not in OWN, finding.message
        places = [(finding.path, finding.span), *((why.path, why.span) for why in finding.why)]
        places += [(finding.path, edit.span) for edit in (finding.fix.edits if finding.fix else ())]
        for path, span in places:
            assert path in case.files, f"{finding.code} speaks of {path}"
            text = case.files[path].decode().split("\n")
            assert 1 <= span.start.line <= len(text) and span.start <= span.end, f"{finding.code}: {span}"
            assert span.end.line <= len(text) and span.end.column <= len(text[span.end.line - 1]) + 1, (
                f"{finding.code}: {span}"
            )


def section(rule: Rule, heading: str) -> str:
    """The text below one heading of a rule's page."""
    after = rule.doc.split(heading + "\n", 1)[1]
    return re.split(r"^## ", after, maxsplit=1, flags=re.MULTILINE)[0]


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def reported(rule: Rule, text: str) -> set[str]:
    """The codes that a page's example gives by default, its own rule included."""
    found = lint_files({"example.py": text.encode()}, [r for r in RULES.values() if r.default or r.code == rule.code])
    return {finding.code for finding in found if finding.confidence.rank >= Confidence.MEDIUM.rank}


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
class TestPage:
    """The module docstring of a rule is its page, and the page is true."""

    def test_headings_in_order(self, rule: Rule) -> None:
        headings = [line for line in rule.doc.splitlines() if line.startswith("## ")]
        assert headings == list(SECTIONS)

    def test_first_paragraph_is_one_sentence(self, rule: Rule) -> None:
        assert rule.summary.endswith(".") and len(rule.summary) <= 160 and not rule.doc.startswith("#"), rule.summary

    def test_no_section_is_empty(self, rule: Rule) -> None:
        for heading in SECTIONS:
            assert section(rule, heading).strip(), heading

    def test_bad_fires_exactly_this_rule(self, rule: Rule) -> None:
        blocks = code_blocks(section(rule, "## Bad"))
        assert blocks
        for block in blocks:
            assert reported(rule, block) == {rule.code}, block

    def test_good_is_silent(self, rule: Rule) -> None:
        blocks = code_blocks(section(rule, "## Good"))
        assert blocks
        for block in blocks:
            assert reported(rule, block) == set(), block

    def test_references_are_given(self, rule: Rule) -> None:
        assert re.search(r"https?://|\w+#\d+", section(rule, "## References"))


def test_goldens_are_recognised() -> None:
    assert is_golden(FIXTURES / "tml101" / "bad.fixed.py") and not is_golden(FIXTURES / "tml101" / "bad.py")
