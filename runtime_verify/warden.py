"""The process between a fork server and a child: watches one child's time, memory and output, and reports.

The child's parent, so that code that kills its parent kills this and nothing else, which the server then
notices. Called in a process just forked; does not return.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime_verify.child import UNANSWERED, close_all_but, live
from runtime_verify.folders import remove
from runtime_verify.jobs import MIB, Job, Report, Setting
from runtime_verify.processes import (
    adopt_orphans,
    descendants,
    described,
    die_with,
    end_all_below,
    kill,
    resident,
    share,
)
from runtime_verify.readings import Outcome
from runtime_verify.wire import Garbled, Inbox, pack, write

# How often memory is looked at. A process can touch some 5 GiB a second, so this lets it overshoot by about 100 MiB.
TICK_S = 0.02
# How often we look for processes that the child has started.
FAMILY_S = 0.25
# How much of what was printed is kept: the end, where the error is.
KEPT_OUTPUT = 16 * 1024
PIPE_READ = 256 * 1024
# What faulthandler prints, and the frames in it that are the user's.
TIMED_OUT = "Timeout ("
USERS_FRAME = re.compile(r'^  File "([^/"<][^"]*)", line (\d+) in ', re.MULTILINE)


def watch(job: Job, setting: Setting, folder: str, report_to: int, kept: frozenset[int], parent: int) -> None:
    """Run the job in a child of this process and write its Report to `report_to`. `kept` are descriptors that libraries
    opened before the fork."""
    status = 1
    try:
        close_all_but({0, 1, 2, report_to, *kept})
        die_with(parent)
        adopt_orphans()
        report = run_child(job, setting, folder, report_to)
        remove(folder)
        write(report_to, pack(report.as_json()))
        status = 0
    finally:
        os._exit(status)


def run_child(job: Job, setting: Setting, folder: str, report_to: int) -> Report:
    """Fork the child, wait for its end or bring it about, and say what happened."""
    began = time.monotonic()
    token = secrets.token_hex(16)
    answers, answer_to = os.pipe()
    prints, print_to = os.pipe()
    me = os.getpid()
    pid = os.fork()
    if pid == 0:
        for ours in (answers, prints, report_to):
            os.close(ours)
        live(job, setting, folder, token, (answer_to, print_to), me)
    os.close(answer_to)
    os.close(print_to)
    watching = Watch(pid, token, answers, prints, setting, began + job.timeout_s)
    ending = watching.until_over()
    kill(pid, group=True)
    kill(pid)
    status = end_all_below().get(pid, watching.status)
    watching.drain()
    ending = ending or watching.ending_of(status)
    return Report(
        job.number,
        ending.answer,
        ending.outcome.value,
        ending.detail,
        watching.printed(),
        round(time.monotonic() - began, 4),
    )


@dataclass(frozen=True)
class Ending:
    """Why a child is over. `answer` where it gave one."""

    outcome: Outcome
    detail: str = ""
    answer: dict[str, Any] | None = None


class Watch:
    """One child under observation."""

    def __init__(self, pid: int, token: str, answers: int, prints: int, setting: Setting, deadline: float) -> None:
        self.status: int | None = None
        self._pid = pid
        self._token = token
        self._answers = answers
        self._prints = prints
        self._setting = setting
        self._deadline = deadline
        self._inbox = Inbox()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._printed_bytes = 0
        self._family_bytes = 0
        self._family_at = 0.0
        self._poll = select.poll()
        for descriptor in (answers, prints):
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        self._pidfd = _pidfd(pid)
        if self._pidfd >= 0:
            self._poll.register(self._pidfd, select.POLLIN)

    def until_over(self) -> Ending | None:
        """Wait for an answer, for a limit that is passed, or for the child's end (None: its status will tell)."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll(TICK_S * 1000)}
            ending = self._read_output(ready) or self._read_answer(ready) or self._over_limits()
            if ending is not None:
                return ending
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if ended:
                self.status = status
                return self._read_answer({self._answers})

    def _place(self) -> str:
        """Where in the user's code it was shortly before, as it printed; their files have no absolute paths here."""
        _, _, trace = self.printed().rpartition(TIMED_OUT)
        found = USERS_FRAME.search(trace)
        return f", at {found[1]}:{found[2]}" if found else ""

    def drain(self) -> None:
        """Read what is left of the output. Processes that got away may still hold the pipe, so do not wait."""
        while self._printed_bytes <= self._setting.output_bytes and self._read(self._prints, self._keep):
            pass

    def printed(self) -> str:
        """The end of what the child printed."""
        return b"".join(self._kept)[-KEPT_OUTPUT:].decode("utf-8", "replace")

    def ending_of(self, status: int | None) -> Ending:
        """What a child that gave no answer died of."""
        if self._inbox.begun:
            return Ending(Outcome.CRASHED, f"ended in the middle of its answer ({_how(status)})")
        if status is not None and os.WIFEXITED(status):
            if os.WEXITSTATUS(status) == UNANSWERED:
                return Ending(Outcome.CRASHED, "could not answer: what it ran closed the pipe")
            return Ending(Outcome.EXITED, f"ended itself with {described(status)}, without returning")
        hint = ", perhaps by the kernel, short of memory" if status == signal.SIGKILL else ""
        return Ending(Outcome.CRASHED, f"ended by {_how(status)}{hint}")

    def _over_limits(self) -> Ending | None:
        now = time.monotonic()
        if now > self._deadline:
            return Ending(Outcome.TIMEOUT, f"took longer than it may and was killed{self._place()}")
        if now > self._family_at + FAMILY_S:
            self._family_at = now
            self._family_bytes = sum(share(pid) for pid in descendants(os.getpid()) if pid != self._pid)
        held = resident(self._pid) + self._family_bytes
        if held > self._setting.host_bytes:
            allowed = f"{self._setting.host_bytes // MIB} MiB allowed"
            return Ending(Outcome.HOST_MEMORY, f"held {held // MIB} MiB of host memory, {allowed}, and was killed")
        return None

    def _read_output(self, ready: set[int]) -> Ending | None:
        if self._prints in ready and self._read(self._prints, self._keep) == 0:
            self._poll.unregister(self._prints)
        if self._printed_bytes > self._setting.output_bytes:
            return Ending(Outcome.OUTPUT, f"printed more than {self._setting.output_bytes // MIB} MiB and was killed")
        return None

    def _read_answer(self, ready: set[int]) -> Ending | None:
        if self._answers not in ready:
            return None
        got = self._read(self._answers, self._inbox.feed)
        while got:
            got = self._read(self._answers, self._inbox.feed)
        if got == 0:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._answers)
        try:
            for message in self._inbox.messages():
                if not isinstance(message, dict) or message.pop("token", None) != self._token:
                    raise Garbled("not signed by us")
                return Ending(
                    Outcome(message.get("outcome", "ended")), message.get("detail", ""), message.get("answer")
                )
        except Garbled as error:
            return Ending(Outcome.CRASHED, f"wrote into the pipe of the answer: {error}")
        return None

    def _keep(self, data: bytes) -> None:
        self._printed_bytes += len(data)
        self._kept.append(data)
        self._kept_bytes += len(data)
        while self._kept_bytes - len(self._kept[0]) > KEPT_OUTPUT:
            self._kept_bytes -= len(self._kept.popleft())

    def _read(self, descriptor: int, take: Callable[[bytes], None]) -> int | None:
        """Read once without waiting: how many bytes, 0 at the end, None where there is nothing yet."""
        try:
            data = os.read(descriptor, PIPE_READ)
        except BlockingIOError:
            return None
        if data:
            take(data)
        return len(data)


def _pidfd(pid: int) -> int:
    """A descriptor that is ready when the process ends; -1 where the kernel has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _how(status: int | None) -> str:
    return "a signal or by vanishing" if status is None else described(status)
