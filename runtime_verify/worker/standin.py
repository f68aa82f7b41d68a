"""A value that the slice does not have, made up as it is used.

A stand-in has a path that says where it comes from ("args.lr", "loader[]", "model()"). What it is is settled by the
first use that needs to know: asked for `backward` it is a tensor, called with tensors a module with real layers and
parameters, iterated a loader, used in `range` a number; the name decides only where the use does not. A stand-in that
comes from a module's call carries that call's real output, so whatever is derived from it carries the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from runtime_verify.worker import roles
from runtime_verify.worker.extents import Extent
from runtime_verify.worker.handing import Handing
from runtime_verify.worker.sizes import Shape, deep_enough, materialised, number
from runtime_verify.worker.world import TURNS, world

DEEPEST = 5
"""What is so many levels inside something stood in for has no elements: a walk down a tree comes to an end."""
_TENSOR_API = frozenset(dir(torch.Tensor))
_VAGUE = frozenset(
    [
        "data",
        "size",
        "type",
        "name",
        "names",
        "index",
        "values",
        "indices",
        "split",
        "map_",
        "real",
        "imag",
        "T",
        "H",
        "mH",
        "mT",
        "repeat",
        "sort",
        "sum",
        "mean",
        "max",
        "min",
        "abs",
        "grad",
        "device",
        "dtype",
        "shape",
        "layout",
        "stride",
        "sample",
        "copy_",
        "get_device",
        "apply_",
        "is_cuda",
        "ndim",
        "add",
        "sub",
        "mul",
        "div",
        "pow",
        "exp",
        "log",
        "sqrt",
        "all",
        "any",
        "norm",
        "std",
        "var",
        "unique",
        "item_",
        "where",
        "clone",
        "numpy_",
        "round",
        "sign",
    ]
)
_CLEARLY_TENSOR = _TENSOR_API - _VAGUE - frozenset(dir(nn.Module)) - frozenset(dir(object)) - roles.SELF_RETURNING
_SCALARS = frozenset({"item", "backward", "isnan", "isinf", "isfinite", "__float__"})
_STATE = frozenset({"_tml_path", "_tml_core", "_tml_tensor", "_tml_children", "_tml_owner", "_tml_kept"})


class Stand:
    """See the module. `core`: the real tensor it is derived from; `owner`: whose attribute it is."""

    _tml_path: str
    _tml_core: torch.Tensor | None
    _tml_tensor: torch.Tensor | None
    _tml_children: dict[Any, Any]
    _tml_owner: Stand | None
    _tml_kept: list[Any] | None

    def __init__(self, path: str, core: torch.Tensor | None = None, owner: Stand | None = None) -> None:
        keep = object.__setattr__
        keep(self, "_tml_path", path)
        keep(self, "_tml_core", core)
        keep(self, "_tml_tensor", None)
        keep(self, "_tml_children", {})
        keep(self, "_tml_owner", owner)
        keep(self, "_tml_kept", None)

    # -- what it is

    def _tml_tensorish(self) -> bool:
        """Whether it is taken for a tensor where the use does not say."""
        if self._tml_core is not None or self._tml_tensor is not None:
            return True
        path = self._tml_path
        if roles.from_config(path):
            return False
        name = roles.last(path)
        if path.endswith("[]") and not roles.TEXT.search(name):
            return True
        if roles.ITERATED.search(name) or roles.TEXT.search(name):
            return False
        return roles.taken_for_tensor(name)

    def _tml_as_tensor(self, shape: Shape | None = None, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The tensor that this is from now on: of the wanted shape if it is asked for the first time."""
        if self._tml_tensor is None:
            core = self._tml_source() if dtype is None or dtype.is_floating_point else self._tml_core
            made = materialised(self._tml_path, core, shape, dtype)
            vars(made)["_tml_made"] = True
            object.__setattr__(self, "_tml_tensor", made)
            object.__setattr__(self, "_tml_core", None)
        assert self._tml_tensor is not None
        return self._tml_tensor

    def _tml_plain(self) -> Any:
        """The number, text or flag that this is outside tensor code."""
        path = self._tml_path
        name = roles.last(path)
        if roles.DEVICE.search(name):
            return world().device
        if roles.FLAG.match(name):
            return False
        if roles.TEXT.search(name):
            return str(self)
        return number(path)

    # -- attributes

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        children = self._tml_children
        if name in children:
            return children[name]
        if name in roles.SELF_RETURNING:
            return Handing(self, name)
        if name in ("shape", "size") and self._tml_is_shape_asked():
            return Extent(self)
        if name == "backward" and not self._tml_tensorish():
            return Stand(f"{self._tml_path}.backward", None, self)  # `accelerator.backward(loss)`
        if name in _TENSOR_API and (name in _CLEARLY_TENSOR or self._tml_tensorish()) and not self._tml_settings(name):
            return getattr(self._tml_as_tensor(() if name in _SCALARS else None), name)
        child = Stand(f"{self._tml_path}.{name}", self._tml_now(), self)
        if self._tml_core is None and self._tml_tensor is None:
            children[name] = child
        return child

    def _tml_settings(self, name: str) -> bool:
        """Whether the attribute belongs to settings, or to a module or container, rather than to a tensor."""
        if self._tml_core is not None or self._tml_tensor is not None:
            return False
        last = roles.last(self._tml_path)
        if name in roles.CONTAINER_API or roles.CONFIG.match(last):
            return True
        return name not in _CLEARLY_TENSOR and roles.from_config(self._tml_path)

    def _tml_is_shape_asked(self) -> bool:
        return (
            self._tml_tensor is None
            and not roles.from_config(self._tml_path)
            and not roles.CONFIG.match(self._tml_path)
        )

    def _tml_source(self) -> torch.Tensor | None:
        """What parts of it derive from: where it is what a model makes, a real output."""
        now = self._tml_now()
        if now is None and self._tml_carries_graph():
            object.__setattr__(self, "_tml_core", world().forward(self._tml_path, []))
            return self._tml_core
        return now

    def _tml_carries_graph(self) -> bool:
        name = roles.last(self._tml_path)
        claimed = name in world().graphs and self._tml_owner is None
        likely = roles.GRAPH.search(name) and self._tml_tensorish() and not self._tml_path.endswith("[]")
        return bool(claimed or likely)

    def _tml_now(self) -> torch.Tensor | None:
        return self._tml_core if self._tml_core is not None else self._tml_tensor

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _STATE:
            object.__setattr__(self, name, value)
        elif self._tml_tensor is not None and name in ("grad", "requires_grad", "data"):
            setattr(self._tml_tensor, name, value)
        else:
            self._tml_children[name] = value

    def __delattr__(self, name: str) -> None:
        self._tml_children.pop(name, None)

    # -- calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from runtime_verify.worker.standin_calls import called

        return called(self, args, kwargs, ())

    # -- containers

    def __getitem__(self, key: Any) -> Any:
        if self._tml_kept is not None and isinstance(key, (int, slice)):
            return self._tml_kept[key]
        if isinstance(key, str):
            return self._tml_child(key)
        if self._tml_tensor is not None:
            return self._tml_tensor[key]
        if isinstance(key, int) and self._tml_core is None and not self._tml_tensorish():
            return self._tml_child(key)
        if isinstance(key, int) and self._tml_tensor is None and self._tml_source() is not None:
            return Stand(f"{self._tml_path}[]", self._tml_core, None)
        if isinstance(key, (slice, tuple, torch.Tensor, type(Ellipsis), int)) or key is None:
            if isinstance(key, tuple) and self._tml_tensor is None:
                return self._tml_as_tensor(deep_enough(len([part for part in key if part is not None])))[key]
            if isinstance(key, slice) and not self._tml_tensorish():
                return Stand(f"{self._tml_path}[]", None, None)
            return self._tml_as_tensor()[key]
        return self._tml_child(str(key))

    def _tml_child(self, key: Any) -> Any:
        children = self._tml_children
        if key not in children:
            name = f".{key}" if isinstance(key, str) and key.isidentifier() else "[]"
            made = Stand(f"{self._tml_path}{name}", self._tml_now(), None)
            if self._tml_now() is not None:
                return made
            children[key] = made
        return children[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._tml_tensor is not None and not isinstance(key, str):
            self._tml_tensor[key] = value
        elif isinstance(key, (str, int)):
            self._tml_children[key] = value

    def __delitem__(self, key: Any) -> None:
        self._tml_children.pop(key, None)

    def __iter__(self) -> Iterator[Any]:
        if self._tml_kept is not None:
            return iter(list(self._tml_kept))
        return self._tml_turns()

    def _tml_turns(self) -> Iterator[Any]:
        """Fresh elements; the loop that goes over them decides how many it takes, others take a few."""
        if self._tml_path.count("[]") >= DEEPEST:
            return
        core = self._tml_now()
        for _ in range(max(TURNS, world().order.passes + 2) if self._tml_long() else TURNS):
            yield Stand(f"{self._tml_path}[]", core, None)

    def _tml_long(self) -> bool:
        return bool(roles.ITERATED.search(self._tml_path))

    def __next__(self) -> Any:
        return Stand(f"{self._tml_path}[]", self._tml_now(), None)

    def __len__(self) -> int:
        if self._tml_kept is not None:
            return len(self._tml_kept)
        if self._tml_long() and self._tml_tensor is None:
            return world().order.passes + 2
        return world().batch if self._tml_tensor is None else (len(self._tml_tensor) if self._tml_tensor.dim() else 1)

    def __contains__(self, item: object) -> bool:
        return False

    def __reversed__(self) -> Iterator[Any]:
        return iter(self)

    # -- plain values

    def __bool__(self) -> bool:
        if self._tml_kept is not None:
            return bool(self._tml_kept)
        return False

    def __int__(self) -> int:
        return int(self._tml_number())

    def __index__(self) -> int:
        return int(self._tml_number())

    def __float__(self) -> float:
        return float(self._tml_number())

    def __complex__(self) -> complex:
        return complex(self._tml_number())

    def _tml_number(self) -> Any:
        if self._tml_tensorish() and (self._tml_core is not None or self._tml_tensor is not None):
            tensor = self._tml_as_tensor(())
            return tensor.float().mean().item()
        return number(self._tml_path)

    def __str__(self) -> str:
        return roles.last(self._tml_path)

    def __repr__(self) -> str:
        return f"<stand-in {self._tml_path}>"

    def __format__(self, spec: str) -> str:
        try:
            return format(self._tml_number(), spec)
        except (ValueError, TypeError):
            return str(self)

    def __fspath__(self) -> str:
        return str(self)

    def __hash__(self) -> int:
        return id(self)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        values = self._tml_as_tensor().detach().cpu().numpy()
        return values if dtype is None else values.astype(dtype)

    # -- protocols

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __await__(self) -> Iterator[Any]:
        return iter(())

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Stand:
        core = self._tml_now()
        return Stand(f"{self._tml_path}_copy", core.detach().clone() if core is not None else None)

    def __copy__(self) -> Stand:
        return Stand(self._tml_path, self._tml_now())

    def __reduce__(self) -> Any:
        return (Stand, (self._tml_path,))

    def __instancecheck__(self, instance: Any) -> bool:
        return False

    def __subclasscheck__(self, subclass: Any) -> bool:
        return False

    def __mro_entries__(self, bases: Any) -> tuple[type, ...]:
        return (nn.Module,)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from runtime_verify.worker.shapes import resolved

        given, named = resolved(func, args, kwargs or {})
        return func(*given, **named)
