"""Host memory of this process: what malloc has handed out, or, where that cannot be asked, what is resident."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
TRIAL = 3 * 1024**2


class Wide(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33 and later."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


class Narrow(ctypes.Structure):
    """`struct mallinfo` of older ones, whose counts wrap at 4 GiB."""

    _fields_ = [(name, ctypes.c_uint) for name in FIELDS]


def host_meter() -> Callable[[], int]:
    """A function that gives host bytes in use.

    glibc adds up all its arenas, and `hblkhd` is what it mapped singly; neither counts what Python's own allocator
    holds for small objects. Another malloc in its place (jemalloc) is noticed by a trial.
    """
    library = ctypes.CDLL(None)
    for name, layout in (("mallinfo2", Wide), ("mallinfo", Narrow)):
        ask = getattr(library, name, None)
        if ask is None:
            continue
        ask.restype, ask.argtypes = layout, ()
        meter = _exact(ask) if layout is Wide else _unwrapped(ask)
        if _sees_allocation(meter, library):
            return meter
    return resident


def _exact(ask: Callable[[], Wide]) -> Callable[[], int]:
    def meter() -> int:
        info = ask()
        return int(info.uordblks + info.hblkhd)

    return meter


def _unwrapped(ask: Callable[[], Narrow]) -> Callable[[], int]:
    """Takes a step of more than 2 GiB between two readings for one of the other direction."""
    last = 0

    def meter() -> int:
        nonlocal last
        info = ask()
        step = int(info.uordblks + info.hblkhd - last) % 2**32
        last += step if step < 2**31 else step - 2**32
        return last

    return meter


def _sees_allocation(meter: Callable[[], int], library: ctypes.CDLL) -> bool:
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    library.free.restype, library.free.argtypes = None, (ctypes.c_void_p,)
    before = meter()
    block = library.malloc(TRIAL)
    seen = meter() - before
    library.free(block)
    return seen >= TRIAL


def resident() -> int:
    """Resident bytes: coarse, but everywhere on Linux."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
