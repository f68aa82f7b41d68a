"""What operations want of their arguments: shapes for stand-ins, and ways to make misfits fit. Data and arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from runtime_verify.readings import EventKind
from runtime_verify.worker import roles
from runtime_verify.worker.standin import Stand, default_shape
from runtime_verify.worker.world import world

LISTS_OF_TENSORS = frozenset(
    {"cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "block_diag", "meshgrid"}
)
CONVOLUTIONS = {
    "conv1d": 1,
    "conv2d": 2,
    "conv3d": 3,
    "conv_transpose1d": 1,
    "conv_transpose2d": 2,
    "conv_transpose3d": 3,
}
POOLS = {"max_pool": 0, "avg_pool": 0, "adaptive_avg_pool": 0, "adaptive_max_pool": 0, "interpolate": 0, "upsample": 0}
CLASSIFYING = frozenset({"cross_entropy", "nll_loss"})
NUMERIC_PLACES = frozenset(
    [
        "dim",
        "dims",
        "size",
        "sizes",
        "n_head",
        "num_heads",
        "p",
        "keepdim",
        "k",
        "eps",
        "momentum",
        "alpha",
        "beta",
        "lr",
        "value",
        "fill_value",
        "start",
        "end",
        "step",
        "diagonal",
        "num_classes",
        "scale_factor",
        "dropout_p",
        "training",
        "inplace",
        "max_norm",
        "norm_type",
    ]
)
SHAPING = frozenset(
    [
        "view",
        "reshape",
        "zeros",
        "ones",
        "empty",
        "full",
        "rand",
        "randn",
        "randint",
        "expand",
        "repeat",
        "transpose",
        "permute",
        "unsqueeze",
        "squeeze",
        "narrow",
        "split",
        "chunk",
        "sum",
        "mean",
        "softmax",
        "log_softmax",
        "argmax",
        "max",
        "min",
        "topk",
        "cumsum",
        "flip",
        "roll",
        "size",
        "flatten",
        "unfold",
        "dropout",
        "clamp",
        "clip",
        "arange",
        "linspace",
        "eye",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "gather",
        "index_select",
        "select",
        "tril",
        "triu",
        "one_hot",
        "std",
        "var",
        "norm",
    ]
)
"""Functions whose further arguments are numbers."""
SIZED = frozenset(
    {"zeros", "ones", "empty", "full", "rand", "randn", "randint", "arange", "linspace", "eye", "randperm"}
)
"""Functions whose arguments are all numbers."""


def side(dimensions: int) -> int:
    """The side of a stand-in picture, signal or volume."""
    w = world()
    return {1: 4 * w.length, 2: w.image, 3: 16}[dimensions]


def wanted(name: str, place: int | str, value: Stand, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What a stand-in at one place of an operation's arguments has to be."""
    if place in ("device",):
        return world().device
    if place == "dtype":
        return torch.float32
    if isinstance(place, str) and place in NUMERIC_PLACES:
        return value._tml_plain()
    if name in SIZED or (name in SHAPING and place != 0 and not value._tml_tensorish()):
        return int(value)
    if name in ("__setitem__", "__getitem__") and place == 1 and not value._tml_tensorish():
        return int(value)
    tensors = [other for other in args if isinstance(other, torch.Tensor)]
    weight = args[1] if len(args) > 1 and isinstance(args[1], torch.Tensor) else kwargs.get("weight")
    w = world()
    if place in (0, "input") and isinstance(weight, torch.Tensor):
        if name == "linear":
            return value._tml_as_tensor((w.rows, weight.shape[-1]))
        if name in CONVOLUTIONS:
            dimensions = CONVOLUTIONS[name]
            groups = kwargs.get("groups", args[6] if len(args) > 6 else 1)
            channels = (
                weight.shape[0] if "transpose" in name else weight.shape[1] * (groups if isinstance(groups, int) else 1)
            )
            return value._tml_as_tensor((w.batch, channels, *[side(dimensions)] * dimensions))
        if name == "embedding":
            return value._tml_as_tensor((w.batch, w.length), torch.long)
        if name in ("batch_norm", "instance_norm"):
            return value._tml_as_tensor((w.rows, weight.shape[0]))
    if name == "layer_norm" and place == 0:
        normal = args[1] if len(args) > 1 else kwargs.get("normalized_shape", ())
        return value._tml_as_tensor((w.rows, *normal))
    if name in CLASSIFYING and place in (1, "target") and tensors:
        shape = tuple(tensors[0].shape)
        return value._tml_as_tensor((shape[0], *shape[2:]) if shape else (), torch.long)
    if name in CLASSIFYING and place in (0, "input"):
        return value._tml_as_tensor((w.rows, w.width))
    depth = next((count for start, count in (("conv1d", 3), ("conv2d", 4), ("conv3d", 5)) if name == start), None)
    if (depth is None and name.rstrip("123d") in POOLS) or name in POOLS:
        depth = 4
    if depth is not None and place in (0, "input"):
        return value._tml_as_tensor(default_shape(value._tml_path, depth))
    if name in ("matmul", "mm", "bmm", "__matmul__") and tensors:
        return value._tml_as_tensor(_multiplied(tuple(tensors[0].shape), place))
    if name in ("view", "reshape", "permute") and place == 0:
        sizes = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
        if name == "permute":
            return value._tml_as_tensor(default_shape("", len(sizes)))
        return value._tml_as_tensor(None)
    if roles.from_config(value._tml_path) and value._tml_now() is None and tensors:
        return value._tml_plain()
    if tensors and tensors[0].dim() > 0:
        whole = tensors[0].dtype if not tensors[0].is_floating_point() and value._tml_now() is None else None
        return value._tml_as_tensor(tuple(tensors[0].shape), whole)
    return value._tml_as_tensor()


def _multiplied(shape: tuple[int, ...], place: int | str) -> tuple[int, ...]:
    """The shape of the other factor of a matrix product."""
    if len(shape) < 2:
        return shape
    if place == 0:
        return (*shape[:-2], shape[-1], shape[-2])
    return (*shape[:-2], shape[-1], shape[-1])


def device_of(asked: Any) -> Any:
    """Where a tensor really goes: any accelerator is the run's device, the host stays the host."""
    text = str(asked) if not isinstance(asked, int) else "cuda"
    if text.startswith(("cpu", "meta")):
        return asked if not isinstance(asked, Stand) else world().device
    return world().device


def moved(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """`t.to(...)` and `t.cuda(...)` with the run's device in place of the one named."""
    if name == "cuda":
        return (args[0], world().device), {}
    values = list(args)
    for place, value in enumerate(values[1:], 1):
        if isinstance(value, (str, torch.device)) or (
            isinstance(value, int) and not isinstance(value, bool) and place == 1
        ):
            values[place] = device_of(value)
    return tuple(values), kwargs


def attempts(name: str, args: Any, kwargs: dict[str, Any], error: Exception) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Arguments adapted in one way after the other, the mildest first."""
    values = list(args)
    text = str(error)
    if name == "backward":
        yield from _backward(values, kwargs, text)
        return
    if name == "to" and len(values) > 1 and "device" in text:
        yield (values[0], world().device), {}
    if name in ("__array__", "numpy") and values and isinstance(values[0], torch.Tensor):
        yield (values[0].detach().cpu(), *values[1:]), kwargs
        return
    if name in SIZED:
        sizes = [_size(value) for value in values]
        yield tuple(sizes), kwargs
        yield (
            (tuple(size for size in sizes if isinstance(size, int)),),
            {k: v for k, v in kwargs.items() if k in ("device", "dtype")},
        )
        return
    if name == "__index__" and values and isinstance(values[0], torch.Tensor):
        yield (_size_tensor(values[0]),), kwargs
        return
    if name == "item" or name in ("__float__", "__int__", "__bool__", "__index__"):
        if values and isinstance(values[0], torch.Tensor) and values[0].numel() != 1:
            whole = values[0].detach().float()
            yield (whole.mean() if whole.numel() else whole.sum(), *values[1:]), kwargs
        return
    if name in SHAPING and name not in LISTS_OF_TENSORS:
        yield (values[0], *(_size(value) for value in values[1:])), {key: _size(value) for key, value in kwargs.items()}
    if name in ("__getitem__", "__setitem__") and len(values) > 1:
        yield (values[0], _whole_key(values[1]), *values[2:]), kwargs
    same = _one_device(values)
    if same is not None:
        yield tuple(same), kwargs
        values = same
    if name == "linear":
        yield tuple(_last_axis(values, values[1].shape[-1])), kwargs
    if name in CONVOLUTIONS:
        yield tuple(_pictures(name, values, kwargs)), kwargs
    if name == "embedding" and isinstance(values[0], torch.Tensor):
        yield (values[0].long().abs() % values[1].shape[0], *values[1:]), kwargs
    if name in CLASSIFYING:
        yield from _classes(values, kwargs)
    if name == "layer_norm":
        yield tuple(_last_axis(values, list(values[1])[-1])), kwargs
    if name in ("batch_norm", "instance_norm") and isinstance(values[1], torch.Tensor):
        yield tuple(_axis(values, 1, values[1].shape[0])), kwargs
    if name in LISTS_OF_TENSORS:
        yield from _joined(name, values, kwargs)
    if name in ("view", "reshape"):
        yield from _viewed(values, kwargs)
    if name in ("matmul", "mm", "bmm", "__matmul__", "__rmatmul__", "addmm") and len(values) > 1:
        yield from _products(values, kwargs)
    yield from _alike(name, values, kwargs)


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


def fitted(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor's values in another shape, with its graph."""
    return tensor if tuple(tensor.shape) == shape else world().shaped(tensor, shape)


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


def _products(values: list[Any], kwargs: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    one, other = values[0], values[1]
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
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
    if isinstance(first, torch.Tensor) and not isinstance(values[-1], torch.Tensor):
        for depth in (2, 3, 4, 1):
            if first.dim() != depth:
                yield (fitted(first, default_shape("", depth)), *values[1:]), kwargs
