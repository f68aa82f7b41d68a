"""The life of one child: cut off from its surroundings, it runs one order and answers through its own pipe.

Called in a process just forked; does not return. May import the worker's rooms, by name and only here.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import io
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from runtime_verify.jobs import Job, Setting
from runtime_verify.processes import die_with
from runtime_verify.readings import Outcome, Record, as_json, order_from_json
from runtime_verify.wire import pack, write

FRACTION = "RUNTIME_VERIFY_DEVICE_FRACTION"  # read by `runtime_verify.worker.settle`
HOME_LIKE = ("HOME", "TMPDIR", "TMP", "TEMP", "PWD", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")

# What the driver compiles for a device that a library was not built for, shared by all runs; the driver writes there.
CUDA_CACHE = "cuda-cache"

# So long before its time is over a child prints where it is.
TRACE_S = 1.0

# Status of a child whose answer's descriptor was closed by what it ran.
UNANSWERED = 117

# Where the answer's descriptor goes: away from the low numbers that code closes or writes to by habit.
DESCRIPTORS = range(200, 900)


def live(job: Job, setting: Setting, folder: str, token: str, pipes: tuple[int, int], parent: int) -> None:
    """Run the job and end this process. `pipes` are the descriptors for the answer and for what is printed."""
    answer_to, leave = pipes[0], os._exit
    try:
        try:
            answer_to = cut_off(setting, folder, job.visible, pipes, parent)
            message = answer(job, setting, folder)
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
        except BaseException:
            message = _broken(traceback.format_exc())
        write(answer_to, _packed(token, message))
    except BaseException:
        leave(UNANSWERED)
    leave(0)


def answer(job: Job, setting: Setting, folder: str) -> dict[str, Any]:
    """What to tell the watcher: `answer` where the executor returned one, or `outcome` and `detail`."""
    try:
        walls = 0
        if job.walled:
            walls = function_named("runtime_verify.worker.walls:build")([folder, os.environ["CUDA_CACHE_PATH"]])
        if job.order is None:
            return {"answer": {**function_named("runtime_verify.worker.probe:probe")(), "walls": walls}}
        execute = function_named(setting.executor)
        order = order_from_json(job.order)
        if setting.guarded:
            function_named("runtime_verify.worker.guard:lock_down")(folder)
        faulthandler.dump_traceback_later(max(job.timeout_s - TRACE_S, job.timeout_s / 2))
        record = execute(order)
        if not isinstance(record, Record):
            return _broken(f"{setting.executor} returned {type(record).__name__}, not a Record")
        return {"answer": as_json(record)}
    except SystemExit as error:
        return {"outcome": Outcome.EXITED.value, "detail": f"sys.exit({error.code!r})"}
    except BaseException:
        return _broken(traceback.format_exc())


def _packed(token: str, message: dict[str, Any]) -> bytes:
    try:
        return pack({"token": token, **message})
    except (TypeError, ValueError):  # the record holds what is not JSON
        return pack({"token": token, **_broken(traceback.format_exc())})


def _broken(detail: str) -> dict[str, Any]:
    return {"outcome": Outcome.BROKEN.value, "detail": detail}


def function_named(dotted: str) -> Callable[..., Any]:
    """The function "module:function". Raises ImportError or AttributeError."""
    module, _, name = dotted.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def cut_off(setting: Setting, folder: str, visible: str | None, pipes: tuple[int, int], parent: int) -> int:
    """Own session, limits, folder, environment and descriptors; returns the descriptor for the answer."""
    os.setsid()
    die_with(parent)
    limit(setting)
    answer_to = redirect(*pipes)
    os.chdir(folder)
    os.environ.update(dict.fromkeys(HOME_LIKE, folder))
    os.environ["CUDA_CACHE_PATH"] = os.path.join(setting.folder, CUDA_CACHE)
    os.environ[FRACTION] = str(setting.device_fraction)
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    tempfile.tempdir = None
    sys.argv = [""]
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed(0)
    return answer_to


def limit(setting: Setting) -> None:
    """Limits of the kernel's. None on address space: CUDA reserves many times what it uses."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    cap = setting.file_bytes if hard == resource.RLIM_INFINITY else min(setting.file_bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (cap, cap))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if the kernel runs out of memory, this process is the one to end


def redirect(answer_to: int, print_to: int) -> int:
    """Standard streams away from the server's; the answer's pipe to a number that nobody guesses."""
    os.dup2(print_to, 1)
    os.dup2(print_to, 2)
    os.close(print_to)
    open_now = open_descriptors()
    free = [number for number in DESCRIPTORS if number not in open_now]
    target = random.SystemRandom().choice(free)
    try:
        os.dup2(answer_to, target, inheritable=False)
    except OSError:  # fewer descriptors allowed than that
        return answer_to
    os.close(answer_to)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(number, "w", closefd=False)), "utf-8", "backslashreplace", line_buffering=True
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    return target


def open_descriptors() -> set[int]:
    """The descriptors that this process has open."""
    listed = os.listdir("/proc/self/fd")  # with the one that the listing itself had open
    return {int(name) for name in listed if os.path.lexists(f"/proc/self/fd/{name}")}


def close_all_but(kept: Iterable[int]) -> None:
    """Close what was inherited and is not ours."""
    for number in open_descriptors() - set(kept):
        with contextlib.suppress(OSError):
            os.close(number)
