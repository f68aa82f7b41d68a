"""Library calls that would leave the slice: files, processes, the network, arguments; and wrappers left off."""

from __future__ import annotations

import argparse
import builtins
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed, nn
from torch.utils import data as torch_data

from runtime_verify.readings import EventKind
from runtime_verify.worker import roles
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.world import Control, world

Replacement = Callable[[tuple[Any, ...], dict[str, Any], tuple[str, ...]], Any]


class Finished(Control):
    """The user's code ended itself after the flagged line was passed."""


def _first(args: tuple[Any, ...], kwargs: dict[str, Any], hints: tuple[str, ...]) -> Any:
    """Wrappers that are left off: compilation, data parallelism."""
    if args:
        return args[0]
    return next(iter(kwargs.values()), lambda function: function)


def _nothing(args: tuple[Any, ...], kwargs: dict[str, Any], hints: tuple[str, ...]) -> Any:
    return None


def _loaded(args: tuple[Any, ...], kwargs: dict[str, Any], hints: tuple[str, ...]) -> Any:
    world().note(EventKind.STANDIN, "torch.load: a checkpoint")
    return Stand(hints[0] if hints and hints[0] else "checkpoint")


def _loader(args: tuple[Any, ...], kwargs: dict[str, Any], hints: tuple[str, ...]) -> Any:
    """A DataLoader over real tensors is real, with no workers; over anything else it is stood in for."""
    dataset = args[0] if args else kwargs.get("dataset")
    if isinstance(dataset, torch_data.TensorDataset):
        size = kwargs.get("batch_size", args[1] if len(args) > 1 else 1)
        return torch_data.DataLoader(dataset, batch_size=int(size or 1))
    world().note(EventKind.STANDIN, "DataLoader: batches")
    return Stand(hints[0] if hints and roles.ITERATED.search(hints[0]) else "data_loader")


def _exited(args: tuple[Any, ...], kwargs: dict[str, Any], hints: tuple[str, ...]) -> Any:
    if world().passed:
        raise Finished
    world().note(EventKind.STEERED, "exit() before the flagged line: passed over")
    return None


def _typed(dtype: torch.dtype) -> Replacement:
    """`torch.LongTensor(data or sizes)` and its like."""

    def make(args: tuple[Any, ...], kwargs: dict[str, Any], hints: tuple[str, ...]) -> Any:
        w = world()
        if args and all(isinstance(value, (int, Stand)) and not isinstance(value, bool) for value in args):
            if len(args) == 1 and isinstance(args[0], Stand):
                return args[0]._tml_as_tensor().to(dtype)
            return torch.zeros([int(value) for value in args], dtype=dtype, device=w.device)
        try:
            return torch.tensor(args[0] if args else [], dtype=dtype, device=w.device)
        except (TypeError, ValueError, RuntimeError):
            w.note(EventKind.STANDIN, f"data for a tensor of {dtype}")
            return w.random((w.batch, w.length), dtype)

    return make


def _given(args: tuple[Any, ...], kwargs: dict[str, Any], hints: tuple[str, ...]) -> Any:
    """`Variable(x)`: x itself, for a long time now."""
    return args[0] if args else kwargs.get("data")


def _constant(value: Any) -> Replacement:
    return lambda args, kwargs, hints: value


def _parsed(parser: argparse.ArgumentParser) -> Any:
    """The parser's defaults; what has none, and what a script would be told, is stood in for."""
    values: dict[str, Any] = {}
    for action in parser._actions:
        if action.dest in ("help", argparse.SUPPRESS):
            continue
        value = action.default
        if value in (None, argparse.SUPPRESS):
            value = next(iter(action.choices), None) if isinstance(action.choices, (list, tuple)) else None
        elif isinstance(value, str) and callable(action.type):
            try:
                value = action.type(value)
            except Exception:
                value = None
        values[action.dest] = value
    values.update(parser._defaults)
    made = Arguments()
    for name, value in values.items():
        setattr(made, name, Stand(f"args.{name}") if value is None else value)
    return made


class Arguments(argparse.Namespace):
    """A namespace that has every attribute."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = Stand(f"args.{name}")
        setattr(self, name, made)
        return made


_TYPES = {
    "FloatTensor": torch.float32,
    "DoubleTensor": torch.float64,
    "HalfTensor": torch.float16,
    "LongTensor": torch.long,
    "IntTensor": torch.int32,
    "ByteTensor": torch.uint8,
    "BoolTensor": torch.bool,
}
_TABLE: dict[int, Replacement] = {}
_KEPT: list[Any] = []  # identities stay theirs while the objects live


def _replace(owner: Any, name: str, replacement: Replacement) -> None:
    found = getattr(owner, name, None)
    if found is not None:
        _KEPT.append(found)
        _TABLE[id(found)] = replacement


def _fill() -> None:
    _replace(torch, "compile", _first)
    for name in ("script", "trace", "ignore", "unused", "export", "script_method"):
        _replace(torch.jit, name, _first)
    for owner, name in ((nn, "DataParallel"), (nn.parallel, "DistributedDataParallel"), (nn.parallel, "DataParallel")):
        _replace(owner, name, _first)
    _replace(torch.autograd, "Variable", _given)
    for kind, dtype in _TYPES.items():
        _replace(torch, kind, _typed(dtype))
        _replace(torch.cuda, kind, _typed(dtype))
    _replace(nn.SyncBatchNorm, "convert_sync_batchnorm", _first)
    _replace(torch, "load", _loaded)
    _replace(torch, "save", _nothing)
    _replace(torch_data, "DataLoader", _loader)
    for name in ("set_device", "init", "set_per_process_memory_fraction", "set_sync_debug_mode"):
        _replace(torch.cuda, name, _nothing)
    _replace(torch.cuda.memory, "_record_memory_history", _nothing)
    _replace(torch, "set_num_threads", _nothing)
    _replace(torch, "set_default_device", _nothing)
    _replace(torch, "set_default_tensor_type", _nothing)
    _replace(torch.autograd, "set_detect_anomaly", _nothing)
    _replace(time, "sleep", _nothing)
    _replace(sys, "exit", _exited)
    for name in ("exit", "quit"):
        _replace(builtins, name, _exited)
    _replace(builtins, "input", _constant(""))
    for name in ("makedirs", "mkdir", "remove", "rename", "system", "unlink", "chdir", "rmdir"):
        _replace(os, name, _nothing)
    answers = {"get_rank": 0, "get_world_size": 1, "is_initialized": False, "is_available": False}
    for name in dir(distributed):
        if (
            not name.startswith("_")
            and callable(getattr(distributed, name))
            and not isinstance(getattr(distributed, name), type)
        ):
            _replace(distributed, name, _constant(answers.get(name)))


_fill()


def replaced(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], hints: tuple[str, ...]) -> Any:
    """What stands in for a call into a library, or NotImplemented where the real one is called."""
    try:
        found = _TABLE.get(id(function))
    except TypeError:
        return NotImplemented
    if found is not None:
        return found(args, kwargs, hints)
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", "")
    if isinstance(owner, argparse.ArgumentParser) and name.startswith("parse_"):
        parsed = _parsed(owner)
        return (parsed, []) if "known" in name else parsed
    return NotImplemented
