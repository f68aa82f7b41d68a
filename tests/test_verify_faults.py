"""Code that does its worst: each run has the right outcome, its neighbours go on, nothing is left over.

Every fault runs twice: guarded, as runs are, and with the guard off, to see that what the guard does not catch
is caught by who watches.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runs import order
from runtime_verify.jobs import MIB
from runtime_verify.processes import descendants
from runtime_verify.readings import Outcome
from runtime_verify.run import Runner

HERE = str(Path(__file__).parent)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="runs need Linux")


@dataclass(frozen=True)
class Fault:
    """A snippet, and how its run is to end: guarded, and with the guard off (None: alike)."""

    text: str
    outcome: Outcome
    says: str = ""
    unguarded: tuple[Outcome, str] | None = None


OURS = (Outcome.RAISED, "refused while verifying")
FREE = (Outcome.ENDED, "")

FAULTS = {
    "hangs": Fault("while True: pass", Outcome.TIMEOUT),
    "hangs in C": Fault("import time; time.sleep(1000)", Outcome.TIMEOUT),
    "hangs and will not be interrupted": Fault(
        """
        import signal
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        while True:
            try:
                while True: pass
            except BaseException: pass
        """,
        Outcome.TIMEOUT,
    ),
    "stops itself": Fault("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", Outcome.TIMEOUT),
    "waits for input": Fault("input()", Outcome.RAISED, "EOFError"),
    "leaves a thread": Fault(
        "import threading, time; threading.Thread(target=time.sleep, args=(1000,)).start()", Outcome.ENDED
    ),
    "exhausts memory": Fault(
        "kept = []\nwhile True: kept.append(b'x' * 2**23)", Outcome.HOST_MEMORY, "384 MiB allowed"
    ),
    "recurses": Fault("def f(): f()\nf()", Outcome.RAISED, "RecursionError"),
    "prints a gigabyte": Fault("for _ in range(1024): print('x' * 2**20)", Outcome.OUTPUT, "printed more than 4 MiB"),
    "prints a gigabyte at once": Fault("print('x' * 2**26)", Outcome.OUTPUT),
    "prints a gigabyte past Python": Fault("import os\nwhile True: os.write(2, b'x' * 2**16)", Outcome.OUTPUT),
    "calls os._exit": Fault("import os; os._exit(0)", Outcome.EXITED, "status 0"),
    "calls os._exit with a status": Fault("import os; os._exit(7)", Outcome.EXITED, "status 7"),
    "calls sys.exit": Fault("import sys; sys.exit('enough')", Outcome.EXITED, "'enough'"),
    "calls C's exit": Fault("import ctypes; ctypes.CDLL(None).exit(5)", Outcome.EXITED, "status 5"),
    "aborts": Fault("import os; os.abort()", Outcome.CRASHED, "SIGABRT"),
    "reads where nothing is": Fault("import ctypes; ctypes.string_at(0)", Outcome.CRASHED, "SIGSEGV"),
    "ends itself": Fault("import os; os.kill(os.getpid(), 15)", Outcome.CRASHED, "SIGTERM"),
    "ends its group": Fault("import os; os.killpg(0, 9)", Outcome.CRASHED, "SIGKILL"),
    "raises in a handler at the end": Fault("import atexit; atexit.register(lambda: 1 / 0)", Outcome.ENDED),
    "kills its parent": Fault(
        "import os, time; os.kill(os.getppid(), 9); time.sleep(1000)",
        *OURS,
        unguarded=(Outcome.CRASHED, "the process that watched it was ended by signal SIGKILL"),
    ),
    "forks": Fault("import os; os.fork() or os._exit(0)", *OURS, unguarded=FREE),
    "forks again and again": Fault(
        "import os, time\nfor _ in range(5): os.fork() or os.setsid()\nwhile True: time.sleep(1)",
        *OURS,
        unguarded=(Outcome.TIMEOUT, ""),
    ),
    "leaves a daemon": Fault(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(1000)
            os._exit(0)
        os.wait()
        """,
        *OURS,
        unguarded=FREE,
    ),
    "starts a program": Fault("import subprocess; subprocess.Popen(['sleep', '1000'])", *OURS, unguarded=FREE),
    "fills memory in a process it starts": Fault(
        """
        import os, time
        if os.fork() == 0:
            kept = []
            while True: kept.append(b"x" * 2**23)
        time.sleep(1000)
        """,
        *OURS,
        unguarded=(Outcome.HOST_MEMORY, ""),
    ),
    "opens a socket": Fault(
        "import socket; socket.create_connection(('127.0.0.1', 9))", *OURS, unguarded=(Outcome.RAISED, "")
    ),
    "fills the disk": Fault(
        "with open('big', 'wb') as file:\n    while True: file.write(bytes(2**20))", Outcome.RAISED, "File too large"
    ),
    "closes what is open": Fault("import os; os.closerange(0, 4096)", Outcome.CRASHED, "closed the pipe"),
    "writes to what is open": Fault(
        """
        import os
        for number in range(3, 1024):
            try: os.write(number, b"x" * 100)
            except OSError: pass
        """,
        Outcome.CRASHED,
        "wrote into the pipe of the answer",
    ),
    "leaves what cannot be removed": Fault(
        """
        import os
        os.makedirs("a/b")
        open("a/b/c", "w").close()
        os.symlink("/", "a/root")
        os.chmod("a/b", 0)
        os.chmod("a", 0)
        """,
        Outcome.ENDED,
    ),
    "breaks the library": Fault(
        """
        import json, os, sys, time
        json.dumps = os.write = time.monotonic = sys.stdout = None
        """,
        Outcome.ENDED,
    ),
}

HANGING_S, OTHERS_S = 0.7, 60.0


@pytest.fixture(scope="module", params=["guarded", "unguarded"])
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    with Runner(
        ("cpu",),
        executor="runs:snippet",
        preload=(),
        paths=(HERE,),
        guarded=request.param == "guarded",
        memory_lane=4,
        host_bytes=384 * MIB,
        output_bytes=4 * MIB,
        file_bytes=16 * MIB,
    ) as opened:
        opened.is_guarded = request.param == "guarded"  # type: ignore[attr-defined]
        yield opened


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_an_outcome_and_the_others_go_on(runner: Runner, name: str) -> None:
    fault = FAULTS[name]
    outcome, says = fault.outcome, fault.says
    if fault.unguarded and not runner.is_guarded:  # type: ignore[attr-defined]
        outcome, says = fault.unguarded
    before = set(descendants(os.getpid()))
    beside = runner.submit(order("import time; time.sleep(0.1); numbers['a'] = 1"))
    limit_s = HANGING_S if outcome is Outcome.TIMEOUT else OTHERS_S
    record = runner.submit(order(textwrap.dedent(fault.text)), limit_s).result(timeout=90)
    assert record.outcome is outcome, record
    assert says in record.detail, record
    assert beside.result(timeout=90).numbers == {"a": 1}
    assert runner.submit(order("numbers['b'] = 2")).result(timeout=90).numbers == {"b": 2}
    assert set(descendants(os.getpid())) == before, "processes are left over"
    assert not list(Path(runner._setting.folder).glob("*/run-*")), "folders are left over"


def test_nothing_outside_the_folder_changes(tmp_path: Path) -> None:
    """What a training script does at its end, in one: none of it happens, and the rest of the run does."""
    world = tmp_path / "world"
    world.mkdir()
    (world / "model.pt").write_text("precious")
    text = f"""
        import logging, os, pathlib, shutil, socket, subprocess, sys
        sys.path.insert(0, {str(world)!r})
        for act in (
            lambda: open("{world}/model.pt", "wb").write(b"x"),
            lambda: pathlib.Path("{world}/runs").mkdir(exist_ok=True),
            lambda: shutil.rmtree("{world}"),
            lambda: os.replace("{world}/model.pt", "old.pt"),
            lambda: subprocess.run(["touch", "{world}/touched"]),
            lambda: os.system("touch {world}/touched"),
            lambda: socket.create_connection(("127.0.0.1", 9)),
            lambda: logging.FileHandler("{world}/log"),
            lambda: open("log", "w").write("this one is its own"),
        ):
            try:
                act()
                own.append("done")
            except OSError:
                own.append("refused")
        """
    before = {path: path.stat().st_mtime_ns for path in (world, *world.iterdir())}
    with Runner(("cpu",), executor="runs:guarded", preload=(), paths=(HERE,)) as opened:
        record = opened.submit(order(textwrap.dedent(text))).result(timeout=60)
    assert record.own == ["refused"] * 8 + ["done"]
    assert len(record.numbers) == 8
    assert before == {path: path.stat().st_mtime_ns for path in (world, *world.iterdir())}
    assert (world / "model.pt").read_text() == "precious"
