"""Executors that the tests inject into fork servers: what a child does in place of running a user's code.

`snippet` runs the text of the order's program. No torch is needed, so that these run where there is none.
"""

from __future__ import annotations

import os
import time
from typing import Any

from runtime_verify.readings import Lane, Order, Outcome, Record
from runtime_verify.worker.guard import denials


def order(text: str = "", lane: Lane = Lane.MEMORY, device: str = "cpu", **more: Any) -> Order:
    """An order for `snippet`."""
    return Order(program={"text": text}, scene="steps", device=device, lane=lane, **more)


def snippet(wanted: Order) -> Record:
    """Run the text; what it leaves in `numbers` and `own` comes back."""
    record = Record()
    names: dict[str, Any] = {"numbers": record.numbers, "own": record.own, "order": wanted}
    try:
        exec(wanted.program["text"], names)
    except Exception as error:
        record.outcome = Outcome.RAISED
        record.detail = f"{type(error).__name__}: {error}"
    return record


def span(wanted: Order) -> Record:
    """Take a tenth of a second; say when it was and in which process."""
    began = time.monotonic()
    time.sleep(float(wanted.program.get("seconds", 0.1)))
    return Record(numbers={"began": began, "ended": time.monotonic(), "pid": os.getpid()})


def forgetful(_: Order) -> Record | None:
    """An executor that returns nothing."""
    return None


def faulty(_: Order) -> Record:
    """An executor with a fault."""
    return Record(seconds=1 / 0)


def guarded(wanted: Order) -> Record:
    """As `snippet`; `numbers` are then what was refused, and how often."""
    record = snippet(wanted)
    record.numbers = {text: float(count) for text, count in denials().items()}
    return record


def opaque(_: Order) -> Record:
    """An executor whose record cannot be written down."""
    return Record(decisions={"what": object})
