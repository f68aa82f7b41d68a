"""Out-of-memory errors on purpose, raised deep inside the work that code recovers from."""

from __future__ import annotations

import sys
from typing import Any

from runtime_verify.worker.shapes import OutOfMemory
from runtime_verify.worker.world import world

EXHAUSTED = "CUDA out of memory. Tried to allocate 2.00 GiB (raised to see the recovery)"


class Recovery:
    """Out-of-memory errors on purpose, for code that recovers from them.

    The first two times through nothing fails: what is made once is made, then the operations on tensors at the deepest
    level of calls are counted. From then on the error is raised at the last of these, every other time: a retry goes
    through.
    """

    DRY = 2

    def __init__(self) -> None:
        self.inside = False
        self._times = 0
        self._depth = self._count = 0
        self._at = (0, 0)

    @property
    def _failing(self) -> bool:
        return self._times > self.DRY and (self._times - self.DRY) % 2 == 1

    def operation(self) -> None:
        """An operation on tensors is about to run."""
        if not self.inside:
            return
        depth = _stack_depth()
        if self._times <= self.DRY:
            if depth > self._depth:
                self._depth, self._count = depth, 0
            self._count += depth == self._depth
            self._at = (self._depth, self._count)
        elif self._failing and depth >= self._at[0]:
            self._count += 1
            if self._count == self._at[1]:
                raise OutOfMemory(EXHAUSTED)

    def __enter__(self) -> None:
        self.inside, self._times = True, self._times + 1
        self._depth = self._count = 0
        world().recovering = True

    def __exit__(self, kind: Any, *_: object) -> None:
        self.inside = world().recovering = False
        if kind is None and self._failing and self._count < max(1, self._at[1]):
            raise OutOfMemory(EXHAUSTED)


def _stack_depth() -> int:
    depth, frame = 0, sys._getframe(1)
    while frame is not None:
        depth += 1
        frame = frame.f_back  # type: ignore[assignment]
    return depth
