"""What the user's process and a fork server tell each other: settings, jobs, reports, as plain values.

May import nothing of ours and not torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MIB = 1024**2
GIB = 1024**3

# What children need and what is slow to import. The first must be there; the others are taken where they are.
# Optimisers import torch._dynamo at their first step, about two seconds that would fall into each run.
PRELOAD = ("torch", "numpy", "torch._dynamo")

# A child that a process of ours does not end within this time of its deadline is taken for one whose watcher is stuck.
GRACE_S = 10.0


@dataclass(frozen=True)
class Setting:
    """How a fork server runs its children.

    executor         "module:function", called with an Order in a fresh child, returns a Record.
    folder           the server's own folder; each child gets one within it, which is removed after it.
    paths            put in front of the module search path.
    preload          modules imported once, before any fork; without the first the server does not start.
    guarded          whether children are refused files outside their folder, sockets and processes.
    timeout_s        wall-clock seconds a child may take, where its job says nothing else.
    host_bytes       resident host memory that a child and all that it starts may hold.
    output_bytes     what a child may print.
    file_bytes       how large a file may become that a child writes.
    device_fraction  share of a device's memory that a child may allocate.
    """

    executor: str
    folder: str
    paths: tuple[str, ...] = ()
    preload: tuple[str, ...] = PRELOAD
    guarded: bool = True
    timeout_s: float = 120.0
    host_bytes: int = 8 * GIB
    output_bytes: int = 256 * MIB
    file_bytes: int = 2 * GIB
    device_fraction: float = 1.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Setting:
        return Setting(**{**data, "paths": tuple(data["paths"]), "preload": tuple(data["preload"])})


@dataclass(frozen=True)
class Job:
    """One child. `order` is an Order as JSON, or None to ask for what there is of torch and devices.

    visible  value of CUDA_VISIBLE_DEVICES for the child; None leaves it as it is.
    walled   whether the kernel is asked to hold the child, too.
    """

    number: int
    order: dict[str, Any] | None
    visible: str | None
    timeout_s: float
    walled: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Report:
    """What became of a job.

    answer   what the executor returned, as JSON; None where nothing whole came back.
    outcome  value of an Outcome, for where there is no answer.
    printed  the end of what the child wrote to its standard output and error.
    seconds  wall-clock time of the child.
    """

    number: int
    answer: dict[str, Any] | None
    outcome: str
    detail: str = ""
    printed: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
