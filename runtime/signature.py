"""What a model takes and gives, and whether arrays fit it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from dnncc.isa import image as images
from dnncc.isa.numerics import dequantize, quantize
from dnncc.isa.types import ALL_NAMES, element_type

from .errors import RunError
from .machine import Array

REAL = "float32"
"""What callers give and take where memory holds integers of a scale."""


class Tensor(Struct, frozen=True):
    """An input or output: `type` is as in onnxruntime, "tensor(int8)"."""

    name: str
    shape: list[int]
    type: str

    @property
    def dtype(self) -> np.dtype[Any]:
        return element_type(next(d for d, n in ALL_NAMES.items() if self.type == f"tensor({n})"))


def described(symbols: Sequence[images.Symbol], kind: str) -> list[Tensor]:
    """The inputs, or the outputs, in the model's order."""
    found = [(s, REAL if s.real else s.dtype) for s in symbols if s.kind == kind]
    return [Tensor(s.name, list(s.shape), f"tensor({ALL_NAMES[name]})") for s, name in found]


def batched(inputs: Sequence[Tensor], feeds: Mapping[str, Any]) -> tuple[int, dict[str, Array]]:
    """The batch size B and the feeds as (B, *shape), in whatever memory they are.

    A feed has the input's shape, or B times its first dimension, the same B for all. Raises
    RunError, naming the input, what is expected and what came.
    """
    check_names(inputs, feeds)
    arrays = {t.name: np.asarray(feeds[t.name]) for t in inputs}
    sizes = {t.name: batch_of(t, arrays[t.name]) for t in inputs}
    batch = max(sizes.values(), default=1)
    for tensor in inputs:
        if sizes[tensor.name] != batch:
            counts = f"batch of {sizes[tensor.name]}, others of {batch}"
            raise RunError(f"input {tensor.name!r}: {counts}; give as many of each")
    return batch, {t.name: arrays[t.name].reshape(batch, *t.shape) for t in inputs}


def given(symbol: images.Symbol, values: Array) -> Array:
    """A caller's values of an input as memory holds them."""
    if not symbol.real:
        return values
    info = np.iinfo(symbol.type)
    limits = int(info.min), int(info.max)
    return quantize(values, symbol.scale, symbol.zero, *limits, symbol.type)


def taken(symbol: images.Symbol, held: Array) -> Array:
    """What memory holds of a tensor as callers get it: a copy."""
    if not symbol.real:
        return held.copy()
    return dequantize(held, symbol.scale, symbol.zero)


def check_names(inputs: Sequence[Tensor], feeds: Mapping[str, Any]) -> None:
    known = [t.name for t in inputs]
    for name in feeds:
        if name not in known:
            raise RunError(f"input {name!r}: the model has no such input; it has {listed(known)}")
    for name in known:
        if name not in feeds:
            raise RunError(f"input {name!r} is missing; the model takes {listed(known)}")


def batch_of(tensor: Tensor, array: Array) -> int:
    """How many inputs an array holds; RunError if it does not fit."""
    expected = f"{tensor.dtype}{tensor.shape}"
    got = f"{array.dtype}{list(array.shape)}"
    first, *rest = tensor.shape or [0]
    fits = array.ndim == len(tensor.shape) and list(array.shape[1:]) == rest
    whole = array.shape == tuple(tensor.shape) or (first > 0 and array.shape[0] % first == 0)
    if array.dtype != tensor.dtype or not fits or not whole or (first and not len(array)):
        raise RunError(f"input {tensor.name!r}: expected {expected}, got {got}")
    return len(array) // first if first else 1


def merged(values: Array) -> Array:
    """(B, N, ...) as (B * N, ...), what a model's output is for a batch; a scalar's is (B,)."""
    if values.ndim == 1:
        return values[0] if len(values) == 1 else values
    return values.reshape(len(values) * values.shape[1], *values.shape[2:])


def listed(names: Sequence[str]) -> str:
    return ", ".join(repr(n) for n in names) or "none"
