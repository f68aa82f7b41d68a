"""The flake8 plugin, under the real flake8: it finds what the command finds, and never ends flake8's run."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from commands import ISOLATED, ROOT, flake8, lint_json, write

Row = tuple[str, int, int, str]


def by_flake8(*arguments: str, cwd: Path, stdin: bytes = b"") -> Counter[Row]:
    done = flake8("--select", "TML,E9", *arguments, cwd=cwd, stdin=stdin)
    assert "Traceback" not in done.stderr, done.stderr
    rows = [re.match(r"(.+?):(\d+):(\d+): (\w+) ", line) for line in done.stdout.splitlines()]
    assert all(rows), done.stdout
    return Counter((m[1].removeprefix("./"), int(m[2]), int(m[3]), m[4]) for m in rows if m)


def by_command(*arguments: str, cwd: Path) -> Counter[Row]:
    rows = lint_json(*arguments, cwd=cwd)
    return Counter((r["filename"], r["location"]["row"], r["location"]["column"], r["code"]) for r in rows)


def test_the_fixtures() -> None:
    """Every fixture there is and will be: same file, line, column, code. What Python cannot parse is E999's."""
    paths = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "fixtures").rglob("*.py"))
    rows = by_flake8("--isolated", *paths, cwd=ROOT)
    broken = {row[0] for row in rows if row[3].startswith("E9")}
    expected = by_command("--isolated", *[path for path in paths if path not in broken], cwd=ROOT)
    assert Counter({row: n for row, n in rows.items() if row[0] not in broken}) == expected


ODD = {
    "crlf_py": b"import torch\r\n\r\nx = 1; ALPHA\r\n",
    "bom_py": b"\xef\xbb\xbfimport torch\nx = '\xc3\xa9'; ALPHA\n",
    "latin_py": b"# coding: latin-1\nimport torch\nx = '\xe9'; ALPHA\n",
    "wide_py": "import torch\nx = '日本 🦀'; ALPHA; BETA; ALPHA\n".encode(),
    "feed_py": b"import torch\n\x0c\nx = 1; ALPHA\n",
    "return_py": b"import torch\rx = 1; ALPHA\r",
    "noend_py": b"import torch\nALPHA",
    "empty_py": b"",
    "last_py": b"import torch\nALPHA(\n    1,\n)  # noqa: TML181\nBETA\n",
    "own_py": b"import torch\nALPHA  # torchmemlint: ignore[TML181] small\n",
    "twice_py": b"import torch\nALPHA\nALPHA\n",
    "low_py": b"import torch\nGAMMA\nOMEGA\n",
    "pkg__deep__inner_py": b"import torch\nALPHA\n",
}


def test_odd_files(tmp_path: Path) -> None:
    write(tmp_path, **ODD)
    rows = by_flake8("--isolated", ".", cwd=tmp_path)
    assert rows == by_command(*ISOLATED, ".", cwd=tmp_path)
    assert len({row[0] for row in rows}) == len(ODD) - 3  # all but the empty, the silenced and the unsure one
    assert ("wide.py", 2, 13, "TML181") in rows


def test_the_same_configuration(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA\nBETA\nGAMMA\n", sub__b_py="import torch\nALPHA\nBETA\n")
    (tmp_path / "pyproject.toml").write_text(
        "[tool.torchmemlint]\nselect = ['TML182', 'TML183']\nmin-confidence = 'low'\n"
    )
    (tmp_path / "sub/torchmemlint.toml").write_text("ignore = ['TML182']\n")
    rows = by_flake8(".", cwd=tmp_path)
    assert rows == by_command(".", cwd=tmp_path)
    assert {row[::3] for row in rows} == {("a.py", "TML182"), ("a.py", "TML183"), ("sub/b.py", "TML181")}


def test_flake8s_own_options_for_us(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA\nBETA\nGAMMA\n")
    (tmp_path / "our.toml").write_text("select = ['TML182']\n")
    (tmp_path / ".flake8").write_text("[flake8]\ntorchmemlint-min-confidence = low\n")
    assert {row[3] for row in by_flake8("a.py", cwd=tmp_path)} == {"TML181", "TML182", "TML183"}
    assert {row[3] for row in by_flake8("--torchmemlint-config", "our.toml", "a.py", cwd=tmp_path)} == {"TML182"}


def test_opt_in_rules_come_only_when_enabled(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA\nOMEGA\n")
    assert {row[3] for row in by_flake8("--isolated", "a.py", cwd=tmp_path)} == {"TML181"}
    enabled = by_flake8("--isolated", "--enable-extensions", "TML9", "a.py", cwd=tmp_path)
    assert enabled == Counter({("a.py", 2, 1, "TML181"): 1, ("a.py", 3, 1, "TML981"): 1})
    (tmp_path / "torchmemlint.toml").write_text("extend-select = ['TML9']\n")
    assert {row[3] for row in by_flake8("a.py", cwd=tmp_path)} == {"TML181"}


def test_standard_input_and_buffers_that_differ_from_the_disk(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA\n")
    data = "import torch\né = 1; ALPHA\n".encode()
    assert set(by_flake8("-", cwd=tmp_path, stdin=data)) == {("stdin", 2, 8, "TML181")}
    shown = by_flake8("--stdin-display-name", "a.py", "-", cwd=tmp_path, stdin=data)
    assert set(shown) == {("a.py", 2, 8, "TML181")}
    cookie = b"# coding: latin-1\nimport torch\nx = '\xe9'; ALPHA\n"
    assert set(by_flake8("-", cwd=tmp_path, stdin=cookie)) == {("stdin", 3, 10, "TML181")}


def test_disable_noqa(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA(\n)  # noqa\n")
    assert not by_flake8("a.py", cwd=tmp_path)
    assert by_flake8("--disable-noqa", "a.py", cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "config"),
    [("import torch\nALPHA  # CRASH\nBETA\n", ""), ("import torch\nBETA\n", "selec = ['TML1']\n")],
    ids=["rule", "configuration"],
)
def test_a_failure_is_a_finding_and_flake8_goes_on(tmp_path: Path, text: str, config: str) -> None:
    write(tmp_path, a_py=text, z_py="import os\nx = (1,\n")
    (tmp_path / "torchmemlint.toml").write_text(config)
    rows = by_flake8(".", cwd=tmp_path)
    assert ("a.py", 1, 1, "TML000") in rows
    assert any(row[0] == "z.py" for row in rows)


def test_registered_twice_it_still_starts(tmp_path: Path) -> None:
    write(tmp_path, a_py="import torch\nALPHA\n")
    (tmp_path / ".flake8").write_text(
        "[flake8:local-plugins]\nextension =\n    TM = torchmemlint.faces.flake8_plugin:Plugin\n"
    )
    assert {row[3] for row in by_flake8("a.py", cwd=tmp_path)} == {"TML181"}


def test_several_processes(tmp_path: Path) -> None:
    write(tmp_path, **{f"m{number}_py": "import torch\nALPHA\n" for number in range(6)})
    done = flake8("--isolated", "--select", "TML", "--jobs", "2", ".", cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 6
