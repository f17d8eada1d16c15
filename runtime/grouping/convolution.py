"""One convolution or matrix product with its requantisation, as large float32 matrix products.

Exact: the weights are constants, so the largest magnitude of any partial sum is known, and sums are
split where it could pass 2^24. Zero points of the ifmap are not subtracted: what is outside of it
reads as its zero point, and all else of it is in the bias.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dnncc.isa import numerics, vector

from ..machine import Buffers, Machine
from .boxes import Block
from .chains import Sums
from .planes import Window, columns_first, columns_last, tapped, taps_of

Array = npt.NDArray[Any]

COLUMN_BYTES = 4 << 20
"""Input that is unrolled at a time: several images of a batch, but what a core's caches hold."""

PLANE_BYTES = 128 << 10
"""Depthwise: results that stay in the second-level cache while all taps pass over them."""


@dataclass(frozen=True)
class Epilogue:
    """A Requantize step: mode and limits, its table, its result."""

    mode: int
    zero: int
    low: int
    high: int
    params: Block
    out: Block


@dataclass(frozen=True, eq=False)
class Constants:
    """Weights int64 [G, K, C, R, S] without zero points; per channel bias, scale, perhaps shift."""

    weights: Array
    bias: Array
    scale: Array
    shift: Array | None


@dataclass(frozen=True, eq=False)
class Factors:
    """Weights as matrices in slices of the terms, whose sums are exact for a peak of the ifmap.

    `bias` is float32 where sums with it are exact, too, else None.
    """

    kind: Any
    slices: list[slice]
    matrices: list[Array]
    bias: Array | None


@dataclass(eq=False)
class Convolution:
    """Stands for all tiles of a layer; `weight_zero` and the window are common to them."""

    sums: Sums
    window: Window
    weight_zero: int
    epilogue: Epilogue
    constants: Constants | None = None
    factors: dict[tuple[int, str], Factors] = field(default_factory=dict)

    mnemonic = "tensor"

    def execute(self, machine: Machine) -> None:
        if self.constants is None:
            self.constants = self.read_constants(machine)
        n, g, k, c, p, q = self.sums.sizes
        held = (self.sums.rows.valid, self.sums.columns.valid)
        x = block(machine, self.sums.ifmap, (n, g, c, *held))
        out = block(machine, self.epilogue.out, (n, g * k, p, q))
        if len(x) == 1:
            self.run(x[0], out[0], machine.buffers)
            return
        for image in range(n):
            self.run(x[:, image], out[:, image], machine.buffers)

    def run(self, x: Array, out: Array, buffers: Buffers) -> None:
        """[images, G, C, H, W] to [images, G * K, P, Q], as many images at a time as are useful."""
        _, g, _, c, p, q = self.sums.sizes
        terms = g * c * p * q * self.window.taps[0] * self.window.taps[1]
        step = max(1, COLUMN_BYTES // (4 * terms))
        peak = max(top(x), abs(self.window.zero))
        compute = self.chosen(x)
        for first in range(0, len(x), step):
            compute(x[first : first + step], out[first : first + step], peak, buffers)

    def chosen(self, x: Array) -> Any:
        """By the order in which the ifmap lies in memory."""
        _, g, k, c, _, _ = self.sums.sizes
        channel = x.strides[2] if c > 1 else x.strides[1]
        last = channel < max(x.strides[3:]) and c * g > 1
        if c == k == 1 and g > 1:
            return self.depthwise_last if last else self.depthwise_first
        return self.channels_last if last and g == 1 else self.channels_first

    # Constants

    def read_constants(self, machine: Machine) -> Constants:
        _, g, k, c, _, _ = self.sums.sizes
        w = block(machine, self.sums.weight, (g, k, c, *self.window.taps))[0].astype(np.int64)
        w -= self.weight_zero
        if self.sums.zeros is not None:
            w -= block(machine, self.sums.zeros, (g, k))[0].astype(np.int64)[..., None, None, None]
        words = vector.PARAM_WORDS[self.epilogue.mode]
        table = np.ascontiguousarray(block(machine, self.epilogue.params, (g * k, words))[0].T)
        bias = table[0] - self.window.zero * w.sum(axis=(2, 3, 4)).reshape(-1)
        fixed = self.epilogue.mode == vector.FIXED
        scale = table[1] if fixed else table[1].view(np.float32)
        return Constants(w, numerics.to_int32(bias), scale, table[2] if fixed else None)

    def factored(self, peak: int, order: str) -> Factors:
        """The weights for one of the ways to compute; made once."""
        if (peak, order) not in self.factors:
            assert self.constants is not None
            self.factors[peak, order] = factors(self.constants, peak, order)
        return self.factors[peak, order]

    # Sums

    def channels_last(self, x: Array, out: Array, peak: int, buffers: Buffers) -> None:
        """[images * P * Q, R * S * C] by [R * S * C, K]."""
        f = self.factored(peak, "last")
        columns = columns_last(x[:, 0].transpose(0, 2, 3, 1), self.window, buffers, f.kind)
        parts = [(columns[:, s], w) for s, w in zip(f.slices, f.matrices, strict=True)]
        total = product(parts, (len(columns), out.shape[1]), buffers)
        last = out.transpose(0, 2, 3, 1)
        self.finish(total.reshape(last.shape), last, f, 3)

    def channels_first(self, x: Array, out: Array, peak: int, buffers: Buffers) -> None:
        """[G, K, C * R * S] by [images, G, C * R * S, P * Q]."""
        f = self.factored(peak, "first")
        columns = columns_first(x, self.window, buffers, f.kind)
        parts = [(w, columns[:, :, s]) for s, w in zip(f.slices, f.matrices, strict=True)]
        shape = (*columns.shape[:2], f.matrices[0].shape[1], columns.shape[3])
        self.finish(product(parts, shape, buffers).reshape(out.shape), out, f, 1)

    def depthwise_last(self, x: Array, out: Array, peak: int, buffers: Buffers) -> None:
        """A multiply-add per tap, some rows of results at a time."""
        f = self.factored(peak, "taps last")
        win = taps_of(x[:, :, 0].transpose(0, 2, 3, 1), 1, self.window, buffers, f.kind)
        win, out = win.transpose(2, 3, 0, 4, 5, 1), out.transpose(0, 2, 3, 1)
        step = max(1, PLANE_BYTES // (4 * out.shape[2] * out.shape[3]))
        for image in range(len(out)):
            for p in range(0, out.shape[1], step):
                some = slice(p, p + step)
                total = tapped(win[:, :, image, some], f.matrices[0], buffers)
                self.finish(total, out[image, some], f, 2)

    def depthwise_first(self, x: Array, out: Array, peak: int, buffers: Buffers) -> None:
        """A multiply-add per tap, some channels at a time."""
        f = self.factored(peak, "taps first")
        win = taps_of(x[:, :, 0], 2, self.window, buffers, f.kind).transpose(2, 3, 0, 1, 4, 5)
        step = max(1, PLANE_BYTES // (4 * out.shape[2] * out.shape[3]))
        for image in range(len(out)):
            for g in range(0, out.shape[1], step):
                some = slice(g, g + step)
                total = tapped(win[:, :, image, some], f.matrices[0][:, :, some], buffers)
                self.finish(total, out[image, some], f, 0, some)

    # Results

    def finish(
        self, total: Array, out: Array, f: Factors, axis: int, some: slice = slice(None)
    ) -> None:
        """Bias, scale and limits; `axis` is that of the channels, or of `some` of them."""
        assert self.constants is not None
        shape = [1] * total.ndim
        shape[axis] = -1
        c, e = self.constants, self.epilogue
        scale = c.scale[some].reshape(shape)
        if c.shift is not None:
            sums = numerics.to_int32(total) + c.bias[some].reshape(shape)
            shift = c.shift[some].reshape(shape)
            out[...] = numerics.requantize_fixed(
                sums, scale, shift, e.zero, e.low, e.high, out.dtype
            )
            return
        if f.bias is not None:
            real = np.add(total, f.bias[some].reshape(shape), out=total)
        else:
            sums = total if total.dtype == np.int32 else numerics.to_int32(total)
            real = (sums + c.bias[some].reshape(shape)).astype(np.float32)
        with np.errstate(all="ignore"):
            scale_in_place(real, scale, e.zero, e.low, e.high, out)


def block(machine: Machine, place: Block, sizes: tuple[int, ...]) -> Array:
    return machine.view(place.memory, place.start, sizes, place.strides, place.code)


def top(x: Array) -> int:
    """The largest magnitude that x can hold; of 16 bits, the power of two above what it does."""
    if x.dtype.itemsize == 1:
        return 255 if x.dtype.kind == "u" else 128
    return max(255, 1 << numerics.peak(x).bit_length())


ORDERS = {
    "last": (0, 3, 4, 2, 1),
    "first": (0, 1, 2, 3, 4),
    "taps last": (3, 4, 0, 1, 2),
    "taps first": (3, 4, 0, 1, 2),
}
"""How [G, K, C, R, S] lies in each kind of product."""


def factors(held: Constants, peak: int, order: str) -> Factors:
    w = held.weights.transpose(ORDERS[order])
    spatial = order.startswith("taps")
    terms = np.abs(held.weights).transpose(0, 1, *(a for a in ORDERS[order] if a > 1))
    terms = terms.reshape(terms.shape[0] * terms.shape[1], -1)
    slices = [slice(0, terms.shape[1])]
    kind: Any = np.float32
    if spatial:
        exact = int(terms.sum(axis=1).max(initial=0)) * peak < numerics.EXACT_F32
        kind = np.float32 if exact else np.float64
        shape = w.shape[:3] if order == "taps last" else (*w.shape[:3], 1, 1)
        matrices = [np.ascontiguousarray(w.reshape(shape)).astype(kind)]
    else:
        kind, slices = cut(terms, peak)
        matrices = [matrix(w, order, s, kind) for s in slices]
    whole = len(slices) == 1 and kind == np.float32
    reached = (terms.sum(axis=1) * peak + np.abs(held.bias.astype(np.int64))).max(initial=0)
    bias = held.bias.astype(np.float32) if whole and reached < numerics.EXACT_F32 else None
    return Factors(kind, slices, matrices, bias)


def matrix(w: Array, order: str, terms: slice, kind: Any) -> Array:
    """[terms, K], or [G, K, terms]."""
    flat = w.reshape(-1, w.shape[-1]) if order == "last" else w.reshape(*w.shape[:2], -1)
    part = flat[terms] if order == "last" else flat[:, :, terms]
    return np.ascontiguousarray(part.astype(kind))


def cut(terms: Array, peak: int) -> tuple[Any, list[slice]]:
    """The fewest slices of the terms [channels, terms] so that each sum is exact in float32.

    In float64 where slices would be of less than SHORTEST_CHUNK terms on average.
    """
    slices: list[slice] = []
    count, first = terms.shape[1], 0
    sums = np.zeros((len(terms), count + 1), np.int64)
    np.cumsum(terms, axis=1, out=sums[:, 1:])
    while first < count and len(slices) * numerics.SHORTEST_CHUNK <= count:
        reached = (sums[:, first:] - sums[:, first : first + 1]).max(axis=0) * peak
        last = first + int(np.searchsorted(reached, numerics.EXACT_F32)) - 1
        if last <= first:
            break
        slices.append(slice(first, last))
        first = last
    if first == count:
        return np.float32, slices
    if int(sums[:, -1].max()) * peak >= numerics.EXACT_F64:
        raise ValueError("sums of more than 53 bits")
    return np.float64, [slice(0, count)]


def product(parts: list[tuple[Array, Array]], shape: tuple[int, ...], buffers: Buffers) -> Array:
    """The sum of exact products; of several it is int32, which wraps."""
    a, b = parts[0]
    out = buffers.take("product", shape, a.dtype)
    np.matmul(a, b, out=out)
    if len(parts) == 1:
        return out
    total = buffers.take("total", shape, np.int32)
    np.copyto(total, out, casting="unsafe")
    for a, b in parts[1:]:
        np.matmul(a, b, out=out)
        np.add(total, out.astype(np.int32), out=total)
    return total


def scale_in_place(real: Array, scale: Array, zero: int, low: int, high: int, out: Array) -> None:
    """numerics.requantize of float32 sums that may be overwritten."""
    low, high = numerics.limits(low, high, out.dtype)
    np.multiply(real, scale, out=real)
    np.fmax(real, np.float32(low - zero), out=real)
    np.fmin(real, np.float32(high - zero), out=real)
    np.rint(real, out=real)
    if zero:
        np.add(real, np.float32(zero), out=real)
    np.copyto(out, real, casting="unsafe")
