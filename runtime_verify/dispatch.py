"""Hands orders to fork servers as devices become free, in a thread of its own, and sees to it that each comes back.

A server that is taken down is replaced. If one order was running on it, that order is what did it; if there
were several, each is run again with nobody beside it.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace

from runtime_verify.connection import Connection, Gone
from runtime_verify.jobs import GRACE_S, Job, Report
from runtime_verify.lanes import Bay, Wish, fits, leave, place
from runtime_verify.readings import Lane, Order, Outcome, Record, as_json, record_from_json

# Importing torch from a network disk that has not seen it yet can take minutes.
STARTUP_S = 180.0
# A server that cannot be started so many times in a row will not start.
ATTEMPTS = 3
# How often deadlines are looked at when nothing else happens.
ROUND_S = 0.5


class Closed(Exception):
    """The runner was closed before the order came back."""


@dataclass(eq=False)
class Ticket:
    """An order on its way. `alone` once it was running, with others, on a server that went down."""

    number: int
    order: Order
    future: Future[Record]
    timeout_s: float
    alone: bool = False
    deadline: float = 0.0

    @property
    def wish(self) -> Wish:
        return Wish(self.number, self.order.device, self.alone or self.order.lane is Lane.TIME)


@dataclass(eq=False)
class Berth:
    """A device, the server that serves it, and what runs there now. `name` and `torch` are put into records that lack
    them, `visible` is the device's CUDA_VISIBLE_DEVICES, `walled` whether the kernel is to hold children, too."""

    bay: Bay
    visible: str
    name: str
    torch: str
    walled: bool = False
    connection: Connection | None = None
    running: dict[int, Ticket] = field(default_factory=dict)
    failures: int = 0
    ready_by: float = 0.0


class Dispatcher(threading.Thread):
    """The thread. Only `submit`, `finish` and `stop` may be called from others."""

    def __init__(self, berths: Sequence[Berth], connect: Callable[[], Connection]) -> None:
        super().__init__(name="runtime-verify", daemon=True)
        self._berths = berths
        self._connect = connect
        self._arrivals: deque[Ticket] = deque()
        self._waiting: list[Ticket] = []
        self._stopped = False
        self._finishing = False
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def submit(self, ticket: Ticket) -> None:
        """Take an order. Raises RuntimeError once finished or stopped."""
        if self._finishing or self._stopped:
            raise RuntimeError("the runner is closed")
        self._arrivals.append(ticket)
        self._nudge()

    def finish(self) -> None:
        """End once nothing waits and nothing runs."""
        self._finishing = True
        self._nudge()

    def stop(self) -> None:
        """End now: kill what runs, cancel what waits."""
        self._stopped = True
        self._nudge()

    def _nudge(self) -> None:
        with suppress(OSError):
            self._waker.send(b"!")

    def run(self) -> None:
        error: BaseException = Closed("the runner was closed before this run came back")
        try:
            while not self._stopped and not (self._finishing and self._idle()):
                self._round()
        except BaseException as raised:
            error = raised
        finally:
            self._stopped = True
            for berth in self._berths:
                if berth.connection is not None:
                    berth.connection.end()
            self._give_up(error)
            for closable in (self._selector, self._wake, self._waker):
                closable.close()

    def _idle(self) -> bool:
        return not (self._arrivals or self._waiting or any(berth.running for berth in self._berths))

    def _give_up(self, error: BaseException) -> None:
        running = [ticket for berth in self._berths for ticket in berth.running.values()]
        for ticket in [*running, *self._waiting, *self._arrivals]:
            if not ticket.future.cancel():
                with suppress(InvalidStateError):
                    ticket.future.set_exception(error)

    def _round(self) -> None:
        while self._arrivals:
            self._waiting.append(self._arrivals.popleft())
        for berth in self._berths:
            if berth.connection is None and berth.failures < ATTEMPTS:
                self._open(berth)
        self._launch()
        for key, _ in self._selector.select(ROUND_S):
            if key.data is None:
                with suppress(BlockingIOError):
                    self._wake.recv(4096)
            else:
                self._hear(key.data)
        self._look_at_clocks()

    def _open(self, berth: Berth) -> None:
        try:
            berth.connection = self._connect()
        except (OSError, Gone) as error:
            self._not_started(berth, str(error))
            return
        berth.ready_by = time.monotonic() + STARTUP_S
        self._selector.register(berth.connection.socket, selectors.EVENT_READ, berth)

    def adopt(self, berth: Berth) -> None:
        """Take over a connection that is ready. To be called before the thread starts."""
        assert berth.connection is not None
        berth.bay.open = True
        self._selector.register(berth.connection.socket, selectors.EVENT_READ, berth)

    def _launch(self) -> None:
        self._waiting = [ticket for ticket in self._waiting if not ticket.future.cancelled()]
        by_number = {ticket.number: ticket for ticket in self._waiting}
        bays = [berth.bay for berth in self._berths]
        for number, index in place([ticket.wish for ticket in self._waiting], bays):
            ticket, berth = by_number[number], self._berths[index]
            self._waiting.remove(ticket)
            if not ticket.future.running() and not ticket.future.set_running_or_notify_cancel():
                leave(berth.bay)
                continue
            ticket.deadline = time.monotonic() + ticket.timeout_s + 2 * GRACE_S
            berth.running[number] = ticket
            self._send(berth, ticket)

    def _send(self, berth: Berth, ticket: Ticket) -> None:
        device = ticket.order.device.partition(":")[0]  # the child sees one device only
        order = as_json(replace(ticket.order, device=device))
        if berth.connection is None:  # went down while this round was sending
            berth.running.pop(ticket.number, None)
            self._waiting.insert(0, ticket)
            return
        try:
            berth.connection.start(Job(ticket.number, order, berth.visible, ticket.timeout_s, berth.walled))
        except Gone:
            self._down(berth)

    def _hear(self, berth: Berth) -> None:
        if berth.connection is None:
            return
        try:
            reports = berth.connection.read()
        except Gone:
            self._down(berth)
            return
        hello = berth.connection.hello
        if hello is not None and not berth.bay.open:
            if hello["error"]:
                self._not_started(berth, hello["error"])
                return
            berth.bay.open = True
            berth.failures = 0
        for report in reports:
            ticket = berth.running.pop(report.number, None)
            if ticket is not None:
                leave(berth.bay)
                _answer(ticket, record_of(report, berth))

    def _look_at_clocks(self) -> None:
        now = time.monotonic()
        for berth in self._berths:
            if berth.connection is None:
                continue
            if not berth.bay.open and now > berth.ready_by:
                self._not_started(berth, f"it was not ready after {STARTUP_S:.0f} s")
            elif any(now > ticket.deadline for ticket in berth.running.values()):
                self._down(berth)

    def _down(self, berth: Berth) -> None:
        """The server is gone or deaf: end what is left of it and settle what ran there."""
        if not berth.bay.open:
            self._not_started(berth, berth.connection.log if berth.connection else "")
            return
        self._disconnect(berth)
        suspects = list(berth.running.values())
        berth.running.clear()
        berth.bay.running, berth.bay.taken = 0, False
        if len(suspects) == 1:
            record = Record(Outcome.CRASHED, "ended, and took the fork server down with it")
            _answer(suspects[0], _labelled(record, berth))
            return
        for ticket in suspects:
            ticket.alone = True
        self._waiting[:0] = suspects

    def _not_started(self, berth: Berth, why: str) -> None:
        self._disconnect(berth)
        berth.failures += 1
        if berth.failures < ATTEMPTS:
            return
        able = [other.bay.device for other in self._berths if other.failures < ATTEMPTS]
        for ticket in list(self._waiting):
            if not any(fits(ticket.order.device, device) for device in able):
                self._waiting.remove(ticket)
                record = Record(Outcome.BROKEN, f"the fork server does not start again: {why}")
                _answer(ticket, _labelled(record, berth))

    def _disconnect(self, berth: Berth) -> None:
        berth.bay.open = False
        if berth.connection is not None:
            self._selector.unregister(berth.connection.socket)
            berth.connection.end()
            berth.connection = None


def record_of(report: Report, berth: Berth) -> Record:
    """The record that a report brings, or one that says how the child ended."""
    record = Record(Outcome(report.outcome), report.detail)
    if report.answer is not None:
        try:
            record = record_from_json(report.answer)
        except (KeyError, TypeError, ValueError) as error:
            record = Record(Outcome.CRASHED, f"its answer is no record: {error!r}")
    record.printed = report.printed
    record.seconds = record.seconds or report.seconds
    return _labelled(record, berth)


def _labelled(record: Record, berth: Berth) -> Record:
    record.device = record.device or berth.name
    record.torch = record.torch or berth.torch
    return record


def _answer(ticket: Ticket, record: Record) -> None:
    if not ticket.future.running():
        ticket.future.set_running_or_notify_cancel()
    with suppress(InvalidStateError):
        ticket.future.set_result(record)
