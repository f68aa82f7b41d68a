"""What a run is asked for and what comes back, as plain values that go through a pipe as JSON.

Used on both sides: by the process that plans and judges, and by the child that runs the user's code. May
import nothing of ours, and not torch.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field
from typing import Any


class Lane(str, enum.Enum):
    """Memory runs may share a device; time runs need it alone and take no reading that costs time."""

    MEMORY = "memory"
    TIME = "time"


class Outcome(str, enum.Enum):
    """How a run came to its end."""

    ENDED = "ended"
    RAISED = "raised"  # an error that nothing of ours or the user's caught
    EXITED = "exited"  # sys.exit, os._exit
    OUT_OF_MEMORY = "out of memory"
    TIMEOUT = "timeout"
    HOST_MEMORY = "host memory"  # grew past the cap and was killed
    CRASHED = "crashed"  # a signal, or the process vanished
    OUTPUT = "output"  # printed more than it may
    BROKEN = "broken"  # our own failure


class EventKind(str, enum.Enum):
    """What the runtime did so that the user's code could go on."""

    STANDIN = "stand-in"  # a value that the slice does not have was stood in for
    REPAIR = "repair"  # the true operation ran, on arguments whose shape, type or device was adapted
    FALLBACK = "fallback"  # an operation failed and a stand-in took the place of its result
    STEERED = "steered"  # a condition was decided so that the flagged line is reached
    DENIED = "denied"  # an effect on the world was refused


@dataclass(frozen=True)
class Order:
    """One run.

    program    a Program of `runtime_verify.case` as JSON.
    scene      value of a Scene: what has to happen around the flagged code.
    device     "cuda", "cuda:1" or "cpu".
    scale      factor on the sizes of stand-in values; 0 for a fraction of them.
    passes     how often the flagged line should be passed at least; loops around it are cut off there.
    nodes      whether to count live graph nodes and host bytes at each reading (slow).
    decisions  what an earlier run decided, to be decided alike; None for the first.
    syncs      whether host synchronisations are counted.
    fresh      whether each step starts with an empty allocator cache.
    entry      the user's own entry point ("train.py --epochs 1", "pkg.mod:function"), "" for the target alone.
    """

    program: dict[str, Any]
    scene: str
    device: str
    lane: Lane = Lane.MEMORY
    scale: int = 1
    passes: int = 10
    nodes: bool = False
    seed: int = 0
    decisions: dict[str, Any] | None = None
    fresh: bool = False
    syncs: bool = False
    entry: str = ""
    root: str = ""


@dataclass(frozen=True)
class Sample:
    """Counters at one moment. Bytes unless said otherwise; on the CPU, allocated and peak are the host's.

    ms         milliseconds since the run began; the device has finished what was asked of it.
    allocated  device bytes in live tensors.
    peak       highest `allocated` since the sample before.
    reserved   device bytes the allocator holds.
    mallocs, frees  calls to the driver since the process began.
    host       bytes that malloc has handed out and not taken back, in this process.
    nodes      autograd nodes reachable from live tensors; -1 where not counted.
    syncs      host synchronisations since the process began; -1 where not counted.
    """

    ms: float
    allocated: int = 0
    peak: int = 0
    reserved: int = 0
    peak_reserved: int = 0
    mallocs: int = 0
    frees: int = 0
    host: int = 0
    nodes: int = -1
    syncs: int = -1


@dataclass(frozen=True)
class Event:
    """One thing the runtime did. `line` is that of the outermost function's code, `slice` whether the flagged
    statement's data depends on it."""

    kind: EventKind
    path: str
    line: int
    text: str
    on_slice: bool = False


@dataclass
class Record:
    """What one run gave.

    passes     samples each time the flagged line was about to run.
    after      samples each time the flagged statement had run, pairwise with `passes` (empty where it is gone).
    steps      samples after each whole step (the function called again, or the script ended), garbage collected.
    numbers    name -> value of losses, gradients and parameters, for comparing variants.
    grad_off   whether gradients were off each time the flagged line was about to run.
    own        the user's own classes of which real instances were made.
    printed    the end of what the run wrote to its standard output and error.
    """

    outcome: Outcome = Outcome.ENDED
    detail: str = ""
    passes: list[Sample] = field(default_factory=list)
    after: list[Sample] = field(default_factory=list)
    steps: list[Sample] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    decisions: dict[str, Any] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    diverged: bool = False
    grad_off: bool = False
    device: str = ""
    torch: str = ""
    seconds: float = 0.0
    printed: str = ""


def record_from_json(data: dict[str, Any]) -> Record:
    """The record that `as_json` and JSON made of one. Raises KeyError, TypeError or ValueError."""
    plain = dict(data)
    plain["outcome"] = Outcome(data["outcome"])
    plain["events"] = [Event(**{**event, "kind": EventKind(event["kind"])}) for event in data["events"]]
    for name in ("passes", "after", "steps"):
        plain[name] = [Sample(**sample) for sample in data[name]]
    return Record(**plain)


def order_from_json(data: dict[str, Any]) -> Order:
    """The order that `as_json` and JSON made of one. Raises KeyError, TypeError or ValueError."""
    return Order(**{**data, "lane": Lane(data["lane"])})


def as_json(value: Order | Record) -> dict[str, Any]:
    """JSON values of an order or a record."""
    return asdict(value)
