"""The fork server: imports torch once, never touches a device, and starts each run in a fresh child.

It is a process of its own (`main`), spoken to over a socket whose other end the user's process holds; when
that end closes, everything here ends. It imports nothing of the linter's, so that the interpreter that has
torch need not have that.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import platform
import selectors
import socket
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field
from typing import Any, NoReturn

from runtime_verify.child import CUDA_CACHE, function_named, open_descriptors
from runtime_verify.folders import remove
from runtime_verify.jobs import GRACE_S, Job, Report, Setting
from runtime_verify.processes import adopt_orphans, described, end_all_below, kill
from runtime_verify.readings import Outcome
from runtime_verify.warden import watch
from runtime_verify.wire import Garbled, Inbox, pack

READ = 1024 * 1024
# How often we look whether a watcher is stuck, when nothing else happens.
ROUND_S = 1.0


def main(descriptor: int) -> NoReturn:
    """Serve whoever holds the other end of the socket `descriptor`, until that closes."""
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    setting = Setting.from_json(_first_message(channel))
    hello = prepare(setting)
    channel.sendall(pack(hello))
    if not hello["error"]:
        Server(channel, setting).serve()
    os._exit(0)


def _first_message(channel: socket.socket) -> Any:
    inbox = Inbox()
    while True:
        data = channel.recv(READ)
        if not data:
            os._exit(1)
        inbox.feed(data)
        for message in inbox.messages():
            return message


def prepare(setting: Setting) -> dict[str, Any]:
    """Import what the children need. The dict says what was found: `torch` (version or ""), `python`, `error`."""
    sys.path[:0] = setting.paths
    hello = {"torch": "", "python": platform.python_version(), "error": "", "missing": ""}
    try:
        for name in setting.preload:
            with contextlib.nullcontext() if name == setting.preload[0] else contextlib.suppress(Exception):
                importlib.import_module(name)
        function_named(setting.executor)
        if setting.guarded:
            importlib.import_module("runtime_verify.worker.guard")
            importlib.import_module("runtime_verify.worker.walls")
        os.makedirs(os.path.join(setting.folder, CUDA_CACHE), exist_ok=True)
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and setting.preload and error.name == setting.preload[0]:
            hello["missing"] = setting.preload[0]
        hello["error"] = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    gc.collect()  # what importing left behind is not the runs'
    hello["torch"] = str(getattr(sys.modules.get("torch"), "__version__", ""))
    return hello


@dataclass
class Running:
    """A job whose watcher is at work. `reports` is the descriptor that its Report comes through."""

    job: Job
    folder: str
    pid: int
    reports: int
    began: float
    inbox: Inbox = field(default_factory=Inbox)


class Server:
    """Takes jobs from the channel, forks a watcher for each, hands back what the watchers report."""

    def __init__(self, channel: socket.socket, setting: Setting) -> None:
        adopt_orphans()
        self._channel = channel
        self._setting = setting
        self._inbox = Inbox()
        self._running: dict[int, Running] = {}
        self._kept = frozenset(open_descriptors() - {channel.fileno()})
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)

    def serve(self) -> None:
        """Until the channel closes; then end everything that was started."""
        try:
            while self._round():
                pass
        except (OSError, Garbled):
            traceback.print_exc()
        for running in self._running.values():
            kill(running.pid)
        end_all_below()
        remove(self._setting.folder)  # whoever made it may have been killed
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(self._setting.folder))

    def _round(self) -> bool:
        for key, _ in self._selector.select(ROUND_S):
            if key.fileobj is self._channel:
                data = self._channel.recv(READ)
                if not data:
                    return False
                self._inbox.feed(data)
                for message in self._inbox.messages():
                    self._start(Job(**message))
            else:
                self._read_report(self._running[key.fd])
        for running in list(self._running.values()):
            if time.monotonic() > running.began + running.job.timeout_s + GRACE_S:
                kill(running.pid)
                self._finish(running, Report(running.job.number, None, Outcome.TIMEOUT.value, "its watcher was stuck"))
        return True

    def _start(self, job: Job) -> None:
        folder = os.path.join(self._setting.folder, f"run-{job.number}")
        try:
            self._assert_untouched()
            os.mkdir(folder, 0o700)
            reports, report_to = os.pipe()
            pid = self._fork(job, folder, report_to)
            os.close(report_to)
        except Exception:
            self._tell(Report(job.number, None, Outcome.BROKEN.value, traceback.format_exc()))
            return
        os.set_blocking(reports, False)
        self._running[reports] = Running(job, folder, pid, reports, time.monotonic())
        self._selector.register(reports, selectors.EVENT_READ)

    def _fork(self, job: Job, folder: str, report_to: int) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        me = os.getpid()
        with warnings.catch_warnings():
            # Python 3.12 warns where a library has started a thread; those that do mend themselves in the child.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            watch(job, self._setting, folder, report_to, self._kept, me)
        return pid

    def _assert_untouched(self) -> None:
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            raise AssertionError("something imported into the fork server has touched CUDA; a child could not use it")

    def _read_report(self, running: Running) -> None:
        try:
            data = os.read(running.reports, READ)
        except BlockingIOError:
            return
        running.inbox.feed(data)
        try:
            for message in running.inbox.messages():
                self._finish(running, Report(**message))
                return
        except (Garbled, TypeError, ValueError):
            data = b""
        if not data:
            self._finish(running, None)

    def _finish(self, running: Running, report: Report | None) -> None:
        """The watcher has reported or is gone: reap it, with whatever it left behind, and pass the report on."""
        self._selector.unregister(running.reports)
        os.close(running.reports)
        del self._running[running.reports]
        if report is None:
            kill(running.pid)
        _, status = os.waitpid(running.pid, 0)
        if report is None:
            seconds = round(time.monotonic() - running.began, 4)
            detail = f"the process that watched it was ended by {described(status)}, and it with it"
            report = Report(running.job.number, None, Outcome.CRASHED.value, detail, "", seconds)
        end_all_below(spared=frozenset(other.pid for other in self._running.values()))
        if os.path.exists(running.folder):
            remove(running.folder)
        self._tell(report)

    def _tell(self, report: Report) -> None:
        self._channel.sendall(pack(report.as_json()))
