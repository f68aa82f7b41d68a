"""What operations want of their arguments: shapes for stand-ins, and ways to make misfits fit. Data and arithmetic."""

from __future__ import annotations

from typing import Any

import torch

from runtime_verify.worker import roles
from runtime_verify.worker.sizes import default_shape
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.world import world

DIFFERENTIATING = frozenset({"grad", "backward"})
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
PRODUCTS = frozenset({"matmul", "mm", "bmm", "__matmul__", "__rmatmul__"})
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
    """What a stand-in at one place of an operation's arguments has to be: a number, a device, a tensor of a shape."""
    if place == "device":
        return world().device
    if place == "dtype":
        return torch.float32
    if _is_number(name, place, value):
        return int(value) if isinstance(place, int) or name in SIZED else value._tml_plain()
    shape, dtype = _shape_wanted(name, place, args, kwargs)
    if shape is not None:
        return value._tml_as_tensor(shape, dtype)
    depth = _depth_wanted(name, place, args)
    if depth is not None:
        return value._tml_as_tensor(default_shape(value._tml_path, depth))
    return _alike(value, [other for other in args if isinstance(other, torch.Tensor)])


def _is_number(name: str, place: int | str, value: Stand) -> bool:
    if name in SIZED or (isinstance(place, str) and place in NUMERIC_PLACES):
        return True
    further = name in SHAPING and place != 0
    key = name in ("__setitem__", "__getitem__") and place == 1
    return (further or key) and not value._tml_tensorish()


def _shape_wanted(
    name: str, place: int | str, args: list[Any], kwargs: dict[str, Any]
) -> tuple[tuple[int, ...] | None, torch.dtype | None]:
    """The shape that an operation's weights, or its other argument, leave for this one."""
    w = world()
    weight = args[1] if len(args) > 1 and isinstance(args[1], torch.Tensor) else kwargs.get("weight")
    first = place in (0, "input")
    if first and isinstance(weight, torch.Tensor):
        return _for_weight(name, weight, args, kwargs)
    if name == "layer_norm" and first:
        return (w.rows, *(args[1] if len(args) > 1 else kwargs.get("normalized_shape", ()))), None
    others = [other for other in args if isinstance(other, torch.Tensor)]
    if name in CLASSIFYING:
        if first:
            return (w.rows, w.width), None
        if place in (1, "target") and others:
            shape = tuple(others[0].shape)
            return ((shape[0], *shape[2:]) if shape else ()), torch.long
    if name in PRODUCTS and others:
        return _multiplied(tuple(others[0].shape), place), None
    return None, None


def _for_weight(
    name: str, weight: torch.Tensor, args: list[Any], kwargs: dict[str, Any]
) -> tuple[tuple[int, ...] | None, torch.dtype | None]:
    w = world()
    if name == "linear":
        return (w.rows, weight.shape[-1]), None
    if name == "embedding":
        return (w.batch, w.length), torch.long
    if name in ("batch_norm", "instance_norm"):
        return (w.rows, weight.shape[0]), None
    if name in CONVOLUTIONS:
        dimensions = CONVOLUTIONS[name]
        groups = kwargs.get("groups", args[6] if len(args) > 6 else 1)
        whole = groups if isinstance(groups, int) else 1
        channels = weight.shape[0] if "transpose" in name else weight.shape[1] * whole
        return (w.batch, channels, *[side(dimensions)] * dimensions), None
    return None, None


def _depth_wanted(name: str, place: int | str, args: list[Any]) -> int | None:
    """How many dimensions an operation wants of its first argument."""
    if place not in (0, "input"):
        return None
    if name == "permute":
        return len(args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:])
    if name in CONVOLUTIONS and "transpose" not in name:
        return CONVOLUTIONS[name] + 2
    return 4 if name.rstrip("123d") in POOLS or name in POOLS else None


def _alike(value: Stand, tensors: list[torch.Tensor]) -> Any:
    """A tensor like the others; settings are plain numbers beside them."""
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


def fitted(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor's values in another shape, with its graph."""
    return tensor if tuple(tensor.shape) == shape else world().shaped(tensor, shape)
