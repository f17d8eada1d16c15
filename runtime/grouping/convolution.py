"""One convolution or matrix product with its requantisation, as large float32 matrix products.

Exact: the weights are constants, so the largest magnitude of any partial sum is known, and sums are
split where it could pass 2^24. Zero points of the ifmap are not subtracted: what is outside of it
reads as its zero point, and all else of it is in the bias.
"""

from math import gcd
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from dnncc.isa import numerics, vector

from ..machine import Buffers, Machine
from .boxes import Block
from .chains import Sums
from .factors import Factors, factors
from .planes import Window, columns_first, columns_last, tapped, taps_of

Array = npt.NDArray[Any]

COLUMN_BYTES = 4 << 20
"""Input that is unrolled at a time: several images of a batch, but what a core's caches hold."""

PLANE_BYTES = 128 << 10
"""Depthwise: results that stay in the second-level cache while all taps pass over them."""


PIXELS = 32
"""That results are scaled in one row, if channels are innermost."""

SMALL = 1 << 14
"""Zero points below this leave a byte's difference from them in 16 bits."""


class Epilogue(Struct, frozen=True):
    """A Requantize step: mode and limits, its table, its result; the strides of this have an axis
    of `groups`, if there are any."""

    mode: int
    zero: int
    low: int
    high: int
    params: Block
    out: Block
    groups: int = 0

    def sizes(self, n: int, k: int, *plane: int) -> tuple[int, ...]:
        """Of the result."""
        return (n, self.groups, k // self.groups, *plane) if self.groups else (n, k, *plane)


class Convolution(Struct, eq=False):
    """Stands for all tiles of a layer; `weight_zero` and the window are common to them."""

    sums: Sums
    window: Window
    weight_zero: int
    epilogue: Epilogue
    table: Array | None = None
    factors: dict[tuple[int, str], Factors] = field(default_factory=dict)

    mnemonic = "tensor"

    def execute(self, machine: Machine) -> None:
        n, g, k, c, p, q = self.sums.sizes
        held = (self.sums.rows.valid, self.sums.columns.valid)
        x = block(machine, self.sums.ifmap, (n, g, c, *held))
        out = block(machine, self.epilogue.out, self.epilogue.sizes(n, g * k, p, q))
        if len(x) == 1:
            self.run(x[0], out[0], machine)
            return
        for image in range(n):
            self.run(x[:, image], out[:, image], machine)

    def run(self, x: Array, out: Array, machine: Machine) -> None:
        """[images, G, C, H, W] to [images, G * K, P, Q], as many images at a time as are useful; to
        groups that are apart by way of that."""
        _, g, k, c, p, q = self.sums.sizes
        terms = g * c * p * q * self.window.taps[0] * self.window.taps[1]
        step = max(1, COLUMN_BYTES // (4 * terms))
        order = self.order(x)
        found = self.factored(machine, max(top(x), abs(self.window.zero)), order)
        found = found.whole(machine.buffers)
        compute = getattr(self, order)
        for first in range(0, len(x), step):
            some = slice(first, first + step)
            last = out[some]
            if not self.epilogue.groups:
                compute(x[some], last, found, machine.buffers)
                continue
            made = machine.buffers.take("apart", (len(last), g * k, p, q), out.dtype)
            compute(x[some], made, found, machine.buffers)
            last[...] = made.reshape(last.shape)

    def order(self, x: Array) -> str:
        """How to compute, by the order in which the ifmap lies in memory."""
        _, g, k, c, _, _ = self.sums.sizes
        channel = x.strides[2] if c > 1 else x.strides[1]
        last = channel < max(x.strides[3:]) and c * g > 1
        if c == k == 1 and g > 1:
            return "taps_last" if last else "taps_first"
        return "last" if last and g == 1 else "first"

    # Constants

    def factored(self, machine: Machine, peak: int, order: str) -> Factors:
        """The constants for one of the ways to compute; made once."""
        if (peak, order) not in self.factors:
            w, table = self.weights(machine), self.parameters(machine)
            moved = self.window.zero * w.sum(axis=(2, 3, 4), dtype=np.int64).reshape(-1)
            bias = numerics.to_int32(table[0] - moved)
            self.factors[peak, order] = factors(w, bias, peak, order)
        return self.factors[peak, order]

    def weights(self, machine: Machine) -> Array:
        """Integers [G, K, C, R, S] without their zero points: int16 where these fit, or int32."""
        _, g, k, c, _, _ = self.sums.sizes
        held = block(machine, self.sums.weight, (g, k, c, *self.window.taps))[0]
        narrow = held.itemsize == 1 and self.sums.zeros is None and abs(self.weight_zero) < SMALL
        w: Array = held.astype(np.int16 if narrow else np.int32)
        if self.weight_zero:
            w -= self.weight_zero
        if self.sums.zeros is not None:
            w -= block(machine, self.sums.zeros, (g, k))[0].astype(np.int32)[..., None, None, None]
        return w

    def parameters(self, machine: Machine) -> Array:
        """int32 [words, channels]."""
        if self.table is None:
            _, g, k, _, _, _ = self.sums.sizes
            words = vector.PARAM_WORDS[self.epilogue.mode]
            table = block(machine, self.epilogue.params, (g * k, words))[0]
            self.table = np.ascontiguousarray(table.T)
        return self.table

    # Sums

    def last(self, x: Array, out: Array, f: Factors, buffers: Buffers) -> None:
        """[images * P * Q, R * S * C] by [R * S * C, K]."""
        columns = columns_last(x[:, 0].transpose(0, 2, 3, 1), self.window, buffers, f.kind)
        parts = [(columns[:, s], w) for s, w in zip(f.slices, f.matrices, strict=True)]
        total = product(parts, (len(columns), out.shape[1]), buffers)
        last = out.transpose(0, 2, 3, 1)
        self.finish(total.reshape(last.shape), last, f, 3)

    def first(self, x: Array, out: Array, f: Factors, buffers: Buffers) -> None:
        """[G, K, C * R * S] by [images, G, C * R * S, P * Q]."""
        columns = columns_first(x, self.window, buffers, f.kind)
        parts = [(w, columns[:, :, s]) for s, w in zip(f.slices, f.matrices, strict=True)]
        shape = (*columns.shape[:2], f.matrices[0].shape[1], columns.shape[3])
        self.finish(product(parts, shape, buffers).reshape(out.shape), out, f, 1)

    def taps_last(self, x: Array, out: Array, f: Factors, buffers: Buffers) -> None:
        """A multiply-add per tap, some rows of results at a time."""
        win = taps_of(x[:, :, 0].transpose(0, 2, 3, 1), 1, self.window, buffers, f.kind)
        win, out = win.transpose(2, 3, 0, 4, 5, 1), out.transpose(0, 2, 3, 1)
        step = max(1, PLANE_BYTES // (4 * out.shape[2] * out.shape[3]))
        for image in range(len(out)):
            for p in range(0, out.shape[1], step):
                some = slice(p, p + step)
                total = tapped(win[:, :, image, some], f.matrices[0], buffers)
                self.finish(total, out[image, some], f, 2)

    def taps_first(self, x: Array, out: Array, f: Factors, buffers: Buffers) -> None:
        """A multiply-add per tap, some channels at a time."""
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
        assert self.table is not None
        e, columns = self.epilogue, self.table[:, some]
        with np.errstate(all="ignore"):
            if e.mode == vector.FIXED:
                along = Along(axis, total.ndim)
                sums = numerics.to_int32(total) + along(f.bias[some])
                factors = along(columns[1]), along(columns[2])
                limits = (e.zero, e.low, e.high)
                out[...] = numerics.requantize_fixed(sums, *factors, *limits, out.dtype)
                return
            if e.mode == vector.UNSCALED:
                np.add(numerics.to_int32(total), Along(axis, total.ndim)(f.bias[some]), out=out)
                return
            sums, along = widened(total, axis)
            real = with_bias(sums, f, some, along)
            ends = numerics.limits(e.low, e.high, out.dtype)
            scale_in_place(real, along(columns[1].view(np.float32)), e.zero, ends)
            np.copyto(out, real.reshape(out.shape), casting="unsafe")


class Along(NamedTuple):
    """Values of the channels, `repeated`, as an array that broadcasts along an axis of others."""

    axis: int
    ndim: int
    repeated: int = 1

    def __call__(self, values: Array) -> Array:
        shape = [1] * self.ndim
        shape[self.axis] = -1
        return np.tile(values, self.repeated).reshape(shape)


def widened(total: Array, axis: int) -> tuple[Array, Along]:
    """Sums [..., K] as rows of several pixels: NumPy's inner loop over a few channels is slow."""
    if axis < total.ndim - 1:
        return total, Along(axis, total.ndim)
    many = gcd(total.size // total.shape[-1], PIXELS)
    return total.reshape(-1, many * total.shape[-1]), Along(1, 2, many)


def with_bias(total: Array, f: Factors, some: slice, along: Along) -> Array:
    """float32 sums; they may be `total` itself."""
    if f.real_bias is not None:
        np.add(total, along(f.real_bias[some]), out=total)
        return total
    sums = total if total.dtype == np.int32 else numerics.to_int32(total)
    return np.asarray((sums + along(f.bias[some])).astype(np.float32))


def block(machine: Machine, place: Block, sizes: tuple[int, ...]) -> Array:
    return machine.view(place.memory, place.start, sizes, place.strides, place.code)


def top(x: Array) -> int:
    """The largest magnitude that x can hold; of 16 bits, the power of two above what it does."""
    if x.dtype.itemsize == 1:
        return 255 if x.dtype.kind == "u" else 128
    return max(255, 1 << numerics.peak(x).bit_length())


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


def scale_in_place(real: Array, scale: Array, zero: int, limits: tuple[int, int]) -> None:
    """numerics.requantize of float32 sums that are overwritten."""
    low, high = (np.float32(limit - zero) for limit in limits)
    np.multiply(real, scale, out=real)
    if np.isfinite(scale).all():
        np.clip(real, low, high, out=real)
    else:  # of what is no number, too; it takes several times as long
        np.fmin(np.fmax(real, low, out=real), high, out=real)
    np.rint(real, out=real)
    if zero:
        np.add(real, np.float32(zero), out=real)
