"""Vector instructions from elements to elements: of two operands, and of one."""

from collections.abc import Callable, Iterator
from math import erf as scalar_erf
from typing import Annotated, Any, Protocol

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
    Instruction,
    Machine,
    OptionalAddress,
    Region,
    Size16,
    choice,
    dtype_code,
    dtype_size,
    too_many,
)
from .numerics import dequantize, fma, quantize, round_and_shift, saturate

QADD, QMUL, REAL_ADD, REAL_MUL = 0, 1, 8, 9
REAL_DIV, REAL_MAX, REAL_MIN, REAL_PRELU = 10, 11, 12, 13
COPY, DEQUANTIZE, QUANTIZE, TABLE = 0, 1, 2, 13
TABLE_ENTRIES = 256

FLOAT = dtype_code(np.dtype("<f4"))
INT32 = dtype_code(np.dtype("<i4"))

BinaryOp = Annotated[
    Any,
    choice(
        "qadd", "qmul", "add", "sub", "mul", "div", "max", "min", "real_add", "real_mul",
        "real_div", "real_max", "real_min", "real_prelu", "equal", "less", "keep",
    ),
]  # fmt: skip
UnaryOp = Annotated[
    Any,
    choice(
        "copy", "dequantize", "quantize", "exp", "log", "sqrt", "reciprocal", "tanh", "sigmoid",
        "erf", "abs", "neg", "floor", "table", "ceil", "round", "sign",
    ),
]  # fmt: skip


class Elementwise(Instruction, opcode=0x31, engine="vector"):
    """out = op(a, b) over a 4-D block; a stride of 0 broadcasts.

    With a' = a - zero_a and b' = b - zero_b, in float32 and onnxruntime's order of operations:
    qadd, its QLinearAdd: clip(rint(fma(a', scale_a, fma(b', scale_b, offset))) + zero) with scale_a
    = sA / sY, scale_b = sB / sY, offset = zY - fma(scale_a, zA, scale_b * zB); zero_a, zero_b and
    zero move the operands to the range on which it computes. qmul, its QLinearMul: clip(rint(a' *
    b' * scale_a + offset) + zero) with scale_a = sA * sB / sY, offset = zY. real_add, real_mul,
    real_div, real_max, real_min, the float operator between DequantizeLinear and QuantizeLinear:
    clip(rint((a' * scale_a op b' * scale_b) / offset) + zero); real_prelu, the same for a PRelu of
    a with slope b. All are clipped to `low`..`high`, cut to what out_dtype holds.
    add, sub, mul, max, min: in float32 if an operand is, else in int32, which wraps; div: in
    float32; the result saturates to out_dtype, rounded with ties to even. equal, less: 1 where a is
    equal to b, or less, else 0. keep: a where b is not 0, else 0.
    """

    moving = ("a", "b", "out")

    a: Address
    b: Address
    out: Address
    d0: Size16 = 1
    d1: Size16 = 1
    d2: Size16 = 1
    d3: Size16 = 1
    a_s0: U32 = 0
    a_s1: U32 = 0
    a_s2: U32 = 0
    a_s3: U16 = 1
    b_s0: U32 = 0
    b_s1: U32 = 0
    b_s2: U32 = 0
    b_s3: U16 = 1
    out_s0: U32 = 0
    out_s1: U32 = 0
    out_s2: U32 = 0
    out_s3: U16 = 1
    op: BinaryOp = 0
    a_dtype: Dtype = 0
    b_dtype: Dtype = 0
    out_dtype: Dtype = 0
    scale_a: F32 = 1.0
    scale_b: F32 = 1.0
    offset: F32 = 0.0
    zero_a: I16 = 0
    zero_b: I16 = 0
    zero: I16 = 0
    low: I16 = -128
    high: I16 = 127

    def sizes(self) -> tuple[Any, ...]:
        return self.d0, self.d1, self.d2, self.d3

    def strides(self, operand: str) -> tuple[Any, ...]:
        return tuple(getattr(self, f"{operand}_s{i}") for i in range(4))

    def operand(self, machine: Machine, name: str) -> Array:
        where, code = getattr(self, name), getattr(self, f"{name}_dtype")
        return view(machine, where, self.sizes(), self.strides(name), code)

    def elements(self) -> Any:
        return self.d0 * self.d1 * self.d2 * self.d3

    def reads(self) -> Iterator[Region]:
        for name, code in (("a", self.a_dtype), ("b", self.b_dtype)):
            yield region(getattr(self, name), self.sizes(), self.strides(name), dtype_size(code))

    def writes(self) -> Iterator[Region]:
        yield region(self.out, self.sizes(), self.strides("out"), dtype_size(self.out_dtype))

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield too_many(*self.sizes()), "the block is too large"
        yield collides(self.sizes(), self.strides("out")), "elements of out coincide"
        wide = (self.a_dtype >= INT32) | (self.b_dtype >= INT32)
        yield has_scales(self.op) & wide, "operands that have a scale are of 8 or 16 bits"

    def execute(self, machine: Machine) -> None:
        a, b = self.operand(machine, "a"), self.operand(machine, "b")
        out = self.operand(machine, "out")
        with np.errstate(all="ignore"):
            out[...] = self.result(a, b, out.dtype)

    def result(self, a: Array, b: Array, dtype: np.dtype[Any]) -> Array:
        if self.op in QUANTISED:
            return combined(self, a, b, dtype)
        return binary(self.op, a, b, dtype)


class Scaled(Protocol):
    """An instruction with a quantised operator of two operands: its numbers."""

    op: Any
    scale_a: Any
    scale_b: Any
    offset: Any
    zero_a: Any
    zero_b: Any
    zero: Any
    low: Any
    high: Any


def combined(item: Scaled, a: Array, b: Array, dtype: np.dtype[Any]) -> Array:
    """op(a, b) of an instruction whose operands have scales, as `dtype`."""
    real = QUANTISED[item.op](item, a, b)
    return round_and_shift(real, item.zero, item.low, item.high, dtype)


def centered(item: Scaled, a: Array, b: Array) -> tuple[Array, Array]:
    return a.astype(np.int32) - item.zero_a, b.astype(np.int32) - item.zero_b


def quantized_sum(item: Scaled, a: Array, b: Array) -> Array:
    a, b = (v.astype(np.float32) for v in centered(item, a, b))
    inner = fma(b, np.float32(item.scale_b), np.float64(item.offset))
    return fma(a, np.float32(item.scale_a), inner)


def quantized_product(item: Scaled, a: Array, b: Array) -> Array:
    a, b = centered(item, a, b)
    scaled: Array = (a * b).astype(np.float32) * np.float32(item.scale_a)
    return scaled + np.float32(item.offset)


def real_result(item: Scaled, a: Array, b: Array) -> Array:
    a, b = (v.astype(np.float32) for v in centered(item, a, b))
    a, b = a * np.float32(item.scale_a), b * np.float32(item.scale_b)
    result: Array = REAL[item.op](a, b) / np.float32(item.offset)
    return result


def has_scales(op: Any) -> Any:
    """Whether operators are quantised ones; one code or an array of them."""
    return (op <= QMUL) | ((op >= REAL_ADD) & (op <= REAL_PRELU))


def prelu(x: Array, slope: Array) -> Array:
    return np.where(x < 0, x * slope, x)


def kept(x: Array, mask: Array) -> Array:
    return np.where(mask != 0, x, x.dtype.type(0))


REAL: dict[int, Callable[[Array, Array], Array]] = {
    REAL_ADD: np.add,
    REAL_MUL: np.multiply,
    REAL_DIV: np.divide,
    REAL_MAX: np.maximum,
    REAL_MIN: np.minimum,
    REAL_PRELU: prelu,
}


QUANTISED: dict[int, Callable[[Scaled, Array, Array], Array]] = {
    QADD: quantized_sum,
    QMUL: quantized_product,
    **dict.fromkeys(REAL, real_result),
}


DIV = 5
EQUAL, LESS, KEEP = 14, 15, 16
BINARY_NAMES = ("add", "sub", "mul", "div", "max", "min")
BINARY_CODES = {name: code for code, name in enumerate(BINARY_NAMES, 2)}
BINARY_CODES |= {"equal": EQUAL, "less": LESS, "keep": KEEP}
BINARY: dict[int, Callable[..., Array]] = {
    2: np.add,
    3: np.subtract,
    4: np.multiply,
    DIV: np.divide,
    6: np.maximum,
    7: np.minimum,
    EQUAL: np.equal,
    LESS: np.less,
    KEEP: kept,
}


def binary(op: int, a: Array, b: Array, dtype: np.dtype[Any]) -> Array:
    """Of plain numbers: in float32 if an operand is, or for div, else in int32, which wraps."""
    kind = np.float32 if "f" in (a.dtype.kind, b.dtype.kind) or op == DIV else np.int32
    with np.errstate(all="ignore"):
        return saturate(BINARY[op](a.astype(kind), b.astype(kind)).astype(kind), dtype)


class Map(Instruction, opcode=0x32, engine="vector"):
    """out = op(x) over a 4-D block, saturating to out_dtype, rounded with ties to even.

    copy: x. dequantize: float32(x - zero) * scale. quantize: rint(x / scale) + zero, in float32,
    clipped to `low`..`high`, cut to what out_dtype holds. table: table[x - first] of 256 elements
    of out_dtype; an index outside takes the nearest. The functions exp, log, sqrt, reciprocal,
    tanh, sigmoid, erf, abs, neg, floor, ceil, round (to even) and sign of float32(x) are evaluated
    in float64, then rounded to float32.
    """

    moving = ("x", "out")

    x: Address
    out: Address
    table: OptionalAddress = 0
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
    out_s3: U16 = 1
    op: UnaryOp = 0
    x_dtype: Dtype = 0
    out_dtype: Dtype = 0
    first: I16 = 0
    scale: F32 = 1.0
    zero: I16 = 0
    low: I16 = -128
    high: I16 = 127

    def sizes(self) -> tuple[Any, ...]:
        return self.d0, self.d1, self.d2, self.d3

    def strides(self, operand: str) -> tuple[Any, ...]:
        return tuple(getattr(self, f"{operand}_s{i}") for i in range(4))

    def elements(self) -> Any:
        return self.d0 * self.d1 * self.d2 * self.d3

    def reads(self) -> Iterator[Region]:
        yield region(self.x, self.sizes(), self.strides("x"), dtype_size(self.x_dtype))
        size = TABLE_ENTRIES * dtype_size(self.out_dtype)
        yield region_if(self.op == TABLE, self.table, size)

    def writes(self) -> Iterator[Region]:
        yield region(self.out, self.sizes(), self.strides("out"), dtype_size(self.out_dtype))

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield too_many(*self.sizes()), "the block is too large"
        yield collides(self.sizes(), self.strides("out")), "elements of out coincide"
        yield (self.op == TABLE) != (self.table != 0), "op=table and table= go together"
        yield (self.op == TABLE) & (self.x_dtype == FLOAT), "a table is indexed by integers"

    def execute(self, machine: Machine) -> None:
        x = view(machine, self.x, self.sizes(), self.strides("x"), self.x_dtype)
        out = view(machine, self.out, self.sizes(), self.strides("out"), self.out_dtype)
        if self.op == TABLE:
            out[...] = looked_up(machine, self, x)
        else:
            out[...] = saturate(self.result(x), out.dtype)

    def result(self, x: Array) -> Array:
        if self.op == COPY:
            return x
        if self.op == DEQUANTIZE:
            return dequantize(x, self.scale, self.zero)
        if self.op == QUANTIZE:
            limits = (self.zero, self.low, self.high, DTYPES[self.out_dtype])
            return quantize(x, self.scale, *limits)
        return unary(self.op, x)


class Tabled(Protocol):
    """An instruction that looks its results up."""

    table: Any
    first: Any
    out_dtype: Any


def looked_up(machine: Machine, item: Tabled, x: Array) -> Array:
    """table[x - first], or the nearest entry."""
    tables = shared(view(machine, item.table, (TABLE_ENTRIES,), (1,), item.out_dtype))
    index = x.astype(np.intp) - item.first
    if len(tables) == 1:
        return np.asarray(tables[0].take(index, mode="clip"))
    pairs = zip(tables, index, strict=True)
    return np.stack([table.take(i, mode="clip") for table, i in pairs])


def sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def erf(x: Array) -> Array:
    """In float64, to 2e-16: the Taylor series around the nearest of a grid of exact values."""
    near = np.clip(np.nan_to_num(np.abs(x)), 0, ERF_REACH)
    index = np.rint(near / ERF_STEP).astype(np.intp)
    at = index * ERF_STEP
    h = near - at
    term = 2 / np.sqrt(np.pi) * np.exp(-(at**2)) * h
    before, total = np.zeros_like(near), ERF_GRID[index] + term
    for n in range(1, ERF_TERMS):
        # Derivatives of exp(-x^2) follow Hermite's recurrence.
        term, before = -2 * h * (at * term + h * before * (n - 1) / n) / (n + 1), term
        total = total + term
    return np.where(np.isnan(x), x, np.copysign(total, x))


ERF_STEP, ERF_REACH, ERF_TERMS = 1 / 64, 6.0, 8
ERF_GRID = np.array([scalar_erf(i * ERF_STEP) for i in range(int(ERF_REACH / ERF_STEP) + 1)])


UNARY: dict[int, Callable[..., Array]] = {
    3: np.exp,
    4: np.log,
    5: np.sqrt,
    6: np.reciprocal,
    7: np.tanh,
    8: sigmoid,
    9: erf,
    10: np.abs,
    11: np.negative,
    12: np.floor,
    14: np.ceil,
    15: np.rint,
    16: np.sign,
}
UNARY_NAMES = ("exp", "log", "sqrt", "reciprocal", "tanh", "sigmoid", "erf", "abs", "neg", "floor")
UNARY_CODES = dict(zip((*UNARY_NAMES, "ceil", "round", "sign"), UNARY, strict=True))


def unary(op: int, x: Array) -> Array:
    """A function of float32(x), evaluated in float64 and rounded to float32."""
    with np.errstate(all="ignore"):
        wide = x.astype(np.float32).astype(np.float64)
        return np.asarray(UNARY[op](wide), np.float32)
