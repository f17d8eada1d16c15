"""The constants of a convolution as matrices of float32, in parts whose sums are exact."""

from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from dnncc.isa import numerics

from ..machine import Buffers

Array = npt.NDArray[Any]

ORDERS = {
    "last": (0, 3, 4, 2, 1),
    "first": (0, 1, 2, 3, 4),
    "taps_last": (3, 4, 0, 1, 2),
    "taps_first": (3, 4, 0, 1, 2),
}
"""How [G, K, C, R, S] lies in each kind of product: channels last or first in memory, depthwise."""


CHANNELS = 32
"""Whose running sums are looked at together."""

LARGE = 1 << 18
"""Weights of a matrix that is kept as bytes, where they are bytes, and converted for each run: all
of a network's would take four times the memory of its constants."""


class Factors(Struct, frozen=True, eq=False):
    """Weights as matrices in slices of the terms, whose sums are exact for a peak of the ifmap.

    They are multiplied as `kind`. `bias` is int32, `real_bias` float32 where sums with it are
    exact, too.
    """

    kind: Any
    slices: list[slice]
    matrices: list[Array]
    bias: Array
    real_bias: Array | None

    def whole(self, buffers: Buffers) -> "Factors":
        """With all matrices of that kind, until the next ones are converted."""
        if all(held.dtype == self.kind for held in self.matrices):
            return self
        matrices = []
        for number, held in enumerate(self.matrices):
            matrices.append(buffers.take(f"weights{number}", held.shape, self.kind))
            np.copyto(matrices[-1], held)
        return replace(self, matrices=matrices)


def factors(w: Array, bias: Array, peak: int, order: str) -> Factors:
    """Of integer weights [G, K, C, R, S] and an ifmap whose magnitudes are at most `peak`."""
    terms = np.abs(w).transpose(0, 1, *(a for a in ORDERS[order] if a > 1))
    terms = terms.reshape(terms.shape[0] * terms.shape[1], -1)
    reached = terms.sum(axis=1, dtype=np.int64) * peak
    kind, slices = np.dtype(np.float32), [slice(0, terms.shape[1])]
    if reached.max(initial=0) >= numerics.EXACT_F32:
        kind, slices = cut(terms, peak, whole=order.startswith("taps"))
    lying = w.transpose(ORDERS[order])
    matrices = [matrix(lying, order, part, kind) for part in slices]
    largest = (reached + np.abs(bias.astype(np.int64))).max(initial=0)
    real_bias = bias.astype(np.float32) if largest < numerics.EXACT_F32 else None
    return Factors(kind, slices, matrices, bias, real_bias)


def matrix(w: Array, order: str, terms: slice, kind: Any) -> Array:
    """[terms, K], [G, K, terms], or per tap what broadcasts to rows or planes."""
    if order == "taps_last":
        return np.ascontiguousarray(w[..., 0, 0]).astype(kind)
    if order == "taps_first":
        return np.ascontiguousarray(w).astype(kind)
    flat = w.reshape(-1, w.shape[-1]) if order == "last" else w.reshape(*w.shape[:2], -1)
    part = flat[terms] if order == "last" else flat[:, :, terms]
    return np.ascontiguousarray(part, np.int8 if is_compact(part) else kind)


def is_compact(weights: Array) -> bool:
    """Whether they are kept as bytes."""
    return weights.size >= LARGE and weights.min() >= -128 and weights.max() <= 127


def cut(terms: Array, peak: int, whole: bool = False) -> tuple[Any, list[slice]]:
    """The fewest slices of the terms [channels, terms] so that each sum is exact in float32.

    In float64 where slices would be of less than SHORTEST_CHUNK terms on average, or one has to do.
    """
    slices: list[slice] = []
    count, first = terms.shape[1], 0
    while not whole and first < count and len(slices) * numerics.SHORTEST_CHUNK <= count:
        reached = largest_sums(terms[:, first:]) * peak
        last = first + int(np.searchsorted(reached, numerics.EXACT_F32)) - 1
        if last <= first:
            break
        slices.append(slice(first, last))
        first = last
    if first == count:
        return np.dtype(np.float32), slices
    if int(terms.sum(axis=1, dtype=np.int64).max()) * peak >= numerics.EXACT_F64:
        raise ValueError("sums of more than 53 bits")
    return np.dtype(np.float64), [slice(0, count)]


def largest_sums(terms: Array) -> Array:
    """int64[count + 1]: the largest that a channel's first 0, 1, ... terms sum up to. Some channels
    at a time, as all running sums would be the most that a run holds at once."""
    largest = np.zeros(terms.shape[1] + 1, np.int64)
    for first in range(0, len(terms), CHANNELS):
        running = np.cumsum(terms[first : first + CHANNELS], axis=1, dtype=np.int64)
        np.maximum(largest[1:], running.max(axis=0), out=largest[1:])
    return largest
