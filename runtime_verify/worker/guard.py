"""What a run may not do to the world: files outside its folder, sockets, processes, signals to others.

The code that is run is the user's own, and this keeps it from doing by mistake what it would do on purpose in
production: overwriting a checkpoint, uploading a log, starting workers. It is no wall against hostile code.
Python's audit hooks see what goes through the interpreter, and a few functions that raise no audit event are
wrapped; a library written in C that opens a file or a socket by itself is not seen here. Where the kernel has
Landlock, `runtime_verify.worker.walls` refuses those too. Reading is never refused, nor is loading a library
(torch, triton and every extension module load theirs so), and what a loaded library does is its own.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import threading
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

# Events of the standard library that are refused whatever their arguments, and how a refusal is called.
REFUSED = {
    "os.exec": "start a program",
    "os.fork": "start a process",
    "os.forkpty": "start a process",
    "os.posix_spawn": "start a program",
    "os.spawn": "start a program",
    "os.startfile": "start a program",
    "os.system": "start a program",
    "pty.spawn": "start a program",
    "subprocess.Popen": "start a program",
    "webbrowser.open": "start a program",
    "socket.bind": "bind a socket",
    "socket.connect": "connect to",
    "socket.getaddrinfo": "look up a host",
    "socket.gethostbyaddr": "look up a host",
    "socket.gethostbyname": "look up a host",
    "socket.getnameinfo": "look up a host",
    "socket.sendto": "send to",
    "socket.sethostname": "name the machine",
    "ftplib.connect": "connect to",
    "http.client.connect": "connect to",
    "imaplib.open": "connect to",
    "nntplib.connect": "connect to",
    "poplib.connect": "connect to",
    "smtplib.connect": "connect to",
    "telnetlib.Telnet.open": "connect to",
    "urllib.Request": "connect to",
    "syslog.openlog": "write to the system log",
    "syslog.syslog": "write to the system log",
}
# Of those, the argument that says what was meant; the first for all others.
TELLING = {"http.client.connect": 1, "socket.bind": 1, "socket.connect": 1, "socket.sendto": 1, "ftplib.connect": 1}


class Touched(NamedTuple):
    """A path among an event's arguments: where it stands, where its folder's descriptor stands, and whether the act
    follows a link at its end."""

    path: int
    folder: int | None = None
    follows: bool = False


# Events that change what is at a path.
CHANGES: dict[str, tuple[str, tuple[Touched, ...]]] = {
    "os.chmod": ("change", (Touched(0, 2, True),)),
    "os.chown": ("change", (Touched(0, 3, True),)),
    "os.link": (
        "link",
        (
            Touched(0, 2, True),
            Touched(1, 3),
        ),
    ),
    "os.mkdir": ("make", (Touched(0, 2),)),
    "os.remove": ("delete", (Touched(0, 1),)),
    "os.removexattr": ("change", (Touched(0, None, True),)),
    "os.rename": (
        "rename",
        (
            Touched(0, 2),
            Touched(1, 3),
        ),
    ),
    "os.rmdir": ("delete", (Touched(0, 1),)),
    "os.setxattr": ("change", (Touched(0, None, True),)),
    "os.symlink": ("make", (Touched(1, 2),)),
    "os.truncate": ("truncate", (Touched(0, None, True),)),
    "os.utime": ("change", (Touched(0, 3, True),)),
    "shutil.rmtree": ("delete", (Touched(0, 1),)),
}
# Functions that change what is at a path and raise no event: module, name, the path's place and name, the folder's.
UNHEARD_CHANGES = (
    ("os", "mkfifo", "make", 0, "path", "dir_fd"),
    ("os", "mknod", "make", 0, "path", "dir_fd"),
    ("torch._C", "PyTorchFileWriter", "open for writing", 0, "file_name", ""),
    ("torch._C.ScriptModule", "save", "open for writing", 1, "filename", ""),
    ("torch._C.ScriptFunction", "save", "open for writing", 1, "filename", ""),
)
# Functions that raise no event and are refused.
UNHEARD = (
    ("_posixsubprocess", "fork_exec", "start a program"),
    ("os", "chroot", "leave the process group"),
    ("os", "setns", "leave the process group"),
    ("os", "setpgid", "leave the process group"),
    ("os", "setpgrp", "leave the process group"),
    ("os", "setsid", "leave the process group"),
    ("os", "unshare", "leave the process group"),
    ("signal", "pidfd_send_signal", "signal a process"),
)

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# What CUDA, torch and multiprocessing write to that is no file of anybody's.
DEVICES = (
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/tty",
    "/dev/nvidia*",
    "/dev/dri/*",
    "/dev/dxg",
    "/dev/kfd",
    "/dev/shm/cuda*",
    "/dev/shm/psm_*",
    "/dev/shm/sem.*",
    "/dev/shm/torch_*",
)

# Different refusals that are remembered; code that tries a new name each time must not fill memory.
MOST = 200


class Refused(PermissionError):
    """What a run tried and may not do. A PermissionError, as code that can do without has provided for that."""


_folders: tuple[str, ...] = ()
_denials: dict[str, int] = {}
_vetted = threading.local()


def lock_down(folder: str) -> None:
    """From now on this process may change files in `folder` only, and may not reach other processes or machines.

    To be called once, after torch is imported and before any code of the user's; cannot be undone. What is refused
    raises Refused.
    """
    global _folders
    if not _folders:
        _wrap_unheard()
        sys.addaudithook(_heard)
    _folders = (*_folders, os.path.realpath(folder))


def denials() -> dict[str, int]:
    """What was refused so far, in words ("open for writing: /etc/passwd"), and how often."""
    return dict(_denials)


def refuse(what: str) -> None:
    """Count a refusal and raise Refused."""
    if what in _denials or len(_denials) < MOST:
        _denials[what] = _denials.get(what, 0) + 1
    raise Refused(errno.EACCES, f"refused while verifying: {what}")


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        _opened(*arguments)
    elif event in CHANGES:
        act, touched = CHANGES[event]
        for each in touched:
            folder = arguments[each.folder] if each.folder is not None and each.folder < len(arguments) else None
            _changed(act, arguments[each.path], folder, each.follows)
    elif event in REFUSED:
        place = TELLING.get(event, 0)
        told = f": {arguments[place]}"[:200] if place < len(arguments) else ""
        refuse(REFUSED[event] + told)
    elif event in SPECIAL:
        SPECIAL[event](*arguments)


def _opened(path: Any, mode: Any, flags: Any) -> None:
    if isinstance(flags, int) and flags & WRITING and not getattr(_vetted, "open", False):
        if not isinstance(path, int):  # an open descriptor was looked at when it was opened
            _changed("open for writing", path, None, True)


def _changed(act: str, path: Any, folder: Any, follows: bool) -> None:
    place = _place(path, folder, follows)
    if place is not None and not _ours(place):
        refuse(f"{act}: {place}")


def _place(path: Any, folder: Any, follows: bool) -> str | None:
    """Where the path really is; None where that is no place in the file system."""
    try:
        if isinstance(path, int):
            place = os.readlink(f"/proc/self/fd/{path}")
            return place if place.startswith("/") and not place.startswith("/memfd:") else None
        name = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0 and not os.path.isabs(name):
            name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
        above, last = os.path.split(name.rstrip("/") or "/")
        if follows or last in ("", ".", ".."):
            return os.path.realpath(name)
        return os.path.join(os.path.realpath(above), last)
    except (OSError, TypeError, ValueError):
        return None  # the act itself will fail


def _ours(place: str) -> bool:
    if any(place == folder or place.startswith(folder + "/") for folder in _folders):
        return True
    return place.startswith(f"/proc/{os.getpid()}/") or any(fnmatchcase(place, device) for device in DEVICES)


def _signalled(pid: int, number: int) -> None:
    if number != 0 and pid not in (0, os.getpid()):
        refuse(f"signal a process: {pid}")


def _signalled_group(group: int, number: int) -> None:
    if number != 0 and group not in (0, os.getpgrp()):
        refuse(f"signal a process group: {group}")


def _sent(_: Any, address: Any) -> None:
    if address is not None:
        refuse(f"send to: {address}")


def _database(path: Any) -> None:
    name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    if name and name != ":memory:" and "mode=memory" not in name and "mode=ro" not in name:
        _changed("open for writing", name.removeprefix("file:").partition("?")[0], None, True)


SPECIAL: dict[str, Callable[..., None]] = {
    "os.kill": _signalled,
    "os.killpg": _signalled_group,
    "socket.sendmsg": _sent,
    "sqlite3.connect": _database,
}


def _wrap_unheard() -> None:
    """Put our own in the place of functions that raise no event."""
    for module, name, act in UNHEARD:
        _replace(module, name, _refusing(f"{act}: {name}"))
    for module, name, act, place, keyword, folder in UNHEARD_CHANGES:
        _replace(module, name, _checking(act, place, keyword, folder))
    _replace("os", "open", _open_below)


def _replace(module: str, name: str, made: Callable[[Any], Any]) -> None:
    """Replace an attribute of a module, or of a class in one, where it is there and its package is loaded."""
    if module.partition(".")[0] == "torch" and "torch" not in sys.modules:
        return
    try:
        home = importlib.import_module(module)
    except ImportError:
        above, _, last = module.rpartition(".")
        home = getattr(sys.modules.get(above), last, None)  # type: ignore[assignment]
    original = getattr(home, name, None)
    if original is not None:
        setattr(home, name, made(original))


def _refusing(what: str) -> Callable[[Any], Any]:
    return lambda original: lambda *_, **__: refuse(what)


def _checking(act: str, place: int, keyword: str, folder: str) -> Callable[[Any], Any]:
    def made(original: Any) -> Any:
        def checked(*args: Any, **kwargs: Any) -> Any:
            path = args[place] if len(args) > place else kwargs.get(keyword)
            if isinstance(path, (str, bytes, os.PathLike)):
                _changed(act, path, kwargs.get(folder), True)
            return original(*args, **kwargs)

        return checked

    return made


def _open_below(original: Callable[..., int]) -> Callable[..., int]:
    """`os.open`, whose event does not tell the folder that a relative path is below."""

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is None or getattr(_vetted, "open", False):
            return original(path, flags, mode, dir_fd=dir_fd)
        if flags & WRITING:
            _changed("open for writing", path, dir_fd, True)
        _vetted.open = True
        try:
            return original(path, flags, mode, dir_fd=dir_fd)
        finally:
            _vetted.open = False

    return opened
