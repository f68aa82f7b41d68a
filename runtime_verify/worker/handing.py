"""Methods that hand their owner back: `x.to(...)`, `model.train()`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runtime_verify.worker.sizes import number

if TYPE_CHECKING:
    from runtime_verify.worker.standin import Stand


class Handing:
    """A method that hands its owner back, as a stand-in or as the tensor that it is."""

    def __init__(self, owner: Stand, name: str) -> None:
        self.owner, self.name = owner, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from runtime_verify.worker.standin_calls import handed_on

        return handed_on(self.owner, self.name, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(_stand(f"{self.owner._tml_path}.{self.name}", None, self.owner), name)

    def __bool__(self) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        return iter(_stand(f"{self.owner._tml_path}.{self.name}", None, None))

    def __getitem__(self, key: Any) -> Any:
        return _stand(f"{self.owner._tml_path}.{self.name}", None, None)[key]

    def __float__(self) -> float:
        return float(number(self.name))

    def __int__(self) -> int:
        return int(number(self.name))

    __index__ = __int__


def _stand(path: str, core: Any, owner: Stand | None) -> Stand:
    from runtime_verify.worker.standin import Stand

    return Stand(path, core, owner)
