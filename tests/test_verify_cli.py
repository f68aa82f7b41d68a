"""`--verify` as a user meets it: flags, verdicts, exit status, evidence, errors. The runner is made up."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands import ISOLATED, lint, python
from made_records import MIB, PEAK, TIME, case, failed, record
from runtime_verify import cli
from runtime_verify.campaign import Terms, carry_out
from runtime_verify.case import Unplanned
from runtime_verify.readings import Lane, Order, Outcome, Record
from runtime_verify.run import CannotRun, Machine, NoCuda, NoTorch, Unsupported
from runtime_verify.verdict import Kind
from torchmemlint.faces.cli import main

TRAIN = """import torch
import torch.nn.functional as F


def train(model, loader, optimizer):
    total = 0.0
    for x, y in loader:
        loss = F.cross_entropy(model(x.cuda()), y.cuda())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss
    return total / len(loader)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    for x, y in loader:
        print(model(x.cuda()).argmax(-1) == y.cuda())
        torch.cuda.empty_cache()
"""
H200 = Machine("2.11.0", "3.12", "13.0", "580.1", (("NVIDIA H200", 150 * 2**30),))

Reply = Callable[[Order], Record]


def grows(order: Order) -> Record:
    """The sum's graph grows until it is detached; emptying the cache changes nothing."""
    text = order.program["modules"][0]["text"]
    numbers = {"loss 0": 1.25}
    flat = record(nodes=7, peak=10 * MIB, record_numbers=numbers, record_decisions={"turns": 3})
    if "def train" not in text or ".detach()" in text:
        return flat
    return record(nodes=lambda n: 15 * n, peak=10 * MIB, record_numbers=numbers, record_decisions={"turns": 3})


class Made:
    """Stands in for the runner: replies to orders at once, and remembers them."""

    reply: Reply = staticmethod(grows)
    error: Exception | None = None
    machine = H200

    def __init__(self, devices: tuple[str, ...], memory_lane: int, timeout_s: float) -> None:
        self.orders: list[Order] = []
        self.asked = (devices, memory_lane, timeout_s)
        RUNNERS.append(self)

    def __enter__(self) -> Made:
        if self.error is not None:
            raise self.error
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def submit(self, order: Order) -> Future[Record]:
        self.orders.append(order)
        future: Future[Record] = Future()
        future.set_result(type(self).reply(order))
        return future


RUNNERS: list[Made] = []


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Made]]:
    """A folder with train.py, and a runner of our own."""
    (tmp_path / "train.py").write_text(TRAIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "Runner", Made)
    RUNNERS.clear()
    yield Made
    Made.reply, Made.error, Made.machine = staticmethod(grows), None, H200


def run(*arguments: str) -> int:
    return main([*ISOLATED, *arguments, "train.py"])


SUM = ("--select", "TML302")


# ---- verdicts -------------------------------------------------------------------------------------


def test_a_confirmed_finding(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--verify", *SUM) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "running on NVIDIA H200, torch 2.11.0, CUDA 13.0, driver 580.1"
    assert said[1] == (
        "train.py:12:9: TML302 confirmed [T1]: 15 more graph nodes each iteration as written, 0 with the fix, "
        "10 iterations, 2+2 runs identical; the fix computes the same"
    )
    assert said[-1] == "Verified 1 finding on NVIDIA H200, torch 2.11 in 0 s: 1 confirmed"
    (runner,) = RUNNERS
    assert runner.asked == (("cuda",), cli.AT_A_TIME, cli.TIMEOUT_S) and runner.closed
    assert [order.decisions for order in runner.orders] == [None, *[{"turns": 3}] * 3]
    assert {order.device for order in runner.orders} == {"cuda:0"}
    assert all(order.nodes and order.scene == "steps" and order.passes == 10 for order in runner.orders)


def test_json_carries_the_evidence(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--verify", *SUM, "--output-format", "json") == 1
    out, err = capsys.readouterr()
    (row,) = json.loads(out)
    evidence = row["evidence"]
    assert (evidence["verdict"], evidence["reason"], evidence["tier"]) == ("confirmed", "effect_shown", "T1")
    assert evidence["fix_safe"] == {"answer": "yes", "why": "1 number the same"}
    assert evidence["runs"] == {"original": 2, "fixed": 2} and evidence["device"] == "NVIDIA H200"
    assert evidence["metrics"][0]["metric"] == "live graph nodes per iteration"
    assert err.splitlines()[-1].startswith("Verified 1 finding")


def test_a_lint_report_has_no_evidence_in_it(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SUM, "--output-format", "json") == 1
    assert "evidence" not in json.loads(capsys.readouterr().out)[0]
    assert not RUNNERS


def test_refuted_findings_count_unless_they_are_dropped(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    made.reply = staticmethod(lambda order: record(nodes=7))
    assert run("--verify", *SUM) == 1
    assert "TML302 refuted [T1]: as written and with the fix make no difference" in capsys.readouterr().out
    assert run("--verify", *SUM, "--drop-refuted") == 0
    assert run("--verify", *SUM, "--drop-refuted", "--output-format", "json") == 0
    assert capsys.readouterr().out.endswith("[]\n")


def test_inconclusive_findings_are_never_dropped(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    made.reply = staticmethod(lambda order: failed(Outcome.TIMEOUT, "after 120 s"))
    assert run("--verify", *SUM, "--drop-refuted") == 1
    said = capsys.readouterr().out
    assert "TML302 inconclusive [T1]: it took too long and was stopped: after 120 s" in said
    assert "Inconclusive because of: 1 timeout" in said
    assert len(RUNNERS[0].orders) == 2


def test_a_report_in_a_file_has_frames_and_what_was_measured(
    made: type[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--verify", *SUM, "--output-file", "out.txt") == 1
    text = (tmp_path / "out.txt").read_text()
    assert "12 |         total += loss\n" in text
    assert "\n   = measured: confirmed: 15 more graph nodes each iteration" in text
    assert capsys.readouterr().out == ""


def test_only_some_findings(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--verify", "--verify-only", "TML302", "--output-format", "json") == 1
    rows = {row["code"]: "evidence" in row for row in json.loads(capsys.readouterr().out)}
    assert rows.pop("TML302") and rows and not any(rows.values())
    for words, number in (("train.py:12", 1), ("tml3", 1), ("./train.py", len(rows) + 1), ("TML3,TML1", 2)):
        assert run("--verify", "--verify-only", words, "--output-format", "json") == 1
        found = json.loads(capsys.readouterr().out)
        assert sum("evidence" in row for row in found) == number, words
    assert run("--verify", "--verify-only", "TML104") == 2
    assert capsys.readouterr().err.startswith("error: --verify-only: no finding is of `TML104`")


def test_nothing_found_needs_no_runner(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--verify", "--select", "TML104") == 0
    assert capsys.readouterr().err.endswith("All checks passed (1 file)\n")
    assert not RUNNERS


def test_what_cannot_be_planned_is_said(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(self: object, finding: Any, source: Any, project: Any) -> None:
        raise Unplanned("fix_not_quiet", "the finding is still reported with the fix")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime_verify.plan.Planner.plan", refuse)
        assert run("--verify", *SUM) == 1
        said = capsys.readouterr().out
        assert "inconclusive: no runnable piece of code could be made of it: the finding is still reported" in said
        assert "Inconclusive because of: 1 unplanned (fix_not_quiet)" in said
        assert run("--verify", "--dry-run", *SUM) == 0
        assert "cannot be run: the finding is still reported with the fix" in capsys.readouterr().out
    assert not RUNNERS


def test_standard_input(made: type[Made], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Piped:
        class buffer:
            read = staticmethod(TRAIN.encode)

    monkeypatch.setattr(sys, "stdin", Piped)
    assert main([*ISOLATED, "--verify", *SUM, "-", "--stdin-filename", "other.py"]) == 1
    assert "other.py:12:9: TML302 confirmed" in capsys.readouterr().out


def test_on_the_cpu(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--verify", "--verify-device", "cpu", "--verify-only", "TML101", "--jobs", "2", "--timeout", "7") == 1
    assert "TML101 inconclusive: what the rule claims cannot be measured without a CUDA device" in (
        capsys.readouterr().out
    )
    assert not RUNNERS
    assert run("--verify", "--verify-device", "cpu", "--verify-only", "TML302", "--jobs", "2", "--timeout", "7") == 1
    (runner,) = RUNNERS
    assert runner.asked == (("cpu",), 2, 7.0) and runner.orders[0].device == "cpu"
    assert capsys.readouterr().out.startswith("running on the CPU, torch 2.11.0\n")


def test_the_users_entry_point_goes_with_the_orders(made: type[Made], tmp_path: Path) -> None:
    assert run("--verify", *SUM, "--entry", "train.py --epochs 1") == 1
    assert {(order.entry, order.root) for order in RUNNERS[0].orders} == {("train.py --epochs 1", str(tmp_path))}


def test_harnesses_are_kept(made: type[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--verify", *SUM, "--keep-harness", "kept") == 1
    names = sorted(path.name for path in (tmp_path / "kept").glob("*.py"))
    assert names == ["TML302_train_12_8_fixed.py", "TML302_train_12_8_original.py"]
    assert '"turns": 3' in (tmp_path / "kept" / names[0]).read_text()
    assert run("--verify", *SUM, "--keep-harness", "train.py") == 2
    assert capsys.readouterr().err.startswith("error: --keep-harness: train.py")


# ---- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            NoTorch("Python 3.12 has no torch: pip install 'torchmemlint[verify]'"),
            "error: --verify: Python 3.12 has no torch: pip install 'torchmemlint[verify]'\n",
        ),
        (
            NoCuda("torch 2.11.0 is built without CUDA"),
            "error: --verify: torch 2.11.0 is built without CUDA; run it where a CUDA device is, "
            "or with --verify-device cpu what needs none\n",
        ),
        (Unsupported("it needs Linux"), "error: --verify: it needs Linux\n"),
        (
            CannotRun("it does not start: Traceback (most recent call last):\n  File x\nKeyError: 'y'\n"),
            "error: --verify: it does not start: KeyError: 'y'\n",
        ),
    ],
)
def test_what_cannot_run_is_one_line_and_2(
    made: type[Made], capsys: pytest.CaptureFixture[str], error: Exception, message: str
) -> None:
    made.error = error
    assert run("--verify", *SUM) == 2
    assert capsys.readouterr().err == message


def test_an_error_while_running_is_no_traceback(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    def broken(order: Order) -> Record:
        raise NoCuda("the device is gone")

    made.reply = staticmethod(broken)
    assert run("--verify", *SUM) == 2
    assert capsys.readouterr().err.startswith("error: --verify: the device is gone; ")


def test_an_interruption_keeps_what_is_known(made: type[Made], tmp_path: Path) -> None:
    def interrupted(order: Order) -> Record:
        if "argmax" in order.program["modules"][0]["text"]:
            raise KeyboardInterrupt
        return grows(order)

    made.reply = staticmethod(interrupted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "Terms", lambda *given: replace(Terms(*given), at_once=1))
        assert run("--verify", "--select", "TML3,TML1", "--evidence", "e.json") == 130
    kept = json.loads((tmp_path / "e.json").read_text())["verdicts"].values()
    assert [one["code"] for one in kept] == ["TML302"] and RUNNERS[0].closed


# ---- evidence -------------------------------------------------------------------------------------


def test_evidence_speaks_where_there_is_no_device(
    made: type[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--verify", *SUM, "--evidence", "e.json") == 1
    capsys.readouterr()
    RUNNERS.clear()
    assert run(*SUM, "--evidence", "e.json") == 1
    out, err = capsys.readouterr()
    assert "= measured: confirmed: 15 more graph nodes" in out and "(NVIDIA H200, torch 2.11)" in " ".join(out.split())
    assert err.startswith("Found 1 finding (1 warning) in 1 file\n") and "measured" not in err and not RUNNERS
    assert run(*SUM, "--evidence", "e.json", "--output-format", "concise") == 1
    assert "on every step: graph nodes pile up in host memory; confirmed: 15 more" in capsys.readouterr().out
    (tmp_path / "train.py").write_text("# moved\n" + TRAIN)
    assert run(*SUM, "--evidence", "e.json") == 1
    capsys.readouterr()
    (tmp_path / "train.py").write_text(TRAIN.replace("optimizer.step()", "optimizer.step(None)"))
    assert run(*SUM, "--evidence", "e.json", "--output-format", "json") == 1
    out, err = capsys.readouterr()
    assert err == "warning: e.json has no evidence of 1 finding: changed since\n"
    assert "evidence" not in json.loads(out)[0]


def test_refuted_findings_can_be_dropped_by_evidence_alone(made: type[Made]) -> None:
    made.reply = staticmethod(lambda order: record(nodes=7))
    assert run("--verify", *SUM, "--evidence", "e.json") == 1
    assert run(*SUM, "--evidence", "e.json") == 1
    assert run(*SUM, "--evidence", "e.json", "--drop-refuted") == 0


def test_evidence_is_merged(made: type[Made], tmp_path: Path) -> None:
    assert run("--verify", "--verify-only", "TML302", "--evidence", "e.json") == 1
    assert run("--verify", "--verify-only", "TML1", "--evidence", "e.json") == 1
    codes = {one["code"] for one in json.loads((tmp_path / "e.json").read_text())["verdicts"].values()}
    assert codes == {"TML302", "TML101"}


def test_a_file_that_is_no_evidence_is_never_overwritten(
    made: type[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.json").write_text("my notes")
    for flags in ((), ("--verify",)):
        assert run(*flags, *SUM, "--evidence", "e.json") == 2
        assert capsys.readouterr().err.startswith("error: --evidence: e.json: cannot be read as evidence")
    assert (tmp_path / "e.json").read_text() == "my notes" and not RUNNERS


# ---- what would be run ------------------------------------------------------------------------------


def test_a_dry_run_runs_nothing(made: type[Made], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--verify", "--dry-run", *SUM) == 0
    said = capsys.readouterr().out
    assert "  runs     train.train, line 12 watched, on cuda\n" in said
    assert "    -        total += loss\n    +        total += loss.detach()\n" in said
    assert said.endswith("1 finding; nothing was run\n")
    assert run("--verify", "--dry-run", *SUM, "--output-format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["code"] == "TML302" and row["plan"]["watched_line"] == 12
    assert row["plan"]["fix"] == {"applicability": "safe", "message": "detach it from its graph"}
    assert not RUNNERS


def test_a_dry_run_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    done = lint(*ISOLATED, "--verify", "--dry-run", *SUM, "train.py", cwd=tmp_path, stand_ins=False)
    assert (done.returncode, done.stderr) == (0, "") and "nothing was run" in done.stdout


def test_linting_imports_nothing_that_runs_code(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    code = (
        "import sys\nfrom torchmemlint.faces.cli import main\n"
        "main(['--isolated', 'train.py'])\n"
        "print('loaded', [name for name in sys.modules if name.startswith(('runtime_verify', 'torch.'))])"
    )
    done = python(code, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "loaded []", done.stderr


# ---- the driver -----------------------------------------------------------------------------------


class Slow:
    """A runner whose runs end when they are let."""

    def __init__(self) -> None:
        self.pending: list[tuple[Order, Future[Record]]] = []

    def submit(self, order: Order) -> Future[Record]:
        future: Future[Record] = Future()
        self.pending.append((order, future))
        return future


def test_few_cases_are_under_way_and_each_keeps_to_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, most, devices = Slow(), 0, {}

    def waited(futures: Any, return_when: str) -> Any:
        nonlocal most
        most = max(most, len({id(order.program) for order, _ in slow.pending}))
        order, future = slow.pending.pop(0)
        devices.setdefault(order.program["mark"], set()).add(order.device)
        future.set_result(record(peak=10 * MIB))
        return type("Done", (), {"done": [future]})

    monkeypatch.setattr("runtime_verify.campaign.wait", waited)
    plain = case(PEAK)
    cases = [
        replace(plain, original=replace(plain.original, mark=n), fixed=replace(plain.fixed, mark=n)) for n in range(9)
    ]
    verdicts = list(carry_out(cases, lambda: slow, Terms(("cuda:0", "cuda:1"), at_once=2)))
    assert sorted(number for number, _, _ in verdicts) == list(range(9))
    assert all(verdict.kind is Kind.REFUTED for _, _, verdict in verdicts)
    assert most <= 6 and all(devices[n] == {f"cuda:{n % 2}"} for n in range(9))


def test_a_future_that_fails_is_a_broken_run() -> None:
    class Failing:
        def submit(self, order: Order) -> Future[Record]:
            future: Future[Record] = Future()
            future.set_exception(RuntimeError("the runner is not open"))
            return future

    ((_, trial, verdict),) = carry_out([case(PEAK)], Failing, Terms())
    assert verdict.sentence.endswith("please report it: RuntimeError: the runner is not open")
    assert len(trial.runs) == 1


def test_timed_runs_come_in_pairs_after_the_memory_runs() -> None:
    class Replying(Slow):
        def submit(self, order: Order) -> Future[Record]:
            future = super().submit(order)
            faster = order.program["kept"] is False
            future.set_result(record(6, 10.0 if faster else 12.0, record_decisions={"a": 1}))
            return future

    replying = Replying()
    ((_, trial, verdict),) = carry_out([case(TIME, kept=False)], lambda: replying, Terms())
    assert verdict.kind is Kind.CONFIRMED and len(trial.runs) == 16
    timed = [order for order, _ in replying.pending if order.lane is Lane.TIME]
    assert [order.program["kept"] for order in timed] == [True, False, False, True] * 3
    assert all(order.passes == 40 and not order.nodes and order.decisions == {"a": 1} for order in timed)


def test_what_does_not_fit_is_made_smaller_once() -> None:
    class Full(Slow):
        def submit(self, order: Order) -> Future[Record]:
            future = super().submit(order)
            fits = order.scale == 0 and self.ever
            future.set_result(record(peak=10 * MIB) if fits else Record(Outcome.OUT_OF_MEMORY, "64 GiB"))
            return future

    for ever, kind in ((True, Kind.REFUTED), (False, Kind.INCONCLUSIVE)):
        full = Full()
        full.ever = ever  # type: ignore[attr-defined]
        ((_, _, verdict),) = carry_out([case(PEAK)], lambda full=full: full, Terms())  # type: ignore[misc]
        assert verdict.kind is kind
        scales = [order.scale for order, _ in full.pending]
        assert scales[:2] == [1, 0] and set(scales[1:]) == {0}
