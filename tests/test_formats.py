"""Reports for programs hold what their consumers read, in the units that these count in."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as xml

import pytest

from made_results import HARD_FILES, findings_in, results_of
from torchmemlint.faces.formats import MACHINE, render
from torchmemlint.faces.formats.github import MAX_SUMMARY_BYTES, step_summary
from torchmemlint.faces.formats.line_hash import line_hashes
from torchmemlint.faces.formats.rdjson import MAX_SUGGESTED_LINES
from torchmemlint.model import Applicability, Edit, Finding, Fix, Position, Span
from torchmemlint.rule import load_rules
from torchmemlint.settings import OUTPUT_FORMATS

ONE = {"a.py": b"import torch\nALPHA\n"}


def sarif_of(*arguments: Any, **named: Any) -> Any:
    return json.loads(render("sarif", results_of(*arguments, **named)))["runs"][0]


def test_every_format_is_written_somewhere() -> None:
    assert {"text", "concise", "json", "json-lines", *MACHINE} == set(OUTPUT_FORMATS)
    for name in MACHINE:
        assert isinstance(render(name, results_of({})), str)


@pytest.mark.parametrize("name", MACHINE)
def test_a_report_is_the_same_again(name: str) -> None:
    assert render(name, results_of(HARD_FILES)) == render(name, results_of(HARD_FILES))


# ---- GitHub's line hash ---------------------------------------------------------------------------

# What GitHub's own upload action (codeql-action, src/fingerprints.ts) makes of lines of `HARD_FILES`.
HASHES = {
    "crlf.py": "9ffd36f929d96918 8e58b3ef20f74857 ca0426b55991fac7 3c83bbbc86c01597 c6e9fc397aa28c69 c7b14e48ba5db8c3",
    "cr.py": "d58ab27877fac056 5be87ce0fc4d07f5 433649617abbaeb5",
    "bom.py": "1a59b524a65f24ee 39d352d85c5b77e5",
    "latin.py": "1aae8509095af881 1a107f5b334a1f3c",
    "emoji.py": "9151b07a79b9a02b 901e2a5f7a80bb13",
}


@pytest.mark.parametrize("path", HASHES)
def test_line_hashes_are_those_of_githubs_upload(path: str) -> None:
    found = line_hashes(HARD_FILES[path].decode("utf-8", "replace"))
    assert found[: len(HASHES[path].split())] == [f"{value}:1" for value in HASHES[path].split()]


def test_a_report_brings_the_hash_of_its_line() -> None:
    (first, *_) = sarif_of({"crlf.py": HARD_FILES["crlf.py"]})["results"]
    assert first["partialFingerprints"]["primaryLocationLineHash"] == f"{HASHES['crlf.py'].split()[2]}:1"


def slowly(text: str) -> list[str]:
    """The definition, a line at a time."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace(" ", "").replace("\t", "")
    raw = plain.encode("utf-16-le", "surrogatepass")
    units = [int.from_bytes(raw[n : n + 2], "little") for n in range(0, len(raw), 2)] + [0xFFFF]
    seen: dict[int, int] = {}
    found = []
    for start in [0, *(n + 1 for n, unit in enumerate(units) if unit == 10)]:
        value = 0
        for unit in [*units[start : start + 100], *[0] * 100][:100]:
            value = (value * 37 + unit) % 2**64
        seen[value] = seen.get(value, 0) + 1
        found.append(f"{value:x}:{seen[value]}")
    return found


@pytest.mark.parametrize("path", HARD_FILES)
def test_the_rolling_hash_keeps_to_its_definition(path: str) -> None:
    text = HARD_FILES[path].decode("utf-8", "replace") * 7
    assert line_hashes(text) == slowly(text)


# ---- SARIF ----------------------------------------------------------------------------------------


def test_sarif_places_count_utf16_units_from_one() -> None:
    run = sarif_of({"a.py": 'x = "\U0001f600"; ALPHA(\n\u65e5)\n'.encode()})
    (result,) = run["results"]
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 1, "startColumn": 11, "endLine": 2, "endColumn": 3}
    assert run["columnKind"] == "utf16CodeUnits"


def test_sarif_names_files_by_encoded_relative_addresses() -> None:
    uris = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in sarif_of(HARD_FILES)["results"]
    }
    assert "a%20folder/50%25%20of%20it.py" in uris and "bad%FF.py" in uris
    assert all(re.fullmatch(r"[A-Za-z0-9%/._~-]+", uri) for uri in uris)
    names = {unquote(uri, errors="surrogateescape") for uri in uris}
    assert names == set(HARD_FILES)


def test_sarif_names_files_outside_of_the_repository_by_whole_addresses() -> None:
    (result,) = sarif_of({"/else where/a.py": b"ALPHA\n"})["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "file:///else%20where/a.py"}


def test_sarif_messages_are_sentences_that_lead_to_the_reasons() -> None:
    (result,) = sarif_of(ONE)["results"]
    assert result["message"]["text"] == (
        "`ALPHA` costs 50%: memory, and time. "
        "Why: [the file `x\\[0\\](y)` imports torch](1). Fix: remove `ALPHA` (safe)."
    )
    assert [one["id"] for one in result["relatedLocations"]] == [1]


def test_sarif_text_that_looks_like_a_link_is_none() -> None:
    (finding,) = findings_in("a.py", ONE["a.py"])
    (result,) = sarif_of(ONE, [replace(finding, message="`hooks[n](x)` stays", why=(), fix=None)])["results"]
    assert result["message"]["text"] == "`hooks\\[n](x)` stays."


def test_sarif_rules_have_what_github_demands() -> None:
    run = sarif_of(ONE)
    rules = run["tool"]["driver"]["rules"]
    assert {rule.code for rule in load_rules()} <= {rule["id"] for rule in rules}
    for rule in rules:
        for key in ("shortDescription", "fullDescription"):
            text = rule[key]["text"]
            assert 0 < len(text) <= 1024 and text.endswith(".")
        assert rule["help"]["text"] and rule["help"]["markdown"] and rule["helpUri"].startswith("https://")
        assert rule["properties"]["precision"] in ("very-high", "high", "medium", "low")
        assert rule["properties"]["problem.severity"] in ("error", "warning", "recommendation")
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_sarif_replacements_keep_the_line_ends_of_the_file() -> None:
    results = sarif_of({"a.py": b"import torch\r\nALPHA\r\n"})["results"]
    (replacement,) = results[0]["fixes"][0]["artifactChanges"][0]["replacements"]
    assert replacement["insertedContent"]["text"] == "if 0:\r\n    pass"
    assert replacement["deletedRegion"] == {"startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 6}


def test_fixes_that_only_prove_something_are_offered_to_nobody() -> None:
    (finding,) = findings_in("a.py", ONE["a.py"])
    assert finding.fix is not None
    proof = [replace(finding, fix=replace(finding.fix, applicability=Applicability.PROOF))]
    assert "fixes" not in sarif_of(ONE, proof)["results"][0]
    assert "suggestions" not in json.loads(render("rdjson", results_of(ONE, proof)))["diagnostics"][0]


def test_sarif_says_how_the_run_went() -> None:
    assert sarif_of(ONE)["invocations"] == [
        {"executionSuccessful": True, "startTimeUtc": "2026-01-02T03:04:05Z", "toolExecutionNotifications": []}
    ]
    (invocation,) = sarif_of(ONE, problems=["gone.py: No such file or directory"])["invocations"]
    assert not invocation["executionSuccessful"]
    assert invocation["toolExecutionNotifications"] == [
        {"level": "error", "message": {"text": "gone.py: No such file or directory."}}
    ]
    (invocation,) = sarif_of({"BROKEN.py": b"BROKEN\n"})["invocations"]
    assert invocation["executionSuccessful"], "the exit status is that of findings"
    assert [one["level"] for one in invocation["toolExecutionNotifications"]] == ["warning"]
    assert not sarif_of({"CRASH.py": b"CRASH\n"})["invocations"][0]["executionSuccessful"]


def test_what_was_measured_is_told() -> None:
    (finding,) = findings_in("a.py", ONE["a.py"])
    told = results_of(ONE, [finding], notes={finding: "confirmed: 3 against 1"}, evidence={finding: {"verdict": "x"}})
    for name in MACHINE:
        assert "confirmed: 3 against 1" in render(name, told).replace("Measured", "measured"), name
    (result,) = json.loads(render("sarif", told))["runs"][0]["results"]
    assert result["properties"]["evidence"] == {"verdict": "x"}


def test_a_notebooks_places_are_those_in_its_json() -> None:
    stored = Span(Position(9, 8), Position(9, 13))
    (finding,) = findings_in("a.py", ONE["a.py"])
    inside = [replace(finding, path="n.ipynb", cell=3, stored=stored)]
    files = {"n.ipynb": b'{\n\n\n\n\n\n\n\n    "\xf0\x9f\x98\x80xALPHA"\n}\n'}
    (result,) = sarif_of(files, inside)["results"]
    location = result["locations"][0]
    assert location["physicalLocation"]["region"] == {"startLine": 9, "startColumn": 10, "endLine": 9, "endColumn": 15}
    assert {"name": "cell 3", "kind": "module"} in location["logicalLocations"]
    assert "(cell 3, line 2)" in result["message"]["text"]
    assert "line=9,endLine=9,col=10,endColumn=15::n.ipynb:cell 3:2:1: " in render("github", results_of(files, inside))
    (issue,) = json.loads(render("gitlab", results_of(files, inside)))
    assert issue["location"]["lines"] == {"begin": 9, "end": 9}


def test_lines_of_a_notebook_end_with_lf_only() -> None:
    stored = Span(Position(2, 1), Position(2, 6))
    (finding,) = findings_in("a.py", ONE["a.py"])
    inside = [replace(finding, path="n.ipynb", cell=1, stored=stored)]
    (result,) = sarif_of({"n.ipynb": '\ufeff["\r",\n"ALPHA"]\n'.encode()}, inside)["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startColumn"] == 2


# ---- GitHub ---------------------------------------------------------------------------------------


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as the runner reads it."""
    match = re.fullmatch(r"::(\w+) ([^\r\n]*?)::([^\r\n]*)", line)
    assert match is not None, line
    pairs = (pair.partition("=") for pair in match[2].split(","))
    properties = {key: _unescaped(value.replace("%3A", ":").replace("%2C", ",")) for key, _, value in pairs}
    return match[1], properties, _unescaped(match[3])


def _unescaped(text: str) -> str:
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def test_github_commands_are_read_back_as_they_were_meant() -> None:
    for line in render("github", results_of(HARD_FILES)).splitlines():
        kind, properties, message = parsed(line)
        assert kind in ("error", "warning", "notice")
        assert properties["file"] in HARD_FILES
        assert "costs 50%: memory, and time\nwhy: " in message
        assert f"{properties['file']}:{properties['line']}:" in message


def test_github_escapes_in_messages_no_more_than_the_runner_unescapes() -> None:
    (line,) = render("github", results_of(ONE)).splitlines()
    assert "::a.py:2:1: TML101 `ALPHA` costs 50%25: memory, and time%0Awhy:" in line


def test_github_shows_the_worst_first() -> None:
    many = b"BETA\n" * 20 + b"ALPHA\n" + b"BROKEN\n"
    report = render("github", results_of({"a.py": many}, problems=["gone.py: No such file or directory"]))
    lines = report.splitlines()
    assert lines[0] == "::error title=torchmemlint::gone.py: No such file or directory"
    assert [parsed(line)[0] for line in lines[1:4]] == ["error", "warning", "notice"]
    assert len(lines) == 23


def test_github_columns_are_left_out_where_several_lines_are_meant() -> None:
    _, properties, _ = parsed(render("github", results_of({"a.py": b"ALPHA(\n)\n"})).rstrip("\n"))
    assert (properties["line"], properties["endLine"]) == ("1", "2")
    assert not properties.keys() & {"col", "endColumn"}


def test_the_step_summary_has_every_finding() -> None:
    summary = step_summary(results_of(HARD_FILES, problems=["gone.py: No such | file"]), "https://host/o/r/blob/sha")
    rows = [line for line in summary.splitlines() if line.startswith("| ") and "](" in line]
    assert len(rows) == sum(len(findings_in(path, data)) for path, data in HARD_FILES.items())
    assert "- **not checked**: gone.py: No such \\| file" in summary
    assert "(https://host/o/r/blob/sha/a%20folder/50%25%20of%20it.py#L2)" in summary
    assert "No findings in 1 file" in step_summary(results_of({"a.py": b""}), "")


def test_a_summary_that_would_be_too_long_says_what_is_left_out() -> None:
    summary = step_summary(results_of(ONE, findings_in("a.py", ONE["a.py"]) * 9000), "")
    shown = sum(line.startswith("| warning") for line in summary.splitlines())
    assert len(summary.encode()) <= MAX_SUMMARY_BYTES
    assert summary.endswith(f"\n{9000 - shown} more are not shown here.\n")


# ---- GitLab ---------------------------------------------------------------------------------------


def test_gitlab_knows_each_finding_from_the_others_and_again() -> None:
    files = {"a.py": b"ALPHA\nALPHA\n", "b.py": b"ALPHA\n"}
    issues = json.loads(render("gitlab", results_of(files)))
    before = [issue["fingerprint"] for issue in issues]
    assert len(set(before)) == 3
    moved = {"a.py": b"\n\nx = 1\nALPHA\nALPHA\n", "b.py": b"ALPHA\n"}
    assert [issue["fingerprint"] for issue in json.loads(render("gitlab", results_of(moved)))] == before


def test_gitlab_issues_have_what_gitlab_reads() -> None:
    for issue in json.loads(render("gitlab", results_of(HARD_FILES))):
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert issue["description"].startswith(issue["check_name"])
        assert issue["location"]["lines"]["begin"] == issue["location"]["positions"]["begin"]["line"] >= 1


# ---- JUnit ----------------------------------------------------------------------------------------


def test_junit_has_a_suite_for_each_file_and_a_case_for_each_finding() -> None:
    root = xml.fromstring(render("junit", results_of({"a.py": b"ALPHA\nALPHA\nBETA\n", "BROKEN.py": b"BROKEN\n"})))
    suites = root.findall("testsuite")
    assert [
        (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in suites
    ] == [
        ("a.py", "3", "3", "0"),
        ("BROKEN.py", "1", "0", "1"),
    ]
    names = [case.get("name") for case in suites[0].findall("testcase")]
    assert names == ["TML101 word-alpha in f", "TML101 word-alpha in f (2)", "TML302 word-beta in f"]
    failure = suites[0].find("testcase/failure")
    assert failure is not None and failure.text is not None
    assert failure.text.splitlines()[0] == "a.py:1:1: TML101 [high] `ALPHA` costs 50%: memory, and time"


def test_junit_of_a_clean_run_is_a_test_that_passed() -> None:
    root = xml.fromstring(render("junit", results_of({"a.py": b""})))
    (case,) = root.findall("testsuite/testcase")
    assert case.get("name") == "no findings" and not list(case)


def test_junit_says_what_could_not_be_checked() -> None:
    root = xml.fromstring(render("junit", results_of(ONE, problems=["gone.py: No such file or directory"])))
    (error,) = root.findall("testsuite/testcase/error")
    assert error.get("message") == "gone.py: No such file or directory"


def test_junit_holds_no_character_that_xml_cannot() -> None:
    (finding,) = findings_in("a.py", ONE["a.py"])
    text = render("junit", results_of(ONE, [replace(finding, message="`\x00\x1b[31m\udc80\ufffe` <&> \U0001f600")]))
    message = xml.fromstring(text).find("testsuite/testcase/failure")
    assert message is not None
    assert message.get("message") == "a.py:2:1: `\ufffd\ufffd[31m\ufffd\ufffd` <&> \U0001f600"


# ---- rdjson ---------------------------------------------------------------------------------------


def diagnostics(*arguments: Any) -> Any:
    return json.loads(render("rdjson", results_of(*arguments)))["diagnostics"]


def test_rdjson_columns_count_bytes() -> None:
    (diagnostic,) = diagnostics({"a.py": "x = '𐐀é'; ALPHA\n".encode()})
    assert diagnostic["location"]["range"] == {"start": {"line": 1, "column": 15}, "end": {"line": 1, "column": 20}}


def two_edits(apart: int) -> tuple[bytes, Finding]:
    data = b"import torch\r\n" + b"x = 'x'\r\n" * apart + "é = ALPHA\r\n".encode()
    (finding,) = findings_in("a.py", data)
    top = Edit(Span(Position(2, 0), Position(2, 0)), "import gc\n")
    assert finding.fix is not None
    return data, replace(finding, fix=Fix("both", Applicability.UNSAFE, (*finding.fix.edits, top)))


FIXED = "import torch\r\nimport gc\r\nx = 'x'\r\nx = 'x'\r\nx = 'x'\r\né = if 0:\r\n    pass\r\n".encode()


def test_rdjson_makes_one_suggestion_of_a_fix_of_several_edits() -> None:
    data, finding = two_edits(3)
    assert finding.fix is not None
    (diagnostic,) = diagnostics({"a.py": data}, [finding])
    (suggestion,) = diagnostic["suggestions"]
    lines = data.splitlines(keepends=True)
    start, end = (
        sum(map(len, lines[: place["line"] - 1])) + place["column"] - 1
        for place in (suggestion["range"]["start"], suggestion["range"]["end"])
    )
    assert data[:start] + suggestion["text"].encode() + data[end:] == FIXED


def test_rdjson_suggests_nothing_that_no_review_can_show() -> None:
    data, finding = two_edits(MAX_SUGGESTED_LINES + 1)
    (diagnostic,) = diagnostics({"a.py": data}, [finding])
    assert "suggestions" not in diagnostic and "fix: both (unsafe)" in diagnostic["message"]
