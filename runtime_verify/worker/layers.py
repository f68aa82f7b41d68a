"""Layers that check their arguments before they compute: sizes for stand-ins, states that fit."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from runtime_verify.readings import EventKind
from runtime_verify.worker.adaptation import fitted
from runtime_verify.worker.sizes import number
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.world import world

RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def recurrent(layer: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a recurrent layer in the sizes that it checks before it computes."""
    if not args:
        return args
    w, cell = world(), isinstance(layer, nn.RNNCellBase)
    first, values = args[0], list(args)
    if isinstance(first, Stand):
        values[0] = first._tml_as_tensor((w.batch, layer.input_size) if cell else (w.batch, w.length, layer.input_size))
    if isinstance(values[0], torch.Tensor) and (values[0].dim() == 0 or values[0].shape[-1] != layer.input_size):
        shape = (*values[0].shape[:-1], layer.input_size) if values[0].dim() > 1 else (w.batch, layer.input_size)
        values[0] = fitted(values[0].float(), shape)
        w.note(EventKind.REPAIR, f"{type(layer).__name__}: input of {list(shape)}")
    if len(values) > 1 and values[1] is not None and isinstance(values[0], torch.Tensor):
        fits = _state(layer, values[0], cell, values[1])
        if fits is not values[1]:
            w.note(EventKind.REPAIR, f"{type(layer).__name__}: a state of its size")
            values[1] = fits
    return tuple(values)


def _state(layer: Any, rows: torch.Tensor, cell: bool, given: Any) -> Any:
    """The recurrent state that was given, or one of the right shape with its values."""
    count = rows.shape[0] if cell or layer.batch_first or rows.dim() < 3 else rows.shape[1]
    deep = layer.num_layers * (2 if layer.bidirectional else 1) if not cell else 0
    shape = (count, layer.hidden_size) if cell else (deep, count, layer.hidden_size)
    pair = isinstance(layer, (nn.LSTM, nn.LSTMCell))
    parts = list(given) if isinstance(given, (tuple, list)) and pair else [given] * (2 if pair else 1)
    if len(parts) == (2 if pair else 1) and all(isinstance(p, torch.Tensor) and tuple(p.shape) == shape for p in parts):
        return given
    done = []
    for part in (parts * 2)[: 2 if pair else 1]:
        if isinstance(part, Stand):
            part = part._tml_as_tensor(shape)
        done.append(
            fitted(part.float(), shape) if isinstance(part, torch.Tensor) else torch.zeros(shape, device=rows.device)
        )
    return tuple(done) if pair else done[0]


def constructed(kind: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A layer's arguments with stand-ins as numbers, by the names of its parameters where theirs say nothing."""
    if not any(isinstance(value, Stand) and value._tml_now() is None for value in [*args, *kwargs.values()]):
        return args, kwargs
    try:
        names = list(inspect.signature(kind).parameters)
    except (TypeError, ValueError):
        names = []
    values = [_layer_value(value, names[n] if n < len(names) else "") for n, value in enumerate(args)]
    return tuple(values), {name: _layer_value(value, name) for name, value in kwargs.items()}


def _layer_value(value: Any, name: str) -> Any:
    if not isinstance(value, Stand) or value._tml_now() is not None or value._tml_kept is not None:
        return value
    if name in (
        "bias",
        "batch_first",
        "bidirectional",
        "affine",
        "inplace",
        "track_running_stats",
        "elementwise_affine",
    ):
        return False
    if name in ("args", "module", "modules", "weight", "pos_weight"):
        return value
    if name == "device":
        return world().device
    made = number(value._tml_path)
    return made if name in ("p", "dropout", "eps", "momentum") else max(1, int(made))
