"""The SIMD lanes: everything that is not a sum of products.

Requantize is here; the other vector instructions, by what they do, in elementwise.py and pool.py.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np

from .blocks import collides, region, region_if, shared, view
from .core import (
    DTYPES,
    I16,
    U16,
    U32,
    Address,
    Dtype,
    Instruction,
    Machine,
    Region,
    Size8,
    Size16,
    choice,
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
    Elementwise,
    Map,
    binary,
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
    "REDUCE_MIN", "REDUCE_SUM", "Reduce", "Requantize", "SUM", "TABLE", "TABLE_ENTRIES",
    "UNARY_CODES", "binary", "param_bytes", "reduced", "unary",
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


class Requantize(Instruction, opcode=0x30, engine="vector"):
    """out[n,k,p,q] = saturate(scale[k] * (psum[n,k,p,q] + bias[k]) + zero), within low..high.

    `params` is a table of one entry per channel k: int32 bias and float32 scale (mode fp32, rounded
    to nearest, ties to even, as onnxruntime) or int32 bias, multiplier and shift (mode fixed, as
    TFLite). In mode unscaled it is the bias alone: out is psum + bias, int32. The int32 psum tile
    is dense; `out` has strides in elements. psum + bias wraps. Activations that clip are in `low`
    and `high`, which are cut to what out_dtype holds.
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

    def sizes(self) -> tuple[Any, ...]:
        return self.n, self.k, self.p, self.q

    def psum_strides(self) -> tuple[Any, ...]:
        plane = self.p * self.q
        return self.k * plane, plane, self.q, 1

    def out_strides(self) -> tuple[Any, ...]:
        return self.out_sn, self.out_sk, self.out_sp, self.out_sq

    def elements(self) -> Any:
        return self.n * self.k * self.p * self.q

    def reads(self) -> Iterator[Region]:
        yield region(self.psum, self.sizes(), self.psum_strides(), 4)
        yield region_if(True, self.params, self.k * param_bytes(self.mode))

    def writes(self) -> Iterator[Region]:
        yield region(self.out, self.sizes(), self.out_strides(), dtype_size(self.out_dtype))

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield too_many(*self.sizes()), "the tile is too large"
        yield collides(self.sizes(), self.out_strides()), "elements of out coincide"
        yield self.low > self.high, "low is above high"
        unscaled = self.mode == UNSCALED
        yield unscaled & (self.out_dtype != INT32), "sums that are not scaled are int32"

    def execute(self, machine: Machine) -> None:
        psum = view(machine, self.psum, self.sizes(), self.psum_strides(), PSUM)
        out = view(machine, self.out, self.sizes(), self.out_strides(), self.out_dtype)
        words = PARAM_WORDS[self.mode]
        table = shared(view(machine, self.params, (self.k, words), (words, 1), PSUM))
        columns = [table[:, None, :, i, None, None] for i in range(words)]
        limits = (self.zero, self.low, self.high, DTYPES[self.out_dtype])
        sums = psum + columns[0]
        if self.mode == UNSCALED:
            out[...] = sums
        elif self.mode == FIXED:
            out[...] = requantize_fixed(sums, columns[1], columns[2], *limits)
        else:
            scale = np.ascontiguousarray(columns[1]).view(np.float32)
            out[...] = requantize(sums, scale, *limits)
