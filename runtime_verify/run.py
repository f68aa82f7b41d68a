"""Runs orders on devices: each in a process of its own, several at a time, none of them ever lost.

Never imports torch: the process that the user started stays as it is. A run that hangs, crashes or grows too
large is a Record like any other.
"""

from __future__ import annotations

import itertools
import os
import select
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from runtime_verify.connection import Connection, Gone
from runtime_verify.dispatch import STARTUP_S, Berth, Dispatcher, Ticket
from runtime_verify.folders import remove
from runtime_verify.jobs import GIB, PRELOAD, Job, Report, Setting
from runtime_verify.lanes import Bay, fits
from runtime_verify.processes import available
from runtime_verify.readings import Order, Record

EXECUTOR = "runtime_verify.worker.main:execute"

# A first look at the devices starts the driver, which takes seconds on a machine with many.
PROBE_S = 120.0
# Host memory for one run: what a small training needs with the libraries of CUDA, where there is so much for each.
MOST_HOST, LEAST_HOST = 8 * GIB, 1 * GIB
# Of each device, what runs that share it leave for their CUDA contexts (about 0.5 GiB each on an H200).
SHARED = 0.9


class CannotRun(Exception):
    """Nothing can be run here; the message says why and what to do."""


class Unsupported(CannotRun):
    """This system cannot fork and watch processes the way it is done here."""


class NoTorch(CannotRun):
    """The interpreter has no torch."""


class NoCuda(CannotRun):
    """torch finds no CUDA device, or not the one asked for."""


@dataclass(frozen=True)
class Machine:
    """What there is to run on.

    devices  name and total bytes of each CUDA device that torch sees.
    problem  why CUDA cannot be used; "" where it can.
    walls    version of Landlock that holds the runs, too; 0 where the kernel has none or the driver fails behind it.
    """

    torch: str
    python: str
    cuda: str = ""
    driver: str = ""
    devices: tuple[tuple[str, int], ...] = ()
    problem: str = ""
    walls: int = 0


class Runner:
    """Fork servers, one for each device, and the queue in front of them. Use it in a `with` statement.

    devices          "cuda" for all devices that torch sees, "cuda:1" for one of them, "cpu".
    memory_lane      how many runs that read memory may share a device.
    timeout_s        wall-clock seconds for a run, unless `submit` says otherwise.
    device_fraction  share of a device's memory for one run; None divides it by `memory_lane`.
    python           the interpreter that has torch; None for the one that runs this.
    host_bytes       resident host memory of one run; None divides what is free by `memory_lane`, up to 8 GiB.
    limits           further fields of Setting: output_bytes, file_bytes, guarded, paths, preload.
    """

    machine: Machine

    def __init__(
        self,
        devices: Sequence[str] = ("cuda",),
        *,
        memory_lane: int = 6,
        timeout_s: float = 120.0,
        device_fraction: float | None = None,
        host_bytes: int | None = None,
        executor: str = EXECUTOR,
        python: str | None = None,
        **limits: Any,
    ) -> None:
        fraction = SHARED / memory_lane if device_fraction is None else device_fraction
        self._setting = Setting(executor, "", timeout_s=timeout_s, device_fraction=fraction, **limits)
        self._host_bytes = host_bytes
        self._wanted = tuple(devices)
        self._slots = memory_lane
        self._python = python or sys.executable
        self._numbers = itertools.count(1)
        self._dispatcher: Dispatcher | None = None
        self._remove: weakref.finalize[[str], Runner] | None = None

    def __enter__(self) -> Runner:
        """Start the first server and look at the machine. Raises CannotRun."""
        _require_linux()
        root = tempfile.mkdtemp(prefix="runtime-verify-")
        self._remove = weakref.finalize(self, remove, root)
        host_bytes = self._host_bytes or max(LEAST_HOST, min(MOST_HOST, available() // self._slots))
        self._setting = replace(self._setting, folder=root, host_bytes=host_bytes)
        connection: Connection | None = None
        try:
            connection = self._connect()
            self.machine = self._look(connection)
            if self.machine.problem and self.machine.driver and len(self._setting.preload) > 1:
                # Something that was imported beside torch may have touched the driver, which no child can use then.
                connection.end()
                self._setting = replace(self._setting, preload=self._setting.preload[:1])
                connection = self._connect()
                self.machine = self._look(connection)
            self._open(connection)
        except BaseException as error:
            if connection is not None:
                connection.end()
            self.close()
            if isinstance(error, (Gone, OSError)):
                raise CannotRun(f"{self._python} does not start: {error}") from None
            raise
        return self

    def _look(self, connection: Connection) -> Machine:
        return _machine(connection, _ready(connection), self._setting.guarded)

    def _open(self, connection: Connection) -> None:
        berths = [self._berth(device, visible, name) for device, visible, name in self._devices()]
        berths[0].connection = connection
        self._dispatcher = Dispatcher(berths, self._connect)
        self._dispatcher.adopt(berths[0])
        self._dispatcher.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was submitted; kill it where the block was left by an exception."""
        try:
            if kind is None and self._dispatcher is not None:
                self._dispatcher.finish()
                self._dispatcher.join()
        finally:
            self.close()

    def submit(self, order: Order, timeout_s: float | None = None) -> Future[Record]:
        """Queue an order. The future's result is a Record whatever the order does; it can be cancelled while it waits.

        Raises ValueError for a device that this runner does not have, RuntimeError when closed.
        """
        if self._dispatcher is None:
            raise RuntimeError("the runner is not open")
        if not any(fits(order.device, device) for device, _, _ in self._devices()):
            raise ValueError(f"no device {order.device!r} among {', '.join(self._wanted)}")
        future: Future[Record] = Future()
        limit = self._setting.timeout_s if timeout_s is None else timeout_s
        self._dispatcher.submit(Ticket(next(self._numbers), order, future, limit))
        return future

    def close(self) -> None:
        """Kill what runs, cancel what waits, remove what was written. May be called twice."""
        if self._dispatcher is not None:
            self._dispatcher.stop()
            self._dispatcher.join()
        if self._remove is not None:
            self._remove()

    def _connect(self) -> Connection:
        folder = tempfile.mkdtemp(prefix="server-", dir=self._setting.folder)
        return Connection(replace(self._setting, folder=folder), self._python)

    def _berth(self, device: str, visible: str, name: str) -> Berth:
        return Berth(Bay(device, self._slots, open=False), visible, name, self.machine.torch, self.machine.walls > 0)

    def _devices(self) -> list[tuple[str, str, str]]:
        """Of each device wanted: our name, its CUDA_VISIBLE_DEVICES, its own name. Raises NoCuda."""
        names = [f"cuda:{index}" for index in range(len(self.machine.devices))]
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        numbers = seen.split(",") if seen else [str(index) for index in range(len(names))]
        found: dict[str, tuple[str, str, str]] = {}
        for wanted in self._wanted:
            if wanted == "cpu":
                found[wanted] = ("cpu", "", "cpu")
                continue
            fitting = [index for index, name in enumerate(names) if fits(wanted, name)]
            if not fitting:
                raise NoCuda(self.machine.problem or f"there is no {wanted}: torch sees {', '.join(names)}")
            for index in fitting:
                found[names[index]] = (names[index], numbers[index].strip(), self.machine.devices[index][0])
        return list(found.values())


def _require_linux() -> None:
    if not sys.platform.startswith("linux"):
        raise Unsupported(f"running code to verify it needs Linux, and this is {sys.platform}: use WSL or a container")


def _ready(connection: Connection) -> dict[str, str]:
    """Wait until the server has imported what it needs. Raises NoTorch, CannotRun."""
    last = time.monotonic() + STARTUP_S
    try:
        while connection.hello is None:
            _await(connection, last)
            connection.read()
    except (Gone, TimeoutError) as error:
        raise CannotRun(f"the fork server does not start: {connection.log or error}") from None
    hello = dict(connection.hello)
    if hello["missing"] == PRELOAD[0]:
        raise NoTorch(f"Python {hello['python']} has no torch: pip install 'torchmemlint[verify]'")
    if hello["error"]:
        raise CannotRun(f"the fork server does not start: {hello['error']}")
    return hello


def _machine(connection: Connection, hello: dict[str, str], guarded: bool) -> Machine:
    """Ask a child what there is, and another whether it is still there behind the kernel's walls. Raises CannotRun."""
    found = _looked(connection, hello, walled=False)
    if guarded:
        walled = _looked(connection, hello, walled=True)
        if replace(walled, walls=0) == found:
            return walled
    return found


def _looked(connection: Connection, hello: dict[str, str], walled: bool) -> Machine:
    last = time.monotonic() + PROBE_S
    reports: list[Report] = []
    try:
        connection.start(Job(0, None, None, PROBE_S, walled))
        while not reports:
            _await(connection, last)
            reports = connection.read()
    except (Gone, TimeoutError):
        raise CannotRun(f"the fork server ended while looking at the devices: {connection.log}") from None
    answer = reports[0].answer
    if answer is None:
        problem = f"looking at the devices ended with {reports[0].outcome}: {reports[0].detail} {reports[0].printed}"
        return Machine(hello["torch"], hello["python"], problem=problem)
    devices = tuple((device["name"], device["bytes"]) for device in answer.pop("devices"))
    return Machine(**answer, devices=devices)


def _await(connection: Connection, last: float) -> None:
    ready, _, _ = select.select([connection.socket], [], [], max(0.0, last - time.monotonic()))
    if not ready:
        raise TimeoutError("it did not answer in time")
