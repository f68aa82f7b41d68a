"""Notebooks as a user meets them: which are linted, where findings are said to be, in text and in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notebooks import cell, notebook
from torchmemlint.faces.cli import main

SETUP = (
    "import torch\nfrom torch import nn\nfrom torch.utils.data import DataLoader\n"
    "model = nn.Linear(3, 1)\nloader = DataLoader(data)\n"
)
LOOP = (
    "total = 0\nfor x, y in loader:\n    loss = nn.functional.mse_loss(model(x), y)\n"
    "    loss.backward()\n    total += loss\n"
)
FLUSH = "for x in loader:\n    torch.cuda.empty_cache()"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    main(["--isolated", "--no-cache", "--output-format", "json", *arguments])
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def places(rows: list[dict[str, Any]]) -> list[tuple[str, int | None, int, int]]:
    return [(row["code"], row["cell"], row["location"]["row"], row["location"]["column"]) for row in rows]


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(text.encode())


# ---- what is found, and where ---------------------------------------------------------------------


def test_text_names_the_cell(capsys: pytest.CaptureFixture[str]) -> None:
    write("nb.ipynb", notebook(cell("# Title", "markdown"), SETUP, cell("", "raw"), LOOP))
    assert main(["--isolated", "--no-cache", "nb.ipynb"]) == 1
    assert capsys.readouterr().out.splitlines()[:12] == [
        "TML302 [*] `total` sums `loss` with its graph on every step: graph nodes pile up in host memory",
        " --> nb.ipynb:cell 4:5:5 (warning, high confidence)",
        "  |",
        "2 | for x, y in loader:",
        "  | ------------------- loop over a DataLoader",
        "3 |     loss = nn.functional.mse_loss(model(x), y)",
        "  |                                   -------- output of `model`",
        "4 |     loss.backward()",
        "5 |     total += loss",
        "  |     ^^^^^^^^^^^^^",
        "  = fix: detach it from its graph (safe)",
        "5 -     total += loss",
    ]


def test_frames_show_reasons_in_other_cells(capsys: pytest.CaptureFixture[str]) -> None:
    write(
        "nb.ipynb",
        notebook(SETUP, "def release():\n    torch.cuda.empty_cache()\n", "for x in loader:\n    release()\n"),
    )
    main(["--isolated", "--no-cache", "nb.ipynb"])
    shown = capsys.readouterr().out
    assert " ::: nb.ipynb:cell 2:2:5\n  |\n2 |     torch.cuda.empty_cache()\n" in shown


def test_facts_go_from_cell_to_cell(capsys: pytest.CaptureFixture[str]) -> None:
    helper = "def release():\n    torch.cuda.empty_cache()\n"
    write("nb.ipynb", notebook(SETUP, helper, "for x in loader:\n    release()\n"))
    (row,) = found(capsys, "nb.ipynb")
    assert places([row]) == [("TML101", 3, 2, 5)]
    assert [(step["cell"], step["location"]["row"]) for step in row["why"]] == [(3, 1), (2, 2)]
    assert [edit["cell"] for edit in row["fix"]["edits"]] == [3]


def test_a_helper_on_disk_has_no_cell(capsys: pytest.CaptureFixture[str]) -> None:
    write("helper.py", "import torch\n\ndef release():\n    torch.cuda.empty_cache()\n")
    write("nb.ipynb", notebook("from helper import release\n" + SETUP, "for x in loader:\n    release()\n"))
    (row,) = found(capsys, "nb.ipynb")
    assert [(step["filename"], step.get("cell")) for step in row["why"]] == [("nb.ipynb", 2), ("helper.py", None)]


def test_magics_do_not_hide_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    magics = "%matplotlib inline\n!pip install torch \\\n  numpy\n" + SETUP + "files = !ls\nmodel?\nawait run()\ntotal;"
    timed = "%%time\n" + LOOP.replace("    loss.b", "    !nvidia-smi\n    loss.b")
    write("nb.ipynb", notebook(magics, cell("%%bash\nrm -rf $HOME && for x in y"), "pip install torch", timed))
    assert places(found(capsys, "nb.ipynb")) == [("TML302", 4, 7, 5)]


def test_an_indented_cell_is_dedented_as_ipython_does(capsys: pytest.CaptureFixture[str]) -> None:
    indented = "".join(f"  {line}" for line in LOOP.splitlines(keepends=True))
    write("nb.ipynb", notebook(SETUP, indented, "  # a comment alone\n"))
    assert places(found(capsys, "nb.ipynb")) == [("TML302", 2, 5, 7)]


def test_a_bad_cell_is_named_and_the_others_are_linted(capsys: pytest.CaptureFixture[str]) -> None:
    write("nb.ipynb", notebook(SETUP, "x = 1\ny = (2))\n", cell("notes:\n  - 1", "raw"), LOOP, "def (:"))
    rows = found(capsys, "nb.ipynb")
    assert places(rows) == [("TML001", 2, 2, 8), ("TML302", 4, 5, 5), ("TML001", 5, 1, 5)]
    assert rows[0]["message"] == "cell 2 cannot be parsed: syntax error: unmatched ')'"


@pytest.mark.parametrize("indent", [1, 4, None])
@pytest.mark.parametrize("listed", [True, False])
def test_the_place_in_the_file_is_kept(indent: int | None, listed: bool) -> None:
    from torchmemlint.engine import lint_file
    from torchmemlint.facts.project import Project
    from torchmemlint.rule import load_rules

    rows = [cell(source) for source in (SETUP, FLUSH.replace("torch.", 'é = "\\"日\\t"; torch.'), LOOP)]
    for one in rows:
        one["source"] = one["source"] if listed else "".join(one["source"])
    text = notebook(*rows, indent=indent, ensure_ascii=True)
    document, findings = lint_file("nb.ipynb", text.encode(), load_rules(), Project())
    placed = [document.placed(finding) for finding in findings]
    assert [(one.code, one.cell) for one in placed] == [("TML101", 2), ("TML302", 3)]
    assert [document.standing(one).span for one in placed] == [one.span for one in findings]
    assert [document.standing(one).fix for one in placed] == [one.fix for one in findings]
    flagged = ["torch.cuda.empty_cache()", "total += loss"]
    for finding, expected in zip(placed, flagged, strict=True):
        first, last = finding.in_file.start, finding.in_file.end
        assert first.line == last.line
        assert text.split("\n")[first.line - 1][first.column : last.column] == expected


def test_fingerprints_do_not_depend_on_the_order_of_cells(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.ipynb", notebook(SETUP, LOOP, FLUSH))
    write("b.ipynb", notebook(SETUP, cell("new", "markdown"), FLUSH, LOOP))
    rows = found(capsys, "a.ipynb"), found(capsys, "b.ipynb")
    one, two = ({(row["code"], row["fingerprint"]) for row in part} for part in rows)
    assert len(one) == 2 and one == two


# ---- which notebooks, which cells -----------------------------------------------------------------


def test_folders_are_searched_for_notebooks(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.ipynb", "sub/b.ipynb", ".ipynb_checkpoints/a-checkpoint.ipynb", "skipped/c.ipynb"):
        write(name, notebook(SETUP, LOOP))
    rows = found(capsys, "--extend-exclude", "skipped", ".")
    assert [row["filename"] for row in rows] == ["a.ipynb", "sub/b.ipynb"]
    assert found(capsys, "--force-exclude", ".ipynb_checkpoints/a-checkpoint.ipynb") == []


def test_standard_input_is_a_notebook_by_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from io import BytesIO, TextIOWrapper

    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(notebook(SETUP, LOOP).encode())))
    assert main(["--isolated", "--stdin-filename", "there/nb.ipynb", "-"]) == 1
    shown = capsys.readouterr().out
    assert "there/nb.ipynb:cell 2:5:5" in shown and "5 |     total += loss" in shown


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"language": "R", "name": "ir"}},
        {"kernelspec": {"name": "ir", "display_name": "R"}},
        {"kernelspec": {"name": "julia-1.9"}},
        {"language_info": {"name": "julia"}},
        {"kernelspec": {"name": "python3"}, "language_info": {"name": "scala"}},
    ],
)
def test_other_kernels_are_left_alone(capsys: pytest.CaptureFixture[str], metadata: dict[str, Any]) -> None:
    write("nb.ipynb", notebook(SETUP, LOOP, "x <- y %>% z", metadata=metadata))
    assert found(capsys, "nb.ipynb") == []


@pytest.mark.parametrize(
    "metadata", [{}, {"language_info": {"name": "ipython"}}, {"kernelspec": {"name": "pytorch"}, "language_info": 3}]
)
def test_without_a_word_the_language_is_python(capsys: pytest.CaptureFixture[str], metadata: dict[str, Any]) -> None:
    write("nb.ipynb", notebook(SETUP, LOOP, metadata=metadata))
    assert places(found(capsys, "nb.ipynb")) == [("TML302", 2, 5, 5)]


def test_cells_in_other_languages_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    foreign = cell("Write-Host $x {", metadata={"vscode": {"languageId": "powershell"}})
    write("nb.ipynb", notebook(SETUP, foreign, LOOP))
    assert places(found(capsys, "nb.ipynb")) == [("TML302", 3, 5, 5)]


def test_format_3_has_its_cells_in_worksheets(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"cell_type": "code", "language": "python", "input": text} for text in (SETUP, LOOP)]
    sheets = [{"cells": [{"cell_type": "heading", "level": 1, "source": "Hello"}, *rows]}]
    write("nb.ipynb", json.dumps({"worksheets": sheets, "metadata": {"name": ""}, "nbformat": 3}))
    assert places(found(capsys, "nb.ipynb")) == [("TML302", 3, 5, 5)]


@pytest.mark.parametrize("text", ["", " \n", "\ufeff", '{"cells": []}', notebook(), notebook("", cell("", "markdown"))])
def test_an_empty_notebook_is_clean(capsys: pytest.CaptureFixture[str], text: str) -> None:
    write("nb.ipynb", text)
    assert found(capsys, "nb.ipynb") == []


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (
            '{\n "cells": [\n  {"source" 1}\n]}',
            (3, 13),
            "not valid JSON: Expecting ':' delimiter",
        ),
        ('{"cells": []}}', (1, 14), "not valid JSON: Extra data"),
        (
            '{"cells": [{"source": ["a]}]}',
            (1, 24),
            "not valid JSON: Unterminated string starting at",
        ),
        ("<<<<<<< HEAD\n{}", (1, 1), "not valid JSON: Expecting value"),
        ("[1]", (1, 1), "not a notebook: its JSON has no list of cells"),
        ('{"cells": 1}', (1, 1), "not a notebook: its JSON has no list of cells"),
        ("[" * 100_000, (1, 1), "the notebook's JSON is nested too deeply"),
    ],
)
def test_what_is_no_notebook_is_said_with_its_place(
    capsys: pytest.CaptureFixture[str], text: str, place: tuple[int, int], message: str
) -> None:
    write("nb.ipynb", text)
    (row,) = found(capsys, "nb.ipynb")
    assert (row["code"], row["cell"], row["message"]) == ("TML001", None, f"file cannot be parsed: {message}")
    assert (row["location"]["row"], row["location"]["column"]) == place


def test_bytes_that_are_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    Path("nb.ipynb").write_bytes(b'{"cells": [],\n "x": "\xff"}')
    (row,) = found(capsys, "nb.ipynb")
    assert row["message"] == "file cannot be parsed: notebook is not valid utf-8" and row["location"]["row"] == 2
    assert main(["--isolated", "--no-cache", "nb.ipynb"]) == 1
    assert "\n1 |" not in capsys.readouterr().out  # a line of JSON says nothing to a reader, and may be endless


# ---- with the rest of the linter ------------------------------------------------------------------


@pytest.mark.parametrize("comment", ["# noqa: TML302", "# torchmemlint: ignore[TML302] wanted"])
def test_comments_silence_in_cells(capsys: pytest.CaptureFixture[str], comment: str) -> None:
    write("nb.ipynb", notebook(SETUP, LOOP.replace("total += loss", f"total += loss  {comment}")))
    assert found(capsys, "nb.ipynb") == []


def test_per_file_ignores_name_notebooks(capsys: pytest.CaptureFixture[str]) -> None:
    write("nb.ipynb", notebook(SETUP, LOOP))
    write("torchmemlint.toml", '[per-file-ignores]\n"*.ipynb" = ["TML302"]\n')
    assert main(["--no-cache", "nb.ipynb"]) == 0
    write("torchmemlint.toml", '[per-file-ignores]\n"*.ipynb" = ["TML101"]\n')
    assert main(["--no-cache", "nb.ipynb"]) == 1


def test_findings_in_notebooks_are_kept_whole(capsys: pytest.CaptureFixture[str]) -> None:
    write("nb.ipynb", notebook(SETUP, LOOP))
    write("helper.py", "import torch\n")
    outputs = []
    for _ in range(2):
        main(["--isolated", "--cache-dir", "kept", "--output-format", "json", "."])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] and '"cell": 2' in outputs[0]
    write("nb.ipynb", notebook(cell("above", "markdown"), SETUP, LOOP))
    main(["--isolated", "--cache-dir", "kept", "--output-format", "json", "."])
    assert '"cell": 3' in capsys.readouterr().out


def test_notebooks_alone_are_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmemlint.faces import check

    write("nb.ipynb", notebook(SETUP, LOOP))
    assert main(["--isolated", "--cache-dir", "kept", "."]) == 1
    monkeypatch.setattr(check, "lint_file", lambda *asked: pytest.fail("linted again"))
    assert main(["--isolated", "--cache-dir", "kept", "."]) == 1


def test_the_flake8_plugin_reports_on_the_lines_of_the_file() -> None:
    from torchmemlint.faces.flake8_plugin import Plugin

    text = notebook(SETUP, LOOP)
    write("nb.ipynb", text)
    rows = list(Plugin(None, "nb.ipynb", text.splitlines(keepends=True)).run())  # type: ignore[arg-type]
    ((line, column, message, _),) = rows
    assert message.startswith("TML302 ") and message.endswith("(cell 2:5:5)")
    assert text.split("\n")[line - 1][column:].startswith("total += loss")


# ---- fixes ----------------------------------------------------------------------------------------


def test_fixes_change_only_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    flush = cell(
        "%%time\n" + FLUSH.replace("    torch", "    !nvidia-smi\n    torch"), id="f1a5", metadata={"é": [1.50]}
    )
    text = notebook(cell("# Title", "markdown"), SETUP, "def (:", flush, LOOP, indent=2, ensure_ascii=True)
    write("nb.ipynb", text)
    assert main(["--isolated", "--no-cache", "--fix", "nb.ipynb"]) == 1
    fixed = text.replace("total += loss", "total += loss.detach()")
    assert Path("nb.ipynb").read_bytes().decode() == fixed != text
    assert "Fixed 1 finding in 1 file" in capsys.readouterr().err
    main(["--isolated", "--no-cache", "--fix", "--unsafe-fixes", "nb.ipynb"])
    last = '\\n",\n        "    torch.cuda.empty_cache()"'  # Jupyter stores no line end behind the last line
    assert Path("nb.ipynb").read_bytes().decode() == fixed.replace(last, '"') != fixed
    assert places(found(capsys, "nb.ipynb")) == [("TML001", 3, 1, 5)]


def test_a_diff_names_the_cells_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    text = notebook(SETUP, LOOP + "print(total)", FLUSH)
    write("nb.ipynb", text)
    assert main(["--isolated", "--no-cache", "--diff", "--unsafe-fixes", "nb.ipynb"]) == 1
    assert [line.rstrip("\t") for line in capsys.readouterr().out.splitlines()] == [
        "--- nb.ipynb:cell 2",
        "+++ nb.ipynb:cell 2",
        "@@ -2,5 +2,5 @@",
        " for x, y in loader:",
        "     loss = nn.functional.mse_loss(model(x), y)",
        "     loss.backward()",
        "-    total += loss",
        "+    total += loss.detach()",
        " print(total)",
        "--- nb.ipynb:cell 3",
        "+++ nb.ipynb:cell 3",
        "@@ -1,2 +1,2 @@",
        " for x in loader:",
        "-    torch.cuda.empty_cache()",
        "+    pass",
    ]
    assert Path("nb.ipynb").read_bytes().decode() == text


def test_a_notebook_from_standard_input_is_fixed_to_standard_output(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from io import BytesIO, TextIOWrapper

    text = notebook(SETUP, LOOP, indent=None)
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(text.encode())))
    main(["--isolated", "--fix", "--stdin-filename", "nb.ipynb", "-"])
    assert capsysbinary.readouterr().out.decode() == text.replace("total += loss", "total += loss.detach()")


def test_a_line_of_ipythons_is_not_fixed(capsys: pytest.CaptureFixture[str]) -> None:
    timed = LOOP.replace("    total += loss", "    %time total += loss")
    text = notebook(SETUP, timed)
    write("nb.ipynb", text)
    (row,) = found(capsys, "nb.ipynb")
    assert places([row]) == [("TML302", 2, 5, 11)] and row["fix"] is None
    assert main(["--isolated", "--no-cache", "--fix", "nb.ipynb"]) == 1
    assert Path("nb.ipynb").read_bytes().decode() == text


def test_unused_comments_in_cells_are_found_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    comment = "  # torchmemlint: ignore[TML101] why"
    write("nb.ipynb", notebook(SETUP + "!ls\n", f"import torch\nx = 1{comment}\n"))
    assert places(found(capsys, "nb.ipynb")) == [("TML002", 2, 2, 8)]
    main(["--isolated", "--no-cache", "--fix", "nb.ipynb"])
    assert Path("nb.ipynb").read_bytes().decode() == notebook(SETUP + "!ls\n", "import torch\nx = 1\n")


def test_verifying_plans_the_cells_as_one_program(capsys: pytest.CaptureFixture[str]) -> None:
    write("nb.ipynb", notebook(SETUP + "!ls\n", "def (:", LOOP))
    main(["--isolated", "--no-cache", "--verify", "--dry-run", "nb.ipynb"])
    shown = capsys.readouterr().out
    assert "nb.ipynb:cell 3:5:5: TML302 " in shown and "runs     nb.ipynb as a script" in shown
    assert "\n    -    total += loss\n    +    total += loss.detach()\n" in shown
