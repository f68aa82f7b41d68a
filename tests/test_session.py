"""The magics of a running session, in IPython's own shell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("IPython")

IMPORTS = "import torch\nimport torch.nn.functional as F\ntotal = 0"
TRAINING = (
    "%%time\nfor x, y in torch.utils.data.DataLoader(data):\n"
    "    loss = F.cross_entropy(model(x), y)\n    loss.backward()\n    total += loss"
)


@pytest.fixture
def shell(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_line_magic("load_ext", "torchmemlint")
    yield shell
    shell.history_manager.end_session()


def ran(shell: Any, *cells: str) -> None:
    """Cells as if they had been run: what is typed counts, not what comes of it."""
    for text in cells:
        shell.history_manager.store_inputs(shell.execution_count, text, text)
        shell.execution_count += 1


def test_the_cells_that_were_run(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ran(shell, IMPORTS, TRAINING)
    shell.run_cell("%torchmemlint", store_history=True)
    out = capsys.readouterr().out
    assert "TML302" in out and "session.ipynb:cell 2:5:5" in out
    assert "Found 1 finding" in out


def test_a_cell_counts_once(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ran(shell, IMPORTS, TRAINING, TRAINING)
    shell.run_cell("%torchmemlint --output-format concise")
    assert [line.split(":")[1] for line in capsys.readouterr().out.splitlines()] == ["cell 3"]


def test_a_cell_that_was_changed_and_run_again(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = TRAINING.partition("\n")[2].replace("DataLoader(data)", "DataLoader([])")
    for name, text in (("one", IMPORTS.replace("import", "#")), ("two", wrong), ("two", "pass")):
        shell.run_cell(text, store_history=True, cell_id=name)
    capsys.readouterr()
    shell.run_cell("%torchmemlint", store_history=True, cell_id="three")
    assert "All checks passed" in capsys.readouterr().out


def test_one_cell_is_linted_below_the_others_and_not_run(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ran(shell, IMPORTS, TRAINING)
    shell.run_cell(
        "%%torchmemlint --output-format concise\n" + TRAINING.partition("\n")[2] + "; ran = True", store_history=True
    )
    out = capsys.readouterr().out
    assert out.startswith("session.ipynb:cell 3:5:5: TML302 ") and out.count("\n") == 1
    assert "ran" not in shell.user_ns


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("src", "error: %torchmemlint lints cells; for files: !torchmemlint src\n"),
        ("--slect X", "error: unknown flag `--slect`; did you mean `--select`? (see --help)\n"),
        ("'", "error: ': No closing quotation\n"),
        ("--output-format sarif", "error: %torchmemlint: --output-format: sarif is none of text, concise\n"),
    ],
)
def test_mistakes_are_one_line(shell: Any, capsys: pytest.CaptureFixture[str], line: str, said: str) -> None:
    shell.run_line_magic("torchmemlint", line)
    assert capsys.readouterr() == ("", said)


def test_what_only_files_have_is_refused(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_line_magic("torchmemlint", "--fix --select TML3")
    said = capsys.readouterr().err
    assert said.startswith("error: %torchmemlint does not take --fix, only --select, ") and said.count("\n") == 1
