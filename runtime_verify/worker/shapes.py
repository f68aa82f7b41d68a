"""Every torch operation of a run passes here: stand-ins get the shape that it wants, misfits are adapted.

The true operation always runs first; only where it fails are its arguments adapted ("repair"), and only where that
fails too does something else take the place of its result ("fallback").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.utils.checkpoint
from torch.overrides import TorchFunctionMode

from runtime_verify.readings import EventKind
from runtime_verify.worker import adaptation, bounds, repairs
from runtime_verify.worker.extents import Extent
from runtime_verify.worker.misfits import Attempt
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.standin_calls import tensors_in
from runtime_verify.worker.world import world

FACTORIES = frozenset(
    [
        "empty",
        "zeros",
        "ones",
        "full",
        "rand",
        "randn",
        "randint",
        "arange",
        "linspace",
        "logspace",
        "eye",
        "tensor",
        "as_tensor",
        "empty_like",
        "randperm",
        "normal",
        "from_numpy",
        "scalar_tensor",
    ]
)
"""Functions that make tensors; without a device they make them on the run's device."""

OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
# Checkpointing ends what it computes anew by an error of its own, once it has what it needs.
EnoughRecomputed: type[Exception] = getattr(torch.utils.checkpoint, "_StopRecomputationError", OutOfMemory)


class Watch(TorchFunctionMode):
    """The mode that a run goes through. `tick` is called after each operation."""

    def __init__(self, tick: Callable[[], None] | None = None, before: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._tick = tick
        self._before = before

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if _has_standin(args) or (kwargs and _has_standin(tuple(kwargs.values()))):
            args, kwargs = resolved(func, args, kwargs)
        name = getattr(func, "__name__", "")
        if name in FACTORIES:
            _placed(name, args, kwargs)
        elif kwargs.get("device") is not None:
            kwargs["device"] = adaptation.device_of(kwargs["device"])
        elif name in ("to", "cuda"):
            func = torch.Tensor.to if name == "cuda" and isinstance(args[0], torch.Tensor) else func
            args, kwargs = adaptation.moved(name, args, kwargs)
        if name in bounds.PARAMETERS:
            args, kwargs = bounds.within_bounds(name, args, kwargs)
        if self._before is not None:
            self._before()
        try:
            done = func(*args, **kwargs)
        except (OutOfMemory, EnoughRecomputed):
            raise
        except Exception as error:
            done = _rescued(func, name, args, kwargs, error)
            if done is _LOST:
                raise
        if self._tick is not None:
            self._tick()
        return done


def _has_standin(values: tuple[Any, ...] | list[Any]) -> bool:
    for value in values:
        if isinstance(value, (Stand, Extent)):
            return True
        if isinstance(value, (list, tuple)) and value and _has_standin(value[:8]):
            return True
    return False


def _placed(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    """Puts a new tensor on the run's device unless the code says otherwise."""
    if kwargs.get("device") is not None:
        kwargs["device"] = adaptation.device_of(kwargs["device"])
    elif (
        name in ("from_numpy", "empty_like")
        or kwargs.get("generator") is not None
        or kwargs.get("pin_memory")
        or (name in ("as_tensor", "tensor", "normal") and args and isinstance(args[0], torch.Tensor))
    ):
        return
    elif kwargs.get("out") is None:
        kwargs["device"] = world().device


def resolved(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The arguments with stand-ins replaced by tensors of the shape that the operation wants, or by numbers."""
    name = getattr(func, "__name__", "")
    values = list(args)
    for place, value in enumerate(values):
        if isinstance(value, Stand):
            values[place] = adaptation.wanted(name, place, value, values, kwargs)
        elif isinstance(value, Extent):
            values[place] = tuple(value)
        elif isinstance(value, (list, tuple)):
            values[place] = _inside(name, value)
    keyed = {
        key: adaptation.wanted(name, key, value, values, kwargs)
        if isinstance(value, Stand)
        else _inside(name, value)
        if isinstance(value, (list, tuple))
        else value
        for key, value in kwargs.items()
    }
    return tuple(values), keyed


def _inside(name: str, values: Any) -> Any:
    """A list or tuple of arguments with its stand-ins replaced: tensors beside tensors, numbers elsewhere."""
    if not any(isinstance(value, (Stand, Extent, list, tuple)) for value in values):
        return values
    like = next((value for value in values if isinstance(value, torch.Tensor)), None)
    done = []
    for value in values:
        if isinstance(value, Extent):
            value = tuple(value)
        elif isinstance(value, Stand):
            if name in adaptation.LISTS_OF_TENSORS | adaptation.DIFFERENTIATING or like is not None:
                value = value._tml_as_tensor(tuple(like.shape) if like is not None else None)
            else:
                value = int(value)
        elif isinstance(value, (list, tuple)):
            value = _inside(name, value)
        done.append(value)
    return type(values)(done) if type(values) in (list, tuple) else tuple(done)


_LOST = object()


def _rescued(func: Any, name: str, args: Any, kwargs: dict[str, Any], error: Exception) -> Any:
    """The operation on adapted arguments; else a stand-in for its result, or `_LOST` where there is none."""
    what = f"{name}: {' '.join(str(error).split())[:160]}"
    for adapted, keyed in _attempts(name, args, kwargs, error):
        if name in bounds.PARAMETERS:
            adapted, keyed = bounds.within_bounds(name, adapted, keyed)
        try:
            done = func(*adapted, **keyed)
        except OutOfMemory:
            raise
        except Exception:
            continue
        world().note(EventKind.REPAIR, what)
        return done
    if name == "backward":
        if world().finishing:
            return _LOST
        world().note(EventKind.FALLBACK, what)
        return None
    inputs = list(tensors_in(args))
    if not inputs or not _operates(func):
        return _LOST
    world().note(EventKind.FALLBACK, what)
    if name in ("__bool__", "__len__", "__int__", "__float__", "__index__", "item"):
        return {"__bool__": False, "__len__": 1, "item": 0.0, "__float__": 0.0}.get(name, 0)
    if name.endswith("_") and not name.endswith("__"):
        return args[0]
    floats = [tensor for tensor in inputs if tensor.is_floating_point()]
    return Stand(name, world().reduce(floats) if floats else inputs[0])


def _attempts(name: str, args: Any, kwargs: dict[str, Any], error: Exception) -> Iterator[Attempt]:
    """The adapted arguments; where adapting fails itself, there are no more."""
    try:
        yield from repairs.attempts(name, args, kwargs, error)
    except OutOfMemory:
        raise
    except RuntimeError:
        return


def _operates(func: Any) -> bool:
    """Whether this is an operation on tensors, not the reading of an attribute that is not there."""
    return getattr(func, "__name__", "") not in ("__get__", "__set__", "__delete__", "__setitem__")
