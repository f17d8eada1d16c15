"""Vector instructions that fold many elements into one: over windows, and over an axis."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np

from .blocks import Block, collides, region, ring_faults, ring_parts, view
from .core import (
    F32,
    I16,
    U8,
    U16,
    U32,
    Address,
    Array,
    Dtype,
    Flag,
    Instruction,
    Machine,
    Region,
    Size8,
    Size16,
    choice,
    dtype_code,
    dtype_size,
    split_address,
    too_many,
)
from .numerics import pad_window, reach, round_and_shift, saturate, shift_and_round, windows

MAX, AVERAGE, SUM, FRAME, MEAN, LIFTED = range(6)
MEANS = (AVERAGE, MEAN, LIFTED)
STREAMED = (MAX, *MEANS)
"""What units that pool as elements stream by do: they give operands, not sums or frames."""
LIFT = 128
REDUCE_SUM, REDUCE_MAX, REDUCE_MIN = 0, 1, 2
FLOAT = dtype_code(np.dtype("<f4"))

PoolOp = Annotated[Any, choice("max", "average", "sum", "frame", "mean", "lifted")]
ReduceOp = Annotated[Any, choice("sum", "max", "min")]


class Pool(Instruction, opcode=0x34, engine="vector"):
    """Slide an r x s window over the planes of x.

    out[n,c,p,q] from rows p * stride_y - pad_top + 0..r-1 (times dilation_y) of the h x w tile;
    what lies outside the tile is skipped. max keeps the type. average is onnxruntime's
    QLinearAveragePool, in float32: dequantised elements are summed row by row, divided by their
    count (r * s with `include_pad`), then clip(rint(mean / out_scale + out_zero)) to `low`..`high`,
    cut to what out_dtype holds. mean is its float AveragePool between DequantizeLinear and
    QuantizeLinear: as average, but rint(mean / out_scale) + out_zero. lifted is average as it is of
    int8 values that onnxruntime has made uint8: rint(mean / out_scale + (out_zero + 128)) - 128.
    sum is int32, of x - x_zero,
    or float32, row by row, saturating to out_dtype. frame, with a window of one element, copies x
    and puts out_zero where there is none: ONNX Pad. With `ring` not 0, the rows of x are kept in a
    ring of so many, which begins at `x`: row i of the tile is the ring's row (ring_row + i) mod
    ring, so that rows which the windows of two tiles share are made once.
    """

    moving = ("x", "out")

    x: Address
    out: Address
    n: Size8 = 1
    r: Size8 = 1
    s: Size8 = 1
    op: PoolOp = 0
    c: Size16 = 1
    p: Size16 = 1
    q: Size16 = 1
    h: Size16 = 1
    w: Size16 = 1
    x_sn: U32 = 0
    x_sc: U32 = 0
    x_sh: U32 = 0
    x_sw: U16 = 1
    out_sn: U32 = 0
    out_sc: U32 = 0
    out_sp: U32 = 0
    out_sq: U16 = 1
    stride_y: Size8 = 1
    stride_x: Size8 = 1
    dilation_y: Size8 = 1
    dilation_x: Size8 = 1
    pad_top: U8 = 0
    pad_left: U8 = 0
    include_pad: Flag = 0
    x_dtype: Dtype = 0
    out_dtype: Dtype = 0
    x_zero: I16 = 0
    out_zero: I16 = 0
    low: I16 = -128
    high: I16 = 127
    x_scale: F32 = 1.0
    out_scale: F32 = 1.0
    ring: U8 = 0
    ring_row: U8 = 0

    def x_layout(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Sizes and strides of [n, c, h, w]."""
        sizes = (self.n, self.c, self.h, self.w)
        return sizes, (self.x_sn, self.x_sc, self.x_sh, self.x_sw)

    def out_layout(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Sizes and strides of [n, c, p, q]."""
        sizes = (self.n, self.c, self.p, self.q)
        return sizes, (self.out_sn, self.out_sc, self.out_sp, self.out_sq)

    def elements(self) -> Any:
        """Elements that pass through the lanes: one per window tap."""
        return self.n * self.c * self.p * self.q * self.r * self.s

    def reads(self) -> Iterator[Region]:
        (n, c, _, w), strides = self.x_layout()
        memory, start = split_address(self.x)
        for skipped, rows in self.x_parts():
            sizes, element = (n, c, rows, w), dtype_size(self.x_dtype)
            yield Block.at(memory, start + skipped, sizes, strides, element)

    def x_parts(self) -> tuple[tuple[Any, Any], ...]:
        """(first byte behind `x`, rows) of those up to the ring's end, and of those from its
        beginning on: none without a ring."""
        row = self.x_sh * dtype_size(self.x_dtype)
        return ring_parts(self.h, self.ring, self.ring_row, row)

    def tile(self, machine: Machine) -> Array:
        """[batch, n, c, h, w], the rows of a ring in order."""
        (n, c, _, w), strides = self.x_layout()
        parts = [
            view(machine, self.x + skipped, (n, c, int(rows), w), strides, self.x_dtype)
            for skipped, rows in self.x_parts()
            if rows
        ]
        return np.concatenate(parts, -2) if parts[1:] else parts[0]

    def writes(self) -> Iterator[Region]:
        yield region(self.out, *self.out_layout(), dtype_size(self.out_dtype))

    def plane(self) -> tuple[Any, Any]:
        """Rows and columns that the windows cover, padding included."""
        height = reach(self.p, self.stride_y, self.r, self.dilation_y)
        return height, reach(self.q, self.stride_x, self.s, self.dilation_x)

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield too_many(*self.x_layout()[0]), "the tile of x is too large"
        yield too_many(*self.out_layout()[0]), "the tile of out is too large"
        yield too_many(self.n, self.c, *self.plane()), "the padded tile of x is too large"
        yield collides(*self.out_layout()), "elements of out coincide"
        yield (self.op == FRAME) & (self.r * self.s != 1), "a frame's window is one element"
        is_float = (self.x_dtype == FLOAT) | (self.out_dtype == FLOAT)
        taken = (self.op == MAX) | (self.op == SUM)
        yield is_float & ~taken, "only max and sum are of floats"
        yield from ring_faults(self.h, self.ring, self.ring_row)

    def taps(self, x: Array, fill: Any) -> Array:
        """The windows [..., R, S, P, Q] of x, with `fill` outside of it."""
        padded = pad_window(x, self.pad_top, self.pad_left, *self.plane(), fill)
        stride, dilation = (self.stride_y, self.stride_x), (self.dilation_y, self.dilation_x)
        return windows(padded, (self.r, self.s), (self.p, self.q), stride, dilation)

    def execute(self, machine: Machine) -> None:
        x = self.tile(machine)
        out = view(machine, self.out, *self.out_layout(), self.out_dtype)
        if self.op in MEANS:
            out[...] = self.average(x, out.dtype)
        elif self.op == MAX:
            lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
            out[...] = saturate(self.fold(np.maximum, self.taps(x, lowest)), out.dtype)
        elif self.op == FRAME:
            out[...] = saturate(
                self.taps(x.astype(np.int32), self.out_zero)[..., 0, 0, :, :], out.dtype
            )
        else:
            real = x if x.dtype.kind == "f" else x.astype(np.int32) - self.x_zero
            out[...] = saturate(self.fold(np.add, self.taps(real, 0)), out.dtype)

    def average(self, x: Array, dtype: np.dtype[Any]) -> Array:
        real = (x.astype(np.int32) - self.x_zero).astype(np.float32) * np.float32(self.x_scale)
        with np.errstate(all="ignore"):
            mean = self.fold(np.add, self.taps(real, 0)) / self.count(x)
            scaled = mean / np.float32(self.out_scale)
            if self.op == MEAN:
                return round_and_shift(scaled, self.out_zero, self.low, self.high, dtype)
            lift = LIFT * (self.op == LIFTED)
            placed = scaled + np.float32(self.out_zero + lift)
            return shift_and_round(placed, self.low, self.high, dtype, lift)

    def count(self, x: Array) -> Any:
        """How many elements each mean is of: a number, or float32 [P, Q]."""
        if self.include_pad:
            return np.float32(self.r * self.s)
        return self.fold(np.add, self.taps(np.ones(x.shape[-2:], np.float32), 0))

    def fold(self, step: Callable[..., Any], taps: Array) -> Array:
        """Tap by tap, row by row, as float32 sums depend on the order."""
        total = taps[..., 0, 0, :, :].copy()
        for r in range(self.r):
            for s in range(r == 0, self.s):
                step(total, taps[..., r, s, :, :], out=total)
        return total


class Reduce(Instruction, opcode=0x35, engine="vector"):
    """out = sum, max or min of a 4-D block x over the axes where the stride of out is 0.

    Integers less `zero`, in int32, which wraps; floats in float32, summed one after the other, the
    last axis innermost. The result saturates to out_dtype.
    """

    moving = ("x", "out")

    x: Address
    out: Address
    d0: Size16 = 1
    d1: Size16 = 1
    d2: Size16 = 1
    d3: Size16 = 1
    x_s0: U32 = 0
    x_s1: U32 = 0
    x_s2: U32 = 0
    x_s3: U16 = 1
    out_s0: U32 = 0
    out_s1: U32 = 0
    out_s2: U32 = 0
    out_s3: U16 = 0
    op: ReduceOp = 0
    x_dtype: Dtype = 0
    out_dtype: Dtype = 0
    zero: I16 = 0

    def sizes(self) -> tuple[Any, ...]:
        return self.d0, self.d1, self.d2, self.d3

    def strides(self, operand: str) -> tuple[Any, ...]:
        return tuple(getattr(self, f"{operand}_s{i}") for i in range(4))

    def results(self) -> tuple[Any, ...]:
        """Sizes of the block of results: 1 along the axes that are folded."""
        pairs = zip(self.sizes(), self.strides("out"), strict=True)
        return tuple(np.where(stride == 0, 1, size) for size, stride in pairs)

    def elements(self) -> Any:
        return self.d0 * self.d1 * self.d2 * self.d3

    def reads(self) -> Iterator[Region]:
        yield region(self.x, self.sizes(), self.strides("x"), dtype_size(self.x_dtype))

    def writes(self) -> Iterator[Region]:
        yield region(self.out, self.results(), self.strides("out"), dtype_size(self.out_dtype))

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield too_many(*self.sizes()), "the block is too large"

    def execute(self, machine: Machine) -> None:
        x = view(machine, self.x, self.sizes(), self.strides("x"), self.x_dtype)
        sizes = tuple(int(size) for size in self.results())
        out = view(machine, self.out, sizes, self.strides("out"), self.out_dtype)
        folded = tuple(axis + 1 for axis, size in enumerate(sizes) if size < x.shape[axis + 1])
        with np.errstate(all="ignore"):
            out[...] = saturate(reduced(self.op, x, folded, self.zero), out.dtype)


def reduced(op: int, x: Array, axes: tuple[int, ...], zero: int = 0) -> Array:
    """x folded over `axes`, which stay with size 1; integers less `zero`, as int32."""
    wide = x if x.dtype.kind == "f" else x.astype(np.int32) - zero
    kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
    rows = wide.transpose(*kept, *axes).reshape(*(x.shape[axis] for axis in kept), -1)
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    result: Array = REDUCTIONS[op](rows).reshape(shape)
    return result


def sum_in_order(x: Array) -> Array:
    """Along the last axis, one after the other: np.sum would pair, which rounds differently."""
    total: Array = np.add.accumulate(x, axis=-1, dtype=x.dtype)[..., -1]
    return total


REDUCTIONS: dict[int, Callable[[Array], Array]] = {
    REDUCE_SUM: sum_in_order,
    REDUCE_MAX: lambda x: x.max(axis=-1),
    REDUCE_MIN: lambda x: x.min(axis=-1),
}
