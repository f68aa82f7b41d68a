"""Arithmetic and comparisons of stand-ins: numbers with numbers, tensors with tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch

from runtime_verify.worker import roles
from runtime_verify.worker.sizes import number
from runtime_verify.worker.standin import Stand


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float, complex)) or (isinstance(value, Stand) and not value._tml_tensorish())


def _binary(name: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    apply = getattr(operator, name)

    def compute(one: Any, other: Any, mine: Stand) -> Any:
        if isinstance(one, str) or isinstance(other, str):
            return apply(str(one), str(other)) if name == "add" else str(one)
        if _numeric(one) and _numeric(other):
            return apply(*(number(v._tml_path) if isinstance(v, Stand) else v for v in (one, other)))
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
            values = [number(v._tml_path) if isinstance(v, Stand) else v for v in (self, other)]
            return apply(*values)
        like = other if isinstance(other, torch.Tensor) else None
        return apply(_operand(self, like), _operand(other, like))

    return compare


ARITHMETIC = "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift"
COMPARISONS = "lt le gt ge eq ne"
UNARY = "neg pos abs invert"


def _unary(name: str) -> Callable[[Stand], Any]:
    apply = getattr(operator, name)

    def compute(self: Stand) -> Any:
        return apply(self._tml_as_tensor() if self._tml_tensorish() else number(self._tml_path))

    return compute


def install() -> None:
    """Gives stand-ins their operators."""
    for name in ARITHMETIC.split():
        forward, backward = _binary(name)
        setattr(Stand, f"__{name.rstrip('_')}__", forward)
        setattr(Stand, f"__r{name.rstrip('_')}__", backward)
    for name in COMPARISONS.split():
        setattr(Stand, f"__{name}__", _comparison(name))
    for name in UNARY.split():
        setattr(Stand, f"__{name}__", _unary(name))
