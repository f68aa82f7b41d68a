"""The shape of a tensor that has none yet."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runtime_verify.readings import EventKind
from runtime_verify.worker.sizes import Shape, deep_enough, default_shape
from runtime_verify.worker.world import world

if TYPE_CHECKING:
    from runtime_verify.worker.standin import Stand


class Extent:
    """The shape of a tensor that has none yet: settled by how it is taken apart."""

    def __init__(self, owner: Stand) -> None:
        self._path = owner._tml_path
        self._owner = weakref.ref(owner)

    def _sizes(self, shape: Shape | None = None) -> Shape:
        """The tensor's own; where it is gone, those it would have got: a shape keeps nothing alive."""
        owner = self._owner()
        if owner is None:
            return default_shape(self._path) if shape is None else shape
        return tuple(owner._tml_as_tensor(shape).shape)

    def of(self, dim: Any = None) -> Any:
        """`size()` and `size(dim)`."""
        return self if dim is None else self[int(dim)]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            depth = max(abs(part) for part in (key.start or 0, key.stop or 0, 2))
            return self._sizes(deep_enough(depth))[key]
        place = int(key)
        return self._sizes(deep_enough(place + 1 if place >= 0 else -place))[place]

    def taken_apart(self, count: int) -> tuple[int, ...]:
        """`b, c, h, w = x.shape`"""
        sizes = self._sizes(default_shape(self._path, count))
        if len(sizes) != count:
            world().note(EventKind.REPAIR, f"a shape of {len(sizes)} taken for one of {count}")
        return (sizes + (8,) * count)[:count]

    def __iter__(self) -> Iterator[int]:
        return iter(self._sizes())

    def __len__(self) -> int:
        return len(self._sizes())

    def __call__(self, dim: Any = None) -> Any:
        return self.of(dim)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == (tuple(other) if isinstance(other, (tuple, list, Extent)) else other)

    def __hash__(self) -> int:
        return id(self)

    def __add__(self, other: Any) -> Any:
        return tuple(self) + tuple(other)

    def numel(self) -> int:
        return math.prod(self._sizes())
