"""Calls, attributes, subscripts, operators of instrumented code: the true one first."""

from __future__ import annotations

import contextlib
import enum
import operator
import os
import sys
from typing import Any

import torch
from torch import nn

from runtime_verify.readings import EventKind
from runtime_verify.worker import roles
from runtime_verify.worker.adaptation import SIZED
from runtime_verify.worker.callables import (
    PLAIN_TYPES,
    as_number,
    as_path,
    as_plain,
    bare_instance,
    has_plain_use,
    is_data,
    is_denied,
    is_instance,
    is_optimizer,
    is_torchs,
    is_users,
    takes_path,
)
from runtime_verify.worker.extents import Extent
from runtime_verify.worker.layers import RECURRENT, constructed, recurrent
from runtime_verify.worker.library import replaced
from runtime_verify.worker.repairs import whole_sizes
from runtime_verify.worker.shapes import OutOfMemory
from runtime_verify.worker.shield import Shield
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.standin_calls import called
from runtime_verify.worker.world import world

REPR = 114
"""The conversion `!r` of a formatted value."""
ARRAY_API = frozenset({"astype", "copy", "tobytes", "fill", "tofile", "asnumpy", "get"})
"""Methods of arrays that give the same values again."""


class Expressions(Shield):
    """The part of `__tml__` that evaluates."""

    def call(self, site: int, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        hints = self._sites.hints.get(site, ())
        if isinstance(function, Stand):
            return called(function, args, kwargs, hints)
        done = replaced(function, args, kwargs, hints)
        if done is not NotImplemented:
            return done
        own = is_users(function)
        if isinstance(function, RECURRENT):
            args = recurrent(function, args)
        if isinstance(function, type) and is_torchs(function) and issubclass(function, nn.Module):
            args, kwargs = constructed(function, args, kwargs)
        elif isinstance(function, enum.EnumMeta) and any(isinstance(value, Stand) for value in args):
            return next(iter(function))
        elif is_optimizer(function):
            args = tuple(as_number(value) for value in args)
            kwargs = {key: as_number(value) for key, value in kwargs.items()}
        elif not own and takes_path(function):
            args = tuple(as_path(value) for value in args)
            kwargs = {key: as_path(value) for key, value in kwargs.items()}
        elif not own and has_plain_use(function):
            args = tuple(as_plain(value) for value in args)
            kwargs = {key: as_plain(value) for key, value in kwargs.items()}
        elif function in (isinstance, issubclass) and len(args) == 2:
            return is_instance(function, *args)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if self.let_through(site, error):
                raise
            return self._call_failed(site, function, args, kwargs, hints, error, own)

    def named(self, values: Any) -> Any:
        """What stands behind `**`: arguments whose names are made up are left out."""
        if isinstance(values, Stand):
            return {}
        if isinstance(values, dict) and not all(isinstance(key, str) for key in values):
            return {key: value for key, value in values.items() if isinstance(key, str)}
        return values

    def _call_failed(
        self,
        site: int,
        function: Any,
        args: Any,
        kwargs: Any,
        hints: tuple[str, ...],
        error: Exception,
        own: bool,
    ) -> Any:
        name = getattr(function, "__name__", type(function).__name__)
        tensor = getattr(function, "__self__", None)
        if name == "transpose" and isinstance(tensor, torch.Tensor):
            world().note(EventKind.REPAIR, "transpose() of a tensor, as of an array")
            axes = args or tuple(range(tensor.dim()))[::-1]
            return tensor.permute(axes) if len(axes) == tensor.dim() else tensor
        if name in SIZED and is_torchs(function):
            sized = whole_sizes(function, args, kwargs)
            if sized is not None:
                return sized
        stand = Stand(name)
        values = [*args, *kwargs.values()]
        absent = isinstance(error, (OSError, NotImplementedError)) or is_denied(error)
        foreign = not own and (not is_torchs(function) or is_data(function))
        made = isinstance(error, TypeError) and hasattr(tensor, "_tml_made")
        if (
            foreign
            or made
            or isinstance(error, OSError)
            or (not own and (absent or any(isinstance(value, (Stand, Extent)) for value in values)))
        ):
            world().note(EventKind.STANDIN, f"{name}(...): its result ({type(error).__name__})")
        elif isinstance(error, (NotImplementedError, ImportError)):
            world().note(EventKind.STANDIN, f"{name}(...): not in the slice, or wants a library that is not installed")
        else:
            message = f"{name}(...): {type(error).__name__}: {' '.join(str(error).split())[:120]}"
            world().note(EventKind.FALLBACK, message)
        if isinstance(function, type):
            return bare_instance(function, hints)
        if isinstance(function, nn.Module):
            stand = Stand(f"{name.lower()}_net")
        recovering, world().recovering = world().recovering, False  # this is no work that could run out of memory
        try:
            return called(stand, args, kwargs, hints)
        except OutOfMemory:
            raise
        except Exception:
            return Stand(hints[0] if hints else name)
        finally:
            world().recovering = recovering

    def attr(self, site: int, value: Any, name: str) -> Any:
        try:
            return getattr(value, name)
        except Exception as error:
            if self.let_through(site, error):
                raise
            return self._attribute_missing(site, value, name, error)

    def _attribute_missing(self, site: int, value: Any, name: str, error: Exception) -> Any:
        made = Stand(name) if value is None or isinstance(value, type) else Stand(f"self.{name}")
        own = type(value).__module__ in sys.modules and is_users(type(value))
        if value is None:
            world().note(EventKind.STANDIN, f"None.{name}: what sets the value is not run")
        elif isinstance(value, torch.Tensor) and name in ARRAY_API:
            world().note(EventKind.REPAIR, f".{name} of a tensor, as of an array")
            return lambda *args, **kwargs: value
        elif isinstance(value, (*PLAIN_TYPES, torch.Tensor)):
            world().note(EventKind.FALLBACK, f".{name} of {type(value).__name__}")
        elif own or isinstance(value, nn.Module):
            world().note(EventKind.STANDIN, f"self.{name}: an attribute that the slice does not set")
            with contextlib.suppress(AttributeError, TypeError):
                value.__dict__[name] = made
        else:
            world().note(EventKind.STANDIN, f".{name} of {type(value).__name__}: not in the installed version")
        return made

    def item(self, site: int, value: Any, key: Any) -> Any:
        try:
            return value[key]
        except Exception as error:
            if self.let_through(site, error):
                raise
            if isinstance(key, (Stand, Extent)) and isinstance(value, (list, tuple)) and value:
                return value[0]
            if isinstance(key, Stand) and isinstance(value, dict) and value:
                return next(iter(value.values()))
            what = f"[{key!r}] of {type(value).__name__}"[:80]
            if value is os.environ:
                world().note(EventKind.STANDIN, f"environment variable {key}")
                return str(roles.number(str(key).lower()))
            if callable(value) and isinstance(getattr(value, "__self__", None), torch.Tensor):
                world().note(EventKind.REPAIR, "a tensor's size asked for as an attribute")
                return self.item(site, value(), key)
            absent = value is None or isinstance(error, KeyError)
            if isinstance(key, (Stand, Extent)) or absent or isinstance(value, type(sys)):
                world().note(EventKind.STANDIN, what)
                return Stand("item")
            core = value if isinstance(value, torch.Tensor) else None
            return self.stood_in(site, error, what, Stand(key if isinstance(key, str) else "item", core))

    def op(self, site: int, name: str, one: Any, other: Any) -> Any:
        try:
            return getattr(operator, name)(one, other)
        except Exception as error:
            if self.let_through(site, error):
                raise
            if one is None or other is None or isinstance(one, (Stand, Extent)) or isinstance(other, (Stand, Extent)):
                world().note(EventKind.STANDIN, f"{name} of {type(one).__name__} and {type(other).__name__}")
            elif any(type(value).__module__ == "numpy" for value in (one, other)):
                world().note(EventKind.STANDIN, f"{name} of arrays whose sizes are made up")
            else:
                self.stood_in(site, error, name, None)
            if name in ("lt", "le", "gt", "ge", "eq", "ne"):
                return False
            core = next((value for value in (one, other) if isinstance(value, torch.Tensor)), None)
            return Stand("made", core)

    def among(self, site: int, one: Any, other: Any, absent: bool) -> bool:
        try:
            return (one in other) is not absent
        except Exception as error:
            if self.let_through(site, error):
                raise
            return absent

    def shown(self, site: int, value: Any, conversion: int, spec: str = "") -> str:
        recovering, self._recovery.inside = self._recovery.inside, False  # no work runs out of memory while it is shown
        try:
            return format(repr(value) if conversion == REPR else value, spec)
        except Exception:
            return str(type(value).__name__)
        finally:
            self._recovery.inside = recovering
