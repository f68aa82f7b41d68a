"""Processes of Linux: who descends from whom, how much memory they hold, and how none of them is left over.

May import nothing of ours. Everything here may be asked about a process that is vanishing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def die_with(parent: int) -> None:
    """From now on the kernel kills this process when its parent ends. Ends at once where it already has."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process, not of process 1, where the kernel can do that."""
    with contextlib.suppress(OSError):
        _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def children(pid: int) -> list[int]:
    """Direct children of a process, also those that other threads than its first have forked."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as listing:
                found += map(int, listing.read().split())
    except (FileNotFoundError, ProcessLookupError):
        if not os.path.exists(f"/proc/self/task/{threading.get_native_id()}/children"):
            return children_by_parent(pid)
    return found


def children_by_parent(pid: int) -> list[int]:
    """The same on a kernel that keeps no such list, by asking every process."""
    return [child for child in all_pids() if _parent(child) == pid]


def descendants(pid: int) -> list[int]:
    """All processes below one, the nearest first, without itself."""
    found: list[int] = []
    todo = [pid]
    while todo:
        for child in children(todo.pop()):
            if child not in found:
                found.append(child)
                todo.append(child)
    return found


def all_pids() -> list[int]:
    """Every process of the machine that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1


def resident(pid: int) -> int:
    """Bytes of host memory that a process has resident; 0 for one that is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0


def share(pid: int) -> int:
    """Bytes of host memory that a process holds, of pages that it shares its part only; slower than `resident`."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    return resident(pid)


def available() -> int:
    """Bytes of host memory that are free to be used, on this machine and in this control group."""
    with open("/proc/meminfo", "rb") as file:
        free = next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"MemAvailable:"))
    with contextlib.suppress(OSError, ValueError):
        group = "/sys/fs/cgroup/memory."
        with open(f"{group}max", "rb") as limit, open(f"{group}current", "rb") as current:
            free = min(free, int(limit.read()) - int(current.read()))
    return free


def kill(pid: int, group: bool = False) -> None:
    """SIGKILL to a process or to its whole group; nothing where it is gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)


def end_all_below(spared: frozenset[int] = frozenset(), patience_s: float = 5.0) -> dict[int, int]:
    """Kill everything that descends from this process, but for `spared` and what is below them, and reap it.

    Returns the wait status of each of our own children that ended. Whoever forks while being killed is
    met in the next round; a process that even SIGKILL does not end within `patience_s` is left behind.
    """
    statuses: dict[int, int] = {}
    last = time.monotonic() + patience_s
    while time.monotonic() < last:
        mine = [pid for pid in children(os.getpid()) if pid not in spared]
        if not mine:
            break
        for pid in mine:
            for lower in (pid, *descendants(pid)):
                kill(lower)
        for pid in mine:
            with contextlib.suppress(ChildProcessError):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    statuses[ended] = status
        time.sleep(0.001)
    return statuses


def carriers(mark: bytes) -> Iterator[int]:
    """Processes whose environment, as they were started, holds `mark`; forked ones show their ancestor's."""
    for pid in all_pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if mark in file.read() and pid != os.getpid():
                yield pid


def described(status: int) -> str:
    """How a process ended, from its wait status: "signal SIGSEGV", "status 3"."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"signal {signal.Signals(number).name}"
        except ValueError:
            return f"signal {number}"
    return f"status {os.WEXITSTATUS(status)}"
