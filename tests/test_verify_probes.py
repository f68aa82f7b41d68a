"""The rules' probes: each is what it says, the committed evidence is of them as they are, their rows and files."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from cases import ROOT
from made_records import record, twice
from runtime_verify import evidence, probe_files, probes
from runtime_verify.campaign import GRAPHLESS, order_of
from runtime_verify.case import as_json, from_json
from runtime_verify.judge import judge
from runtime_verify.probe_files import FIXTURES, OTHER, BadProbe, Probe, evidence_file
from runtime_verify.readings import EventKind, Lane, Order, Outcome, Record
from runtime_verify.run import Runner
from runtime_verify.trial import Trial, Variant, Wanted
from runtime_verify.verdict import Kind, Tier
from torchmemlint.faces import catalogue, explain
from torchmemlint.rule import load_rules

DEFAULT = [rule.code for rule in load_rules() if rule.default]
ALL = probe_files.probes()
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="runs need Linux")


def of(code: str, name: str = "probe") -> Probe:
    return next(probe for probe in ALL if probe.case.code == code and probe.name == name)


def name(probe: Probe) -> str:
    return f"{probe.case.code}-{probe.name}"


# ---- the files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", DEFAULT)
def test_a_rule_that_is_on_has_a_probe_and_a_lookalike(code: str) -> None:
    kinds = {probe.name: probe.expected for probe in ALL if probe.case.code == code}
    assert kinds["probe"] is Kind.CONFIRMED and kinds["probe_fine"] is Kind.REFUTED


@pytest.mark.parametrize("probe", ALL, ids=name)
def test_probes_are_scripts_of_their_own(probe: Probe) -> None:
    """Short, with a page, in need of torch alone, and the watched line is a line of code."""
    for program in (probe.case.original, probe.case.fixed):
        (module,) = program.modules
        tree = ast.parse(module.text)
        assert program.function == "" and ast.get_docstring(tree)
        assert len(module.text.splitlines()) <= 40, "a probe is read by people"
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {root.split(".")[0] for root in imported} <= {"torch", *sys.stdlib_module_names}
        starts = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)}
        assert program.mark in starts
        assert not Path(module.path).is_absolute()
    assert from_json(json.loads(json.dumps(as_json(probe.case)))) == probe.case


def test_no_two_probes_are_alike() -> None:
    assert len({probe.case.key for probe in ALL}) == len(ALL)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The fixtures of two rules, to be changed."""
    for folder in ("tml204", "tml302"):
        shutil.copytree(FIXTURES / folder, tmp_path / "fixtures" / folder)
    return tmp_path / "fixtures"


def keys(fixtures: Path) -> dict[str, str]:
    return {name(probe): probe.case.key for probe in probe_files.probes(("TML302",), fixtures)}


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("probe.py", "lr=0.01", "lr=0.02", "TML302-probe"),
        ("probe_fine.py", "lr=0.01", "lr=0.02", "TML302-probe_fine"),
        ("probe_fine.other.py", "lr=0.01", "lr=0.02", "TML302-probe_fine"),
    ],
)
def test_a_changed_probe_has_another_key(copied: Path, file: str, old: str, new: str, stale: str) -> None:
    before = keys(copied)
    assert before == {name(probe): probe.case.key for probe in ALL if probe.case.code == "TML302"}
    change(copied / "tml302" / file, old, new)
    after = keys(copied)
    assert {one for one in before if before[one] != after[one]} == {stale}


@pytest.mark.parametrize(
    ("file", "old", "new", "why"),
    [
        ("probe.py", "total += loss ", "total += loss.item() ", r"probe\.py: gives \[\], not exactly one TML302"),
        ("probe_fine.py", "loss.item()", "loss", r"probe_fine\.py: gives \['TML302'\], not nothing"),
        ("probe_fine.other.py", "  # probe", "", r"probe_fine\.other\.py: 0 comments `# probe`, not one"),
    ],
)
def test_what_is_no_probe_is_named(copied: Path, file: str, old: str, new: str, why: str) -> None:
    change(copied / "tml302" / file, old, new)
    with pytest.raises(BadProbe, match=why):
        probe_files.probes(("TML302",), copied)


def test_a_statement_that_is_gone_is_not_watched() -> None:
    case = of("TML102", "probe_fine").case
    assert case.original.kept and not case.fixed.kept
    assert "empty_cache" not in case.fixed.modules[0].text


def test_other_files_stand_beside_lookalikes_only() -> None:
    assert all(path.name.startswith("probe_fine") for path in FIXTURES.glob(f"tml*/*{OTHER}"))


# ---- the committed evidence ------------------------------------------------------------------------


@pytest.mark.parametrize("code", DEFAULT)
def test_committed_evidence_is_current_and_as_expected(code: str) -> None:
    """A rule whose probe is not confirmed on a device is not on by default."""
    kept = evidence.read(str(evidence_file(code)))
    wanted = {probe.case.key: probe for probe in ALL if probe.case.code == code}
    assert set(kept) == set(wanted), "the probes have changed: run python -m runtime_verify.probes --write again"
    for key, entry in kept.items():
        assert entry.verdict.kind is wanted[key].expected, f"{entry.path}: {entry.verdict.sentence}"
        assert entry.verdict.tier is Tier.T1 and entry.verdict.device not in ("", "cpu") and entry.verdict.torch
        assert entry.path == wanted[key].case.path


# ---- rows and files ----------------------------------------------------------------------------------


def shown() -> probes.Result:
    """A sum that was confirmed."""
    probe = of("TML302")
    trial = twice(record(nodes=lambda n: 7 * n, host=0, allocated=0), record(nodes=0, host=0, allocated=0))
    return probes.Result(probe, judge(probe.case, trial), "cuda")


def test_a_row() -> None:
    row = probes.told(shown())
    assert row.startswith("TML302  probe                   confirmed         T1    2+2 ")
    assert "live graph nodes per iteration* 7 / 0; device bytes per iteration 0 B / 0 B" in row


def test_what_is_not_as_expected_stands_out() -> None:
    probe = of("TML302", "probe_fine")
    result = probes.Result(probe, shown().verdict, "cuda")
    assert not result.right and "confirmed (!)" in probes.told(result)
    assert "1 NOT AS EXPECTED: TML302 probe_fine" in probes.summed_up([shown(), result])


def test_what_needs_cuda_is_open_on_the_cpu_alone() -> None:
    for code, file in (("TML101", "probe"), ("TML201", "probe_keeper")):
        probe = of(code, file)
        open_ = probes.Result(probe, judge(probe.case, Trial("cpu")), "cpu")
        assert open_.right and open_.open and "needs CUDA" in probes.told(open_)
        assert not probes.Result(probe, judge(probe.case, Trial("cuda")), "cuda").right
    assert "2 probes on " not in probes.summed_up([open_]) and "1 need CUDA" in probes.summed_up([open_])


def test_evidence_is_written_rule_by_rule_and_says_which_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the probe to --explain: evidence, the file that goes with the package, the page."""
    fixtures = tmp_path / "fixtures"
    shutil.copytree(FIXTURES / "tml302", fixtures / "tml302")
    result = shown()
    assert probes.keep([result], fixtures) == [fixtures / "tml302" / "evidence.json"]
    text = (fixtures / "tml302" / "evidence.json").read_text("utf-8")
    assert str(ROOT) not in text and str(tmp_path) not in text
    (entry,) = evidence.read(str(fixtures / "tml302" / "evidence.json")).values()
    assert entry.path == "fixtures/tml302/probe.py" and entry.verdict == result.verdict
    rows = json.loads(catalogue.measured(fixtures))
    monkeypatch.setattr(explain, "measured", lambda code: rows.get(code, []))
    rule = next(rule for rule in load_rules() if rule.code == "TML302")
    page = ["".join(text for text, _ in line) for line in explain.explained([rule])]
    place = page.index("Measured on NVIDIA H200, torch 2.11, as written and with the fix:")
    headline = "A running sum of losses after `backward()`: graph nodes pile up on the host, nothing on the device"
    printed = " ".join(" ".join(page[place + 1 :]).split())
    assert printed.startswith(f"- {headline}: {result.verdict.sentence}")


def test_explain_without_evidence_says_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "measured", lambda code: [])
    page = explain.explained(load_rules()[:1])
    assert not any("Measured on NVIDIA" in text for line in page for text, _ in line)


# ---- running ---------------------------------------------------------------------------------------------


class MadeUp:
    """A runner whose every run is as it is told, and that remembers what was ordered."""

    def __init__(self, make: Any) -> None:
        self.make = make
        self.orders: list[Order] = []

    def submit(self, order: Order) -> Future[Record]:
        self.orders.append(order)
        future: Future[Record] = Future()
        future.set_result(self.make(order))
        return future


def emptied(order: Order) -> Record:
    """Three allocations a pass and a slower lap where the call is."""
    calls = "empty_cache" in order.program["modules"][0]["text"]
    return record(order.passes, lap=4.0 if calls else 3.5, mallocs=lambda n: 3 * n if calls else 0)


def test_a_pattern_that_costs_time_is_timed_also_where_a_counter_settles_it() -> None:
    runner = MadeUp(emptied)
    (result,) = probes.run([of("TML101")], "cuda:0", runner)
    timed = [order for order in runner.orders if order.lane is Lane.TIME]
    variants = ["empty_cache" in order.program["modules"][0]["text"] for order in timed]
    assert variants == [True, False, False, True] * 3
    assert result.right and {one.metric for one in result.verdict.metrics if one.moved} == {
        "milliseconds per iteration",
        "device allocations per iteration",
    }
    assert dict(result.verdict.runs)["timed original"] == 6
    assert "also device allocations per iteration 3, 0 with the fix" in result.verdict.sentence


def test_other_probes_are_not_timed_for_nothing() -> None:
    runner = MadeUp(emptied)
    (result,) = probes.run([of("TML101", "probe_loss")], "cuda:0", runner)
    assert result.right and len(runner.orders) == 4


def test_rows_come_in_the_order_of_the_probes(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = [of("TML101"), of("TML102"), of("TML201")]
    coming = [probes.Result(probe, judge(probe.case, Trial("cpu")), "cpu") for probe in reversed(wanted)]
    assert [result.probe for result in probes._shown(wanted, iter(coming))] == wanted
    assert [row[:6] for row in capsys.readouterr().out.splitlines()] == ["TML101", "TML102", "TML201"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["TML999"], "probes: no probes of TML999\n"),
        (["--device", "cpu", "--write"], "--write keeps what a CUDA device showed"),
    ],
)
def test_what_cannot_be_asked(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert probes.main(arguments) == 2
    assert says in capsys.readouterr().err


@pytest.fixture(scope="module")
def cpu() -> Iterator[Runner]:
    pytest.importorskip("torch", reason="probes are run with torch")
    with Runner(("cpu",), memory_lane=2) as opened:
        yield opened


@needs_linux
def test_what_the_cpu_can_show_comes_out_as_expected(cpu: Runner) -> None:
    wanted = [probe for probe in ALL if probe.name in ("probe", "probe_fine", "probe_evaluation")]
    results = list(probes.run(wanted, "cpu", cpu))
    wrong = [probes.told(result) for result in results if not result.right]
    assert not wrong, "\n".join(wrong)
    settled = [result for result in results if not result.open]
    assert {result.probe.case.code for result in settled} == {
        "TML104",
        "TML201",
        "TML202",
        "TML204",
        "TML301",
        "TML302",
    }
    assert all(result.verdict.tier is Tier.T1 for result in settled)


@needs_linux
def test_the_others_run_to_their_end_on_the_cpu_too(cpu: Runner) -> None:
    """Both variants, nothing stood in for: on a device only their figures are left to be seen."""
    wanted = [probe for probe in ALL if probe.runs_on_cpu and probe.case.effect.metric in GRAPHLESS]
    orders = [(probe, order_of(probe.case, Wanted(one), "cpu", "", None)) for probe in wanted for one in Variant]
    for probe, future in [(probe, cpu.submit(order)) for probe, order in orders]:
        made = future.result()
        assert made.outcome is Outcome.ENDED and made.passes, f"{name(probe)}: {made.detail}"
        doubtful = [event for event in made.events if event.kind in (EventKind.FALLBACK, EventKind.STANDIN)]
        assert not doubtful, f"{name(probe)}: {doubtful}"
