"""Files and settings that are wrong: each says so, and hides nothing of the others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from commands import ISOLATED, lint, write
from torchmemlint.disk import DiskFiles, Filters, discover

GOOD = "import torch\nALPHA\n"


def check(tmp_path: Path, *paths: str, flags: tuple[str, ...] = ()) -> tuple[int, list[tuple[str, str, str]], str]:
    """Exit status, findings as (file, code, message) and standard error, with a good file beside the others."""
    write(tmp_path, good_py=GOOD)
    done = lint(*ISOLATED, *flags, "--output-format", "json", *paths, "good.py", cwd=tmp_path)
    rows = json.loads(done.stdout)
    return done.returncode, [(row["filename"], row["code"], row["message"]) for row in rows], done.stderr


def test_what_libcst_cannot_take_is_linted_all_the_same(tmp_path: Path) -> None:
    """The running Python reads a chain this long and it nests nothing; only libcst would exhaust the stack on it."""
    write(tmp_path, bad_py=b"import torch\nALPHA\nx = " + b"a and " * 30_000 + b"1\n")
    _, rows, _ = check(tmp_path, "bad.py")
    assert [(name, code) for name, code, _ in rows] == [("bad.py", "TML181"), ("good.py", "TML181")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"import torch\nALPHA = (\n", "file cannot be parsed"),
        (b"import torch\nprint 'ALPHA'\n", "file cannot be parsed"),
        (b"import torch\nALPHA\0\n", "file contains a NUL byte"),
        (
            "\ufeffimport torch\nALPHA\n".encode("utf-16-le"),
            "file is in UTF-16, which Python does not read: save it as UTF-8",
        ),
        ("\ufeffimport torch\nALPHA\n".encode("utf-16-be"), "file is in UTF-16, "),
        ("\ufeffimport torch\nALPHA\n".encode("utf-32-le"), "file is in UTF-32, "),
        ("\ufeffimport torch\nALPHA\n".encode("utf-32-be"), "file is in UTF-32, "),
        (b"import torch\n# \xe9\nALPHA\n", "file is not valid utf-8"),
        (b"# coding: no-such\nimport torch\nALPHA\n", "unknown or contradictory encoding"),
        (b"import torch\nALPHA\nx = " + b"(" * 400 + b")" * 400 + b"\n", "nested deeper"),
        (b"import torch\nALPHA\nx = " + b"-" * 30_000 + b"1\n", "in one chain"),
        (b"import torch\nALPHA\nx = " + b"lambda: " * 30_000 + b"1\n", "in one chain"),
        (b"import torch\nALPHA\nif a: pass\n" + b"elif a: pass\n" * 30_000, "in one chain"),
    ],
    ids=[
        "open bracket",
        "Python 2",
        "NUL",
        "UTF-16",
        "UTF-16 BE",
        "UTF-32",
        "UTF-32 BE",
        "latin-1",
        "cookie",
        "deep",
        "operators",
        "lambda",
        "elif",
    ],
)
def test_a_file_that_cannot_be_parsed_is_a_finding(tmp_path: Path, data: bytes, message: str) -> None:
    write(tmp_path, bad_py=data)
    status, rows, said = check(tmp_path, "bad.py")
    assert [(name, code) for name, code, _ in rows] == [("bad.py", "TML001"), ("good.py", "TML181")]
    assert message in rows[0][2]
    assert (status, said) == (1, "")


def test_a_file_in_utf_16_that_has_nothing_for_us_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, other_py="\ufeffimport numpy\nx = (\n".encode("utf-16-le"))
    assert [name for name, _, _ in check(tmp_path, "other.py")[1]] == ["good.py"]


def test_such_a_finding_can_be_ignored_by_name_only(tmp_path: Path) -> None:
    write(tmp_path, bad_py="import torch\nALPHA = (\n")
    assert len(check(tmp_path, "bad.py", flags=("--select", "TML181"))[1]) == 2
    assert [code for _, code, _ in check(tmp_path, "bad.py", flags=("--ignore", "TML001"))[1]] == ["TML181"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"# only a comment, without a line end",
        b"x = (\n",  # nothing to do with torch: not our business
        b"# coding: latin-1\nimport torch\nx = '\xe9'\n",
        b"\xef\xbb\xbfimport torch\r\nx = 1\r\n",
        b"import torch\rx = 1\r",
        b"\x0cimport torch\n",
        b"import torch\nx = '\\d'\n",
    ],
)
def test_odd_but_fine_files_are_clean(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, odd_py=data)
    status, rows, said = check(tmp_path, "odd.py")
    assert ([code for _, code, _ in rows], status, said) == (["TML181"], 1, "")


@pytest.mark.parametrize(
    "data",
    [b"# coding: latin-1\nimport torch\nx = '\xe9'; ALPHA\n", b"\xef\xbb\xbfimport torch\r\n\r\nx = 'e'; ALPHA\r\n"],
)
def test_columns_count_characters_in_any_encoding(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, odd_py=data)
    done = lint(*ISOLATED, "--output-format", "concise", "odd.py", cwd=tmp_path)
    assert done.stdout == "odd.py:3:10: TML181 [*] [high] `ALPHA` is here\n"


def test_a_missing_path(tmp_path: Path) -> None:
    status, rows, said = check(tmp_path, "missing.py", "no/where")
    assert [name for name, _, _ in rows] == ["good.py"]
    assert (status, said) == (
        2,
        "error: missing.py: No such file or directory\nerror: no/where: No such file or directory\n",
    )


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "loop.py").symlink_to("loop.py")  # permissions would not stop an administrator
    (tmp_path / "gone.py").symlink_to("nowhere.py")
    write(tmp_path, good_py=GOOD)
    done = lint(*ISOLATED, "--output-format", "concise", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert [line.split(":")[:2] for line in done.stderr.splitlines()] == [["error", " gone.py"], ["error", " loop.py"]]
    assert done.stdout == "good.py:2:1: TML181 [*] [high] `ALPHA` is here\n"
    assert lint(*ISOLATED, "--exit-zero", ".", cwd=tmp_path).returncode == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_among_what_git_ignores_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".gitignore")
    assert [code for _, code, _ in check(tmp_path, ".")[1]] == ["TML181"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_is_called_like_a_file_is_nowhere_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    write(tmp_path, good_py=GOOD)
    assert list(DiskFiles(str(tmp_path)).paths()) == ["good.py"]
    assert [target.shown for target in discover([str(tmp_path)], Filters()).targets] == [str(tmp_path / "good.py")]


def test_a_folder_that_is_called_like_a_file(tmp_path: Path) -> None:
    write(tmp_path, **{"odd.py__inner_py": GOOD})
    assert [name for name, _, _ in check(tmp_path, "odd.py")[1]] == ["good.py", "odd.py/inner.py"]


def test_a_rule_that_fails_is_named_and_the_other_rules_go_on(tmp_path: Path) -> None:
    write(
        tmp_path,
        bad_py="import torch\nBETA  # noqa: TML181\nALPHA  # CRASH\n# flake8: noqa: nothing hides our failure\n",
    )
    status, rows, said = check(tmp_path, "bad.py", flags=("--exit-zero",))
    assert [(name, code) for name, code, _ in rows] == [("bad.py", "TML000"), ("good.py", "TML181")]
    assert "internal error in TML181: ZeroDivisionError: asked to" in rows[0][2]
    assert status == 2
    assert said.startswith("error: bad.py: internal error in TML181: ZeroDivisionError") and said.count("\n") == 1
    write(tmp_path, bad_py="import torch\nBETA\nALPHA  # CRASH\n")
    assert [code for _, code, _ in check(tmp_path, "bad.py")[1]] == ["TML000", "TML182", "TML181"]


def test_an_unknown_code_stops_the_run(tmp_path: Path) -> None:
    write(tmp_path, good_py=GOOD)
    done = lint("--ignore", "TML1811", "good.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --ignore: unknown rule code `TML1811`; did you mean `TML181`?\n")


@pytest.mark.parametrize("name", ["pyproject.toml", "torchmemlint.toml"])
def test_an_unknown_key_stops_the_run_and_says_where(tmp_path: Path, name: str) -> None:
    write(tmp_path, good_py=GOOD)
    header = "[tool.torchmemlint]\n" if name == "pyproject.toml" else "\n"
    (tmp_path / name).write_text(f"{header}fail_on = 'error'\n")
    done = lint("good.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {name}:2: unknown key `fail_on`; did you mean `fail-on`?\n"
    assert lint("--isolated", "good.py", cwd=tmp_path).returncode == 1


def test_the_table_of_pyproject_in_our_own_file_is_told_by_name(tmp_path: Path) -> None:
    write(tmp_path, good_py=GOOD)
    (tmp_path / "torchmemlint.toml").write_text("\n[tool.torchmemlint]\nfail-on = 'error'\n")
    done = lint("good.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: torchmemlint.toml:2: no [tool.torchmemlint] here: in this file the keys stand at the top\n"
    )


def test_a_mistake_in_a_configuration_further_down_is_found_too(tmp_path: Path) -> None:
    write(tmp_path, good_py=GOOD, sub__a_py=GOOD)
    (tmp_path / "sub/torchmemlint.toml").write_text("selec = ['TML181']\n")
    done = lint(".", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: sub/torchmemlint.toml:1: unknown key `selec`; did you mean `select`?\n"
