"""Ways to make the misfitting arguments of a failed operation fit, the mildest first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from runtime_verify.readings import EventKind
from runtime_verify.worker.adaptation import (
    CLASSIFYING,
    CONVOLUTIONS,
    LISTS_OF_TENSORS,
    PRODUCTS,
    SHAPING,
    SIZED,
    fitted,
    side,
)
from runtime_verify.worker.sizes import default_shape
from runtime_verify.worker.world import world

Attempt = tuple[Any, dict[str, Any]]


def attempts(name: str, args: Any, kwargs: dict[str, Any], error: Exception) -> Iterator[Attempt]:
    """Arguments adapted in one way after the other, the mildest first."""
    values = list(args)
    if name in _ALONE:
        yield from _ALONE[name](values, kwargs, str(error))
        return
    if name in SIZED:
        yield from _sized(values, kwargs)
        return
    if name == "einsum":
        yield from _summed(values)
        return
    if name == "to" and values:
        yield (values[0], world().device), {}
    if name in SHAPING and name not in LISTS_OF_TENSORS:
        yield (values[0], *(_size(value) for value in values[1:])), {key: _size(value) for key, value in kwargs.items()}
    if name in ("__getitem__", "__setitem__") and len(values) > 1:
        yield (values[0], _whole_key(values[1]), *values[2:]), kwargs
        yield from _backwards(values)
    same = _one_device(values)
    if same is not None:
        yield tuple(same), kwargs
        values = same
    yield from _for_operation(name, values, kwargs)
    yield from _alike(name, values, kwargs)


def _for_operation(name: str, values: list[Any], kwargs: dict[str, Any]) -> Iterator[Attempt]:
    """What this very operation wants."""
    if name == "linear":
        yield tuple(_last_axis(values, values[1].shape[-1])), kwargs
    elif name in CONVOLUTIONS:
        yield tuple(_pictures(name, values, kwargs)), kwargs
    elif name == "embedding" and isinstance(values[0], torch.Tensor):
        yield (values[0].long().abs() % values[1].shape[0], *values[1:]), kwargs
    elif name in CLASSIFYING:
        yield from _classes(values, kwargs)
    elif name == "layer_norm":
        yield tuple(_last_axis(values, list(values[1])[-1])), kwargs
        rows = list(values[0].shape[: -len(values[1])]) or [world().batch]
        yield (fitted(values[0].float(), (*rows, *values[1])), *values[1:]), kwargs
    elif "_pool" in name:
        yield from _pooled(values, kwargs)
    elif name == "__setitem__" and len(values) > 2 and isinstance(values[2], torch.Tensor):
        yield from _put(values)
    elif name in ("batch_norm", "instance_norm") and isinstance(values[1], torch.Tensor):
        yield tuple(_axis(values, 1, values[1].shape[0])), kwargs
    elif name in LISTS_OF_TENSORS:
        yield from _joined(name, values, kwargs)
    elif name in ("gather", "index_select", "take_along_dim", "scatter", "scatter_"):
        yield from _indexed(name, values, kwargs)
    elif name in ("interpolate", "upsample") and isinstance(values[0], torch.Tensor):
        yield from _resized(values, kwargs)
    elif name in ("view", "reshape"):
        yield from _viewed(values, kwargs)
    elif (name in PRODUCTS or name == "addmm") and len(values) > 1:
        yield from _products(name, values, kwargs)


def _on_host(values: list[Any], kwargs: dict[str, Any], text: str) -> Iterator[Attempt]:
    if values and isinstance(values[0], torch.Tensor):
        yield (values[0].detach().cpu(), *values[1:]), kwargs


def _one_number(values: list[Any], kwargs: dict[str, Any], text: str) -> Iterator[Attempt]:
    if values and isinstance(values[0], torch.Tensor) and values[0].numel() != 1:
        whole = values[0].detach().float()
        yield (whole.mean() if whole.numel() else whole.sum(), *values[1:]), kwargs


def _one_index(values: list[Any], kwargs: dict[str, Any], text: str) -> Iterator[Attempt]:
    if values and isinstance(values[0], torch.Tensor):
        yield (_size_tensor(values[0]),), kwargs


def _sized(values: list[Any], kwargs: dict[str, Any]) -> Iterator[Attempt]:
    sizes = [_size(value) for value in values]
    kwargs = {key: value if key in ("device", "dtype") else _size(value) for key, value in kwargs.items()}
    yield tuple(sizes), kwargs
    whole = tuple(size for size in sizes if isinstance(size, int))
    yield (whole,), {key: value for key, value in kwargs.items() if key in ("device", "dtype")}


def _summed(values: list[Any]) -> Iterator[Attempt]:
    """`einsum` of operands in which each letter has one size: the largest that any of them gives it."""
    operands = [value for value in values[1:] if isinstance(value, torch.Tensor)]
    letters = str(values[0]).replace(" ", "").partition("->")[0].split(",")
    if len(operands) != len(letters) or any("." in one for one in letters):
        return
    sizes: dict[str, int] = {}
    for names, operand in zip(letters, operands, strict=True):
        for place, letter in enumerate(names):
            size = operand.shape[place] if len(names) == operand.dim() else 1
            sizes[letter] = max(sizes.get(letter, 1), size)
    shapes = [tuple(sizes[letter] for letter in names) for names in letters]
    yield (values[0], *(fitted(one.float(), shape) for one, shape in zip(operands, shapes, strict=True))), {}


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


def _pooled(values: list[Any], kwargs: dict[str, Any]) -> Iterator[Attempt]:
    """A picture that is no smaller than what it is pooled by."""
    first = values[0]
    size = values[1] if len(values) > 1 else kwargs.get("kernel_size", 1)
    if isinstance(first, torch.Tensor) and first.dim() > 2:
        count = 1 if first.dim() == 3 else first.dim() - 2
        least = list(size) if isinstance(size, (list, tuple)) else [size] * count
        sides = [max(one, int(two)) for one, two in zip(first.shape[-count:], least, strict=False)]
        yield (fitted(first.float(), (*first.shape[:-count], *sides)), *values[1:]), kwargs


def _put(values: list[Any]) -> Iterator[Attempt]:
    """What is assigned, in the shape of its place."""
    with contextlib.suppress(Exception):
        place = values[0][values[1]]
        yield (*values[:2], fitted(values[2].to(place.dtype), tuple(place.shape))), {}


def _indexed(name: str, values: list[Any], kwargs: dict[str, Any]) -> Iterator[Attempt]:
    """Whole numbers within bounds for an index, of the shape that the values have along the other dimensions."""
    given = [*values, *(kwargs[key] for key in ("dim", "index")[max(0, len(values) - 1) :] if key in kwargs)]
    rest = {key: value for key, value in kwargs.items() if key not in ("dim", "index")}
    if len(given) < 3 or not all(isinstance(given[place], torch.Tensor) for place in (0, 2)):
        return
    first, dim, index = given[:3]
    most = max(1, min(first.shape, default=1))
    whole = index.long().abs() % most
    yield (first, dim, whole, *given[3:]), rest
    if name in ("gather", "take_along_dim") and isinstance(dim, int) and first.dim() and index.dim():
        shape = list(first.shape)
        shape[dim] = index.shape[dim] if index.dim() == first.dim() else 1
        yield (first, dim, fitted(whole.float(), tuple(shape)).long() % most), rest


def _resized(values: list[Any], kwargs: dict[str, Any]) -> Iterator[Attempt]:
    """A picture's new size, with as many numbers as it has sides."""
    size = values[1] if len(values) > 1 else kwargs.get("size")
    sides = list(values[0].shape[2:])
    if isinstance(size, (list, tuple)) and sides:
        fitting = (sides + [_size(one) for one in size])[-len(sides) :]
        yield (values[0], fitting, *values[2:]), {key: value for key, value in kwargs.items() if key != "size"}


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


LARGEST_SIZE = 4096
"""Of a dimension whose size is computed from made-up data."""


def _size_tensor(value: torch.Tensor) -> torch.Tensor:
    whole = value.detach().float()
    return (whole.mean() if whole.numel() else whole.sum()).clamp(0, LARGEST_SIZE).long()


def _size(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return max(1, int(_size_tensor(value)))
    if isinstance(value, float):
        return max(1, int(value))
    if isinstance(value, (list, tuple)):
        return tuple(_size(part) for part in value)
    return value


def _whole_key(key: Any) -> Any:
    """A subscript with the bounds of its slices made whole numbers."""
    if isinstance(key, tuple):
        return tuple(_whole_key(part) for part in key)
    if isinstance(key, slice):
        return slice(*(_size(part) if part is not None else None for part in (key.start, key.stop, key.step)))
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


def _last_axis(values: list[Any], size: int) -> list[Any]:
    first = values[0]
    shape = (*first.shape[:-1], size) if first.dim() else (size,)
    return [fitted(first.float(), shape), *values[1:]]


def _axis(values: list[Any], axis: int, size: int) -> list[Any]:
    first = values[0]
    shape = list(first.shape) if first.dim() > axis else [world().batch, size]
    shape[axis] = size
    return [fitted(first.float(), tuple(shape)), *values[1:]]


def _pictures(name: str, values: list[Any], kwargs: dict[str, Any]) -> list[Any]:
    dimensions = CONVOLUTIONS[name]
    weight = values[1]
    groups = kwargs.get("groups", values[6] if len(values) > 6 else 1)
    channels = weight.shape[0] if "transpose" in name else weight.shape[1] * groups
    first = values[0]
    least = max(weight.shape[2:])
    sizes = list(first.shape[2:]) if first.dim() == dimensions + 2 else [side(dimensions)] * dimensions
    rows = first.shape[0] if first.dim() == dimensions + 2 else world().batch
    return [fitted(first.to(weight.dtype), (rows, channels, *[max(s, least) for s in sizes])), *values[1:]]


def _classes(values: list[Any], kwargs: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    logits = values[0]
    target = values[1] if len(values) > 1 else kwargs.get("target")
    if not isinstance(logits, torch.Tensor):
        return
    if logits.dim() < 2:
        logits = fitted(logits.float(), (world().rows, 8))
    shape = (logits.shape[0], *logits.shape[2:])
    count = max(1, logits.shape[1])
    if isinstance(target, torch.Tensor) and target.numel():
        index = fitted(target.detach().float(), shape).abs().long() % count
    else:
        index = torch.zeros(shape, dtype=torch.long, device=logits.device)
    keyed = {key: value for key, value in kwargs.items() if key not in ("target", "weight")}
    yield (logits.float(), index), keyed


def _joined(name: str, values: list[Any], kwargs: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    parts = [part for part in values[0] if isinstance(part, torch.Tensor)]
    if not parts:
        return
    device = world().device
    moved_parts = [part.to(device) for part in parts]
    yield (moved_parts, *values[1:]), kwargs
    axis = values[1] if len(values) > 1 else kwargs.get("dim", kwargs.get("axis", 0))
    model = max(moved_parts, key=lambda part: part.dim())
    if model.dim() == 0:
        model = model.reshape(1)
    shape = tuple(model.shape)
    place = axis if isinstance(axis, int) and -len(shape) <= axis < len(shape) else 0
    like = [fitted(part.to(model.dtype), shape) for part in moved_parts]
    yield (like, place), {}


def _viewed(values: list[Any], kwargs: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    first, sizes = values[0], values[1:]
    if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)):
        sizes = list(sizes[0])
    yield (first.contiguous(), *values[1:]), kwargs
    if all(isinstance(size, int) for size in sizes):
        known = 1
        for size in sizes:
            known *= size if size > 0 else 1
        free = max(1, first.numel() // max(1, known))
        shape = tuple(size if size >= 0 else free for size in sizes)
        yield (fitted(first, shape), *shape), {}


def _products(name: str, values: list[Any], kwargs: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    one, other = values[0], values[1]
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return
    if name == "bmm":
        many, high, inner = (1, 1, 1, *one.shape)[-3:]
        factors = fitted(one.float(), (many, high, inner)), fitted(other.float(), (many, inner, (1, *other.shape)[-1]))
        yield factors, {}
        return
    if one.dim() < 2:
        one = fitted(one.float(), (max(1, one.numel()), other.shape[-2] if other.dim() > 1 else 1))
    if other.dim() < 2:
        other = fitted(other.float(), (one.shape[-1], max(1, other.numel())))
    batch = one.shape[:-2]
    yield (one.float(), fitted(other.float(), (*batch, one.shape[-1], other.shape[-1])), *values[2:]), kwargs


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
    "item": _one_number,
    "__float__": _one_number,
    "__int__": _one_number,
    "__bool__": _one_number,
}
"""Operations that are adapted in one way only."""
