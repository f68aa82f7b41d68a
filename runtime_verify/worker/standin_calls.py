"""What a stand-in does when it is called: compute with real layers, hand on, keep, or do nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from runtime_verify.readings import EventKind
from runtime_verify.worker import roles
from runtime_verify.worker.standin import DEEPEST, Stand
from runtime_verify.worker.world import TURNS, world

NESTED = 3
"""How far into lists, tuples and dicts tensors among arguments are looked for."""
HANDING_ON = frozenset(
    {"prepare", "unwrap_model", "unwrap", "scale", "wrap", "gather", "gather_for_metrics", "distribute"}
)
"""Calls whose result is what they were given."""


def called(stand: Stand, args: tuple[Any, ...], kwargs: dict[str, Any], hints: tuple[str, ...]) -> Any:
    """The result of calling a stand-in; `hints` are the names that it will be bound to."""
    name = roles.last(stand._tml_path)
    owner = stand._tml_owner
    if name in ("backward", "manual_backward") and (args or owner is not None):
        target = args[0] if args or owner is None else owner._tml_as_tensor(())
        return target.backward() if hasattr(target, "backward") else None
    if len(args) == 1 and not kwargs and _decorated(args[0]) and not roles.NO_RESULT.match(name):
        return args[0]
    if owner is not None:
        done = _method(owner, name, args, kwargs)
        if done is not NotImplemented:
            return done
    if name in HANDING_ON and args:
        return args[0] if len(args) == 1 else args
    tensors = list(tensors_in([*args, *kwargs.values()]))
    if world().recovering and not roles.NO_RESULT.match(name):
        return Stand(hints[0] if hints else name, world().forward(stand._tml_path, tensors))
    if roles.NO_RESULT.match(name) and not hints:
        return None
    path = hints[0] if len(hints) == 1 and hints[0] else f"{stand._tml_path}()"
    if name[:1].isupper():
        made = Stand(path)
        for key, value in kwargs.items():
            made._tml_children[key] = value
        return made
    if tensors or (roles.MODULE.search(name) and not roles.NO_RESULT.match(name)) or _promised(hints):
        return _computed(stand, name, path, tensors, _is_module(stand, name, [*args, *kwargs.values()], hints))
    return Stand(path)


def _decorated(value: Any) -> bool:
    """Whether it is a function or class of the user's that may have been handed to a decorator."""
    code = getattr(value, "__code__", None)
    return (
        "__tml_own__" in vars(value) if isinstance(value, type) else getattr(code, "co_filename", "") in world().sites
    )


def _promised(hints: tuple[str, ...]) -> bool:
    return any(roles.GRAPH.search(name) for name in hints)


def _is_module(stand: Stand, name: str, values: list[Any], hints: tuple[str, ...]) -> bool:
    """Whether what is called has layers: by its name, its owner's, or because it is handed something that has."""
    owner = stand._tml_owner
    if roles.MODULE.search(name) or _promised(hints):
        return True
    if owner is None:
        return not stand._tml_path.count(".") or stand._tml_path.startswith("self.") or _handed_modules(values)
    return bool(roles.MODULE.search(roles.last(owner._tml_path))) or _handed_modules(values)


def _handed_modules(values: list[Any]) -> bool:
    return any(
        isinstance(value, nn.Module)
        or (
            isinstance(value, Stand) and not value._tml_tensorish() and roles.MODULE.search(roles.last(value._tml_path))
        )
        for value in values
    )


def _computed(stand: Stand, name: str, path: str, tensors: list[torch.Tensor], layered: bool) -> Stand:
    if not tensors and _makes_something(name):
        return Stand(path)
    if roles.LOSS_FUNCTION.search(name) and tensors:
        core = world().reduce(tensors)
        if torch.is_grad_enabled() and not core.requires_grad:
            core = world().forward(stand._tml_path, tensors).mean()
    elif layered:
        core = world().forward(stand._tml_path, tensors)
    else:
        core = world().passed_on(tensors)
    world().note(
        EventKind.STANDIN,
        f"{stand._tml_path}(...): {'a module' if layered else 'a function'} of {len(tensors)} tensors",
    )
    return Stand(path, core)


def _makes_something(name: str) -> bool:
    return name.startswith(("get", "build", "create", "make", "load", "init", "from_", "new", "setup", "prepare"))


def _method(owner: Stand, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The methods that are known whatever their owner is."""
    if name in ("parameters", "named_parameters"):
        return getattr(world().network(owner._tml_path), name)()
    if name in roles.MODULE_API and name != "zero_grad":
        module = world().network(owner._tml_path)
        if name == "state_dict":
            return OrderedDict(module.state_dict())
        if name == "load_state_dict":
            return None
        if name.startswith("register_") and args and callable(args[0]):
            world().hooked[id(module)] = module
        return getattr(module, name)(*args, **kwargs)
    if name == "zero_grad":
        world().zero_grads()
        return None
    if name in roles.CONTAINER_API:
        return _contained(owner, name, args)
    if name == "get":
        return args[1] if len(args) > 1 else owner[args[0]] if args else Stand(f"{owner._tml_path}.get")
    if name in ("items", "keys", "values") and not args:
        return _entries(owner, name)
    return NotImplemented


def _contained(owner: Stand, name: str, args: tuple[Any, ...]) -> Any:
    if owner._tml_kept is None:
        object.__setattr__(owner, "_tml_kept", [])
        world().note(EventKind.STANDIN, f"{owner._tml_path}: a list")
    kept = owner._tml_kept
    assert kept is not None
    if name in ("popleft",):
        return kept.pop(0) if kept else Stand(f"{owner._tml_path}[]")
    if name == "appendleft":
        return kept.insert(0, *args)
    if name == "pop" and not kept:
        return Stand(f"{owner._tml_path}[]")
    return getattr(kept, name)(*args)


def _entries(owner: Stand, name: str) -> Iterator[Any]:
    core = owner._tml_now()
    known = [
        (key, value)
        for key, value in owner._tml_children.items()
        if isinstance(key, str) and not (isinstance(value, Stand) and value._tml_owner is owner)
    ]
    bottom = owner._tml_path.count("[]") >= DEEPEST
    made_up = (
        [] if name == "keys" or bottom else [(f"key{n}", Stand(f"{owner._tml_path}[]", core)) for n in range(TURNS)]
    )
    for key, value in known or made_up:
        yield {"items": (key, value), "keys": key, "values": value}[name]


def handed_on(owner: Stand, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`x.to(...)`, `x.cpu()`, `model.train()`: the same thing, really moved where it is a tensor."""
    if name == "prepare" and args:
        return args[0] if len(args) == 1 else args
    if name in ("module", "unwrap_model") and args:
        return args[0]
    tensor = owner._tml_tensor
    to_host = name == "cpu" or any(str(value) == "cpu" for value in [*args, *kwargs.values()])
    if tensor is None and to_host and owner._tml_tensorish():
        tensor = owner._tml_as_tensor()
    if tensor is not None and hasattr(tensor, name):
        return getattr(tensor, name)(*args, **kwargs)
    if name in ("requires_grad_",) and owner._tml_tensorish():
        return owner._tml_as_tensor().requires_grad_(*args, **kwargs)
    if name in ("train", "eval", "requires_grad_"):
        getattr(world().network(owner._tml_path), name)(*args, **kwargs)
    return owner


def tensors_in(values: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """The tensors among values, and what is taken for one, in lists and dicts too."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Stand):
            now = value._tml_now()
            if now is not None:
                yield now
            elif value._tml_tensorish():
                yield value._tml_as_tensor()
        elif depth < NESTED:
            if isinstance(value, (list, tuple)):
                yield from tensors_in(value[:8], depth + 1)
            elif isinstance(value, dict):
                yield from tensors_in(list(value.values())[:8], depth + 1)
