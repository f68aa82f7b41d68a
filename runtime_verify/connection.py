"""A fork server as the user's process sees it: started, spoken to, ended with all that it started."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime_verify.jobs import Job, Report, Setting
from runtime_verify.processes import carriers, kill
from runtime_verify.wire import Garbled, Inbox, pack

READ = 1024 * 1024
MARK = "RUNTIME_VERIFY_MARK"
LOG = "server.log"
KEPT_LOG = 4000
# A server that takes no message for so long has stopped.
SEND_S = 30.0

# What the server and all its children start with. Hashes alike in every server, so that sets of the user's are walked
# alike; asking for CUDA without starting it, as who has started it cannot fork; no threads of OpenBLAS before a fork.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTORCH_NVML_BASED_CUDA_CHECK": "1", "OPENBLAS_NUM_THREADS": "1"}

# What glibc keeps for each thread counts as handed out: a loop that holds nothing seems to grow by some 60 bytes a
# step for the first thirty. Without it the host's bytes are exact.
TUNABLES, NO_THREAD_CACHE = "GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"

BOOT = Path(__file__).with_name("boot.py")


class Gone(Exception):
    """The server is no more, or speaks nonsense."""


class Connection:
    """One server. `hello` is what it found on starting, None until it is ready."""

    def __init__(self, setting: Setting, python: str) -> None:
        """Start it; it takes seconds to be ready. Raises OSError or Gone where the interpreter does not start."""
        self.hello: Mapping[str, str] | None = None
        self._inbox = Inbox()
        self._mark = secrets.token_hex(16)
        self._log = Path(setting.folder) / LOG
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(SEND_S)
        with self._log.open("wb") as log, theirs:
            self._process = subprocess.Popen(
                [python, str(BOOT), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **ENVIRONMENT, **_adapted(), MARK: self._mark},
                pass_fds=[theirs.fileno()],
                cwd=setting.folder,
                start_new_session=True,
            )
        try:
            self._send(setting.as_json())
        except Gone:
            self.end()
            raise Gone(self.log) from None

    def start(self, job: Job) -> None:
        """Have a child run the job. Raises Gone."""
        self._send(job.as_json())

    def read(self) -> list[Report]:
        """What has arrived, once the socket is ready. Raises Gone."""
        try:
            data = self.socket.recv(READ)
            if not data:
                raise Gone
            self._inbox.feed(data)
            reports = []
            for message in self._inbox.messages():
                if self.hello is None:
                    self.hello = message
                else:
                    reports.append(Report(**message))
        except (OSError, Garbled, TypeError) as error:
            raise Gone from error
        return reports

    def end(self) -> None:
        """Kill the server and everything that it started, and close the connection."""
        self._process.kill()
        self._process.wait()
        self.socket.close()
        # The kernel has killed its children with it; what they had started is found by the mark it was born with.
        for _ in range(100):
            left = list(carriers(f"{MARK}={self._mark}".encode()))
            if not left:
                break
            for pid in left:
                kill(pid)
            time.sleep(0.01)

    @property
    def log(self) -> str:
        """The end of what the server itself wrote to its standard error."""
        with contextlib.suppress(OSError):
            return self._log.read_text("utf-8", "replace")[-KEPT_LOG:].strip()
        return ""

    def _send(self, message: Any) -> None:
        try:
            self.socket.sendall(pack(message))
        except OSError as error:
            raise Gone from error


def _adapted() -> dict[str, str]:
    """Variables of the user's that have to be changed for a process in another folder."""
    tunables, path = os.environ.get(TUNABLES), os.environ.get("PYTHONPATH")
    adapted = {TUNABLES: f"{tunables}:{NO_THREAD_CACHE}" if tunables else NO_THREAD_CACHE}
    if path:
        adapted["PYTHONPATH"] = os.pathsep.join(os.path.abspath(place) for place in path.split(os.pathsep) if place)
    return adapted
