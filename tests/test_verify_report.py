"""Verdicts as text, JSON and evidence files; harness scripts; what --dry-run says of a case."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made_records import HOT, MIB, NODES, PEAK, case, record, trial, twice
from runtime_verify import evidence, harness, preview
from runtime_verify.campaign import order_of
from runtime_verify.evidence import BadEvidence, Entry, entry_of
from runtime_verify.judge import judge, unplanned
from runtime_verify.progress import Live, Progress, watching
from runtime_verify.report import evidence_object, note, summary, told
from runtime_verify.trial import Trial, Variant, Wanted
from runtime_verify.verdict import Answer, FixSafe, Kind, Measured, Reason, Unit, Verdict
from runtime_verify.wording import amount, apart
from torchmemlint.model import (
    Applicability,
    Confidence,
    Edit,
    Finding,
    Fix,
    Position,
    Severity,
    Span,
)
from torchmemlint.source import Source

CONFIRMED = judge(case(PEAK), twice(record(peak=96 * MIB), record(peak=32 * MIB)))
REFUTED = judge(case(PEAK), twice(record(peak=96 * MIB), record(peak=96 * MIB)))
OPEN = judge(case(PEAK), twice(record(0), record(0)))


def finding(line: int = 5, code: str = "TML999") -> Finding:
    span = Span(Position(line, 4), Position(line, 10))
    fix = Fix("do it well", Applicability.SAFE, (Edit(span, "better()"),))
    return Finding("train.py", span, code, "made-up", Severity.WARNING, Confidence.HIGH, "`work()` is bad", fix=fix)


# ---- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0, Unit.BYTES, "0 B"),
        (512, Unit.BYTES, "512 B"),
        (6144, Unit.BYTES, "6.0 KiB"),
        (33.5 * MIB, Unit.BYTES, "33.5 MiB"),
        (-2 * 2**30, Unit.BYTES, "-2.0 GiB"),
        (1.7154, Unit.MS, "1.72 ms"),
        (432.2, Unit.MS, "432 ms"),
        (15, Unit.COUNT, "15"),
        (5.633, Unit.COUNT, "5.6"),
    ],
)
def test_amounts(value: float, unit: Unit, words: str) -> None:
    assert amount(value, unit) == words


def test_a_figure_without_words_of_its_own_is_named() -> None:
    one = Measured("odd things", Unit.COUNT, 3, 0, 3, 0, 1)
    assert apart(one) == "odd things 3 as written against 0 with the fix"


def test_one_line_a_finding() -> None:
    text = "".join(piece for piece, _ in told(finding(), CONFIRMED))
    assert text == (
        "train.py:5:5: TML999 confirmed [T1]: 96.0 MiB peak as written against 32.0 MiB with the fix (x3), "
        "10 iterations, 2+2 runs identical"
    )
    unsafe = replace(CONFIRMED, fix_safe=FixSafe(Answer.NO, "loss 0 is 1 as written, 2 with the fix"))
    text = "".join(piece for piece, _ in told(finding(), unsafe))
    assert text.endswith("; THE FIX COMPUTES SOMETHING ELSE: loss 0 is 1 as written, 2 with the fix")
    assert "inconclusive [T1]: the flagged line was not reached" in "".join(p for p, _ in told(finding(), OPEN))


def test_a_note_names_the_device() -> None:
    assert note(CONFIRMED).endswith("2+2 runs identical (NVIDIA H200, torch 2.11)")
    assert note(unplanned("no_fix", "no fix")) == "inconclusive: no runnable piece of code could be made of it: no fix"


def lines(found: Any, seconds: float = 12.0) -> list[str]:
    return ["".join(text for text, _ in line) for line in summary(found, seconds)]


def test_the_summary_counts_by_rule() -> None:
    unsafe = replace(REFUTED, fix_safe=FixSafe(Answer.NO, "x"))
    found = [(finding(1), CONFIRMED), (finding(2), OPEN), (finding(3, "TML998"), unsafe)]
    assert lines(found) == [
        "",
        "rule         confirmed       refuted  inconclusive   tiers",
        "TML998               .             1             .   1 T1",
        "TML999               1             .             1   2 T1",
        "Inconclusive because of: 1 not_reached",
        "1 fix would change what is computed",
        "Verified 3 findings on NVIDIA H200, torch 2.11 in 12 s: 1 confirmed, 1 refuted, 1 inconclusive",
    ]
    assert lines([]) == ["Nothing to verify"]


# ---- progress -------------------------------------------------------------------------------------


def shown(progress: Progress) -> None:
    with progress:
        progress.begin([finding(1), finding(2)])
        progress.machine("running on NVIDIA H200")
        progress.settled(finding(1), CONFIRMED)
        progress.settled(finding(2), OPEN)
        progress.end()


def test_lines_as_verdicts_come() -> None:
    stream = io.StringIO()
    progress = watching(stream)
    assert not isinstance(progress, Live)
    shown(progress)
    said = stream.getvalue().splitlines()
    assert said[0] == "running on NVIDIA H200" and said[1].startswith("train.py:1:5: TML999 confirmed")
    assert said[-1].startswith("Verified 2 findings on NVIDIA H200")
    quiet = io.StringIO()
    shown(Progress(quiet, quiet=True))
    assert "TML999 confirmed" not in quiet.getvalue() and "Verified 2 findings" in quiet.getvalue()


def test_a_terminal_gets_the_same_and_a_table_that_fills() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = watching(stream)
    assert isinstance(progress, Live)
    shown(progress)
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "train.py:1:5: " in said and "Verified 2 findings" in said and "to come" in said


# ---- evidence -------------------------------------------------------------------------------------


def entry(verdict: Verdict, line: int = 5) -> Entry:
    return Entry("TML999", "train.py", line, "train", verdict)


def test_evidence_goes_through_its_file(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    assert evidence.read(str(path)) == {}
    entries = {"bb": entry(REFUTED, 9), "aa": entry(OPEN, 20), "cc": entry_of(case(PEAK), CONFIRMED)}
    evidence.write(str(path), entries)
    assert evidence.read(str(path)) == entries
    data = json.loads(path.read_text())
    assert data["schema"] == 1 and list(data["verdicts"]) == ["cc", "bb", "aa"]  # by place
    assert data["verdicts"]["cc"]["verdict"] == "confirmed" and data["verdicts"]["cc"]["row"] == 5
    assert os.listdir(tmp_path) == ["evidence.json"]
    evidence.write(str(path), {})
    assert evidence.read(str(path)) == {}


def test_decisions_are_kept_when_a_later_run_cannot_decide() -> None:
    old, new = {"a": entry(CONFIRMED), "b": entry(OPEN)}, {"a": entry(OPEN), "b": entry(REFUTED), "c": entry(OPEN)}
    assert evidence.merged(old, new) == {"a": entry(CONFIRMED), "b": entry(REFUTED), "c": entry(OPEN)}
    assert evidence.merged(old, {"a": entry(REFUTED)})["a"] == entry(REFUTED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as evidence"),
        ("[]", "is no evidence of schema 1, but of None"),
        ('{"schema": 7}', "is no evidence of schema 1, but of 7"),
        ('{"schema": 1}', "is damaged: KeyError: 'verdicts'"),
        ('{"schema": 1, "verdicts": {"a": {"code": "TML101"}}}', "is damaged: KeyError"),
        ('{"schema": 1, "verdicts": []}', "is damaged: AttributeError"),
    ],
)
def test_a_file_that_is_no_evidence_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "e.json"
    path.write_text(text)
    with pytest.raises(BadEvidence, match=r"e\.json: ") as caught:
        evidence.read(str(path))
    assert message in str(caught.value)


def test_evidence_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(BadEvidence, match="cannot be written"):
        evidence.write(str(tmp_path / "none" / "e.json"), {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadEvidence, match="cannot be written"):
        evidence.write(str(tmp_path / "folder"), {})
    assert os.listdir(tmp_path) == ["folder"]


def test_json_evidence_has_what_the_design_names() -> None:
    made = evidence_object(CONFIRMED)
    assert {"verdict", "reason", "tier", "fix_safe", "metrics", "device", "torch", "runs"} <= set(made)
    assert (made["verdict"], made["reason"], made["tier"]) == ("confirmed", "effect_shown", "T1")
    assert made["metrics"][0]["unit"] == "bytes" and made["runs"] == {"original": 2, "fixed": 2}
    json.dumps(made)


# ---- preview --------------------------------------------------------------------------------------

TEXT = "import torch\n\n\ndef train():\n    work()\n"


def test_what_would_be_run() -> None:
    source = Source("train.py", TEXT.encode())
    said = [
        "".join(text for text, _ in line)
        for line in preview.previewed(case(HOT), finding(), preview.difference(finding(), source), "cuda", "")
    ]
    assert said == [
        "train.py:5:5: TML999 `work()` is bad",
        "  runs     train.train, line 5 watched, on cuda",
        "  modules  train (train.py, 3 lines)",
        "  to prove milliseconds per iteration higher than in the fixed code, by at least 2%; "
        "or device allocations per iteration",
        "  fix      do it well (safe)",
        "    --- a/train.py",
        "    +++ b/train.py",
        "    @@ -3,3 +3,3 @@",
        "     ",
        "     def train():",
        "    -    work()",
        "    +    better()",
        "  planned  2 as written and 2 with the fix, 10 passes each; as many at a larger size where that tells more; "
        "6 to 20 timed pairs of 40 passes, alone on the device",
        "  denied   writes outside a temporary folder, sockets, other processes",
        "",
    ]
    script = preview.previewed(case(NODES, function=""), finding(), [], "cpu", "")
    assert script[1][1][0] == "train.py as a script, line 5 watched, on cpu"
    entered = preview.previewed(case(NODES), finding(), [], "cuda", "train.py --epochs 1")
    assert entered[1][1][0].startswith("train.py --epochs 1, line 5")
    made = preview.preview_object(case(NODES), preview.difference(finding(), source), "cuda", "")
    assert made["function"] == "train" and made["modules"] == [{"name": "train", "filename": "train.py", "lines": 3}]
    assert "timed" not in made["runs"] and json.dumps(made)


# ---- harness --------------------------------------------------------------------------------------


def test_a_harness_is_a_script_that_needs_nothing_of_ours_but_what_lies_beside_it(tmp_path: Path) -> None:
    made = case(PEAK)
    hard = 'import torch\nx = """a\'\'\'b\\n"""\n# é\n'
    module = replace(made.original.modules[0], text=hard)
    made = replace(made, path="pkg/train.py", original=replace(made.original, modules=(module,)))
    orders = {v.value: order_of(made, Wanted(v), "cpu", "", {"n": "'''"}) for v in Variant}
    written = harness.keep(str(tmp_path / "kept"), made, orders)
    assert [Path(path).name for path in written] == [
        "TML999_pkg_train_5_4_original.py",
        "TML999_pkg_train_5_4_fixed.py",
    ]
    ours = tmp_path / "kept/runtime/runtime_verify"
    (ours / "worker/main.py").write_text(
        "from runtime_verify.readings import Record\n"
        "def execute(order):\n"
        "    assert order.decisions == {'n': \"'''\"}\n"
        "    return Record(detail=repr(order.program['modules'][0]['text']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", written[0]], capture_output=True, text=True, cwd="/", check=False
    )
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout.removeprefix("outcome: ended ").strip()) == hard
    source = Path(written[1]).read_text(encoding="utf-8")
    assert "with the fix (do it well)" in source and "    work()" in source


def test_what_a_harness_needs_is_copied_whole() -> None:
    """The worker may import the readings and itself, and nothing else of ours."""
    package = Path(harness.__file__).parent
    for path in (package / "worker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            ours = [name for name in names if name.startswith(("runtime_verify", "torchmemlint"))]
            assert all(name.startswith(("runtime_verify.worker", "runtime_verify.readings")) for name in ours), path


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(harness.HarnessError, match="file"):
        harness.keep(str(tmp_path / "file"), case(PEAK), {})


def test_verdicts_without_runs_have_no_device() -> None:
    said = judge(case(PEAK), Trial())
    assert (said.kind, said.reason, said.device, said.reached) == (Kind.INCONCLUSIVE, Reason.NOT_RUN, "", False)
    assert not judge(case(PEAK), trial([record(5)], [record(0)])).reached
