"""Settings: which rules are on, which configuration counts, and what every mistake in it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import lint, lint_json, write
from torchmemlint.model import Confidence, Severity
from torchmemlint.patterns import matches
from torchmemlint.settings import Settings, SettingsError, override, parse_config

KNOWN = {
    "TML001": "file-not-parsed",
    "TML101": "empty-cache-in-hot-path",
    "TML102": "empty-cache-releases-nothing",
    "TML201": "tensor-held-in-attribute",
    "TML901": "host-sync-in-hot-path",
}


def read(text: str, path: str = "pyproject.toml") -> Settings:
    found = parse_config(text, path, "/base", KNOWN)
    assert found is not None
    return found


def on(settings: Settings) -> set[str]:
    return {code for code in KNOWN if settings.enabled(code)} - {"TML001"}


@pytest.mark.parametrize(
    ("table", "codes"),
    [
        ("", {"TML101", "TML102", "TML201"}),
        ("select = ['TML1']", {"TML101", "TML102"}),
        ("select = ['TML']", {"TML101", "TML102", "TML201"}),
        ("select = ['ALL']", {"TML101", "TML102", "TML201", "TML901"}),
        ("select = ['TML9']", {"TML901"}),
        ("extend-select = ['TML901']", {"TML101", "TML102", "TML201", "TML901"}),
        ("ignore = ['TML1']", {"TML201"}),
        ("ignore = ['ALL']", {"TML101", "TML102", "TML201"}),
        ("select = ['TML101']\nignore = ['TML1']", {"TML101"}),
        ("select = ['TML1']\nignore = ['TML101']", {"TML102"}),
        ("select = ['TML101']\nignore = ['TML101']", set()),
        ("select = ['ALL']\nignore = ['TML9']", {"TML101", "TML102", "TML201"}),
        ("select = []", set()),
    ],
)
def test_which_rules_are_on(table: str, codes: set[str]) -> None:
    assert on(read(f"[tool.torchmemlint]\n{table}\n")) == codes


def test_every_key_is_read() -> None:
    text = """
        select = ["TML1"]
        extend-select = ["TML901"]
        ignore = ["TML102"]
        min-confidence = "low"
        fail-on = "error"
        output-format = "concise"
        exclude = ["a"]
        extend-exclude = ["b"]
        force-exclude = true
        respect-gitignore = false
        jobs = 3
        require-reason = true
        baseline = "ci/baseline.json"
        [severity]
        TML1 = "info"
        [per-file-ignores]
        "tests/*" = ["TML1"]
    """
    assert read(text, "x/torchmemlint.toml") == Settings(
        select=("TML1",),
        extend_select=("TML901",),
        ignore=("TML102",),
        per_file_ignores=(("tests/*", ("TML1",)),),
        min_confidence=Confidence.LOW,
        fail_on=Severity.ERROR,
        output_format="concise",
        exclude=("a",),
        extend_exclude=("b",),
        force_exclude=True,
        respect_gitignore=False,
        jobs=3,
        severity=(("TML1", Severity.INFO),),
        require_reason=True,
        baseline="/base/ci/baseline.json",
        base="/base",
        place="x/torchmemlint.toml",
    )


def test_a_pyproject_without_our_table_says_nothing() -> None:
    assert parse_config("[tool.ruff]\nselect = ['E']\n", "pyproject.toml", "/base", KNOWN) is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("selct = ['TML1']", "pyproject.toml:4: unknown key `selct`; did you mean `select`?"),
        ("min_confidence = 'low'", "pyproject.toml:4: unknown key `min_confidence`; did you mean `min-confidence`?"),
        ("zzz = 1", "pyproject.toml:4: unknown key `zzz`"),
        ("ignore = [\n  'TML101',\n  'TML109',\n]", "pyproject.toml:6: unknown rule code `TML109`; did you mean `TML1"),
        ("select = ['tml101']", "pyproject.toml:4: unknown rule code `tml101`; did you mean `TML101`?"),
        ("select = ['tml1']", "pyproject.toml:4: unknown rule code `tml1`; did you mean `TML1`?"),
        ("select = ['']", "unknown rule code ``"),
        (
            "select = ['empty-cache-in-hot-path']",
            "unknown rule code `empty-cache-in-hot-path`; did you mean `TML101` (empty-cache-in-hot-path)?",
        ),
        ("select = 'TML1'", "pyproject.toml:4: `select` must be a list of strings"),
        ("fail-on = 'fatal'", "pyproject.toml:4: `fail-on` must be one of error, warning, info, not `fatal`"),
        ("jobs = true", "pyproject.toml:4: `jobs` must be a number"),
        ("force-exclude = 'yes'", "pyproject.toml:4: `force-exclude` must be true or false"),
        ("per-file-ignores = ['a']", "`per-file-ignores` must be a table"),
        ("[tool.torchmemlint.severity]\n'TML7' = 'info'", "pyproject.toml:5: unknown rule code `TML7`"),
        (
            "[tool.torchmemlint.severity]\nTML1 = 'off'",
            "pyproject.toml:5: `TML1` must be one of error, warning, info",
        ),
        ("severity = 'error'", "pyproject.toml:4: `severity` must be a table of codes and severities"),
        (
            "[tool.torchmemlint.severities]\nTML1 = 'info'",
            "pyproject.toml:4: unknown key `severities`; did you mean",
        ),
        ("require-reason = 'yes'", "pyproject.toml:4: `require-reason` must be true or false"),
        ("baseline = ['a']", "pyproject.toml:4: `baseline` must be a string"),
        ("[tool.torchmemlint.per-file-ignores]\n'a' = ['TML7']", "pyproject.toml:5: unknown rule code `TML7`"),
        ("a =", "pyproject.toml: not valid TOML"),
    ],
)
def test_every_mistake_is_one_line_with_its_place(lines: str, message: str) -> None:
    text = f"[tool.other]\nselct = 1  # 'TML109'\n[tool.torchmemlint]\n{lines}\n[project]\nname = 'x'\n"
    if lines.startswith("a ="):
        text = f"[tool.torchmemlint]\n{lines}\n"
    with pytest.raises(SettingsError) as raised:
        read(text)
    assert str(raised.value).startswith(message) or message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_command_line_beats_the_file() -> None:
    file = read("[tool.torchmemlint]\nselect = ['TML2']\nignore = ['TML101']\nmin-confidence = 'high'\n")
    assert on(override(file, {"select": ["TML1"]}, KNOWN)) == {"TML101", "TML102"}
    assert on(override(file, {"select": ["ALL"]}, KNOWN)) == set(KNOWN) - {"TML001"}
    assert on(override(file, {"extend-select": ["TML102"]}, KNOWN)) == {"TML102", "TML201"}
    assert on(override(file, {"ignore": ["TML2"]}, KNOWN)) == set()
    assert override(file, {"min-confidence": "low"}, KNOWN).min_confidence is Confidence.LOW
    with pytest.raises(SettingsError, match=r"^--select: unknown rule code `TML1O1`; did you mean `TML101`"):
        override(file, {"select": ["TML1O1"]}, KNOWN)


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("build", "build/x.py", True),
        ("build", "a/build/x.py", True),
        ("build", "builder/x.py", False),
        ("*_pb2.py", "a/b_pb2.py", True),
        ("tests/*", "tests/a.py", True),
        ("tests/*", "src/tests/a.py", False),
        ("**/tests", "src/tests/a.py", True),
        ("**/tests", "tests/a.py", True),
        ("third/party/", "third/party/deep/x.py", True),
        ("./third", "third/x.py", True),
        ("tests/**/*.py", "tests/a.py", True),  # no folder between is one of the ways
        ("tests/**/*.py", "tests/deep/er/a.py", True),
        ("tests/**", "tests/a.py", True),
        ("**/conftest.py", "conftest.py", True),
        ("**/conftest.py", "a/b/conftest.py", True),
        ("{tests,examples}/**", "examples/a.py", True),
        ("{tests,examples}/**", "src/a.py", False),
        ("a,b.py", "a,b.py", True),
        ("test_[0-9].py", "x/test_3.py", True),
        ("test_[!0-9].py", "test_3.py", False),
        ("[z-a].py", "[z-a].py", True),
        ("__init__.py", "pkg/__init__.py", True),
        ("a?c.py", "abc.py", True),
        ("a.c.py", "abc.py", False),
    ],
)
def test_patterns(pattern: str, path: str, matched: bool) -> None:
    assert matches((pattern,), path) is matched


def test_the_nearest_configuration_counts_for_each_file(tmp_path: Path) -> None:
    alpha_and_beta = "import torch\nALPHA\nBETA\n"
    write(tmp_path, a_py=alpha_and_beta, sub__b_py=alpha_and_beta, sub__deep__c_py=alpha_and_beta)
    (tmp_path / "pyproject.toml").write_text("[tool.torchmemlint]\nselect = ['TML181']\n")
    (tmp_path / "sub/torchmemlint.toml").write_text("select = ['TML182']\n")
    (tmp_path / "sub/deep/pyproject.toml").write_text("[project]\nname = 'without a word about us'\n")
    found = {(row["filename"], row["code"]) for row in lint_json(".", cwd=tmp_path)}
    assert found == {("a.py", "TML181"), ("sub/b.py", "TML182"), ("sub/deep/c.py", "TML182")}
    chosen = {row["code"] for row in lint_json("--config", "sub/torchmemlint.toml", ".", cwd=tmp_path)}
    assert chosen == {"TML182"}
    assert {row["code"] for row in lint_json("--isolated", "a.py", cwd=tmp_path)} == {"TML181", "TML182"}


def test_fail_on_and_formats_come_from_the_file(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA\n")
    (tmp_path / "torchmemlint.toml").write_text("fail-on = 'error'\noutput-format = 'concise'\n")
    done = lint("a.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "a.py:2:1: TML181 [*] [high] `ALPHA` is here\n")
    assert lint("--fail-on", "warning", "a.py", cwd=tmp_path).returncode == 1


def test_per_file_ignores(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA\nBETA\n", tests__b_py="import torch\nALPHA\nBETA\n")
    (tmp_path / "torchmemlint.toml").write_text("[per-file-ignores]\n'tests/*' = ['TML181']\n")
    found = [(row["filename"], row["code"]) for row in lint_json(".", cwd=tmp_path)]
    assert found == [("a.py", "TML181"), ("a.py", "TML182"), ("tests/b.py", "TML182")]


def test_per_file_ignores_for_all_but_some(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA\n", src__deep__b_py="import torch\nALPHA\n")
    (tmp_path / "torchmemlint.toml").write_text("[per-file-ignores]\n'!src/**' = ['TML181']\n")
    assert [row["filename"] for row in lint_json(".", cwd=tmp_path)] == ["src/deep/b.py"]


def test_severity_of_the_longest_selector() -> None:
    settings = read("[tool.torchmemlint.severity]\nTML = 'info'\nTML101 = 'error'\nTML1 = 'warning'\n")
    given = {code: settings.severity_of(code, Severity.ERROR).value for code in ("TML101", "TML102", "TML201")}
    assert given == {"TML101": "error", "TML102": "warning", "TML201": "info"}
    flagged = override(settings, {"severity": {"TML1": "error"}}, KNOWN)
    assert flagged.severity_of("TML102", Severity.INFO) is Severity.ERROR
    assert Settings().severity_of("TML101", Severity.INFO) is Severity.INFO


def test_severity_decides_what_fails(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA\n")
    (tmp_path / "torchmemlint.toml").write_text("[severity]\nTML181 = 'info'\n")
    done = lint("--no-cache", "a.py", cwd=tmp_path)
    assert done.returncode == 0 and "Found 1 finding (1 info) in 1 file" in done.stderr
    assert lint("--severity", "TML18=error", "--severity", "TML181=warning", "a.py", cwd=tmp_path).returncode == 1
    for wrong, message in (("TML181", "`TML181` is no CODE=LEVEL"), ("TML999=info", "unknown rule code `TML999`")):
        done = lint("--severity", wrong, "a.py", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "") and f"error: --severity: {message}" in done.stderr


def test_show_settings_tells_what_counts(tmp_path: Path) -> None:
    write(tmp_path, a_py="")
    (tmp_path / "torchmemlint.toml").write_text("select = ['TML18']\nignore = ['TML182']\n")
    shown = lint("--show-settings", "a.py", cwd=tmp_path).stdout
    assert "configuration: torchmemlint.toml\n" in shown
    assert "rules: TML181 TML183\n" in shown
    assert 'ignore: ["TML182"]  # torchmemlint.toml:2\n' in shown
    assert "min-confidence: medium  # default\n" in shown
    shown = lint("--show-settings", "--ignore", "TML183", "--fail-on", "error", "a.py", cwd=tmp_path).stdout
    assert 'ignore: ["TML182", "TML183"]  # torchmemlint.toml:2 and --ignore\n' in shown
    assert "fail-on: error  # --fail-on\n" in shown
    shown = lint("--show-settings", "--select", "TML182", "--severity", "TML1=error", cwd=tmp_path).stdout
    assert 'select: ["TML182"]  # --select\n' in shown and "\nignore: []  # default\n" in shown
    assert 'severity: {"TML1": "error"}  # --severity\n' in shown
