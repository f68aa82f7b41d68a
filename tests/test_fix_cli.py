"""`--fix`, `--unsafe-fixes` and `--diff` as a user meets them: bytes, files, exit status, what is refused and said."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import torchmemlint.rules
from commands import STAND_INS, write
from torchmemlint.faces import fixing, mending
from torchmemlint.faces.cli import main
from torchmemlint.rule import load_rules
from torchmemlint.source import Source

ALPHA, BETA, GAMMA = "import torch\nALPHA\n", "import torch\nBETA\n", "import torch\nGAMMA\n"
FIXED = "import torch\npass\n"


class Done(NamedTuple):
    status: int
    out: str
    err: str


class Command:
    """`torchmemlint --isolated --no-cache arguments...` in this process."""

    def __init__(self, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
        self._captured = capfdbinary
        self._patch = monkeypatch

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Done:
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        status = main(["--isolated", "--no-cache", *arguments])
        out, err = self._captured.readouterr()
        return Done(status, out.decode("utf-8", "surrogateescape"), err.decode())


@pytest.fixture
def fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Command]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(STAND_INS))
    monkeypatch.setattr(torchmemlint.rules, "__path__", [*torchmemlint.rules.__path__, str(STAND_INS)])
    load_rules.cache_clear()
    yield Command(capfdbinary, monkeypatch)
    load_rules.cache_clear()


# ---- what is fixed --------------------------------------------------------------------------------


def test_safe_fixes_are_applied_and_counted(fix: Command) -> None:
    write(Path(), a_py=ALPHA + "x = 1\nALPHA\n", sub__b_py=ALPHA, c_py=BETA, d_py="x = 1\n")
    done = fix("--fix", ".")
    assert Path("a.py").read_text() == FIXED + "x = 1\npass\n" and Path("sub/b.py").read_text() == FIXED
    assert Path("c.py").read_text() == BETA
    assert done.status == 1
    assert done.err.splitlines() == [
        "Fixed 3 findings in 2 files",
        "Found 1 finding (1 error) in 4 files",
        "1 fixable with --fix --unsafe-fixes",
    ]
    assert fix("--fix", ".").err.startswith("Found 1 finding")


def test_unsafe_fixes_are_for_those_who_ask_and_proofs_for_nobody(fix: Command) -> None:
    write(Path(), a_py=ALPHA + "BETA\nGAMMA\n")
    done = fix("--fix", "--unsafe-fixes", "--min-confidence", "low", ".")
    assert Path("a.py").read_text() == FIXED + "pass\nGAMMA\n"
    assert (done.status, done.err) == (0, "Fixed 2 findings in 1 file\nFound 1 finding (1 info) in 1 file\n")


def test_unsafe_fixes_alone_only_count(fix: Command) -> None:
    write(Path(), a_py=ALPHA + "BETA\n")
    assert fix("a.py").err.endswith("[*] 1 fixable with --fix, 1 more with --unsafe-fixes\n")
    assert fix("--unsafe-fixes", "a.py").err.endswith("[*] 2 fixable with --fix --unsafe-fixes\n")
    assert Path("a.py").read_text() == ALPHA + "BETA\n"


@pytest.mark.parametrize(
    ("flags", "config", "expected"),
    [
        (["--ignore", "TML181"], "", ALPHA),
        (["--min-confidence", "high", "--unsafe-fixes"], "", FIXED),
        (["--unfixable", "TML181"], "", ALPHA),
        (["--fixable", "TML182"], "", ALPHA),
        ([], 'unfixable = ["TML18"]\n', ALPHA),
        ([], 'fixable = ["TML182"]\n', ALPHA),
        ([], 'unfixable = ["TML1"]\nfixable = ["TML181"]\n', FIXED),
        (["--fixable", "TML181"], 'fixable = ["TML182"]\n', FIXED),
    ],
)
def test_only_what_is_reported_and_may_be_fixed(fix: Command, flags: list[str], config: str, expected: str) -> None:
    write(Path(), a_py=ALPHA)
    Path("torchmemlint.toml").write_text(config)
    assert main(["--no-cache", "--fix", *flags, "a.py"]) in (0, 1)
    assert Path("a.py").read_text() == expected


def test_unsafe_fixes_from_the_configuration(fix: Command) -> None:
    write(Path(), a_py=BETA, torchmemlint__x_py="")
    Path("torchmemlint.toml").write_text("unsafe-fixes = true\n")
    assert main(["--no-cache", "--fix", "--no-unsafe-fixes", "a.py"]) == 1
    assert Path("a.py").read_text() == BETA
    assert main(["--no-cache", "--fix", "a.py"]) == 0
    assert Path("a.py").read_text() == FIXED


def test_comments_that_silence_nothing_go_too(fix: Command) -> None:
    write(Path(), a_py="import torch\nx = 1  # torchmemlint: ignore[TML181] it was once\n")
    assert fix("--fix", "a.py").status == 0
    assert Path("a.py").read_text() == "import torch\nx = 1\n"


def test_silenced_findings_stay(fix: Command) -> None:
    text = "import torch\nALPHA  # noqa: TML181\nALPHA\n"
    write(Path(), a_py=text)
    assert fix("--fix", "a.py").status == 0
    assert Path("a.py").read_text() == "import torch\nALPHA  # noqa: TML181\npass\n"


@pytest.mark.parametrize(("flags", "status"), [([], 0), (["--exit-non-zero-on-fix"], 1)])
def test_exit_status_where_all_could_be_fixed(fix: Command, flags: list[str], status: int) -> None:
    write(Path(), a_py=ALPHA)
    done = fix("--fix", *flags, "a.py")
    assert done == (status, "", "Fixed 1 finding in 1 file\nAll checks passed (1 file)\n")
    assert fix("--fix", *flags, "a.py").status == 0


@pytest.mark.parametrize(
    ("flags", "out"),
    [
        (["--output-format", "json"], "[]\n"),
        (["--output-format", "json-lines"], ""),
        (["--output-format", "concise"], ""),
        (["--statistics"], ""),
    ],
)
def test_reports_for_programs_have_what_is_left(fix: Command, flags: list[str], out: str) -> None:
    write(Path(), a_py=ALPHA)
    done = fix("--fix", *flags, "a.py")
    assert (done.status, done.out) == (0, out) and done.err.startswith("Fixed 1 finding in 1 file\n")


def test_many_files_in_several_processes(fix: Command) -> None:
    write(Path(), **{f"f{number:03}_py": ALPHA for number in range(60)})
    done = fix("--fix", "--jobs", "2", ".")
    assert done.err == "Fixed 60 findings in 60 files\nAll checks passed (60 files)\n"
    assert {path.read_text() for path in Path().glob("*.py")} == {FIXED}


def test_kept_findings_can_be_fixed_and_what_is_fixed_is_not_reported_from_memory(fix: Command) -> None:
    write(Path(), a_py=ALPHA, b_py=BETA, pyproject__x_py="")
    flags = ["--isolated", "--cache-dir", "kept"]
    assert main([*flags, "."]) == 1
    assert main([*flags, "--fix", "."]) == 1 and Path("a.py").read_text() == FIXED
    assert main([*flags, "--select", "TML181", "."]) == 0
    Path("a.py").write_text(ALPHA)
    assert main([*flags, "--select", "TML181", "."]) == 1
    assert main([*flags, "--fix", "--select", "TML181", "."]) == 0 and Path("a.py").read_text() == FIXED


# ---- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("BREAKS", "the result would not be valid Python"),
        ("STAYS", "TML181 would still be reported"),
        ("BRINGS", "it would bring TML182 in line 2: `BETA` is here"),
    ],
)
def test_a_fix_that_does_not_do_what_it_promises_is_refused(fix: Command, asked: str, reason: str) -> None:
    text = f"import torch\nALPHA  # {asked}\nALPHA\n"
    write(Path(), a_py=text)
    done = fix("--fix", "a.py")
    assert Path("a.py").read_text() == f"import torch\nALPHA  # {asked}\npass\n"
    assert done.status == 1 and done.err.splitlines() == [
        "Fixed 1 finding in 1 file",
        "Found 1 finding (1 warning) in 1 file",
        f"warning: a.py:2:1: TML181 not fixed: {reason}",
    ]


def test_a_read_only_file_is_named_and_the_others_are_fixed(fix: Command) -> None:
    write(Path(), a_py=ALPHA, b_py=ALPHA)
    os.chmod("a.py", 0o444)
    done = fix("--fix", ".")
    assert done.status == 2 and done.err.endswith("error: a.py: not fixed: the file is read-only\n")
    assert (Path("a.py").read_text(), Path("b.py").read_text()) == (ALPHA, FIXED)
    assert done.err.startswith("Fixed 1 finding in 1 file\n")


def test_a_folder_that_takes_no_new_files(fix: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    write(Path(), a_py=ALPHA)
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert "error: a.py: not fixed: the file cannot be written: Permission denied\n" in fix("--fix", ".").err
    assert Path("a.py").read_text() == ALPHA


def test_a_full_disk_leaves_the_file_as_it_was(fix: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    write(Path(), a_py=ALPHA)
    monkeypatch.setattr("os.fsync", full)
    assert fix("--fix", ".").status == 2
    assert [(path.name, path.read_text()) for path in Path().iterdir()] == [("a.py", ALPHA)]


def test_a_file_that_changes_meanwhile_keeps_what_was_written(fix: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    real, mine = fixing.rewrite, "mine = 1\n"

    def late(path: str, before: bytes, after: bytes) -> str:
        if path.endswith("a.py"):
            Path(path).write_text(ALPHA + mine)
        return real(path, before, after)

    monkeypatch.setattr(fixing, "rewrite", late)
    write(Path(), a_py=ALPHA)
    done = fix("--fix", ".")
    assert done.status == 2
    assert done.err.endswith("error: a.py: not fixed: the file has changed since it was read\n")
    assert Path("a.py").read_text() == ALPHA + mine
    write(Path(), a_py=ALPHA, b_py=ALPHA)
    assert fix("--fix", ".").status == 0  # the other file has been written, so this one was looked at again
    assert (Path("a.py").read_text(), Path("b.py").read_text()) == (FIXED + mine, FIXED)


def test_a_file_that_changed_since_it_was_linted_is_not_fixed(fix: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path(), a_py=ALPHA)
    real = mending.mend

    def changed(checker: mending.Checker, wish: mending.Wish, data: bytes) -> mending.Mended:
        return real(checker, wish, b"x = 1\n" + data)

    monkeypatch.setattr(mending, "mend", changed)
    done = fix("--fix", ".")
    assert done.err.endswith("warning: a.py:2:1: TML181 not fixed: the file has changed since it was linted\n")
    assert Path("a.py").read_text() == ALPHA


def test_a_failure_of_ours_in_one_file(fix: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    real = mending.mend

    def fails(checker: mending.Checker, wish: mending.Wish, data: bytes) -> mending.Mended:
        if wish.target.shown == "a.py":
            raise ZeroDivisionError("oh")
        return real(checker, wish, data)

    write(Path(), a_py=ALPHA, b_py=ALPHA)
    monkeypatch.setattr(mending, "mend", fails)
    done = fix("--fix", ".")
    assert "a.py: not fixed: internal error: ZeroDivisionError: oh; please report it" in done.err and done.status == 2
    assert Path("b.py").read_text() == FIXED


def test_ctrl_c_leaves_whole_files(fix: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path(), a_py=ALPHA, b_py=ALPHA)
    real = fixing.rewrite

    def stopped(path: str, before: bytes, after: bytes) -> str:
        if path.endswith("b.py"):
            raise KeyboardInterrupt
        return real(path, before, after)

    monkeypatch.setattr(fixing, "rewrite", stopped)
    done = fix("--fix", ".")
    assert done.status == 130 and "interrupted while fixing" in done.err
    assert (Path("a.py").read_text(), Path("b.py").read_text()) == (FIXED, ALPHA)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fix", "--verify"], "--fix and --verify exclude each other: verify first, then fix"),
        (["--diff", "--verify", "--dry-run"], "--diff and --verify exclude each other: verify first, then fix"),
        (["--fix", "--dry-run"], "--dry-run needs --verify"),
        (["--fix", "--show-settings"], "--fix and --show-settings exclude each other"),
        (["--fix", "--list-rules"], "--fix and --list-rules exclude each other"),
        (["--diff", "--explain", "TML181"], "--diff and --explain exclude each other"),
        (["--diff", "--statistics"], "--diff prints a patch; --statistics does not go with it"),
        (["--diff", "--output-format", "json"], "--diff prints a patch; --output-format does not go with it"),
        (["--exit-non-zero-on-fix"], "--exit-non-zero-on-fix needs --fix"),
        (["--fix", "--fixable", "TML7"], "--fixable: unknown rule code `TML7`; did you mean"),
    ],
)
def test_what_makes_no_sense_together(fix: Command, arguments: list[str], message: str) -> None:
    write(Path(), a_py=ALPHA)
    done = fix(*arguments)
    assert (done.status, done.out) == (2, "") and done.err.startswith(f"error: {message}")
    assert done.err.count("\n") == 1 and Path("a.py").read_text() == ALPHA


# ---- byte for byte --------------------------------------------------------------------------------


BYTES = {
    "bom": b"\xef\xbb\xbfimport torch\nALPHA\n",
    "crlf": b"import torch\r\nALPHA\r\nx = 1\r\n",
    "lone cr": b"import torch\rALPHA\rx = 1\r",
    "form feed": b"import torch\n\x0c\nALPHA\n\x0c\n",
    "latin-1": b"# coding: latin-1\nimport torch\nx = '\xe9'; ALPHA  # \xfc\n",
    "no final newline": b"import torch\nALPHA",
    "tabs and blanks": b"import torch\nif 1:\n\tALPHA \t\n\n  \n",
    "mixed ends": b"import torch\r\nALPHA\nx = 1\ry = 2\r\n",
    "wide": "import torch\nx = '日本 😀'; ALPHA  # é\n".encode(),
}


@pytest.mark.parametrize("data", BYTES.values(), ids=BYTES.keys())
def test_everything_else_stays_byte_for_byte(fix: Command, data: bytes) -> None:
    write(Path(), a_py=data)
    expected = data.replace(b"ALPHA", b"pass")
    assert fix("--fix", "-", stdin=data).out.encode("utf-8", "surrogateescape") == expected
    patch = fix("--diff", "a.py").out.encode("utf-8", "surrogateescape")
    assert Path("a.py").read_bytes() == data
    assert fix("--fix", "a.py").status == 0
    assert Path("a.py").read_bytes() == expected
    Path("a.py").write_bytes(data)
    subprocess.run(["git", "apply", "-p0", "-"], input=patch, check=True)
    assert Path("a.py").read_bytes() == expected


def test_permissions_and_links_stay(fix: Command) -> None:
    write(Path(), real__a_py=ALPHA)
    os.chmod("real/a.py", 0o751)
    os.symlink("real/a.py", "b.py")
    assert fix("--fix", "b.py").status == 0
    assert os.readlink("b.py") == "real/a.py"
    assert Path("real/a.py").read_text() == FIXED and not Path("real/a.py").is_symlink()
    assert stat.S_IMODE(os.stat("real/a.py").st_mode) == 0o751
    assert [path.name for path in Path("real").iterdir()] == ["a.py"]


def test_a_file_and_a_link_to_it(fix: Command) -> None:
    write(Path(), a_py=ALPHA)
    os.symlink("a.py", "b.py")
    done = fix("--fix", ".")
    assert Path("a.py").read_text() == FIXED and Path("b.py").is_symlink()
    assert (done.status, done.err) == (0, "Fixed 1 finding in 1 file\nAll checks passed (2 files)\n")


# ---- a patch --------------------------------------------------------------------------------------


def test_a_patch_changes_nothing_and_exits_with_1(fix: Command) -> None:
    write(Path(), a_py=ALPHA, sub__b_py="import torch\nx = 1\nALPHA", c_py=BETA)
    done = fix("--diff", ".")
    assert (done.status, done.err) == (1, "Would fix 2 findings in 2 files (1 more with --unsafe-fixes)\n")
    assert done.out == (
        "--- a.py\n+++ a.py\n@@ -1,2 +1,2 @@\n import torch\n-ALPHA\n+pass\n"
        "--- sub/b.py\n+++ sub/b.py\n@@ -1,3 +1,3 @@\n import torch\n x = 1\n-ALPHA\n\\ No newline at end of file\n"
        "+pass\n\\ No newline at end of file\n"
    )
    assert Path("a.py").read_text() == ALPHA
    assert "+pass" in fix("--diff", "--unsafe-fixes", "c.py").out
    assert fix("--diff", "--exit-zero", ".").status == 0
    assert fix("--fix", "--diff", ".") == done


def test_nothing_to_fix_is_0_whatever_is_found(fix: Command) -> None:
    write(Path(), a_py=BETA)
    assert fix("--diff", ".") == (0, "", "Nothing to fix (1 more with --unsafe-fixes)\n")


def test_a_patch_that_could_not_be_made_whole_is_2(fix: Command) -> None:
    write(Path(), a_py=ALPHA)
    done = fix("--diff", "a.py", "none.py")
    assert done.status == 2 and "+pass" in done.out and "error: none.py: No such file" in done.err


def test_a_patch_into_a_file(fix: Command) -> None:
    write(Path(), a_py=BYTES["latin-1"])
    done = fix("--diff", "--output-file", "out.patch", "a.py")
    assert (done.status, done.out) == (1, "") and b"-x = '\xe9'; ALPHA  # \xfc\n" in Path("out.patch").read_bytes()


# ---- standard input -------------------------------------------------------------------------------


def test_standard_input_comes_out_fixed_and_the_rest_aside(fix: Command) -> None:
    done = fix("--fix", "-", stdin=(ALPHA + "BETA\n").encode())
    assert (done.status, done.out) == (1, FIXED + "BETA\n")
    assert done.err.startswith("TML182 ") and "Fixed 1 finding in 1 file\n" in done.err
    assert fix("--fix", "-", stdin=b"x = 1\n").out == "x = 1\n"


@pytest.mark.parametrize("text", ["import torch\nALPHA (\n", "import torch\nALPHA  # CRASH\n"])
def test_standard_input_that_cannot_be_fixed_comes_out_as_it_was(fix: Command, text: str) -> None:
    done = fix("--fix", "-", stdin=text.encode())
    assert done.out == text and done.status in (1, 2) and done.err


def test_standard_input_with_a_name(fix: Command) -> None:
    write(Path(), a_py="x = 1\n")
    flags = ["--stdin-filename", "a.py", "-"]
    assert fix("--fix", *flags, stdin=ALPHA.encode()).out == FIXED
    assert fix("--diff", *flags, stdin=ALPHA.encode()).out.startswith("--- a.py\n+++ a.py\n@@")
    assert Path("a.py").read_text() == "x = 1\n"
    left_out = fix("--fix", "--force-exclude", "--exclude", "a.py", *flags, stdin=ALPHA.encode())
    assert left_out.out == ALPHA
    report = fix("--fix", "--output-format", "json", "--output-file", "out.json", *flags, stdin=BETA.encode())
    assert report.out == BETA and '"TML182"' in Path("out.json").read_text()


# ---- across files, with the rules that there are ---------------------------------------------------


HELPER = "import torch\n\n\ndef release():\n    torch.cuda.empty_cache()\n"
TRAIN = """import torch
from torch.utils.data import DataLoader

from helper import release


def train(model, loss_fn, optimizer, data):
    for x, y in DataLoader(data):
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        release()
"""


def test_the_project_sees_the_edited_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step in another file calls back into the file that is edited: what it ends in is what the edit says."""
    from torchmemlint.disk import Target
    from torchmemlint.faces.check import Checker, Choice

    monkeypatch.chdir(tmp_path)
    back = "from train import release\n\n\ndef tidy():\n    release()\n"
    train = TRAIN.replace("from helper import release", "from step import tidy").replace("release()", "tidy()")
    train += HELPER.replace("import torch\n", "")
    write(tmp_path, train_py=train, step_py=back)
    checker = Checker(Choice(isolated=True))
    target = Target(str(tmp_path / "train.py"), "train.py")
    assert [one.code for one in checker.check(target, train.encode())] == ["TML101"]
    edited = train.replace("torch.cuda.empty_cache()", "pass")
    assert checker.check_edited(target, Source("train.py", edited.encode())) == []
    assert [one.code for one in checker.check_edited(target, Source("train.py", train.encode()))] == ["TML101"]


def test_a_graph_that_nobody_keeps_any_more_is_not_needed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What one fix uncovers does not stand in its way, and is fixed in the same run where that is asked for."""
    monkeypatch.chdir(tmp_path)
    text = """import torch
from torch import nn
from torch.utils.data import DataLoader

losses = []
model = nn.Linear(4, 4).cuda()
for x in DataLoader([torch.ones(4)]):
    loss = model(x).sum()
    losses.append(loss)
"""
    write(tmp_path, a_py=text)
    kept = text.replace("append(loss)", "append(loss.detach())")
    flags = ["--isolated", "--no-cache", "--unsafe-fixes", "a.py"]
    assert main(["--fix", "--unfixable", "TML301", *flags]) == 1
    assert "TML301" in capfd.readouterr().out and Path("a.py").read_text() == kept
    write(tmp_path, a_py=text)
    assert main(["--diff", *flags]) == 1
    patch = capfd.readouterr().out
    assert main(["--fix", *flags]) == 0
    assert "with torch.no_grad():" in patch and "with torch.no_grad():" in Path("a.py").read_text()


def test_a_caller_is_fixed_and_its_helper_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, train_py=TRAIN, helper_py=HELPER)
    flags = ["--isolated", "--fix", "--unsafe-fixes"]
    assert main([*flags, "."]) == 0
    assert Path("train.py").read_text() == TRAIN.replace("        release()\n", "")
    assert Path("helper.py").read_text() == HELPER
    assert main([*flags, "."]) == 0
