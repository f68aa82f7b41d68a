"""The counters against truths that are known beforehand, on the CPU, each in a settled child of its own."""

from __future__ import annotations

import ctypes
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs import order
from runtime_verify.jobs import MIB
from runtime_verify.readings import Outcome, Record
from runtime_verify.run import Runner
from runtime_verify.worker import host

HERE = str(Path(__file__).parent)

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="runs need Linux")

# What malloc adds to a block of torch's: its header and the alignment to 64 bytes, in whole pages for a large one.
SLACK = 8192


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    pytest.importorskip("torch")
    with Runner(("cpu",), executor="runs:snippet", paths=(HERE,), timeout_s=90.0) as opened:
        yield opened


START = """
import gc, warnings
import torch
from runtime_verify.worker.readers import Readers, live_nodes, settle
settle("cpu", 0, frozen=True)
readers = Readers("cpu", nodes=True)
MIB = 1024**2
def samples(count, act):
    found = [None] * count  # a list that grows is host memory, too
    for turn in range(count):
        act(turn)
        gc.collect()
        found[turn] = readers.sample()
    return found
def growth(found, name, skipped=3):
    values = [getattr(sample, name) for sample in found[skipped:]]
    steps = [after - before for before, after in zip(values, values[1:])]
    return min(steps), max(steps)
"""


def run(runner: Runner, text: str) -> Record:
    record = runner.submit(order(START + textwrap.dedent(text))).result(timeout=120)
    assert record.outcome is Outcome.ENDED, record
    return record


@needs_linux
def test_a_tensor_that_is_kept_is_seen_at_its_size_and_goes_when_it_is_dropped(runner: Runner) -> None:
    text = """
        before = readers.sample()
        kept = torch.empty(64 * MIB, dtype=torch.uint8)
        numbers["kept"] = readers.sample().allocated - before.allocated
        del kept
        numbers["dropped"] = readers.sample().allocated - before.allocated
        """
    numbers = run(runner, text).numbers
    assert 64 * MIB <= numbers["kept"] <= 64 * MIB + SLACK
    assert abs(numbers["dropped"]) <= SLACK


@needs_linux
def test_a_peak_between_samples_is_seen_by_ticks_and_only_once(runner: Runner) -> None:
    text = """
        before = readers.sample()
        high = torch.empty(64 * MIB, dtype=torch.uint8)
        readers.tick()
        del high
        first, second = readers.sample(), readers.sample()
        numbers["peak"] = first.peak - before.allocated
        numbers["after"] = first.allocated - before.allocated
        numbers["next"] = second.peak - before.allocated
        """
    numbers = run(runner, text).numbers
    assert 64 * MIB <= numbers["peak"] <= 64 * MIB + SLACK
    assert abs(numbers["after"]) <= SLACK
    assert abs(numbers["next"]) <= SLACK


@needs_linux
def test_sampling_leaves_nothing_behind(runner: Runner) -> None:
    """A hundred samples, with nodes counted over a large graph, and the host holds no more than before."""
    text = """
        value = torch.ones(8, requires_grad=True)
        for _ in range(5000):
            value = value * 2
        found = samples(100, lambda turn: None)
        numbers["host"] = found[-1].host - found[3].host
        numbers["nodes"] = found[-1].nodes - found[0].nodes
        """
    numbers = run(runner, text).numbers
    assert numbers["nodes"] == 0
    assert numbers["host"] == 0


@needs_linux
def test_a_loop_that_holds_nothing_does_not_grow(runner: Runner) -> None:
    text = """
        model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        optimiser = torch.optim.Adam(model.parameters())
        total = 0.0
        def step(turn):
            global total
            optimiser.zero_grad()
            loss = model(torch.ones(32, 64)).mean()
            loss.backward()
            optimiser.step()
            total += loss.item()
        found = samples(40, step)
        numbers["nodes"] = found[-1].nodes - found[5].nodes
        numbers["host"] = found[-1].host - found[5].host
        """
    numbers = run(runner, text).numbers
    assert numbers["nodes"] == 0
    assert abs(numbers["host"]) <= 200, "a node alone is some hundred bytes a step"


@needs_linux
def test_the_growth_of_a_loop_is_its_slope(runner: Runner) -> None:
    text = """
        kept = []
        found = samples(20, lambda turn: kept.append(torch.empty(MIB, dtype=torch.uint8)))
        numbers["least"], numbers["most"] = growth(found, "allocated")
        numbers["mean"] = (found[-1].allocated - found[0].allocated) / 19
        """
    numbers = run(runner, text).numbers
    assert numbers["least"] >= MIB
    assert numbers["most"] <= MIB + SLACK
    assert numbers["mean"] <= MIB + SLACK


@needs_linux
def test_nodes_of_a_chain_are_its_operations_and_the_accumulator_of_its_leaf(runner: Runner) -> None:
    text = """
        leaf = torch.ones(3, requires_grad=True)
        numbers["leaf"] = live_nodes()
        value = leaf
        for _ in range(100):
            value = value * 2
        numbers["chain"] = live_nodes()
        held = [value]
        del value
        numbers["in a list"] = live_nodes()
        class Holder: pass
        holder = Holder()
        holder.me, holder.value = holder, held.pop()
        numbers["in a circle"] = live_nodes()
        del holder
        gc.collect()
        numbers["gone"] = live_nodes()
        two = leaf * 2
        three = two + leaf
        numbers["shared"] = live_nodes()
        """
    expected = {"leaf": 0, "chain": 101, "in a list": 101, "in a circle": 101, "gone": 0, "shared": 3}
    assert run(runner, text).numbers == expected


@needs_linux
def test_a_sum_after_backward_grows_by_nodes_and_host_bytes_alone(runner: Runner) -> None:
    """The known case: no saved tensor is held, the nodes are."""
    text = """
        model = torch.nn.Linear(256, 256)
        total = 0
        def step(turn):
            global total
            loss = model(torch.ones(512, 256)).mean()
            loss.backward()
            total = total + loss
        found = samples(20, step)
        numbers["least"], numbers["most"] = growth(found, "nodes")
        numbers["host"] = (found[-1].host - found[3].host) / 16
        """
    numbers = run(runner, text).numbers
    assert numbers["least"] == numbers["most"] == 4, "sum, mean, product, transposed weight; accumulators are shared"
    assert 500 <= numbers["host"] <= 64 * 1024, "a saved batch alone would be half a MiB"


@needs_linux
def test_counting_nodes_changes_neither_the_graph_nor_what_hooks_and_modes_see(runner: Runner) -> None:
    text = """
        from torch.overrides import TorchFunctionMode
        seen = []
        class Mode(TorchFunctionMode):
            def __torch_function__(self, function, types, args=(), kwargs=None):
                seen.append(function)
                return function(*args, **(kwargs or {}))
        class Own(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, args=(), kwargs=None):
                seen.append(function)
                return super().__torch_function__(function, types, args, kwargs or {})
        leaf = torch.ones(3, requires_grad=True)
        mine = (leaf * 2).as_subclass(Own)
        other = leaf * 3
        counts = sys.getrefcount(other), sys.getrefcount(leaf)
        seen.clear()
        with Mode():
            numbers["nodes"] = live_nodes()
        numbers["seen"] = len(seen)
        numbers["counts"] = float(counts == (sys.getrefcount(other), sys.getrefcount(leaf)))
        (mine.sum() + other.sum()).backward()
        numbers["gradient"] = float(leaf.grad.sum())
        """
    numbers = run(runner, "import sys\n" + textwrap.dedent(text)).numbers
    assert numbers == {"nodes": 4, "seen": 0, "counts": 1, "gradient": 15}


@needs_linux
def test_a_timed_reader_reads_the_clock_and_nothing_else(runner: Runner) -> None:
    text = """
        from dataclasses import asdict
        from runtime_verify.readings import Sample
        import time
        timed = Readers("cpu", nodes=True, clock_only=True)
        time.sleep(0.05)
        timed.tick()
        sample = timed.sample()
        numbers["ms"] = sample.ms
        numbers["rest"] = float(sample == Sample(sample.ms))
        """
    numbers = run(runner, text).numbers
    assert 50 <= numbers["ms"] < 5000
    assert numbers["rest"] == 1


@needs_linux
def test_settled_runs_are_alike(runner: Runner) -> None:
    text = """
        import random
        import numpy
        model = torch.nn.Linear(4, 4)
        numbers["torch"] = float(model.weight.sum())
        numbers["random"] = random.random()
        numbers["threads"] = torch.get_num_threads()
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.deterministic = False
        own += [str(torch.backends.cudnn.benchmark), str(torch.backends.cudnn.deterministic)]
        found = samples(10, lambda turn: (torch.ones(64, 64) @ torch.ones(64, 64)).sum().item())
        numbers["grown"] = found[-1].host - found[0].host
        """
    first, second = run(runner, text), run(runner, text)
    grown = first.numbers.pop("grown"), second.numbers.pop("grown")
    assert first.numbers == second.numbers
    assert first.own == ["False", "True"]
    assert first.numbers["threads"] == 1
    assert max(grown) <= 200, "the first reading is not biased by what libraries set up"


@needs_linux
@pytest.mark.parametrize("counted", [True, False])
def test_a_devices_counters_are_read_after_it_has_finished_and_its_peak_starts_anew(
    runner: Runner, counted: bool
) -> None:
    """The allocator's figures are put in its mouth, as there is no device here."""
    text = """
        from dataclasses import asdict
        figures = {
            "allocated_bytes": {"all": {"current": 1, "peak": 2}},
            "reserved_bytes": {"all": {"current": 3, "peak": 4}},
            "segment": {"all": {"allocated": 5, "freed": 6}},
        } | ({"num_device_alloc": 7, "num_device_free": 8} if COUNTED else {})
        for name in ("synchronize", "reset_peak_memory_stats"):
            setattr(torch.cuda, name, lambda device, name=name: own.append(f"{name} {device}"))
        torch.cuda.memory_stats_as_nested_dict = lambda device: own.append(f"read {device}") or figures
        reader = Readers("cuda:0", nodes=True)
        own.clear()
        numbers.update(asdict(reader.sample()))
        reader.tick()
        """
    record = run(runner, f"COUNTED = {counted}\n" + textwrap.dedent(text))
    assert record.own == ["synchronize cuda:0", "read cuda:0", "reset_peak_memory_stats cuda:0"]
    numbers = record.numbers
    assert numbers.pop("ms") > 0
    assert numbers.pop("host") > MIB
    assert numbers == {
        "allocated": 1,
        "peak": 2,
        "reserved": 3,
        "peak_reserved": 4,
        "mallocs": 7 if counted else 5,
        "frees": 8 if counted else 6,
        "nodes": 0,
        "syncs": -1,
    }


@needs_linux
def test_syncs_are_counted_whatever_the_code_does_to_warnings(runner: Runner) -> None:
    """torch's warning, raised by hand, as there is no device here."""
    text = """
        from runtime_verify.worker import readers as rooms
        torch.cuda.set_sync_debug_mode = lambda mode: own.append(mode)
        count = rooms.SyncCount()
        def wait():
            warnings.warn("called a synchronizing CUDA operation (Triggered internally)", UserWarning, stacklevel=1)
        wait(); wait()
        numbers["plain"] = count.count
        warnings.filterwarnings("ignore")
        wait()
        warnings.simplefilter("ignore")
        wait()
        warnings.simplefilter("error")
        wait()
        warnings.resetwarnings()
        wait()
        numbers["filtered"] = count.count
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wait()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            wait()
            warnings.warn("another")
        numbers["in a block"] = count.count
        numbers["caught"] = len(caught)
        """
    record = run(runner, text)
    assert record.own == ["warn"]
    assert record.numbers == {"plain": 2, "filtered": 6, "in a block": 8, "caught": 1}


# Host memory without glibc's newest call.


def test_wrapped_counts_are_unwrapped() -> None:
    """An old glibc counts in 32 bits: growth over 4 GiB in steps of 1 GiB, and down again."""
    true = [gib * 1024**3 for gib in (1, 2, 3, 4, 5, 6, 5, 4, 3, 3)]
    counts = iter(true)

    def ask() -> host.Narrow:
        info = host.Narrow()
        value = next(counts)
        info.uordblks, info.hblkhd = ctypes.c_uint(value // 2), ctypes.c_uint(value - value // 2)
        return info

    meter = host._unwrapped(ask)
    assert [meter() for _ in true] == true


def test_a_malloc_that_does_not_count_is_not_believed() -> None:
    assert not host._sees_allocation(lambda: 0, ctypes.CDLL(None))


@needs_linux
def test_resident_bytes_see_what_is_touched() -> None:
    before = host.resident()
    kept = b"x" * (64 * MIB)
    assert host.resident() - before >= 60 * MIB
    del kept


@needs_linux
def test_this_malloc_counts_here_or_residents_do() -> None:
    meter = host.host_meter()
    before = meter()
    kept = b"x" * (64 * MIB)
    assert 60 * MIB <= meter() - before <= 70 * MIB
    del kept
