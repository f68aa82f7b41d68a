"""What is called: the user's code, torch, or another library; and what its arguments have to be for that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from runtime_verify.worker import roles
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.world import world

PLAIN_TYPES = (int, float, str, bool, list, tuple, dict, set, range, enumerate, zip, map, filter, reversed, type(None))


def is_users(function: Any) -> bool:
    """Whether it is code of the slice: a function, a method, a class or an instance of one."""
    target = getattr(function, "__func__", function)
    code = getattr(target, "__code__", None)
    if code is not None:
        return code.co_filename in world().sites
    kind = target if isinstance(target, type) else type(target)
    return bool(kind.__dict__.get("__tml_own__", False)) or any(
        base.__dict__.get("__tml_own__") for base in kind.__mro__
    )


def is_torchs(function: Any) -> bool:
    """Whether it computes with tensors: torch's own, or a method of a tensor."""
    owner = getattr(function, "__self__", None)
    module = getattr(function, "__module__", None) or type(owner).__module__
    return str(module).split(".")[0] in ("torch", "torchvision") or isinstance(owner, torch.Tensor)


def is_data(function: Any) -> bool:
    """Whether it reads data that is not there."""
    return str(getattr(function, "__module__", "")).startswith(("torchvision.datasets", "torch.hub"))


def is_optimizer(function: Any) -> bool:
    return isinstance(function, type) and is_torchs(function) and issubclass(function, torch.optim.Optimizer)


def as_number(value: Any) -> Any:
    """A setting as a number, in a pair of them too."""
    if isinstance(value, tuple):
        return tuple(as_number(part) for part in value)
    plain = isinstance(value, Stand) and not value._tml_tensorish() and value._tml_kept is None
    return value._tml_plain() if plain and roles.from_config(value._tml_path) else value


def has_plain_use(function: Any) -> bool:
    """Whether stand-ins that are no tensors are given to it as numbers and text."""
    return function in (range, round, int, float, min, max, str, slice, divmod, pow, abs) or (
        isinstance(function, type)
        and not issubclass(function, (list, tuple, dict, set, zip, enumerate, map, filter, reversed, torch.Tensor))
    )


FILES = frozenset({"io", "_io", "os", "posix", "posixpath", "genericpath", "shutil"})
"""Modules whose functions take a path, and a number for a file that is open already."""


def takes_path(function: Any) -> bool:
    """Whether a stand-in is a path to it. To `open` what can be a number is one, of a file of ours."""
    return getattr(function, "__module__", None) in FILES


def as_path(value: Any) -> Any:
    return str(value) if isinstance(value, Stand) and value._tml_kept is None else value


def as_plain(value: Any) -> Any:
    if isinstance(value, Stand) and not value._tml_tensorish() and value._tml_kept is None:
        path = value._tml_path
        if roles.from_config(path) or roles.TEXT.search(path) or roles.FLAG.match(roles.last(path)):
            return value._tml_plain()
    return value


def is_instance(function: Any, value: Any, kinds: Any) -> bool:
    kinds = tuple(kind for kind in _flat(kinds) if isinstance(kind, type))
    if isinstance(value, Stand):
        return any(issubclass(kind, (torch.Tensor, nn.Module)) for kind in kinds) and (
            value._tml_tensorish() if any(issubclass(kind, torch.Tensor) for kind in kinds) else False
        )
    try:
        return bool(function(value, kinds))
    except TypeError:
        return False


def _flat(kinds: Any) -> Iterator[Any]:
    if isinstance(kinds, tuple):
        for kind in kinds:
            yield from _flat(kind)
    else:
        yield kinds


def is_denied(error: Exception) -> bool:
    return isinstance(error, PermissionError)


def unmade(kind: Any) -> Any:
    """An instance that no constructor ran for."""
    made = kind.__new__(kind)
    if isinstance(made, nn.Module) and "_modules" not in made.__dict__:
        nn.Module.__init__(made)
    return made


def bare_instance(kind: Any, hints: tuple[str, ...]) -> Any:
    """An instance of a class that cannot be constructed here."""
    if isinstance(kind, type) and is_users(kind):
        try:
            return unmade(kind)
        except Exception:
            pass
    return Stand(hints[0] if hints and hints[0] else getattr(kind, "__name__", "made").lower())
