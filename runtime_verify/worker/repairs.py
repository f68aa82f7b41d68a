"""Ways to make the misfitting arguments of a failed operation fit, the mildest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from runtime_verify.readings import EventKind
from runtime_verify.worker.adaptation import (
    LISTS_OF_TENSORS,
    SHAPING,
    SIZED,
    fitted,
)
from runtime_verify.worker.misfits import Attempt, for_operation
from runtime_verify.worker.sizes import default_shape, size_in, whole_size
from runtime_verify.worker.world import world


def attempts(name: str, args: Any, kwargs: dict[str, Any], error: Exception) -> Iterator[Attempt]:
    """Arguments adapted in one way after the other, the mildest first."""
    values = list(args)
    if name in _ALONE:
        yield from _ALONE[name](values, kwargs, str(error))
        return
    if name in SIZED:
        yield from _sized(values, kwargs)
        return
    if name == "to" and values:
        yield (values[0], world().device), {}
    if name in SHAPING and name not in LISTS_OF_TENSORS:
        yield (
            (values[0], *(whole_size(value) for value in values[1:])),
            {key: whole_size(value) for key, value in kwargs.items()},
        )
    if name in ("__getitem__", "__setitem__") and len(values) > 1:
        yield (values[0], _whole_key(values[1]), *values[2:]), kwargs
        yield from _backwards(values)
    same = _one_device(values)
    if same is not None:
        yield tuple(same), kwargs
        values = same
    yield from for_operation(name, values, kwargs)
    yield from _alike(name, values, kwargs)


def _on_host(values: list[Any], kwargs: dict[str, Any], text: str) -> Iterator[Attempt]:
    if values and isinstance(values[0], torch.Tensor):
        yield (values[0].detach().cpu(), *values[1:]), kwargs


def _one_number(values: list[Any], kwargs: dict[str, Any], text: str) -> Iterator[Attempt]:
    if values and isinstance(values[0], torch.Tensor) and values[0].numel() != 1:
        whole = values[0].detach().float()
        yield (whole.mean() if whole.numel() else whole.sum(), *values[1:]), kwargs


def _one_index(values: list[Any], kwargs: dict[str, Any], text: str) -> Iterator[Attempt]:
    if values and isinstance(values[0], torch.Tensor):
        yield (size_in(values[0]),), kwargs


def _sized(values: list[Any], kwargs: dict[str, Any]) -> Iterator[Attempt]:
    sizes = [whole_size(value) for value in values]
    kwargs = {key: value if key in ("device", "dtype") else whole_size(value) for key, value in kwargs.items()}
    yield tuple(sizes), kwargs
    whole = tuple(size for size in sizes if isinstance(size, int))
    yield (whole,), {key: value for key, value in kwargs.items() if key in ("device", "dtype")}


def _backwards(values: list[Any]) -> Iterator[Attempt]:
    """`array[:, ::-1]`, which tensors do not know."""
    key = values[1] if isinstance(values[1], tuple) else (values[1],)
    turned = [
        place
        for place, part in enumerate(key)
        if isinstance(part, slice) and isinstance(part.step, int) and part.step < 0
    ]
    if turned and turned[-1] < values[0].dim():
        forth = tuple(slice(None, None, -part.step) if place in turned else part for place, part in enumerate(key))
        yield (values[0].flip(turned), forth, *values[2:]), {}


def _gradients(values: list[Any], kwargs: dict[str, Any], text: str) -> Iterator[Attempt]:
    """Gradients of outputs that depend on what they are asked of."""
    outputs, inputs = (list(value) if isinstance(value, (list, tuple)) else [value] for value in values[:2])
    sources = [
        one if one.requires_grad else one.detach().float().requires_grad_()
        for one in inputs
        if isinstance(one, torch.Tensor)
    ]
    parts = [one.float().pow(2).sum() for one in [*outputs, *sources] if isinstance(one, torch.Tensor)]
    if sources and parts:
        kept: dict[str, Any] = {key: kwargs[key] for key in ("retain_graph", "create_graph") if key in kwargs}
        yield (sum(parts[1:], parts[0]), tuple(sources)), kept


def whole_sizes(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A tensor whose sizes are computed from data; None where that is not what is wrong."""
    if not any(isinstance(value, (torch.Tensor, float, tuple, list)) for value in args):
        return None
    for adapted, keyed in _sized(list(args), dict(kwargs)):
        try:
            made = function(*adapted, **keyed)
        except (TypeError, RuntimeError):
            continue
        world().note(EventKind.REPAIR, f"{function.__name__}: sizes made whole numbers")
        return made
    return None


def _whole_key(key: Any) -> Any:
    """A subscript with the bounds of its slices made whole numbers."""
    if isinstance(key, tuple):
        return tuple(_whole_key(part) for part in key)
    if isinstance(key, slice):
        return slice(*(whole_size(part) if part is not None else None for part in (key.start, key.stop, key.step)))
    return key.long() if isinstance(key, torch.Tensor) and key.is_floating_point() else key


def _backward(values: list[Any], kwargs: dict[str, Any], text: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    loss = values[0]
    if "scalar outputs" in text:
        yield (loss.float().mean(), *values[1:]), kwargs


def _one_device(values: list[Any]) -> list[Any] | None:
    """The arguments on one device, where they are on several."""
    devices = {value.device for value in values if isinstance(value, torch.Tensor)}
    if len(devices) < 2:
        return None
    return [value.to(world().device) if isinstance(value, torch.Tensor) else value for value in values]


def _alike(name: str, values: list[Any], kwargs: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """All tensors in the shape, and the kind of number, of the first; an in-place operation keeps its own."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    if not tensors:
        return
    floats = [
        value.float() if isinstance(value, torch.Tensor) and not value.is_floating_point() else value
        for value in values
    ]
    if any(isinstance(value, torch.Tensor) and not value.is_floating_point() for value in values):
        yield tuple(floats), kwargs
    if len(tensors) > 1:
        shape = tuple(tensors[0].shape)
        yield tuple(fitted(value, shape) if isinstance(value, torch.Tensor) else value for value in values), kwargs
        shape = tuple(max(tensors, key=lambda tensor: tensor.numel()).shape)
        yield tuple(fitted(value, shape) if isinstance(value, torch.Tensor) else value for value in floats), kwargs
    first = values[0]
    if isinstance(first, torch.Tensor) and (len(values) == 1 or not isinstance(values[-1], torch.Tensor)):
        for depth in (2, 3, 4, 1):
            if first.dim() != depth:
                yield (fitted(first, default_shape("", depth)), *values[1:]), kwargs


_ALONE = {
    "backward": _backward,
    "grad": _gradients,
    "__array__": _on_host,
    "numpy": _on_host,
    "__index__": _one_index,
    "__format__": _one_number,
    "item": _one_number,
    "__float__": _one_number,
    "__int__": _one_number,
    "__bool__": _one_number,
}
"""Operations that are adapted in one way only."""
