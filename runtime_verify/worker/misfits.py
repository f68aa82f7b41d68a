"""What single operations want of their arguments, and arguments that have it, the mildest first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from runtime_verify.worker.adaptation import CLASSIFYING, CONVOLUTIONS, LISTS_OF_TENSORS, PRODUCTS, fitted, side
from runtime_verify.worker.sizes import whole_size
from runtime_verify.worker.world import world

Keywords = dict[str, Any]
Attempt = tuple[Any, Keywords]
Misfit = Callable[[str, list[Any], Keywords], Iterator[Attempt]]


def for_operation(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    """Arguments that fit this very operation."""
    misfit = _MISFITS.get("pool" if "_pool" in name else name)
    if misfit is None:
        return
    # What is given may be anything, also nothing that could be fitted.
    with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError):
        yield from misfit(name, values, kwargs)


def _linear(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    yield tuple(_last_axis(values, values[1].shape[-1])), kwargs


def _convolution(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    given = [*values, kwargs["weight"]] if len(values) < 2 else values
    rest = {key: value for key, value in kwargs.items() if key != "weight"}
    yield tuple(_pictures(name, given, rest)), rest


def _embedding(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    yield (values[0].long().abs() % values[1].shape[0], *values[1:]), kwargs


def _layer_norm(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    yield tuple(_last_axis(values, list(values[1])[-1])), kwargs
    rows = list(values[0].shape[: -len(values[1])]) or [world().batch]
    yield (fitted(values[0].float(), (*rows, *values[1])), *values[1:]), kwargs


def _normalised(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    yield tuple(_axis(values, 1, values[1].shape[0])), kwargs


def _bmm(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    yield tuple(_batches(values[0], values[1])), {}


def _baddbmm(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    factors = _batches(values[1], values[2])
    shape = (*factors[0].shape[:2], factors[1].shape[-1])
    yield (fitted(values[0].float(), shape), *factors), kwargs


def _pooled(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    """A picture that is no smaller than what it is pooled by."""
    first = values[0]
    size = values[1] if len(values) > 1 else kwargs.get("kernel_size", 1)
    if isinstance(first, torch.Tensor) and first.dim() > 2:
        count = 1 if first.dim() == 3 else first.dim() - 2
        least = list(size) if isinstance(size, (list, tuple)) else [size] * count
        sides = [max(one, int(two)) for one, two in zip(first.shape[-count:], least, strict=False)]
        yield (fitted(first.float(), (*first.shape[:-count], *sides)), *values[1:]), kwargs


def _put(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    """What is assigned, in the shape of its place."""
    with contextlib.suppress(Exception):
        place = values[0][values[1]]
        yield (*values[:2], fitted(values[2].to(place.dtype), tuple(place.shape))), {}


def _indexed(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
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


def _resized(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    """A picture's new size, with as many numbers as it has sides."""
    size = values[1] if len(values) > 1 else kwargs.get("size")
    sides = list(values[0].shape[2:])
    if isinstance(size, (list, tuple)) and sides:
        fitting = (sides + [whole_size(one) for one in size])[-len(sides) :]
        yield (values[0], fitting, *values[2:]), {key: value for key, value in kwargs.items() if key != "size"}


def _axis(values: list[Any], axis: int, size: int) -> list[Any]:
    first = values[0]
    shape = list(first.shape) if first.dim() > axis else [world().batch, size]
    shape[axis] = size
    return [fitted(first.float(), tuple(shape)), *values[1:]]


def _last_axis(values: list[Any], size: int) -> list[Any]:
    first = values[0]
    shape = (*first.shape[:-1], size) if first.dim() else (size,)
    return [fitted(first.float(), shape), *values[1:]]


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


def _classes(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
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


def _joined(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
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


def _viewed(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
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


def _batches(one: torch.Tensor, other: torch.Tensor) -> list[torch.Tensor]:
    """Two batches of matrices that can be multiplied."""
    many, high, inner = (1, 1, 1, *one.shape)[-3:]
    return [fitted(one.float(), (many, high, inner)), fitted(other.float(), (many, inner, (1, *other.shape)[-1]))]


def _products(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
    one, other = values[0], values[1]
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return
    if one.dim() < 2:
        one = fitted(one.float(), (max(1, one.numel()), other.shape[-2] if other.dim() > 1 else 1))
    if other.dim() < 2:
        other = fitted(other.float(), (one.shape[-1], max(1, other.numel())))
    batch = one.shape[:-2]
    yield (one.float(), fitted(other.float(), (*batch, one.shape[-1], other.shape[-1])), *values[2:]), kwargs


def _summed(name: str, values: list[Any], kwargs: Keywords) -> Iterator[Attempt]:
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


_MISFITS: dict[str, Misfit] = {
    "linear": _linear,
    "embedding": _embedding,
    "layer_norm": _layer_norm,
    "batch_norm": _normalised,
    "instance_norm": _normalised,
    "pool": _pooled,
    "__setitem__": _put,
    "view": _viewed,
    "reshape": _viewed,
    "einsum": _summed,
    "addmm": _products,
    "interpolate": _resized,
    "upsample": _resized,
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(CLASSIFYING, _classes),
    **dict.fromkeys(LISTS_OF_TENSORS, _joined),
    **dict.fromkeys(PRODUCTS, _products),
    **dict.fromkeys(("gather", "index_select", "take_along_dim", "scatter", "scatter_"), _indexed),
    "bmm": _bmm,
    "baddbmm": _baddbmm,
}
