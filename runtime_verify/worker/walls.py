"""Walls of the kernel's around a run, where it has them: Landlock, which also holds what is written in C.

Refused from then on, to this process and all it starts: changing files but below the given folders and on the
devices that CUDA needs, TCP connections, signals to processes outside. May import nothing of ours.
"""

from __future__ import annotations

import ctypes
import glob
import os
import struct
from collections.abc import Sequence

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
VERSION_FLAG = 1
PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38

# Rights to change files, by the version of Landlock that knows them: bits of LANDLOCK_ACCESS_FS_*.
WRITE_FILE = 1 << 1
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER = 1 << 13  # version 2
TRUNCATE = 1 << 14  # version 3
CHANGES = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM
MAKES_DEVICES = MAKE_CHAR | MAKE_BLOCK
TCP = 1 | 2  # version 4: bind, connect
SIGNALS = 2  # version 6: LANDLOCK_SCOPE_SIGNAL
ON_FILES = WRITE_FILE | TRUNCATE

# Devices and places in which a driver of NVIDIA's, torch and multiprocessing write.
NEEDED = (
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/tty",
    "/dev/shm",
    "/dev/nvidia*",
    "/dev/dri",
    "/dev/dxg",
    "/dev/kfd",
    "/proc/self",
    "/tmp/nvidia-mps",
)


def build(folders: Sequence[str]) -> int:
    """Put the walls up around this thread and those it starts. Returns the version of Landlock, 0 where there is none.

    To be called while the process has one thread.
    """
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)
    if version < 1:
        return 0
    files = CHANGES | MAKES_DEVICES | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=QQQ", files, TCP if version >= 4 else 0, SIGNALS if version >= 6 else 0)
    size = {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}.get(version, 24)
    rules = library.syscall(CREATE_RULESET, ctypes.c_char_p(attributes), ctypes.c_size_t(size), 0)
    if rules < 0:
        return 0
    try:
        for folder in (*folders, *_needed()):
            _allow(library, rules, folder, files & ~MAKES_DEVICES)
        if library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or library.syscall(RESTRICT_SELF, rules, 0):
            return 0
    finally:
        os.close(rules)
    return int(version)


def _needed() -> list[str]:
    mps = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "")
    return [place for pattern in (*NEEDED, mps) if pattern for place in glob.glob(pattern)]


def _allow(library: ctypes.CDLL, rules: int, place: str, rights: int) -> None:
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(place):
            rights &= ON_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        library.syscall(ADD_RULE, rules, PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(descriptor)
