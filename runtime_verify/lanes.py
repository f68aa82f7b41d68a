"""Which run may start on which device now: several side by side for memory, one alone for time.

Pure; knows no processes. Runs start in the order they came, but that those which want a device alone wait until no
other waits for it: emptying it for each of them would leave it idle time and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wish:
    """A run that waits. `device` is as an Order names it ("cuda" is any), `alone` whether it shares with nobody."""

    number: int
    device: str
    alone: bool


@dataclass(eq=False)
class Bay:
    """One device. `promised` is the run that it is being emptied for, `taken` whether a run has it to itself."""

    device: str
    slots: int
    running: int = 0
    taken: bool = False
    promised: int | None = None
    open: bool = True


def fits(wanted: str, device: str) -> bool:
    """Whether a run that asks for `wanted` may go to `device`: "cuda" goes to any, "cuda:1" to that one."""
    return wanted == device or device.partition(":")[0] == wanted


def place(waiting: Sequence[Wish], bays: Sequence[Bay]) -> list[tuple[int, int]]:
    """Start what can start: pairs of the run's number and the bay's index, booked in `bays`."""
    wanted = {wish.number for wish in waiting}
    for bay in bays:
        if bay.promised not in wanted or _wanted_shared(waiting, bay):
            bay.promised = None  # what shares goes first: a promise that it could not pass would hold both up
    started = []
    for wish in waiting:
        able = [bay for bay in bays if bay.open and fits(wish.device, bay.device)]
        if wish.alone:
            able = [bay for bay in able if not _wanted_shared(waiting, bay)]
        chosen = _alone(wish, able) if wish.alone else _shared(able)
        if chosen is not None:
            chosen.running += 1
            chosen.taken = wish.alone
            started.append((wish.number, bays.index(chosen)))
    return started


def _wanted_shared(waiting: Sequence[Wish], bay: Bay) -> bool:
    """Whether a run that shares waits for this bay."""
    return any(not wish.alone and fits(wish.device, bay.device) for wish in waiting)


def leave(bay: Bay) -> None:
    """A run on this bay is over."""
    bay.running -= 1
    bay.taken = False


def _alone(wish: Wish, able: Sequence[Bay]) -> Bay | None:
    """An empty bay; where there is none, the emptiest takes no more runs until this one had it."""
    mine = next((bay for bay in able if bay.promised == wish.number), None)
    free = [bay for bay in able if bay.promised is None]
    if mine is None and free:
        mine = min(free, key=lambda bay: bay.running)
        mine.promised = wish.number
    if mine is None or mine.running:
        return None
    mine.promised = None
    return mine


def _shared(able: Sequence[Bay]) -> Bay | None:
    free = [bay for bay in able if bay.promised is None and not bay.taken and bay.running < bay.slots]
    return min(free, key=lambda bay: bay.running) if free else None
