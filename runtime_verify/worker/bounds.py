"""Indices brought into bounds before a device fails on them for good."""

from __future__ import annotations

from typing import Any

import torch

from runtime_verify.readings import EventKind
from runtime_verify.worker.adaptation import CLASSIFYING
from runtime_verify.worker.world import world

INDEXING = frozenset(
    {
        "embedding",
        "gather",
        "index_select",
        "cross_entropy",
        "nll_loss",
        "take_along_dim",
        "one_hot",
        "__getitem__",
        "scatter",
        "scatter_",
        "__setitem__",
    }
)
"""Operations that a device does not survive when an index is out of bounds."""


def within_bounds(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The arguments with indices brought into bounds, where they are not: a device fails for good there."""
    values = list(args)
    if name == "embedding" and len(values) > 1:
        values[0] = _bounded(values[0], values[1].shape[0]) if isinstance(values[1], torch.Tensor) else values[0]
    elif name in CLASSIFYING and isinstance(values[0], torch.Tensor) and values[0].dim() > 0:
        count = values[0].shape[1 if values[0].dim() > 1 else 0]
        ignored = kwargs.get("ignore_index", -100)
        if len(values) > 1:
            values[1] = _bounded(values[1], count, ignored)
        elif "target" in kwargs:
            kwargs["target"] = _bounded(kwargs["target"], count, ignored)
    elif name in ("gather", "index_select", "take_along_dim", "scatter", "scatter_") and len(values) > 2:
        dim = values[1]
        if isinstance(values[0], torch.Tensor) and isinstance(dim, int) and -values[0].dim() <= dim < values[0].dim():
            values[2] = _bounded(values[2], values[0].shape[dim])
    elif name == "one_hot" and len(values) > 1 and isinstance(values[1], int) and values[1] > 0:
        values[0] = _bounded(values[0], values[1])
    elif name in ("__getitem__", "__setitem__") and isinstance(values[0], torch.Tensor):
        values[1] = _bounded_key(values[0], values[1])
    return tuple(values), kwargs


def _bounded(index: Any, count: int, ignored: int | None = None) -> Any:
    if not isinstance(index, torch.Tensor) or index.is_floating_point() or index.dtype == torch.bool:
        return index
    if not index.numel() or not index.is_cuda or not count:
        return index
    least, most = (int(value) for value in index.aminmax())
    if (least >= 0 or least == ignored) and most < count:
        return index
    world().note(EventKind.REPAIR, f"indices from {least} to {most} brought into {count}")
    return index.clamp(0, count - 1)


def _bounded_key(tensor: torch.Tensor, key: Any) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(part, torch.Tensor) and part.is_cuda and part.dtype == torch.long for part in parts):
        return key
    done, axis = [], 0
    for part in parts:
        if isinstance(part, torch.Tensor) and part.dtype == torch.long and axis < tensor.dim():
            size = tensor.shape[axis]
            low, high = (int(value) for value in part.aminmax()) if part.numel() else (0, 0)
            part = part.clamp(-size, size - 1) if low < -size or high >= size else part
        axis += 0 if part is None else 1
        done.append(part)
    return tuple(done) if isinstance(key, tuple) else done[0]
