"""Indices and probabilities brought into bounds before a device fails on them for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from runtime_verify.readings import EventKind
from runtime_verify.worker.world import world

PARAMETERS: dict[str, tuple[str, ...]] = {
    "embedding": ("input", "weight"),
    "cross_entropy": ("input", "target", "weight", "size_average", "ignore_index"),
    "nll_loss": ("input", "target", "weight", "size_average", "ignore_index"),
    "one_hot": ("tensor", "num_classes"),
    "__getitem__": ("input", "key"),
    "__setitem__": ("input", "key", "value"),
    "take": ("input", "index"),
    "take_along_dim": ("input", "index", "dim"),
    **dict.fromkeys(
        ("gather", "index_select", "index_add", "index_add_", "index_copy", "index_copy_", "index_fill", "index_fill_"),
        ("input", "dim", "index"),
    ),
    **dict.fromkeys(
        ("scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_"),
        ("input", "dim", "index"),
    ),
    **dict.fromkeys(("multinomial", "bernoulli", "binary_cross_entropy"), ("input",)),
}
"""Operations that a device does not survive when a value is out of bounds, and the names of their first arguments."""

Arguments = dict[str, Any]


def within_bounds(name: str, args: Any, kwargs: Arguments) -> tuple[Any, Arguments]:
    """The arguments of one of these operations with values brought into bounds, where they are not."""
    names = PARAMETERS[name]
    given = {**dict(zip(names, args, strict=False)), **{key: value for key, value in kwargs.items() if key in names}}
    if not isinstance(given.get("input", given.get("tensor")), torch.Tensor):
        return args, kwargs
    bound = _BOUNDS.get(name, _along)(given)
    values = [bound.get(key, value) for key, value in zip(names, args, strict=False)] + list(args[len(names) :])
    return tuple(values), {key: bound.get(key, value) for key, value in kwargs.items()}


def _embedded(given: Arguments) -> Arguments:
    weight = given.get("weight")
    return {"input": _bounded(given["input"], weight.shape[0])} if isinstance(weight, torch.Tensor) else {}


def _classes(given: Arguments) -> Arguments:
    logits = given["input"]
    if not logits.dim():
        return {}
    count = logits.shape[1 if logits.dim() > 1 else 0]
    return {"target": _bounded(given.get("target"), count, given.get("ignore_index", -100))}


def _one_hot(given: Arguments) -> Arguments:
    count = given.get("num_classes")
    return {"tensor": _bounded(given["tensor"], count)} if isinstance(count, int) and count > 0 else {}


def _along(given: Arguments) -> Arguments:
    """`index` along `dim`; into the whole where there is none."""
    tensor, dim = given["input"], given.get("dim")
    if not isinstance(dim, int):
        return {"index": _bounded(given.get("index"), tensor.numel())}
    if not -tensor.dim() <= dim < tensor.dim():
        return {}
    return {"index": _bounded(given.get("index"), tensor.shape[dim])}


def _probabilities(given: Arguments) -> Arguments:
    """Shares that can be drawn from: finite, not below 0, not all 0."""
    shares = given["input"]
    if not _on_device(shares) or not shares.is_floating_point():
        return {}
    least, total = (float(value) for value in (shares.min(), shares.sum()))
    if least >= 0 and 0 < total < float("inf"):
        return {}
    world().note(EventKind.REPAIR, f"shares from {least:.3g}, {total:.3g} together, made ones to draw from")
    return {"input": shares.nan_to_num(0.0, 1.0, 0.0).clamp(0.0, 1.0) + 1e-6}


def _chances(given: Arguments) -> Arguments:
    """Each between 0 and 1."""
    chances = given["input"]
    if not _on_device(chances) or not chances.is_floating_point():
        return {}
    least, most = (float(value) for value in chances.aminmax())
    if least >= 0 and most <= 1:
        return {}
    world().note(EventKind.REPAIR, f"chances from {least:.3g} to {most:.3g} brought between 0 and 1")
    return {"input": chances.nan_to_num(0.5).clamp(0.0, 1.0)}


def _key(given: Arguments) -> Arguments:
    """The parts of a subscript that are tensors."""
    tensor, key = given["input"], given.get("key")
    parts = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(part, torch.Tensor) and part.is_cuda and _whole(part) for part in parts):
        return {}
    done, axis = [], 0
    after = sum(_axes(part) for part in parts)
    for part in parts:
        if part is Ellipsis:
            axis += max(0, tensor.dim() - after)
        elif isinstance(part, torch.Tensor) and _whole(part) and axis < tensor.dim():
            size = tensor.shape[axis]
            low, high = (int(value) for value in part.aminmax()) if part.numel() else (0, 0)
            part = part.clamp(-size, size - 1) if (low < -size or high >= size) and size else part
        axis += _axes(part)
        done.append(part)
    return {"key": tuple(done) if isinstance(key, tuple) else done[0]}


def _axes(part: Any) -> int:
    """How many dimensions a part of a subscript takes."""
    if part is None or part is Ellipsis:
        return 0
    return part.dim() if isinstance(part, torch.Tensor) and part.dtype in (torch.bool, torch.uint8) else 1


def _whole(tensor: torch.Tensor) -> bool:
    return tensor.dtype in (torch.long, torch.int32)


def _on_device(tensor: torch.Tensor) -> bool:
    return tensor.is_cuda and bool(tensor.numel())


def _bounded(index: Any, count: int, ignored: int | None = None) -> Any:
    if not isinstance(index, torch.Tensor) or not _whole(index) or not _on_device(index) or not count:
        return index
    least, most = (int(value) for value in index.aminmax())
    if (least >= 0 or least == ignored) and most < count:
        return index
    world().note(EventKind.REPAIR, f"indices from {least} to {most} brought into {count}")
    return index.clamp(0, count - 1)


_BOUNDS: dict[str, Callable[[Arguments], Arguments]] = {
    "embedding": _embedded,
    "cross_entropy": _classes,
    "nll_loss": _classes,
    "one_hot": _one_hot,
    "__getitem__": _key,
    "__setitem__": _key,
    "multinomial": _probabilities,
    "bernoulli": _chances,
    "binary_cross_entropy": _chances,
}
