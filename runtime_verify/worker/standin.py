"""A value that the slice does not have, made up as it is used.

A stand-in has a path that says where it comes from ("args.lr", "loader[]", "model()"). What it is is settled by the
first use that needs to know: asked for `backward` it is a tensor, called with tensors a module with real layers and
parameters, iterated a loader, used in `range` a number; the name decides only where the use does not. A stand-in that
comes from a module's call carries that call's real output, so whatever is derived from it carries the graph.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from runtime_verify.readings import EventKind
from runtime_verify.worker import roles
from runtime_verify.worker.world import TURNS, world

Shape = tuple[int, ...]

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
_WHOLE_NUMBERS = ("ids", "id", "token", "tokens", "label", "labels", "idx", "index", "indices", "length", "lengths")


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
            made = _materialised(self._tml_path, core, shape, dtype)
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
        return roles.number(path)

    # -- attributes

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        children = self._tml_children
        if name in children:
            return children[name]
        if name in roles.SELF_RETURNING:
            return _Handing(self, name)
        if name in ("shape", "size") and self._tml_is_shape_asked():
            return Extent(self)
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
        return torch.is_grad_enabled() and bool(claimed or likely)

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
                return self._tml_as_tensor(_deep_enough(len([part for part in key if part is not None])))[key]
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
        return roles.number(self._tml_path)

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


_bases: dict[str, type] = {}


def base_class(path: str) -> type:
    """The base class that stands in for the class of that name."""
    if path not in _bases:
        _bases[path] = type(roles.last(path), (Base,), {})
    return _bases[path]


class _Handing:
    """A method that hands its owner back, as a stand-in or as the tensor that it is."""

    def __init__(self, owner: Stand, name: str) -> None:
        self.owner, self.name = owner, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from runtime_verify.worker.standin_calls import handed_on

        return handed_on(self.owner, self.name, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(Stand(f"{self.owner._tml_path}.{self.name}", None, self.owner), name)

    def __bool__(self) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        return iter(Stand(f"{self.owner._tml_path}.{self.name}", None, None))

    def __getitem__(self, key: Any) -> Any:
        return Stand(f"{self.owner._tml_path}.{self.name}", None, None)[key]

    def __float__(self) -> float:
        return float(roles.number(self.name))

    def __int__(self) -> int:
        return int(roles.number(self.name))

    __index__ = __int__


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
            return tuple(self.owner._tml_as_tensor(_deep_enough(depth)).shape)[key]
        place = int(key)
        return self.owner._tml_as_tensor(_deep_enough(place + 1 if place >= 0 else -place)).shape[place]

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


def _deep_enough(depth: int) -> Shape:
    return default_shape("", max(2, depth))


def _materialised(path: str, core: torch.Tensor | None, shape: Shape | None, dtype: torch.dtype | None) -> torch.Tensor:
    w = world()
    name = roles.last(path)
    if shape is None:
        shape = default_shape(path)
    if dtype is None:
        whole = core is None and any(part in _WHOLE_NUMBERS for part in name.lower().split("_"))
        dtype = torch.long if whole else torch.float32
    w.decide(f"tensor {path}", [list(shape), str(dtype)])
    w.note(EventKind.STANDIN, f"{path}: a tensor of shape {list(shape)}, {str(dtype).removeprefix('torch.')}")
    if not dtype.is_floating_point:
        return w.random(shape, dtype)
    if core is not None:
        made = w.shaped(core, shape)
        return made if dtype == torch.float32 else made.to(dtype)
    return w.random(shape, dtype)


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float, complex)) or (isinstance(value, Stand) and not value._tml_tensorish())


def _binary(name: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    apply = getattr(operator, name)

    def compute(one: Any, other: Any, mine: Stand) -> Any:
        if isinstance(one, str) or isinstance(other, str):
            return apply(str(one), str(other)) if name == "add" else str(one)
        if _numeric(one) and _numeric(other):
            return apply(*(roles.number(v._tml_path) if isinstance(v, Stand) else v for v in (one, other)))
        if isinstance(one, (list, tuple)) or isinstance(other, (list, tuple)):
            return mine
        like = next((v for v in (one, other) if isinstance(v, torch.Tensor)), None)
        values = [_operand(v, like) for v in (one, other)]
        return apply(*values)

    def forward(self: Any, other: Any) -> Any:
        return compute(self, other, self)

    def backward(self: Any, other: Any) -> Any:
        return compute(other, self, self)

    return forward, backward


def _operand(value: Any, like: torch.Tensor | None) -> Any:
    if not isinstance(value, Stand):
        return value
    if not value._tml_tensorish() and like is None:
        return value._tml_as_tensor()
    if not value._tml_tensorish():
        return value._tml_plain() if roles.from_config(value._tml_path) else value._tml_as_tensor(tuple(like.shape))  # type: ignore[union-attr]
    return value._tml_as_tensor(tuple(like.shape) if like is not None else None)


def _comparison(name: str) -> Callable[[Any, Any], Any]:
    apply = getattr(operator, name)

    def compare(self: Any, other: Any) -> Any:
        if other is None or isinstance(other, (str, bool, dict, list, tuple, type)):
            return name == "ne"
        if _numeric(self) and _numeric(other):
            values = [roles.number(v._tml_path) if isinstance(v, Stand) else v for v in (self, other)]
            return apply(*values)
        like = other if isinstance(other, torch.Tensor) else None
        return apply(_operand(self, like), _operand(other, like))

    return compare


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and_",
    "or_",
    "xor",
    "lshift",
    "rshift",
):
    _forward, _backward = _binary(_name)
    setattr(Stand, f"__{_name.rstrip('_')}__", _forward)
    setattr(Stand, f"__r{_name.rstrip('_')}__", _backward)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Stand, f"__{_name}__", _comparison(_name))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(
        Stand,
        f"__{_name}__",
        lambda self, apply=getattr(operator, _name): apply(
            self._tml_as_tensor() if self._tml_tensorish() else roles.number(self._tml_path)
        ),
    )
