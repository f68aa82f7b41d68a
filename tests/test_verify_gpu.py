"""The verifier on a CUDA device: what a probe claims shows, what a lookalike claims does not, faults are outcomes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from runtime_verify.campaign import Terms, carry_out
from runtime_verify.case import Case
from runtime_verify.probe_files import Probe, probes
from runtime_verify.readings import Order, Outcome
from runtime_verify.run import CannotRun, Runner
from runtime_verify.verdict import Kind, Tier, Verdict

pytestmark = pytest.mark.gpu

QUICK = {"tml104/probe", "tml201/probe", "tml202/probe", "tml204/probe", "tml301/probe", "tml302/probe"}
"""One probe for each rule whose claim a counter settles: seconds each."""


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed here")
    try:
        with Runner(("cuda",), timeout_s=60) as made:
            yield made
    except CannotRun as reason:
        pytest.skip(f"no CUDA device to run on: {reason}")


def verdict(runner: Runner, case: Case) -> Verdict:
    [(_, _, found)] = carry_out([case], lambda: runner, Terms(("cuda",)))
    return found


def named(probe: Probe) -> str:
    return f"{probe.case.code.lower()}/{probe.name}"


@pytest.mark.parametrize("probe", [one for one in probes() if named(one) in QUICK], ids=named)
def test_what_a_probe_claims_shows(runner: Runner, probe: Probe) -> None:
    found = verdict(runner, probe.case)
    assert found.kind is Kind.CONFIRMED, found.sentence
    assert found.tier in (Tier.T0, Tier.T1)


def test_a_run_that_takes_all_memory_is_an_outcome(runner: Runner) -> None:
    hog = "import torch\nheld = []\nwhile True:\n    held.append(torch.zeros(2**30, device='cuda'))\n"
    program = {
        "modules": [{"name": "hog", "path": "hog.py", "text": hog, "package": False}],
        "function": "",
        "mark": 4,
        "kept": True,
        "graphs": [],
    }
    record = runner.submit(Order(program, "steps", "cuda", passes=10_000)).result()
    assert record.outcome is Outcome.OUT_OF_MEMORY, asdict(record)["detail"]


def test_memory_is_byte_for_byte_the_same_in_two_runs(runner: Runner) -> None:
    case = next(one.case for one in probes() if named(one) == "tml301/probe")
    from runtime_verify.campaign import order_of
    from runtime_verify.trial import Variant, Wanted

    orders = [order_of(case, Wanted(Variant.ORIGINAL), "cuda", "", None) for _ in range(2)]
    one, other = [runner.submit(order).result() for order in orders]
    assert one.passes and [s.allocated for s in one.passes] == [s.allocated for s in other.passes]
    assert [s.peak for s in one.passes] == [s.peak for s in other.passes]
