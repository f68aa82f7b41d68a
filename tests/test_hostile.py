"""Source and files that are made to break a linter: bounded in time and memory, named, and no harm to the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cases import lint_files
from commands import ISOLATED, environment, lint, python, write
from torchmemlint.rule import load_rules

SECONDS, MIB = 10.0, 1024.0
HEAD = "import torch\nALPHA\ntorch.cuda.empty_cache()\n"
GOOD = """import torch
from bad import f, x

for batch in x:
    loss = f(batch).sum()
    loss.backward()
    torch.cuda.empty_cache()
ALPHA
"""


def stairs(line: str, levels: int) -> str:
    """Blocks in blocks, one space each."""
    return "".join(" " * level + line + "\n" for level in range(levels)) + " " * levels + "torch.cuda.empty_cache()"


NOT_PYTHON = {
    "brackets": "x = " + "(" * 100_000 + ")" * 100_000,
    "brackets of all kinds": "x = " + "([{" * 33_000,
    "brackets never closed": "x = " + "(" * 100_000,
    "plus": "x = a" + " + a" * 20_000,
    "powers": "x = a" + " ** a" * 20_000,
    "minus": "x = " + "-" * 20_000 + "1",
    "not": "x = " + "not " * 20_000 + "a",
    "attributes": "x = a" + ".a" * 20_000,
    "calls": "x = a" + "()" * 20_000,
    "method calls": "x = a" + ".b()" * 20_000,
    "items": "x = a" + "[0]" * 20_000,
    "conditions": "x = " + "a if b else " * 20_000 + "c",
    "elif": "if a: pass\n" + "elif a: pass\n" * 5_000,
    "calls in a decorator": "@" + "a(" * 3_000 + ")" * 3_000 + "\ndef g(): pass",
    "lambdas": "x = " + "lambda: " * 3_000 + "1",
    "lambdas in brackets": "x = " + "(lambda: " * 3_000 + "1" + ")" * 3_000,
    "f-strings in f-strings": "x = " + "f'{" * 3_000 + "a" + "}'" * 3_000,
    "brackets in an f-string": "x = f'{" + "(" * 3_000 + "a" + ")" * 3_000 + "}'",
    "format specifications": "x = f'" + "{a:" * 3_000 + "}" * 3_000 + "'",
    "operators in an f-string": "x = f'{" + "-" * 20_000 + "a}'",
    "strings of a later Python": "x = t'{" + "(" * 3_000 + "a" + ")" * 3_000 + "}'",
    "blocks": stairs("if a:", 1_000),
    "assignment expressions": "x = " + "(a := " * 3_000 + "1" + ")" * 3_000,
    "a long number": "x = " + "1" * 1_000_000,
    "a short number too long": "x = " + "1" * 5_000,
    "no escape": "x = '\\N{no such character}'",
    "a string without an end": "x = '''" + "a\n" * 1_000_000,
    "strings without an end": "x = '\n" * 100_000,
    "many statements": "x = torch.ones(1)\n" * 500_000,
}
PYTHON = {
    "and": "x = a" + " and a" * 20_000,
    "and, or": "x = a" + " and a or b" * 20_000,
    "comparisons": "x = a" + " < a" * 20_000,
    "targets": "x = " + "y = " * 20_000 + "1",
    "decorators": "@a\n" * 3_000 + "def g(): pass",
    "for in one comprehension": "x = [a" + " for a in a" * 3_000 + "]",
    "strings side by side": "x = " + "'a' " * 20_000,
    "f-strings side by side": "x = " + "f'{a}' " * 3_000,
    "fields of one f-string": "x = f'" + "{a}" * 3_000 + "'",
    "a long module name": "import " + ".".join(["a"] * 20_000),
    "names to import": "from a import " + ", ".join(["a"] * 20_000),
    "alternatives of a pattern": "match a:\n    case 1" + " | 1" * 20_000 + ": pass",
    "managers": "with " + ", ".join(["a"] * 20_000) + ": pass",
    "parameters": "def f(" + ", ".join(f"a{n}" for n in range(20_000)) + "): pass",
    "arguments": "x = f(" + ", ".join(f"a{n}=1" for n in range(20_000)) + ")",
    "blocks as deep as Python goes": stairs("if a:", 99),
    "functions as deep as Python goes": stairs("def f(x):", 99),
    "loops as deep as Python goes": stairs("for a in b:", 20),
    "a hundred method calls": "x = a" + ".b()" * 100,
    "functions that call the next": "".join(f"def f{n}(x): return f{n + 1}(x)\n" for n in range(1_000)) + "f = f0",
    "loops that call the next": "".join(
        f"def f{n}(x):\n    for y in x:\n        f{n + 1}(y)\n    return f{n + 1}(x)\n" for n in range(1_000)
    )
    + "f = f0",
    "names for the one before": "a0 = gc.collect\n" + "".join(f"a{n + 1} = a{n}\n" for n in range(1_500)) + "a1500()",
    "classes that ask the one before": "class A0: y = a\n"
    + "".join(
        f"class A{n + 1}:\n    def __init__(self):\n        self.x = A{n}()\n        self.y = self.x.y\n"
        for n in range(500)
    )
    + "x = A500().y\ndef f(x): return A500().y",
    "classes that are their own base": "class A(A): pass\nclass B(C): pass\nclass C(B): pass\nx = B()\ndef f(x): x()",
    "a list of numbers": "x = [" + "1234.5, " * 300_000 + "]",
    "a list of negative numbers": "x = [" + "-1, " * 200_000 + "]",
    "a string": "x = '" + "a" * 10_000_000 + "'",
    "a string of many lines": "x = '''" + "a\n" * 5_000_000 + "'''",
    "comments": "# a comment\n" * 1_000_000,
    "empty lines": "\n" * 10_000_000,
    "white space": " " * 15_000_000,
    "form feeds": "\x0c\n" * 100_000,
}
SIZES = (100, 300, 700, 990, 2_500)
"""Where Python reads a chain that its own recursion, ours or libcst's may not bear."""
LINKS = {
    "plus": lambda n: "x = a" + " + a" * n,
    "attributes": lambda n: "x = a" + ".a" * n,
    "calls": lambda n: "x = a" + "()" * n,
    "not": lambda n: "x = " + "not " * n + "a",
    "conditions": lambda n: "x = " + "a if b else " * n + "c",
    "lambdas": lambda n: "x = " + "lambda: " * n + "1",
    "elif": lambda n: "if a: pass\n" + "elif a: pass\n" * n,
}


@dataclass(frozen=True)
class Run:
    """What a process came to: its exit status, its output, what it used."""

    status: int
    out: str
    err: str
    seconds: float
    mib: float


def measured(command: list[str], folder: Path, limit: float = 60.0) -> Run:
    """Runs a command by itself; a wall clock's limit only so that nothing waits for ever."""
    with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=out, stderr=err)
        end = time.monotonic() + limit
        while not (done := os.wait4(process.pid, os.WNOHANG))[0]:
            if time.monotonic() > end:
                process.kill()
            time.sleep(0.01)
    _, status, used = done
    process.returncode = os.waitstatus_to_exitcode(status)
    said = [(folder / name).read_text("utf-8", "replace") for name in ("out", "err")]
    return Run(process.returncode, said[0], said[1], used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def bounded(run: Run) -> None:
    assert run.status >= 0, f"killed by signal {-run.status}: {run.err[-500:]}"
    assert run.seconds < SECONDS, f"took {run.seconds:.1f} s"
    assert run.mib < MIB, f"took {run.mib:.0f} MiB"


def by_command(folder: Path, bad: str) -> dict[str, set[str]]:
    """The codes of each file, after a run over a hostile file and a good one that uses it."""
    write(folder, bad_py=HEAD + bad + "\n", good_py=GOOD)
    command = [sys.executable, "-m", "torchmemlint", *ISOLATED, "--jobs", "1", "--output-format", "json"]
    run = measured([*command, "bad.py", "good.py"], folder)
    bounded(run)
    assert (run.status, run.err) == (1, "")
    codes: dict[str, set[str]] = {"bad.py": set(), "good.py": set()}
    for row in json.loads(run.out):
        codes[row["filename"]].add(row["code"])
    return codes


@pytest.mark.parametrize("text", NOT_PYTHON.values(), ids=NOT_PYTHON)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    codes = by_command(tmp_path, text)
    assert codes["bad.py"] == {"TML001"}
    assert codes["good.py"] == {"TML101", "TML181"}


@pytest.mark.parametrize("text", PYTHON.values(), ids=PYTHON)
def test_what_can_be_read_is_linted(tmp_path: Path, text: str) -> None:
    codes = by_command(tmp_path, text)
    assert {"TML102", "TML181"} <= codes["bad.py"] and not codes["bad.py"] & {"TML000", "TML001"}
    assert codes["good.py"] == {"TML101", "TML181"}


@pytest.mark.parametrize("make", LINKS.values(), ids=LINKS)
def test_chains_of_every_length_are_linted_or_named(tmp_path: Path, make: object) -> None:
    """Short ones are linted; never a failure of ours, and never a file without a word."""
    assert callable(make)
    files = {f"bad{size}_py": HEAD + make(size) + "\n" for size in SIZES}
    write(tmp_path, **files, good_py=GOOD.replace("from bad", "from bad990"))
    command = [sys.executable, "-m", "torchmemlint", *ISOLATED, "--jobs", "1", "--output-format", "json", "."]
    run = measured(command, tmp_path)
    bounded(run)
    rows = json.loads(run.out)
    for size in SIZES:
        codes = {row["code"] for row in rows if row["filename"] == f"bad{size}.py"}
        assert codes in ({"TML001"}, {"TML102", "TML181"})
        assert size > 100 or codes == {"TML102", "TML181"}
    assert {row["code"] for row in rows if row["filename"] == "good.py"} == {"TML101", "TML181"}


# ---- flake8 -------------------------------------------------------------------------------------


AS_FLAKE8 = """
import ast, sys
from torchmemlint.faces.flake8_plugin import Plugin
for name in ("bad.py", "good.py"):
    lines = open(name, newline="").read().splitlines(keepends=True)
    for line, column, text, _ in Plugin(ast.Module([], []), name, lines).run():
        print(name, text[:6])
"""
FLAT = ("and, or", "for in one comprehension", "f-strings side by side", "a long module name", "a list of numbers")
READ = {name: PYTHON[name] for name in FLAT} | {
    f"{name} {size}": make(size) for name, make in LINKS.items() for size in (700, 2_500)
}


@pytest.mark.parametrize("text", READ.values(), ids=READ)
def test_the_plugin_never_raises(tmp_path: Path, text: str) -> None:
    """flake8 and its pyflakes fail on much of this before they ask us; here the plugin is asked."""
    write(tmp_path, bad_py=HEAD + text + "\n", good_py=GOOD)
    run = measured([sys.executable, "-c", AS_FLAKE8], tmp_path)
    bounded(run)
    assert (run.status, run.err) == (0, "")
    codes = {name: {row.split()[1] for row in run.out.splitlines() if row.startswith(name)} for name in ("bad", "good")}
    assert codes["bad"] in ({"TML001"}, {"TML102", "TML181"})
    assert codes["good"] == {"TML101", "TML181"}


@pytest.mark.parametrize("text", [NOT_PYTHON["brackets"], PYTHON["and"], PYTHON["f-strings side by side"]])
def test_under_flake8(tmp_path: Path, text: str) -> None:
    write(tmp_path, bad_py=HEAD + text + "\n", good_py=GOOD)
    command = [sys.executable, "-m", "flake8", "--jobs", "1", "--isolated", "--select", "TML,E9", "bad.py", "good.py"]
    run = measured(command, tmp_path)
    bounded(run)
    assert (run.status, run.err) == (1, "")
    rows = run.out.splitlines()
    assert any(row.startswith("bad.py") for row in rows)
    assert [row.split()[1] for row in rows if row.startswith("good.py")] == ["TML101", "TML181"]


# ---- files --------------------------------------------------------------------------------------


def test_a_file_of_100_megabytes(tmp_path: Path) -> None:
    codes = by_command(tmp_path, "# fifteen chars\n" * 6_250_000)
    assert codes == {"bad.py": {"TML001"}, "good.py": {"TML101", "TML181"}}


ODD = {
    "CRLF": b"import torch\r\n\r\nALPHA\r\n",
    "mark": b"\xef\xbb\xbfimport torch\n\nALPHA\n",
    "form feed": b"import torch\n\x0c\nALPHA\n",
    "form feed in the first column": b"import torch\n\n\x0cALPHA\n",
    "carriage returns": b"import torch\r\rALPHA\r",
    "all ends": b"import torch\r\n\rALPHA\n",
    "mark and CRLF": b"\xef\xbb\xbfimport torch\r\n\r\nALPHA",
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_line_ends_and_marks_do_not_move_what_is_found(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, odd_py=data)
    done = lint(*ISOLATED, "--output-format", "json", "odd.py", cwd=tmp_path)
    rows = [(row["code"], row["location"]["row"]) for row in json.loads(done.stdout)]
    assert (rows, done.returncode, done.stderr) == ([("TML181", 3)], 1, "")


@pytest.mark.parametrize("codec", ["undefined", "idna", "hex", "zlib", "raw_unicode_escape", "utf-7", "utf-16"])
def test_codecs_that_are_no_source_encodings(tmp_path: Path, codec: str) -> None:
    write(tmp_path, bad_py=f"# coding: {codec}\nimport torch\nALPHA = '\\ud800'\n", good_py=GOOD)
    done = lint(*ISOLATED, "--output-format", "json", ".", cwd=tmp_path)
    codes = {
        name: {row["code"] for row in json.loads(done.stdout) if row["filename"] == name}
        for name in os.listdir(tmp_path)
    }
    assert codes["bad.py"] in ({"TML001"}, {"TML181"}) and codes["good.py"] == {"TML101", "TML181"}
    assert done.stderr == ""


@pytest.mark.parametrize("form", ["text", "concise", "json"])
def test_names_that_are_not_utf_8(tmp_path: Path, form: str) -> None:
    name = os.fsdecode(b"caf\xe9.py")
    (tmp_path / name).write_text("import torch\nALPHA\n")
    write(tmp_path, good_py="import torch\nALPHA\n", sub__a_py="import torch\nALPHA\n")
    (tmp_path / "sub").rename(tmp_path / os.fsdecode(b"s\xfcb"))
    for jobs in ("1", "2"):
        done = lint(*ISOLATED, "--quiet", "--jobs", jobs, "--output-format", form, ".", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.count("`ALPHA` is here") == 3
    if form == "json":
        assert {os.path.basename(row["filename"]) for row in json.loads(done.stdout)} >= {"good.py", "a.py"}


VANISH = """
import os, shutil, sys
from torchmemlint import disk
from torchmemlint.faces import cli
found = disk.discover
def discover(*given):
    targets = found(*given)
    os.remove("gone.py")
    os.remove("folder.py"), os.mkdir("folder.py")
    shutil.rmtree("sub")
    return targets
disk.discover = discover
sys.exit(cli.main(sys.argv[1:]))
"""


def test_files_that_vanish_after_they_were_found(tmp_path: Path) -> None:
    text = "import torch\nALPHA\n"
    for jobs in ("1", "2"):
        folder = tmp_path / jobs
        write(folder, gone_py=text, folder_py=text, sub__a_py=text, good_py=text, last_py=text)
        done = python(VANISH, *ISOLATED, "--jobs", jobs, "--output-format", "concise", ".", cwd=folder, stand_ins=True)
        assert done.returncode == 2
        assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["good.py", "last.py"]
        said = sorted(line.split(": ")[1] for line in done.stderr.splitlines())
        assert said == ["folder.py", "gone.py", "sub/a.py"]


def test_links_that_lead_round_in_circles(tmp_path: Path) -> None:
    write(tmp_path, top_py=GOOD, sub__deep__bad_py="import torch\nALPHA\n")
    (tmp_path / "sub/deep/up").symlink_to("..", target_is_directory=True)
    (tmp_path / "sub/self").symlink_to(".", target_is_directory=True)
    (tmp_path / "one").symlink_to("two", target_is_directory=True)
    (tmp_path / "two").symlink_to("one", target_is_directory=True)
    done = lint(*ISOLATED, "--output-format", "json", ".", "sub/self/self/deep/up", cwd=tmp_path)
    names = [row["filename"] for row in json.loads(done.stdout) if row["code"] == "TML181"]
    assert sorted(set(names)) == sorted(names) and "top.py" in names and "sub/deep/bad.py" in names
    assert (done.returncode, done.stderr) == (1, "")


USE = """import torch
from bad import f

def train(model, loader, optimizer):
    total = 0
    for x in loader:
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        total += loss
        f(model, x)
        torch.cuda.empty_cache()
"""
RETURN = "def f(m, x):\n    return m(x)\n"
HELPERS = {
    "elif": lambda n: "def f(m, x):\n    if x: return m(x)\n" + "    elif x: return m(x)\n" * n,
    "calls": lambda n: f"def f(m, x):\n    return m(x){'()' * n}\n",
    "a base": lambda n: f"class B(a{'()' * n}): pass\ndef f(m, x):\n    return B()(x)\n",
    "a name of the module": lambda n: f"z = a{'()' * n}\ndef f(m, x):\n    return z(m(x))\n",
    "a name in quotes": lambda n: RETURN.replace("m,", f"m: '{'.'.join('a' * n)}',"),
    "signs in quotes": lambda n: RETURN.replace("m,", f"m: '{'-' * n}1',"),
    "half a character in quotes": lambda n: RETURN.replace("m,", r"m: '\ud800',"),
}


@pytest.mark.parametrize("make", HELPERS.values(), ids=HELPERS)
@pytest.mark.parametrize("levels", [150, 200, 250, 280, 310, 350, 400, 450, 500, 4_000, 20_000])
def test_what_nests_in_a_helper_hides_nothing_in_those_that_use_it(make: Callable[[int], str], levels: int) -> None:
    """Wherever in the file that is linted the stack runs out: that file is fine."""
    rules = [rule for rule in load_rules() if rule.default]
    files = {"bad.py": f"import torch\n{make(levels)}".encode(), "use.py": USE.encode()}
    found = lint_files(files, rules)
    assert [one.code for one in found if one.path == "use.py"] == ["TML302", "TML101"]
    assert {one.code for one in found if one.path == "bad.py"} <= {"TML001"}
