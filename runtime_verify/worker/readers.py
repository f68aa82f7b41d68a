"""Counters of the process and its device, read at a moment: bytes, driver calls, graph nodes, syncs, time.

A reader looks and leaves nothing behind: it allocates nothing on the device and holds nothing that it met.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from runtime_verify.readings import Sample
from runtime_verify.worker.host import host_meter
from runtime_verify.worker.settle import settle

__all__ = ["Readers", "SyncCount", "live_nodes", "settle"]

# What torch says where the host waits for the device, with `set_sync_debug_mode("warn")`.
SYNC_WARNING = "called a synchronizing CUDA operation"


class Readers:
    """The counters of one run on `device` ("cuda", "cuda:1" or "cpu").

    nodes       count live graph nodes at each sample (it walks all objects that the collector knows).
    clock_only  samples hold the time and nothing else; for runs whose time is what is asked.
    syncs       count host synchronisations, on CUDA.
    """

    def __init__(self, device: str, nodes: bool = False, clock_only: bool = False, syncs: bool = False) -> None:
        self._device = torch.device(device)
        self._cuda = self._device.type == "cuda"
        self._nodes = nodes
        self._clock_only = clock_only
        self._syncs = SyncCount() if syncs and self._cuda else None
        self._host = host_meter()
        self._base = 0 if self._cuda else self._host()
        self._highest = 0
        if self._cuda and not clock_only:
            torch.cuda.reset_peak_memory_stats(self._device)
        self._began = time.perf_counter()

    def sample(self) -> Sample:
        """The counters now, after the device has finished what it was asked."""
        if self._cuda:
            torch.cuda.synchronize(self._device)
        ms = (time.perf_counter() - self._began) * 1000
        if self._clock_only:
            return Sample(ms)
        host = self._host()
        nodes = live_nodes() if self._nodes else -1
        if self._cuda:
            return self._cuda_sample(ms, host, nodes)
        peak, self._highest = max(self._highest, host), host
        return Sample(ms, allocated=host - self._base, peak=peak - self._base, host=host, nodes=nodes)

    def tick(self) -> None:
        """To be called after each operation: on the CPU, sees how high allocation goes between samples."""
        if not self._cuda and not self._clock_only:
            self._highest = max(self._highest, self._host())

    def _cuda_sample(self, ms: float, host: int, nodes: int) -> Sample:
        counts = torch.cuda.memory_stats_as_nested_dict(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        allocated, reserved = counts["allocated_bytes"]["all"], counts["reserved_bytes"]["all"]
        segments = counts["segment"]["all"]  # where torch is too old to count the calls themselves
        return Sample(
            ms,
            allocated=allocated["current"],
            peak=allocated["peak"],
            reserved=reserved["current"],
            peak_reserved=reserved["peak"],
            mallocs=counts.get("num_device_alloc", segments["allocated"]),
            frees=counts.get("num_device_free", segments["freed"]),
            host=host,
            nodes=nodes,
            syncs=self._syncs.count if self._syncs else -1,
        )


def live_nodes() -> int:
    """How many autograd nodes can be reached from the tensors that are alive, accumulators of leaves included.

    A node is seen through a Python object that lives as long as somebody holds it, so all of them are held until the
    walk is over: else another node could be met at the same address.
    """
    held: list[Any] = []
    with torch._C.DisableTorchFunction():
        for tensor in _live_tensors():
            try:
                node = tensor.grad_fn
            except RuntimeError:  # a view whose base was overwritten has none to tell
                continue
            if node is not None:
                held.append(node)
    seen = {id(node): node for node in held}
    todo = list(seen.values())
    while todo:
        for node, _ in todo.pop().next_functions:
            if node is not None and id(node) not in seen:
                seen[id(node)] = node
                todo.append(node)
    return len(seen)


def _live_tensors() -> list[torch.Tensor]:
    kinds: set[type] = set()
    todo: list[type] = [torch.Tensor]
    while todo:
        kind = todo.pop()
        if kind not in kinds:
            kinds.add(kind)
            todo += type.__subclasses__(kind)
    return [value for value in gc.get_objects() if type(value) in kinds]


class SyncCount:
    """Counts how often the host has waited for the device, from torch's own warnings, which it keeps to itself.

    Code that silences all warnings must not silence the count: our filter is put back in front of every other.
    Waits that torch knows nothing of are not counted, nor is `torch.cuda.synchronize()`.
    """

    def __init__(self) -> None:
        self.count = 0
        torch.cuda.set_sync_debug_mode("warn")
        self._show: Callable[[Any], None] = warnings._showwarnmsg  # type: ignore[attr-defined]
        warnings._showwarnmsg = self._shown  # type: ignore[attr-defined]
        self._put_in_front = warnings.filterwarnings
        for name in ("filterwarnings", "simplefilter", "resetwarnings"):
            setattr(warnings, name, self._kept_in_front(getattr(warnings, name)))
        self._put_in_front("always", SYNC_WARNING)

    def _shown(self, message: Any) -> None:
        if SYNC_WARNING in str(message.message):
            self.count += 1
        else:
            self._show(message)

    def _kept_in_front(self, function: Callable[..., None]) -> Callable[..., None]:
        def then_ours(*args: Any, **kwargs: Any) -> None:
            function(*args, **kwargs)
            self._put_in_front("always", SYNC_WARNING)

        return then_ours
