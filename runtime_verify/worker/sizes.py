"""Shapes and contents of stand-in tensors."""

from __future__ import annotations

from typing import Any

import torch

from runtime_verify.readings import EventKind
from runtime_verify.worker import roles
from runtime_verify.worker.world import world

Shape = tuple[int, ...]


MOST = 4
"""What a number that is made up comes to at the smallest scale, at most."""


def number(path: str) -> int | float:
    """The number that a stand-in is where a number is wanted."""
    usual = roles.number(path)
    return usual if world().order.scale else min(usual, MOST)


def default_shape(path: str, depth: int | None = None) -> Shape:
    """A shape for a tensor of which nothing else is known, with `depth` dimensions where that is known.

    Two dimensions: [rows, width]. Three: [batch, length, width]. Four: [batch, 4, side, side] pictures.
    """
    w = world()
    if depth is None:
        name = roles.last(path)
        if roles.LOSS_FUNCTION.search(name) and roles.GRAPH.search(name):
            return ()
        return (w.rows, w.width)
    picture = (w.batch, 4, w.image, w.image)
    known: dict[int, Shape] = {0: (), 1: (w.rows,), 2: (w.rows, w.width), 3: (w.batch, w.length, w.width), 4: picture}
    return known.get(depth, (w.batch, *[8] * (depth - 1)))


def deep_enough(depth: int) -> Shape:
    return default_shape("", max(2, depth))


def materialised(path: str, core: torch.Tensor | None, shape: Shape | None, dtype: torch.dtype | None) -> torch.Tensor:
    w = world()
    name = roles.last(path)
    if shape is None:
        shape = default_shape(path)
    if dtype is None:
        whole = core is None and any(part in _WHOLE_NUMBERS for part in name.lower().split("_"))
        dtype = torch.long if whole else torch.float32
    shape = tuple(int(size) for size in shape)
    w.decide(f"tensor {path}", [list(shape), str(dtype)])
    w.note(EventKind.STANDIN, f"{path}: a tensor of shape {list(shape)}, {str(dtype).removeprefix('torch.')}")
    if not dtype.is_floating_point:
        return w.random(shape, dtype)
    if core is not None:
        made = w.shaped(core, shape)
        return made if dtype == torch.float32 else made.to(dtype)
    return w.random(shape, dtype)


_WHOLE_NUMBERS = ("ids", "id", "token", "tokens", "label", "labels", "idx", "index", "indices", "length", "lengths")


LARGEST_SIZE = 4096
"""Of a dimension whose size is computed from made-up data."""


def size_in(value: torch.Tensor) -> torch.Tensor:
    """The size that a tensor holds."""
    whole = value.detach().float()
    return (whole.mean() if whole.numel() else whole.sum()).clamp(0, LARGEST_SIZE).long()


def whole_size(value: Any) -> Any:
    """A size as a whole number, each of several."""
    if isinstance(value, torch.Tensor):
        return max(1, int(size_in(value)))
    if isinstance(value, float):
        return max(1, int(value))
    if isinstance(value, (list, tuple)):
        return tuple(whole_size(part) for part in value)
    return value
