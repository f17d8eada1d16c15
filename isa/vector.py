"""The SIMD lanes: everything that is not a sum of products.

What begins with psums is here; the other vector instructions, by what they do, in elementwise.py
and pool.py.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np

from .blocks import collides, region, region_if, shared, view
from .core import (
    DTYPES,
    F32,
    I16,
    U16,
    U32,
    Address,
    Array,
    Dtype,
    Flag,
    Instruction,
    Machine,
    Operand,
    OptionalAddress,
    Region,
    Size8,
    Size16,
    choice,
    dtype_code,
    dtype_size,
    too_many,
)
from .elementwise import (
    BINARY_CODES,
    COPY,
    DEQUANTIZE,
    INT32,
    QADD,
    QMUL,
    QUANTIZE,
    REAL_ADD,
    REAL_DIV,
    REAL_MAX,
    REAL_MIN,
    REAL_MUL,
    REAL_PRELU,
    TABLE,
    TABLE_ENTRIES,
    UNARY_CODES,
    BinaryOp,
    Elementwise,
    Map,
    binary,
    combined,
    has_scales,
    looked_up,
    unary,
)
from .numerics import requantize, requantize_fixed
from .pool import (
    AVERAGE,
    FRAME,
    LIFTED,
    MAX,
    MEAN,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_SUM,
    SUM,
    Pool,
    Reduce,
    reduced,
)
from .tensor import PSUM

__all__ = [
    "AVERAGE", "BINARY_CODES", "COPY", "DEQUANTIZE", "Elementwise", "FIXED", "FP32", "FRAME",
    "LIFTED", "MAX", "MEAN", "Map", "PARAMS", "PARAM_WORDS", "Pool", "QADD", "QMUL", "QUANTIZE",
    "REAL_ADD", "REAL_DIV", "REAL_MAX", "REAL_MIN", "REAL_MUL", "REAL_PRELU", "REDUCE_MAX",
    "REDUCE_MIN", "REDUCE_SUM", "Reduce", "Requantize", "Residual", "SUM", "TABLE",
    "TABLE_ENTRIES", "UNARY_CODES", "binary", "param_bytes", "reduced", "unary",
]  # fmt: skip

FP32, FIXED, UNSCALED = 0, 1, 2
PARAMS = {
    FP32: np.dtype([("bias", "<i4"), ("scale", "<f4")]),
    FIXED: np.dtype([("bias", "<i4"), ("multiplier", "<i4"), ("shift", "<i4")]),
    UNSCALED: np.dtype([("bias", "<i4")]),
}
"""Per requantisation mode, what a table holds for each output channel."""

PARAM_WORDS = {mode: len(dtype.names or ()) for mode, dtype in PARAMS.items()}
PARAM_BYTES = np.array([PARAMS[mode].itemsize for mode in sorted(PARAMS)])

Mode = Annotated[Any, choice("fp32", "fixed", "unscaled")]


def param_bytes(mode: Any) -> Any:
    """Bytes of a channel's table entry, for one mode or an array of them."""
    return PARAM_BYTES[mode]


INT16 = dtype_code(np.dtype("<i2"))


class OfPsums:
    """What begins with a dense tile of int32 psums [n, k, p, q] and a table of their channels, and
    may end with one of results."""

    psum: Any
    params: Any
    out: Any
    n: Any
    k: Any
    p: Any
    q: Any
    out_sn: Any
    out_sk: Any
    out_sp: Any
    out_sq: Any
    mode: Any
    out_dtype: Any
    first: Any
    table: Any

    def sizes(self) -> tuple[Any, ...]:
        return self.n, self.k, self.p, self.q

    def psum_strides(self) -> tuple[Any, ...]:
        plane = self.p * self.q
        return self.k * plane, plane, self.q, 1

    def out_strides(self) -> tuple[Any, ...]:
        return self.out_sn, self.out_sk, self.out_sp, self.out_sq

    def out_sizes(self) -> tuple[Any, ...]:
        return self.sizes()

    def elements(self) -> Any:
        return self.n * self.k * self.p * self.q

    def begun(self) -> Iterator[Region]:
        """What is read of psums."""
        yield region(self.psum, self.sizes(), self.psum_strides(), 4)
        yield region_if(True, self.params, self.k * param_bytes(self.mode))

    def looked_in(self) -> Region:
        size = TABLE_ENTRIES * dtype_size(self.out_dtype)
        return region_if(np.asarray(self.table) != 0, self.table, size)

    def writes(self) -> Iterator[Region]:
        yield region(self.out, self.out_sizes(), self.out_strides(), dtype_size(self.out_dtype))

    def misshapen(self) -> Iterator[tuple[Any, str]]:
        yield too_many(*self.sizes()), "the tile is too large"
        yield collides(self.out_sizes(), self.out_strides()), "elements of out coincide"

    def requantized(self, machine: Machine, zero: int, low: int, high: int, code: int) -> Array:
        """The psums [batch, n, k, p, q], biased and scaled as the mode says."""
        psum = view(machine, self.psum, self.sizes(), self.psum_strides(), PSUM)
        words = PARAM_WORDS[self.mode]
        table = shared(view(machine, self.params, (self.k, words), (words, 1), PSUM))
        columns = [table[:, None, :, i, None, None] for i in range(words)]
        sums = np.asarray(psum + columns[0])
        if self.mode == UNSCALED:
            return sums
        if self.mode == FIXED:
            return requantize_fixed(sums, columns[1], columns[2], zero, low, high, DTYPES[code])
        scale = np.ascontiguousarray(columns[1]).view(np.float32)
        return requantize(sums, scale, zero, low, high, DTYPES[code])

    def result(self, machine: Machine) -> Array:
        return view(machine, self.out, self.out_sizes(), self.out_strides(), self.out_dtype)

    def finished(self, machine: Machine, values: Array) -> Array:
        """What is left of the last values."""
        return looked_up(machine, self, values) if self.table else values


class Requantize(OfPsums, Instruction, opcode=0x30, engine="vector"):
    """out[n,k,p,q] = saturate(scale[k] * (psum[n,k,p,q] + bias[k]) + zero), within low..high.

    `params` is a table of one entry per channel k: int32 bias and float32 scale (mode fp32, rounded
    to nearest, ties to even, as onnxruntime) or int32 bias, multiplier and shift (mode fixed, as
    TFLite). In mode unscaled it is the bias alone: out is psum + bias, int32. The int32 psum tile
    is dense; `out` has strides in elements. psum + bias wraps. Activations that clip are in `low`
    and `high`, which are cut to what out_dtype holds.
    With a `table`, of 256 elements of out_dtype, that value, of 16 bits, only is an index: out is
    table[value - first], as of Map.
    The channels are `groups` of as many each, k = g * (k / groups) + j, and lie at g * out_sg +
    j * out_sk: as a shuffle of channels wants them, between each other (ShuffleNet, CVPR 2018).
    """

    moving = ("psum", "params", "out")

    psum: Address
    params: Address
    out: Address
    n: Size8 = 1
    mode: Mode = 0
    out_dtype: Dtype = 0
    k: Size16 = 1
    p: Size16 = 1
    q: Size16 = 1
    out_sn: U32 = 0
    out_sk: U32 = 0
    out_sp: U32 = 0
    out_sq: U16 = 1
    zero: I16 = 0
    low: I16 = -128
    high: I16 = 127
    first: I16 = 0
    table: OptionalAddress = 0
    groups: Size16 = 1
    out_sg: U32 = 0

    def out_sizes(self) -> tuple[Any, ...]:
        return self.n, self.groups, self.k // self.groups, self.p, self.q

    def out_strides(self) -> tuple[Any, ...]:
        return self.out_sn, self.out_sg, self.out_sk, self.out_sp, self.out_sq

    def reads(self) -> Iterator[Region]:
        yield from self.begun()
        yield self.looked_in()

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield from self.misshapen()
        yield self.low > self.high, "low is above high"
        yield self.k % self.groups != 0, "its channels are not as many in each group"
        unscaled = self.mode == UNSCALED
        yield unscaled & (self.out_dtype != INT32), "sums that are not scaled are int32"
        yield unscaled & (self.table != 0), "sums that are not scaled are no index"

    def execute(self, machine: Machine) -> None:
        out = self.result(machine)
        code = INT16 if self.table else self.out_dtype
        values = self.requantized(machine, self.zero, self.low, self.high, code)
        values = self.finished(machine, values)
        out[...] = values.reshape(len(values), *out.shape[1:])


class Residual(OfPsums, Instruction, opcode=0x36, engine="vector"):
    """out = op(x, side), x requantised psums, in one pass: Requantize, Elementwise, perhaps Map.

    x[n,k,p,q] is what Requantize makes of psum and params with x_zero, x_low and x_high; it stays
    in the lanes, in 16 bits. Then op is that of Elementwise, one of those that have scales, with a
    = x and b = `side`; the other way round if `swapped`. With a `table`, its result only is an
    index, as Requantize's. `side` and `out` have strides in elements; a stride of 0 broadcasts. The
    int32 psum tile is dense. All is as if x, and that index, were written and read again, bit by
    bit.
    """

    moving = ("psum", "params", "side", "out")

    psum: Address
    params: Address
    side: Address
    out: Address
    n: Size8 = 1
    mode: Mode = 0
    op: BinaryOp = 0
    swapped: Flag = 0
    side_dtype: Operand = 0
    out_dtype: Dtype = 0
    k: Size16 = 1
    p: Size16 = 1
    q: Size16 = 1
    side_sn: U32 = 0
    side_sk: U32 = 0
    side_sp: U32 = 0
    side_sq: U32 = 1
    out_sn: U32 = 0
    out_sk: U32 = 0
    out_sp: U32 = 0
    out_sq: U16 = 1
    x_zero: I16 = 0
    x_low: I16 = -128
    x_high: I16 = 127
    scale_a: F32 = 1.0
    scale_b: F32 = 1.0
    offset: F32 = 0.0
    zero_a: I16 = 0
    zero_b: I16 = 0
    zero: I16 = 0
    low: I16 = -128
    high: I16 = 127
    first: I16 = 0
    table: OptionalAddress = 0

    def side_strides(self) -> tuple[Any, ...]:
        return self.side_sn, self.side_sk, self.side_sp, self.side_sq

    def reads(self) -> Iterator[Region]:
        yield from self.begun()
        yield region(self.side, self.sizes(), self.side_strides(), dtype_size(self.side_dtype))
        yield self.looked_in()

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield from self.misshapen()
        yield self.x_low > self.x_high, "x_low is above x_high"
        yield self.mode == UNSCALED, "sums that are not scaled are no operand"
        yield ~np.asarray(has_scales(self.op)), "the operator has no scales"

    def execute(self, machine: Machine) -> None:
        x = self.requantized(machine, self.x_zero, self.x_low, self.x_high, INT16)
        side = view(machine, self.side, self.sizes(), self.side_strides(), self.side_dtype)
        out = self.result(machine)
        a, b = (side, x) if self.swapped else (x, side)
        with np.errstate(all="ignore"):
            values = combined(self, a, b, DTYPES[INT16] if self.table else out.dtype)
        out[...] = self.finished(machine, values)
