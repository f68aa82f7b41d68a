"""What a user reads, flag by flag: findings and what is said beside them, rules explained, waiting."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from torchmemlint.faces import waiting
from torchmemlint.faces.cli import main
from torchmemlint.rule import load_rules

SUM = """import torch


def train(model, loader, optimizer):
    total = 0.0
    for x, y in loader:
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss
    return float(total)
"""
CLOSING = "Found 1 finding (1 warning) in 1 file\n[*] 1 fixable with --fix\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one finding, and a plain environment."""
    for name in ("CI", "CLICOLOR_FORCE", "FORCE_COLOR", "FORCE_HYPERLINK", "NO_COLOR", "PRE_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text(SUM)
    (tmp_path / "empty").mkdir()
    return tmp_path


def run(*arguments: str) -> int:
    return main(["--isolated", "--no-cache", *arguments])


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    run(*arguments)
    out, err = capsys.readouterr()
    return out, err


def test_findings_go_to_standard_output_and_the_rest_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = said(capsys, "a.py", "empty")
    assert out.startswith("TML302 ") and out.endswith("= more: `torchmemlint --explain TML302`\n\n")
    assert err == "warning: no Python files under empty\n" + CLOSING
    out, err = said(capsys, "--select", "TML1", "a.py")
    assert (out, err) == ("", "All checks passed (1 file)\n")


def test_quiet_prints_findings_alone_and_silent_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    loud, _ = said(capsys, "a.py", "empty")
    for flag in ("-q", "--quiet"):
        assert said(capsys, flag, "a.py", "empty") == (loud, "")
    for flag in ("-s", "--silent"):
        assert said(capsys, flag, "a.py", "empty") == ("", "")
        assert said(capsys, flag, "--output-format", "json", "a.py") == ("", "")
        assert run(flag, "a.py") == 1 and run(flag, "--select", "TML1", "a.py") == 0


def test_silence_is_not_about_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-s", "none.py", "a.py") == 2
    assert capsys.readouterr() == ("", "error: none.py: No such file or directory\n")


def test_colour_by_flag(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    out, err = said(capsys, "--color", "always", "a.py")
    assert "\x1b[1;33mTML302\x1b[0m" in out and err.startswith("\x1b[1mFound")
    assert "\x1b" not in "".join(said(capsys, "--color", "never", "a.py"))
    assert "\x1b" not in "".join(said(capsys, "a.py"))
    said(capsys, "--color", "always", "--output-file", "out.txt", "a.py")
    assert "\x1b[1;33mTML302" in (folder / "out.txt").read_text()
    assert "\x1b" not in said(capsys, "--color", "always", "--output-format", "json", "a.py")[0]


def test_codes_are_links_where_that_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_HYPERLINK", "1")
    for arguments in (["a.py"], ["--output-format", "concise", "a.py"], ["--explain", "TML302"]):
        assert "\x1b]8;;https://" in said(capsys, *arguments)[0]


def test_files_that_would_be_checked(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/b.py").write_text("x = 1\n")
    (folder / "sub/c.txt").write_text("")
    assert run("--show-files", ".") == 0
    assert capsys.readouterr() == ("a.py\nsub/b.py\n", "")
    assert run("--show-files", "--extend-exclude", "sub", "--output-format", "json", ".") == 0
    assert json.loads(capsys.readouterr().out) == [{"filename": "a.py"}]
    assert run("--show-files", "a.py", "none.py") == 2
    assert capsys.readouterr() == ("a.py\n", "error: none.py: No such file or directory\n")


# ---- rules explained ------------------------------------------------------------------------------


def explained(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The codes of the pages that were printed."""
    out, err = said(capsys, "--explain", *words, "--output-format", "json")
    assert err == ""
    return [row["code"] for row in json.loads(out)]


def test_rules_are_named_in_any_way(capsys: pytest.CaptureFixture[str]) -> None:
    every = [rule.code for rule in load_rules()]
    assert explained(capsys, "TML302") == explained(capsys, "tml302") == ["TML302"]
    assert explained(capsys, "loss-accumulated-with-graph") == ["TML302"]
    assert explained(capsys, "TML302,TML101") == explained(capsys, "TML302", "TML101") == ["TML302", "TML101"]
    assert explained(capsys, "TML302", "TML302,tml3") == ["TML302", "TML301"]
    assert explained(capsys, "TML1") == [code for code in every if code.startswith("TML1")]
    assert explained(capsys, "all") == every
    assert explained(capsys, "TML001") == ["TML001"]


def test_pages_follow_one_another(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "--explain", "TML301,TML001")
    first, last = out.split("\n\n\nTML001 ")
    assert first.startswith("TML301 inference-without-no-grad\nwarning, on by default, since ")
    for part in ("Effect: peak bytes higher", "Measured on NVIDIA H200", "## When it is fine", "### I called `eval()`"):
        assert part in first
    assert last.startswith("file-not-parsed\n")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("TML3O2", "; did you mean `TML302`?"),
        ("loss-acumulated-with-graph", "; did you mean `TML302` (loss-accumulated-with-graph)?"),
        ("TML999", ""),
        ("everything", ""),
    ],
)
def test_a_rule_that_does_not_exist(word: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--explain", f"TML101,{word}") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: --explain: unknown rule code `{word}`{meant}") and err.count("\n") == 1


# ---- waiting --------------------------------------------------------------------------------------


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def waited(monkeypatch: pytest.MonkeyPatch, quiet: bool = False, screen: type[io.StringIO] = Screen) -> str:
    """What is shown by a run that takes long."""
    monkeypatch.setattr(waiting, "PATIENCE_S", -1.0)
    monkeypatch.setattr(sys, "stderr", stream := screen())
    with waiting.Waiting(7, quiet) as bar:
        bar.advance(3)
    return stream.getvalue()


def test_a_long_run_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "3/7" in waited(monkeypatch)


@pytest.mark.parametrize("name", ["CI", "PRE_COMMIT"])
def test_nobody_watches_under_ci_and_pre_commit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, "true")
    assert waited(monkeypatch) == ""


def test_a_pipe_a_dumb_terminal_and_the_quiet_get_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert waited(monkeypatch, quiet=True) == waited(monkeypatch, screen=io.StringIO) == ""
    monkeypatch.setenv("TERM", "dumb")
    assert waited(monkeypatch) == ""
