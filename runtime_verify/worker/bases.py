"""Base classes that are not there."""

from __future__ import annotations

from typing import Any

from torch import nn

from runtime_verify.readings import EventKind
from runtime_verify.worker import roles
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.world import world

_bases: dict[str, type] = {}


class Base(nn.Module):
    """A base class that is not there: a module that takes any arguments and has every attribute."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__()

    def __new__(cls, *args: Any, **kwargs: Any) -> Base:
        made = super().__new__(cls)
        nn.Module.__init__(made)
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is left to do: attributes may be set before this is called, or it never is."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or name in ("_modules", "_parameters", "_buffers"):
                raise
            world().note(EventKind.STANDIN, f"self.{name}: an attribute of a base class that is not there")
            made = Stand(f"self.{name}")
            self.__dict__[name] = made
            return made

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes as a stand-in module does."""
        return Stand(type(self).__name__.lower() + "_net")(*args, **kwargs)


def base_class(path: str) -> type:
    """The base class that stands in for the class of that name."""
    if path not in _bases:
        _bases[path] = type(roles.last(path), (Base,), {})
    return _bases[path]
