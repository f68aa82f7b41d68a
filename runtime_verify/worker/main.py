"""The entry of a child process: one order in, one record out."""

from __future__ import annotations

import time

import torch

from runtime_verify.readings import Event, EventKind, Lane, Order, Outcome, Record
from runtime_verify.worker.drive import Drive
from runtime_verify.worker.guard import denials
from runtime_verify.worker.readers import Readers, settle


def execute(order: Order) -> Record:
    """Runs what is ordered in this process, which must be a fresh one. Device: the one that the order names."""
    began = time.perf_counter()
    timed = order.lane is Lane.TIME
    settle(order.device, order.seed, frozen=not timed)
    readers = Readers(order.device, order.nodes, clock_only=timed, syncs=order.syncs)
    try:
        record = Drive(order, readers).run()
    except RuntimeError as error:  # after a failed assertion on the device nothing works there any more
        if "device-side assert" not in str(error) and "CUDA error" not in str(error):
            raise
        record = Record(Outcome.CRASHED, " ".join(str(error).split())[:200], torch=torch.__version__)
    record.device = torch.cuda.get_device_name(order.device) if order.device.startswith("cuda") else "cpu"
    record.events += [Event(EventKind.DENIED, "", 0, text) for text in denials()]
    record.seconds = time.perf_counter() - began
    return record
