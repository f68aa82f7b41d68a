"""A run that is ended from outside: by Ctrl-C, by SIGTERM, or in a worker by the end of the main process.

The command alone asks for it: whoever else has the linter in his process decides what signals mean there.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses, as shells have them: 128 and the number of the signal."""
LOOK_S = 1.0
"""Seconds after which a worker looks again whether it still works for somebody."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: whatever holds for Ctrl-C holds for it too."""


def status(stopped: KeyboardInterrupt) -> int:
    """The exit status of a run that was stopped so."""
    return TERMINATED if isinstance(stopped, Terminated) else INTERRUPTED


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises Terminated in the block, once: `timeout` sends it twice, and what was found is still to be told.

    Nothing changes where somebody has decided otherwise, or in a thread, which may not.
    """
    free = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if free:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if free:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def serve_the_main_process() -> None:
    """In a worker: the main process decides what signals mean, and without it there is nothing left to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked worker has the main process's
    threading.Thread(target=_end_with_the_main_process, daemon=True).start()


def _end_with_the_main_process() -> None:
    """Looks at two things: after a fork other workers hold the pipe open; elsewhere the parent may be a go-between."""
    from multiprocessing import parent_process

    main, parent = parent_process(), os.getppid()
    while main is not None and main.is_alive() and os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)
