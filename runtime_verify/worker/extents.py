"""The shape of a tensor that has none yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runtime_verify.readings import EventKind
from runtime_verify.worker.sizes import deep_enough, default_shape
from runtime_verify.worker.world import world

if TYPE_CHECKING:
    from runtime_verify.worker.standin import Stand


class Extent:
    """The shape of a tensor that has none yet: settled by how it is taken apart."""

    def __init__(self, owner: Stand) -> None:
        self.owner = owner

    def of(self, dim: Any = None) -> Any:
        """`size()` and `size(dim)`."""
        return self if dim is None else self[int(dim)]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            depth = max(abs(part) for part in (key.start or 0, key.stop or 0, 2))
            return tuple(self.owner._tml_as_tensor(deep_enough(depth)).shape)[key]
        place = int(key)
        return self.owner._tml_as_tensor(deep_enough(place + 1 if place >= 0 else -place)).shape[place]

    def taken_apart(self, count: int) -> tuple[int, ...]:
        """`b, c, h, w = x.shape`"""
        sizes = tuple(self.owner._tml_as_tensor(default_shape(self.owner._tml_path, count)).shape)
        if len(sizes) != count:
            world().note(EventKind.REPAIR, f"a shape of {len(sizes)} taken for one of {count}")
        return (sizes + (8,) * count)[:count]

    def __iter__(self) -> Iterator[int]:
        return iter(self.owner._tml_as_tensor().shape)

    def __len__(self) -> int:
        return self.owner._tml_as_tensor().dim()

    def __call__(self, dim: Any = None) -> Any:
        return self.of(dim)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == (tuple(other) if isinstance(other, (tuple, list, Extent)) else other)

    def __hash__(self) -> int:
        return id(self)

    def __add__(self, other: Any) -> Any:
        return tuple(self) + tuple(other)

    def numel(self) -> int:
        return self.owner._tml_as_tensor().numel()
