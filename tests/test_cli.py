"""The command as a user meets it: exit status, reports, flags, what is found where."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands import ISOLATED, ROOT, environment, interrupted, lint, lint_json, python, write
from torchmemlint.faces.pages import CATALOGUE

ALPHA = "import torch\nALPHA\n"  # a warning, high confidence
BETA = "import torch\nBETA\n"  # an error, medium
GAMMA = "import torch\nGAMMA\n"  # an info, low
OMEGA = "import torch\nOMEGA\n"  # opt-in


# ---- exit status ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "flags", "status"),
    [
        ("import torch\n", [], 0),
        (ALPHA, [], 1),
        (ALPHA, ["--exit-zero"], 0),
        (ALPHA, ["--fail-on", "error"], 0),
        (BETA, ["--fail-on", "error"], 1),
        (BETA, ["--min-confidence", "high"], 0),
        (GAMMA, ["--min-confidence", "low"], 0),
        (GAMMA, ["--min-confidence", "low", "--fail-on", "info"], 1),
        (OMEGA, [], 0),
        (OMEGA, ["--select", "TML"], 0),
        (OMEGA, ["--select", "TML9"], 1),
        (OMEGA, ["--extend-select", "TML981"], 1),
        (OMEGA, ["--select", "ALL"], 1),
        (ALPHA, ["--ignore", "TML181"], 0),
        (ALPHA, ["--select", "TML182,TML183"], 0),
        (ALPHA, ["--select", "TML182", "--select", "TML181"], 1),
    ],
)
def test_exit_status(tmp_path: Path, text: str, flags: list[str], status: int) -> None:
    write(tmp_path, a_py=text)
    assert lint(*ISOLATED, *flags, "a.py", cwd=tmp_path).returncode == status


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slect", "TML1"], "unknown flag `--slect`; did you mean `--select`? (see --help)"),
        (["--select", ""], "--select: names nothing; leave the flag out to do without it"),
        (["--extend-select", " ,"], "--extend-select: names nothing"),
        (["--config", ""], "--config: names nothing"),
        (["--baseline", ""], "--baseline: names nothing"),
        (["--fail-on", "fatal"], "argument --fail-on: invalid choice: 'fatal'"),
        (["--output-format", "sarfi"], "argument --output-format: invalid choice: 'sarfi'; did you mean `sarif`?"),
        (["--output-format", "sarif", "--statistics"], "--statistics: sarif has no place for it"),
        (["--output-format", "junit", "--verify", "--dry-run"], "--dry-run: junit has no place for it"),
        (["--verify", "--verify-device", "tpu"], "--verify-device: `tpu` is none of cuda, cuda:N, cpu"),
        (["--verify", "--timeout", "0"], "--timeout: 0 s is no time to run in"),
        (["--verify", "--entry", "none.py --fast"], "--entry: none.py: no such file"),
        (["--verify", "--entry", "train"], "--entry: `train` is neither a script"),
        (["--verify", "--entry", "'"], "--entry: No closing quotation"),
        (["--dry-run"], "--dry-run needs --verify"),
        (["--verify-only", "TML1"], "--verify-only needs --verify"),
        (["--drop-refuted"], "--drop-refuted needs --verify or --evidence FILE"),
        (["--evidence", "none.json"], "--evidence: none.json does not exist; --verify --evidence none.json writes it"),
        (["--explain", "word-alpah"], "--explain: unknown rule code `word-alpah`; did you mean `TML181` (word-alpha)?"),
        (["--config", "none.toml"], "none.toml: cannot be read"),
        (["--config", "none.toml", "--isolated"], "--isolated and --config exclude each other"),
        (["--jobs", "-1"], "--jobs: `jobs` must be a number"),
        (["-", "a.py"], "standard input cannot be checked together with files"),
        (["--output-file", "no/such/folder"], "--output-file: no/such/folder: No such file or directory"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    write(tmp_path, clean_py="x = 1\n")
    done = lint(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


# ---- reports --------------------------------------------------------------------------------------


def test_text_shows_the_place_the_reasons_and_the_fix(tmp_path: Path) -> None:
    write(tmp_path, a_py='import torch\nx = 1\nif x:\n\ty = "日本"; ALPHA(\n\t\t1)\n')
    done = lint(*ISOLATED, "a.py", cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "TML181 [*] `ALPHA` is here",
        " --> a.py:4:12 (warning, high confidence)",
        "  |",
        "1 | import torch",
        "  | ------ the file imports torch",
        "...",
        '4 |     y = "日本"; ALPHA(',
        "  |                 ^^^^^^",
        "5 |         1)",
        "  |         ^^",
        "  = fix: remove `ALPHA` (safe)",
        '4 -     y = "日本"; ALPHA(',
        "5 -         1)",
        '4 +     y = "日本"; pass',
        "  = more: `torchmemlint --explain TML181`",
        "",
    ]
    assert done.stderr == "Found 1 finding (1 warning) in 1 file\n[*] 1 fixable with --fix\n"


def test_a_long_stretch_is_cut_in_the_middle(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA(\n" + "    1,\n" * 20 + ")\n")
    shown = lint(*ISOLATED, "a.py", cwd=tmp_path).stdout
    assert "\n...\n23 | )\n" in shown
    assert shown.count("1,") == 3


def test_the_closing_line_counts(tmp_path: Path) -> None:
    write(tmp_path, a_py=ALPHA + "ALPHA\n", b_py=BETA, c_py="import torch\n", d_py=GAMMA)
    done = lint(*ISOLATED, "--min-confidence", "low", ".", cwd=tmp_path)
    assert done.stderr == (
        "Found 4 findings (1 error, 2 warnings, 1 info) in 4 files\n"
        "[*] 2 fixable with --fix, 1 more with --unsafe-fixes\n"
    )
    done = lint(*ISOLATED, "c.py", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("", "All checks passed (1 file)\n")


def test_json_is_ruffs_shape_and_more(tmp_path: Path) -> None:
    write(tmp_path, a_py='import torch\nx = "日本"; ALPHA\n')
    (row,) = lint_json(*ISOLATED, "a.py", cwd=tmp_path)
    assert len(row.pop("fingerprint")) == 16
    here, end = {"row": 2, "column": 11}, {"row": 2, "column": 16}
    assert row == {
        "code": "TML181",
        "name": "word-alpha",
        "severity": "warning",
        "confidence": "high",
        "message": "`ALPHA` is here",
        "filename": "a.py",
        "cell": None,
        "location": here,
        "end_location": end,
        "why": [{"message": "the file imports torch", "filename": "a.py", "location": {"row": 1, "column": 1}}],
        "symbol": "",
        "fix": {
            "applicability": "safe",
            "message": "remove `ALPHA`",
            "edits": [{"content": "pass", "location": here, "end_location": end}],
        },
        "url": f"{CATALOGUE}#tml181",
    }


def test_clean_json_is_an_empty_array(tmp_path: Path) -> None:
    write(tmp_path, a_py="x = 1\n")
    done = lint(*ISOLATED, "--output-format", "json", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_json_lines_concise_and_statistics(tmp_path: Path) -> None:
    write(tmp_path, a_py=ALPHA + "BETA\nALPHA\n")
    rows = lint(*ISOLATED, "--output-format", "json-lines", ".", cwd=tmp_path).stdout.splitlines()
    assert [json.loads(row)["location"]["row"] for row in rows] == [2, 3, 4]
    lines = lint(*ISOLATED, "--output-format", "concise", ".", cwd=tmp_path).stdout.splitlines()
    assert lines[1] == "a.py:3:1: TML182 [medium] `BETA` is here" and len(lines) == 3
    counts = lint(*ISOLATED, "--statistics", ".", cwd=tmp_path)
    assert (counts.returncode, counts.stdout) == (
        1,
        "     2  TML181  [*]  word-alpha\n     1  TML182  [ ]  word-beta\n",
    )
    assert lint_json(*ISOLATED, "--statistics", ".", cwd=tmp_path)[0] == {
        "code": "TML181",
        "name": "word-alpha",
        "count": 2,
        "fixable_count": 2,
    }


def test_output_file(tmp_path: Path) -> None:
    write(tmp_path, a_py=ALPHA)
    done = lint(*ISOLATED, "--output-format", "json", "--output-file", "out.json", "a.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert [row["code"] for row in json.loads((tmp_path / "out.json").read_text())] == ["TML181"]


def test_a_terminal_gets_colour_unless_it_says_no(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="a terminal is needed to see what a terminal gets")
    write(tmp_path, a_py=ALPHA)

    def shown(**more: str) -> str:
        reader, writer = pty.openpty()
        command = [sys.executable, "-m", "torchmemlint", *ISOLATED, "a.py"]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(TERM="xterm", **more), stdout=writer)
        process.wait(60)
        os.close(writer)
        with os.fdopen(reader, "rb") as screen:
            return screen.read1(65536).decode()

    assert "\x1b[" in shown()
    assert "\x1b[3" not in shown(NO_COLOR="1")
    assert "`ALPHA` is here" in shown(NO_COLOR="1")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\n" + "ALPHA\n" * 5000)
    command = [sys.executable, "-m", "torchmemlint", *ISOLATED, "a.py"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read().startswith(b"Found 5000 findings (5000 warnings) in 1 file\n")
    process.stderr.close()
    assert process.wait(60) == 1


def test_rule_pages(tmp_path: Path) -> None:
    page = lint("--explain", "tml182", cwd=tmp_path).stdout
    assert page.startswith("TML182 word-beta\nerror, on by default, since 0.1\nEffect: none is claimed: for tests\n")
    assert "## When it is fine\nAlways." in page
    table = lint("--list-rules", cwd=tmp_path).stdout.splitlines()
    assert any(line.split()[:4] == ["TML981", "word-omega", "warning", "off"] for line in table)
    rows = {row["code"]: row for row in lint_json("--list-rules", cwd=tmp_path)}
    assert rows["TML182"]["summary"] == "Flags the word BETA." and rows["TML182"]["default"] is True


# ---- which files ----------------------------------------------------------------------------------


def files(*arguments: str, cwd: Path) -> list[str]:
    return [row["filename"] for row in lint_json("--isolated", *arguments, cwd=cwd)]


def test_folders_are_walked_for_python_and_files_are_taken_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, b_py=ALPHA, a__x_py=ALPHA, script=ALPHA)
    (tmp_path / "a/y.pyi").write_text(ALPHA)
    for folder in (".hidden", ".venv", "env", "node_modules", "build", "a/__pycache__", ".git"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "z.py").write_text(ALPHA)
    (tmp_path / "env/pyvenv.cfg").write_text("")
    assert files(".", cwd=tmp_path) == ["a/x.py", "a/y.pyi", "b.py"]
    assert files("script", "build/z.py", ".hidden", cwd=tmp_path) == [".hidden/z.py", "build/z.py", "script"]
    assert files("b.py", "./b.py", "b.py", ".", cwd=tmp_path).count("b.py") == 1
    assert files(str(tmp_path / "b.py"), cwd=tmp_path) == [str(tmp_path / "b.py")]
    assert files("../x.py", "y.pyi", cwd=tmp_path / "a") == ["y.pyi"]


def test_gitignore_files_are_layered(tmp_path: Path) -> None:
    write(tmp_path, keep_py=ALPHA, drop_py=ALPHA, sub__drop_py=ALPHA, gen__a_py=ALPHA, sub__own_py=ALPHA)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("drop.py\n/gen/\n")
    (tmp_path / "sub/.gitignore").write_text("!drop.py\nown.py\n")
    assert files(".", cwd=tmp_path) == ["keep.py", "sub/drop.py"]
    assert files(".", cwd=tmp_path / "sub") == ["drop.py"]
    assert files("gen", "drop.py", cwd=tmp_path) == ["drop.py", "gen/a.py"]  # named, so meant
    assert len(files("--no-respect-gitignore", ".", cwd=tmp_path)) == 5


def test_exclude_and_force_exclude(tmp_path: Path) -> None:
    write(tmp_path, a_py=ALPHA, old__b_py=ALPHA, old__deep__c_py=ALPHA, src__old__d_py=ALPHA)
    assert files("--extend-exclude", "old", ".", cwd=tmp_path) == ["a.py"]
    assert files("--extend-exclude", "./old/deep", ".", cwd=tmp_path) == ["a.py", "old/b.py", "src/old/d.py"]
    named = ["old/deep/c.py", "a.py"]
    assert files("--extend-exclude", "old", *named, cwd=tmp_path) == ["a.py", "old/deep/c.py"]
    assert files("--extend-exclude", "old", "--force-exclude", *named, cwd=tmp_path) == ["a.py"]


def test_links_that_run_in_circles_end(tmp_path: Path) -> None:
    write(tmp_path, a_py=ALPHA, sub__b_py=ALPHA)
    (tmp_path / "sub/loop").symlink_to(tmp_path, target_is_directory=True)
    assert files(".", cwd=tmp_path) == ["a.py", "sub/b.py"]


def test_a_folder_without_python_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = lint("empty", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "warning: no Python files under empty\nAll checks passed (0 files)\n")


def test_standard_input(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.torchmemlint.per-file-ignores]\n'sub/*' = ['TML181']\n")
    data = "import torch\né = 1; ALPHA\n".encode()
    (row,) = lint_json("-", cwd=tmp_path, stdin=data)
    assert (row["filename"], row["location"]) == ("-", {"row": 2, "column": 8})
    (row,) = lint_json("-", "--stdin-filename", "b.py", cwd=tmp_path, stdin=data)
    assert row["filename"] == row["why"][0]["filename"] == "b.py"
    assert lint_json("-", "--stdin-filename", "sub/b.py", cwd=tmp_path, stdin=data) == []
    shown = lint("-", cwd=tmp_path, stdin=data).stdout
    assert "2 | é = 1; ALPHA\n  |        ^^^^^\n" in shown


# ---- processes ------------------------------------------------------------------------------------


def test_the_result_is_the_same_for_any_number_of_processes(tmp_path: Path) -> None:
    texts = [ALPHA, BETA, "import torch\nx = (\n", "x = 1\n", ALPHA + "BETA\n"]
    write(tmp_path, **{f"m{number:02}_py": texts[number % len(texts)] for number in range(40)})
    reports = [lint(*ISOLATED, "--jobs", jobs, ".", cwd=tmp_path) for jobs in ("1", "2", "7")]
    assert reports[0].returncode == 1 and "in 40 files" in reports[0].stderr
    assert len({(done.returncode, done.stdout, done.stderr) for done in reports}) == 1


def test_a_file_that_kills_its_process_is_named_and_the_others_are_checked(tmp_path: Path) -> None:
    write(tmp_path, **{f"m{number:02}_py": ALPHA for number in range(12)})
    write(tmp_path, m05_py="import torch\nALPHA  # DIE\n")
    done = lint(*ISOLATED, "--jobs", "2", "--output-format", "concise", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: m05.py: the process that analysed it died\n"
    assert len(done.stdout.splitlines()) == 11


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_was_found_before_an_interruption_is_told(tmp_path: Path, number: int, status: int) -> None:
    write(tmp_path, **{f"m{number:02}_py": ALPHA for number in range(20)}, z_py="import torch\nALPHA  # SLEEP\n")
    done = interrupted(tmp_path, "--output-format", "concise", "--jobs", "1", number=number)
    assert done.returncode == status
    assert len(done.stdout.splitlines()) == 16
    assert done.stderr == "error: interrupted: 16 of 21 files were checked\n"


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupting_ends_everything(tmp_path: Path, jobs: str, number: int, status: int) -> None:
    write(tmp_path, **{f"m{number}_py": "import torch\nALPHA  # SLEEP\n" for number in range(4)})
    done = interrupted(tmp_path, "--jobs", jobs, number=number)
    assert (done.returncode, done.stderr) == (status, "error: interrupted: 0 of 4 files were checked\n")


def test_a_signal_to_the_main_process_alone_ends_everything(tmp_path: Path) -> None:
    write(tmp_path, **{f"m{number}_py": "import torch\nALPHA  # SLEEP\n" for number in range(4)})
    done = interrupted(tmp_path, "--jobs", "2", number=signal.SIGTERM, send=os.kill)
    assert (done.returncode, done.stderr) == (143, "error: interrupted: 0 of 4 files were checked\n")


def test_workers_do_not_outlive_the_main_process(tmp_path: Path) -> None:
    write(tmp_path, **{f"m{number}_py": "import torch\nALPHA  # SLEEP\n" for number in range(4)})
    done = interrupted(tmp_path, "--jobs", "2", number=signal.SIGKILL, send=os.kill)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "", "")


def test_somebody_elses_handling_of_a_signal_stays(tmp_path: Path) -> None:
    code = (
        "import signal, sys\nfrom torchmemlint.faces.cli import main\n"
        "for theirs in (signal.SIG_IGN, lambda *_: None, signal.SIG_DFL):\n"
        "    signal.signal(signal.SIGTERM, theirs)\n"
        "    assert main(['--isolated', '--no-cache', '.']) == 0\n"
        "    assert signal.getsignal(signal.SIGTERM) is theirs\n"
    )
    write(tmp_path, a_py="x = 1\n")
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("run", ["runpy.run_module('torchmemlint', run_name='__main__')", "sys.exit(SCRIPT())"])
def test_ctrl_c_while_the_command_is_being_imported(tmp_path: Path, run: str) -> None:
    script = re.search(r'^torchmemlint = "(.+):(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert script is not None
    code = (
        "import runpy, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torchmemlint.faces.options':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
    ) + (f"from {script[1]} import {script[2]} as SCRIPT\n{run}" if "SCRIPT" in run else run)
    done = python(code, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


# ---- reports for programs -------------------------------------------------------------------------


def test_reports_for_programs_name_files_as_the_repository_does(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write(tmp_path, sub__a_py=ALPHA)
    (tmp_path / "sub" / "link.py").symlink_to("a.py")
    done = lint(*ISOLATED, "--output-format", "gitlab", ".", "gone.py", cwd=tmp_path / "sub")
    assert [issue["location"]["path"] for issue in json.loads(done.stdout)] == ["sub/a.py"]
    assert (done.returncode, done.stderr) == (2, "error: gone.py: No such file or directory\n")


def test_the_environment_may_name_the_format(tmp_path: Path) -> None:
    write(tmp_path, a_py=ALPHA)
    named = {"TORCHMEMLINT_OUTPUT_FORMAT": "github"}
    assert lint(*ISOLATED, "a.py", cwd=tmp_path, **named).stdout.startswith("::warning title=TML181 word-alpha,file=a")
    assert lint(*ISOLATED, "--output-format", "json", "a.py", cwd=tmp_path, **named).stdout.startswith("[\n")
    done = lint("a.py", cwd=tmp_path, TORCHMEMLINT_OUTPUT_FORMAT="sarfi")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: TORCHMEMLINT_OUTPUT_FORMAT: `sarfi` is none of text, concise, ")
    assert done.stderr.endswith("; did you mean `sarif`?\n")


def test_a_file_that_was_asked_for_is_written_in_silence_too(tmp_path: Path) -> None:
    write(tmp_path, a_py=ALPHA)
    done = lint(*ISOLATED, "--silent", "--output-format", "junit", "--output-file", "report.xml", "a.py", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert "word-alpha" in (tmp_path / "report.xml").read_text(encoding="utf-8")


def test_a_github_step_gets_its_summary(tmp_path: Path) -> None:
    write(tmp_path, a_py=ALPHA, summary="what was there\n")
    lint(*ISOLATED, "--output-format", "github", "a.py", cwd=tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "summary"))
    text = (tmp_path / "summary").read_text(encoding="utf-8")
    assert text.startswith("what was there\n### torchmemlint\n\n1 finding (1 warning) in 1 file\n")
    done = lint(*ISOLATED, "--output-format", "github", "a.py", cwd=tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path))
    assert done.returncode == 1 and done.stderr.startswith("warning: GITHUB_STEP_SUMMARY: ")


def test_standard_input_is_where_its_name_says(tmp_path: Path) -> None:
    text = 'import torch\nx = "\U0001f600"; ALPHA\n'.encode()
    flags = (*ISOLATED, "--output-format", "sarif", "-")
    for name, uri in ((["--stdin-filename", "a.py"], "a.py"), ([], "stdin")):
        (result,) = json.loads(lint(*flags, *name, cwd=tmp_path, stdin=text).stdout)["runs"][0]["results"]
        place = result["locations"][0]["physicalLocation"]
        assert (place["artifactLocation"]["uri"], place["region"]["startColumn"]) == (uri, 11)
        assert "primaryLocationLineHash" in result["partialFingerprints"]
