"""Orders through fork servers: each comes back, alone where it must be alone, and nothing is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path

import pytest

from runs import order
from runtime_verify import dispatch, processes
from runtime_verify.dispatch import Closed
from runtime_verify.readings import Lane, Order, Outcome, Record
from runtime_verify.run import CannotRun, NoCuda, NoTorch, Runner
from runtime_verify.wire import Garbled, Inbox, pack

HERE = str(Path(__file__).parent)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="runs need Linux")


def runner(executor: str = "runs:snippet", memory_lane: int = 3, **more: object) -> Runner:
    options = {"timeout_s": 30.0, "preload": (), "paths": (HERE,), **more}
    return Runner(("cpu",), executor=executor, memory_lane=memory_lane, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shared() -> Iterator[Runner]:
    with runner() as opened:
        yield opened


def numbers(future: Future[Record]) -> dict[str, float]:
    record = future.result(timeout=30)
    assert record.outcome is Outcome.ENDED, record
    return record.numbers


# Messages.


def test_messages_survive_any_cut() -> None:
    data = pack({"a": ["x" * 1000, None]}) + pack([1.5])
    for step in (1, 7, 4096):
        inbox = Inbox()
        got = []
        for start in range(0, len(data), step):
            inbox.feed(data[start : start + step])
            got += inbox.messages()
        assert got == [{"a": ["x" * 1000, None]}, [1.5]]
        assert not inbox.begun


@pytest.mark.parametrize("data", [b"\xff" * 16, b"\0" * 7 + b"\3" + b"abc"])
def test_what_is_no_message_is_noticed(data: bytes) -> None:
    inbox = Inbox()
    inbox.feed(data)
    with pytest.raises(Garbled):
        list(inbox.messages())


# Runs.


def test_an_order_arrives_whole_and_a_record_comes_back(shared: Runner) -> None:
    wanted = order("numbers['scale'] = order.scale; own += [order.root, order.lane.value]; print('said')", scale=4)
    record = shared.submit(wanted).result(timeout=30)
    assert (record.outcome, record.numbers, record.own) == (Outcome.ENDED, {"scale": 4}, ["", "memory"])
    assert record.printed == "said\n"
    assert record.seconds > 0
    assert record.device == "cpu"


def test_each_run_has_a_process_folder_and_session_of_its_own(shared: Runner) -> None:
    text = """
        import os, tempfile
        numbers.update(pid=os.getpid(), session=os.getsid(0))
        own += [os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir(), repr(os.listdir())]
        open("left", "w").write("x")
        tempfile.mkdtemp()
        """
    first, second = (shared.submit(order(textwrap.dedent(text))).result(timeout=30) for _ in range(2))
    assert first.numbers["pid"] == first.numbers["session"] != second.numbers["pid"]
    folder, home, temporary, listed = first.own
    assert folder == home == temporary != second.own[0]
    assert listed == second.own[3] == "[]"
    assert not os.path.exists(folder)


def test_runs_see_no_cuda_when_they_are_to_run_on_the_cpu(shared: Runner) -> None:
    record = shared.submit(order("import os; own += [os.environ['CUDA_VISIBLE_DEVICES']]")).result(timeout=30)
    assert record.own == [""]


def test_sets_are_walked_alike_in_every_run(shared: Runner) -> None:
    text = "own += list({'alpha', 'beta', 'gamma', 'delta'})"
    assert len({tuple(shared.submit(order(text)).result(timeout=30).own) for _ in range(3)}) == 1


def test_a_long_record_comes_through(shared: Runner) -> None:
    text = "numbers.update({str(n): n for n in range(20_000)})"
    assert len(numbers(shared.submit(order(text)))) == 20_000


def test_nothing_of_ours_is_in_the_childs_reach(shared: Runner) -> None:
    """Standard streams and one descriptor with a high number; no socket to the server."""
    text = """
        import os
        for name in os.listdir("/proc/self/fd"):
            try:
                own.append(f"{name} {os.readlink('/proc/self/fd/' + name)}")
            except OSError:
                pass
        """
    record = shared.submit(order(textwrap.dedent(text))).result(timeout=30)
    found = dict(entry.split(" ", 1) for entry in record.own)
    assert found.pop("0") == "/dev/null"
    assert not [target for target in found.values() if target.startswith("socket:")]
    assert len([number for number in found if int(number) > 2]) == 1
    assert max(map(int, found)) >= 200


def test_memory_runs_go_side_by_side_and_timed_ones_alone() -> None:
    lanes = [Lane.MEMORY, Lane.MEMORY, Lane.MEMORY, Lane.TIME, Lane.MEMORY, Lane.MEMORY, Lane.TIME, Lane.TIME]
    with runner("runs:span") as opened:
        futures = [opened.submit(Order({}, "steps", "cpu", lane)) for lane in lanes]
        spans = [(numbers(future)["began"], numbers(future)["ended"]) for future in futures]
    for lane, (began, ended) in zip(lanes, spans, strict=True):
        beside = sum(1 for other_began, other_ended in spans if other_began < ended and began < other_ended) - 1
        assert beside == 0 if lane is Lane.TIME else beside <= 2
    memory = [span for lane, span in zip(lanes, spans, strict=True) if lane is Lane.MEMORY]
    assert max(began for began, _ in memory[:3]) < min(ended for _, ended in memory[:3]), "three at once"


def test_an_order_may_have_a_time_of_its_own(shared: Runner) -> None:
    began = time.monotonic()
    record = shared.submit(order("import time; time.sleep(20)"), timeout_s=0.3).result(timeout=30)
    assert record.outcome is Outcome.TIMEOUT
    assert time.monotonic() - began < 5


def test_an_order_for_a_device_that_is_not_there_is_refused(shared: Runner) -> None:
    with pytest.raises(ValueError, match="no device 'cuda'"):
        shared.submit(order(device="cuda"))


@pytest.mark.parametrize(
    ("executor", "expected"),
    [
        ("runs:forgetful", "returned NoneType, not a Record"),
        ("runs:faulty", "ZeroDivisionError"),
        ("runs:opaque", "not JSON serializable"),
    ],
)
def test_failures_of_the_executor_are_ours(executor: str, expected: str) -> None:
    with runner(executor) as opened:
        record = opened.submit(order()).result(timeout=30)
    assert record.outcome is Outcome.BROKEN
    assert expected in record.detail


# Devices, with a torch of our own that says what it is told to.

TORCH = """
import os, sys
from types import SimpleNamespace
import runtime_verify.worker.probe
runtime_verify.worker.probe.driver = lambda: "580.1"
__version__ = "9.9"
version = SimpleNamespace(cuda="13.0")
PROPERTIES = [SimpleNamespace(name="One", total_memory=100), SimpleNamespace(name="Two", total_memory=200)]
def zeros(*_, device):
    {asked}
    return SimpleNamespace(item=lambda: 0)
cuda = SimpleNamespace(
    is_initialized=lambda: {touched},
    device_count=lambda: len(PROPERTIES),
    get_device_properties=lambda index: PROPERTIES[index],
)
"""


def with_torch(
    folder: Path,
    devices: tuple[str, ...],
    touched: bool = False,
    asked: str = "pass",
    preload: tuple[str, ...] = ("torch",),
) -> Runner:
    (folder / "torch.py").write_text(TORCH.format(touched=touched, asked=asked))
    return Runner(devices, executor="runs:snippet", preload=preload, paths=(str(folder), HERE), memory_lane=2)


@pytest.mark.parametrize(("theirs", "expected"), [(None, ["0", "1"]), ("4,GPU-abc", ["4", "GPU-abc"])])
def test_each_device_is_the_only_one_that_its_runs_see(
    theirs: str | None, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if theirs:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", theirs)
    text = "import os, time; own += [order.device, os.environ['CUDA_VISIBLE_DEVICES']]; time.sleep(0.2)"
    with with_torch(tmp_path, ("cuda", "cpu")) as opened:
        assert opened.machine.devices == (("One", 100), ("Two", 200))
        assert (opened.machine.torch, opened.machine.cuda) == ("9.9", "13.0")
        second = opened.submit(order(text, device="cuda:1")).result(timeout=30)
        both = [opened.submit(order(text, device="cuda")) for _ in range(2)]
        records = sorted((future.result(timeout=30) for future in both), key=lambda record: record.device)
        assert [record.own for record in records] == [["cuda", expected[0]], ["cuda", expected[1]]]
        assert [record.device for record in records] == ["One", "Two"]
        assert (second.own, second.device, second.torch) == (["cuda", expected[1]], "Two", "9.9")
        assert opened.submit(order(text)).result(timeout=30).own == ["cpu", ""]


def test_a_device_beyond_the_last_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoCuda, match="there is no cuda:2: torch sees cuda:0, cuda:1"):
        with_torch(tmp_path, ("cuda:2",)).__enter__()


def test_a_driver_that_fails_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoCuda, match="finds no device: no driver"):
        with_torch(tmp_path, ("cuda",), asked="raise RuntimeError('no driver')").__enter__()


def test_a_driver_that_crashes_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoCuda, match="crashed"):
        with_torch(tmp_path, ("cuda",), asked="os.abort()").__enter__()


def test_walls_that_the_driver_cannot_live_with_are_left_away(tmp_path: Path) -> None:
    """Whoever writes outside of what the walls allow stands for a driver."""
    asked = f"open({str(tmp_path / 'lock')!r}, 'w').close()"
    with with_torch(tmp_path, ("cuda",), asked=asked) as opened:
        assert opened.machine.walls == 0
        assert len(opened.machine.devices) == 2


def test_what_is_imported_beside_torch_is_left_away_when_it_spoils_the_driver(tmp_path: Path) -> None:
    (tmp_path / "spoiler.py").write_text("")
    asked = "assert 'spoiler' not in sys.modules"
    with with_torch(tmp_path, ("cuda",), asked=asked, preload=("torch", "no_such_thing", "spoiler")) as opened:
        assert len(opened.machine.devices) == 2
        assert opened.machine.driver == "580.1"
        assert opened.submit(order(device="cuda")).result(timeout=30).outcome is Outcome.ENDED


def test_no_run_is_forked_from_a_server_that_has_touched_cuda(tmp_path: Path) -> None:
    with with_torch(tmp_path, ("cpu",), touched=True) as opened:
        record = opened.submit(order()).result(timeout=30)
    assert record.outcome is Outcome.BROKEN
    assert "has touched CUDA" in record.detail


# The servers.

KILL_SERVER = """
import os, time
time.sleep(0.3)
above = int(open(f"/proc/{os.getppid()}/stat").read().rpartition(")")[2].split()[1])
os.kill(above, 9)
time.sleep(30)
"""


def test_who_kills_the_fork_server_is_found_out_and_the_others_are_run_again() -> None:
    with runner(guarded=False) as opened:
        futures = [opened.submit(order("import time; time.sleep(0.6)")) for _ in range(2)]
        guilty = opened.submit(order(KILL_SERVER))
        after = opened.submit(order("numbers['a'] = 1"))
        record = guilty.result(timeout=30)
        assert record.outcome is Outcome.CRASHED
        assert "fork server" in record.detail
        for future in (*futures, after):
            assert future.result(timeout=30).outcome is Outcome.ENDED


def test_a_server_that_stops_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "GRACE_S", 0.1)
    monkeypatch.setattr(dispatch, "ROUND_S", 0.05)
    with runner(guarded=False) as opened:
        stopped = opened.submit(order(KILL_SERVER.replace("9", "19")), timeout_s=0.5)
        assert stopped.result(timeout=30).outcome is Outcome.CRASHED
        assert opened.submit(order()).result(timeout=30).outcome is Outcome.ENDED


def test_a_server_that_does_not_start_again_fails_the_orders_and_not_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho cannot start >&2\nexit 1\n")
    broken.chmod(0o755)
    with runner(guarded=False) as opened:
        opened._python = str(broken)
        assert opened.submit(order(KILL_SERVER)).result(timeout=30).outcome is Outcome.CRASHED
        record = opened.submit(order()).result(timeout=30)
        assert record.outcome is Outcome.BROKEN
        assert "cannot start" in record.detail


def test_an_interpreter_that_cannot_start_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(CannotRun, match="no such luck"), runner(python=str(broken)):
        pass


def test_a_missing_torch_is_said(tmp_path: Path) -> None:
    """As in an interpreter that lacks it: the module's name is one that nobody has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime_verify.run.PRELOAD", ("no_such_torch",))
        with pytest.raises(NoTorch, match="torchmemlint\\[verify\\]"), runner(preload=("no_such_torch",)):
            pass


def test_a_missing_device_is_said() -> None:
    with pytest.raises(NoCuda), Runner(("cuda",), executor="runs:snippet", preload=(), paths=(HERE,)):
        pass


def test_an_executor_that_cannot_be_imported_is_said() -> None:
    with pytest.raises(CannotRun, match="no_such_module"), runner("no_such_module:execute"):
        pass


# The end.


def marked() -> list[str]:
    """Folders of ours that exist now."""
    return sorted(str(path) for path in Path(tempfile.gettempdir()).glob("runtime-verify-*"))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone_soon(pids: list[int]) -> bool:
    last = time.monotonic() + 10
    while time.monotonic() < last:
        if not any(map(alive, pids)):
            return True
        time.sleep(0.02)
    return False


def test_leaving_by_an_error_kills_what_runs_and_cancels_what_waits() -> None:
    before = marked()
    with pytest.raises(KeyboardInterrupt), runner(memory_lane=1) as opened:
        running = opened.submit(order("import time; time.sleep(60)"))
        waiting = opened.submit(order())
        cancelled = opened.submit(order())
        assert cancelled.cancel()
        while not running.running():
            time.sleep(0.01)
        left = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - left < 5
    with pytest.raises(Closed):
        running.result(timeout=0)
    with pytest.raises(CancelledError):
        waiting.result(timeout=0)
    assert marked() == before
    with pytest.raises(RuntimeError):
        opened.submit(order())


def test_leaving_in_peace_waits_for_all() -> None:
    with runner() as opened:
        futures = [opened.submit(order("import time; time.sleep(0.2)")) for _ in range(5)]
    done, _ = wait(futures, timeout=0)
    assert len(done) == 5


PROGRAM = """
import os, sys, time
from runs import order
from runtime_verify.run import Runner
with Runner(["cpu"], executor="runs:snippet", preload=(), paths=(os.environ["HERE"],), guarded=False) as opened:
    text = "import os, time; open(os.environ['TOLD'], 'a').write(f'{os.getpid()} {os.getppid()} '); time.sleep(100)"
    futures = [opened.submit(order(text)) for _ in range(2)]
    futures[0].result()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_users_process(number: int, tmp_path: Path) -> None:
    told = tmp_path / "pids"
    environment = {
        **os.environ,
        "HERE": HERE,
        "TOLD": str(told),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([HERE, str(Path(HERE).parent)]),
    }
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, children too
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    signal.signal(signal.SIGINT, before)
    try:
        last = time.monotonic() + 20
        while time.monotonic() < last and not (told.exists() and len(told.read_text().split()) == 4):
            time.sleep(0.02)
        pids = [int(word) for word in told.read_text().split()]
        assert len(pids) == 4
        program.send_signal(number)
        program.communicate(timeout=10)
    finally:
        program.kill()
        program.wait()
    assert gone_soon(pids)
    last = time.monotonic() + 10
    while time.monotonic() < last and list(tmp_path.glob("runtime-verify-*")):
        time.sleep(0.02)
    assert not list(tmp_path.glob("runtime-verify-*"))


def test_other_systems_are_told(tmp_path: Path) -> None:
    """Where `resource` is not, everything can be imported, and a runner says what it needs."""
    text = """
        import sys
        sys.modules["resource"] = None
        from runtime_verify.run import Runner, Unsupported
        sys.platform = "win32"
        try:
            Runner().__enter__()
        except Unsupported as error:
            assert "needs Linux, and this is win32" in str(error)
        else:
            raise AssertionError
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(text)], check=True, cwd=Path(HERE).parent)


def test_children_are_found_without_the_kernels_list() -> None:
    child = subprocess.Popen(["sleep", "10"])
    try:
        found = processes.children_by_parent(os.getpid())
        assert child.pid in found
        assert set(found) == set(processes.children(os.getpid()))
        assert processes.descendants(os.getpid())
    finally:
        child.kill()
        child.wait()
    assert child.pid not in processes.children(os.getpid())


def test_relative_search_paths_go_on_meaning_what_they_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "theirs.py").write_text("value = 5")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["src", ""]))
    with runner() as opened:
        record = opened.submit(order("import theirs; numbers['value'] = theirs.value")).result(timeout=30)
    assert record.numbers == {"value": 5}


def test_no_module_of_ours_stands_in_for_one_of_the_users(shared: Runner) -> None:
    """`run`, `plan` and `slice` are names that a project has, too."""
    text = "import sys; own += [place for place in sys.path if place.endswith('runtime_verify') or not place]"
    assert shared.submit(order(text)).result(timeout=30).own == []


def test_the_users_process_imports_no_torch() -> None:
    text = """
        import sys
        import runtime_verify.run
        assert not {"torch", "numpy", "torchmemlint.engine"} & set(sys.modules)
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(text)], check=True, cwd=Path(HERE).parent)
