"""The arithmetic of the ISA, each rule once: exact integer sums, and how they are scaled back.

All functions are vectorised; leading batch dimensions are free. Sums of products are exact in any
order, so they run as floating-point matrix products wherever no partial sum can lose a bit.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

EXACT_F32 = 1 << 24
EXACT_F64 = 1 << 53
SHORTEST_CHUNK = 64
"""Fewer terms than this at a time are done in float64 instead: short products are slow."""


def limits(low: int, high: int, dtype: np.dtype[Any]) -> tuple[int, int]:
    """`low`..`high` cut to what an integer `dtype` holds."""
    if dtype.kind == "f":
        return low, high
    info = np.iinfo(dtype)
    return max(low, int(info.min)), min(high, int(info.max))


def requantize(
    psum: Array, scale: Any, zero: int, low: int, high: int, dtype: np.dtype[Any]
) -> Array:
    """saturate(rint(float32(psum) * float32(scale)) + zero), ties to even.

    psum int32, scale float32: onnxruntime's MlasRequantizeOutput, the default mode.
    `low`, `high` include any activation.
    """
    with np.errstate(all="ignore"):
        scaled = psum.astype(np.float32) * np.asarray(scale, np.float32)
        return round_and_shift(scaled, zero, low, high, dtype)


def quantize(real: Array, scale: Any, zero: int, low: int, high: int, dtype: Any) -> Array:
    """ONNX QuantizeLinear in float32: saturate(rint(real / scale) + zero); NaN gives `low`."""
    with np.errstate(all="ignore"):
        scaled = real.astype(np.float32) / np.float32(scale)
        return round_and_shift(scaled, zero, low, high, np.dtype(dtype))


def dequantize(values: Array, scale: Any, zero: int) -> Array:
    """ONNX DequantizeLinear: (values - zero) * scale in float32, of integers or floats."""
    if values.dtype.kind == "f":
        real: Array = (values - np.float32(zero)) * np.float32(scale)
        return real
    difference: Array = values.astype(np.int32) - zero
    return difference.astype(np.float32) * np.float32(scale)


def round_and_shift(scaled: Array, zero: int, low: int, high: int, dtype: np.dtype[Any]) -> Array:
    """rint(scaled) + zero within low..high, as onnxruntime: clamped before it is rounded."""
    low, high = limits(low, high, dtype)
    clamped = np.fmin(np.fmax(scaled, np.float32(low - zero)), np.float32(high - zero))
    return (np.rint(clamped) + np.float32(zero)).astype(dtype)


def shift_and_round(
    scaled: Array, low: int, high: int, dtype: np.dtype[Any], lift: int = 0
) -> Array:
    """rint(scaled) - lift within low..high, where the zero point is in already; NaN gives `low`."""
    low, high = limits(low, high, dtype)
    clamped = np.fmin(np.fmax(scaled, np.float32(low + lift)), np.float32(high + lift))
    return (np.rint(clamped) - np.float32(lift)).astype(dtype)


def requantize_fixed(
    psum: Array,
    multiplier: Array,
    shift: Array,
    zero: int,
    low: int,
    high: int,
    dtype: np.dtype[Any],
) -> Array:
    """TFLite's 32-bit multiplier and shift (gemmlowp): psum * multiplier * 2^(shift - 31).

    MultiplyByQuantizedMultiplier: a left shift (wrapping), a saturating rounding doubling high
    multiply, then a rounding right shift, each half away from zero. int32 arrays; shift -31..31.
    """
    left = np.clip(shift, 0, 31).astype(np.int64)
    right = np.clip(np.negative(shift, dtype=np.int64), 0, 31)
    product = to_int32(psum.astype(np.int64) << left).astype(np.int64) * multiplier
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    doubled = np.minimum(truncate_divide(product + nudge, 1 << 31), (1 << 31) - 1)
    mask = (np.int64(1) << right) - 1
    threshold = (mask >> 1) + (doubled < 0)
    rounded = (doubled >> right) + ((doubled & mask) > threshold)
    out: Array = np.clip(rounded + zero, *limits(low, high, dtype)).astype(dtype)
    return out


def truncate_divide(value: Array, divisor: int) -> Array:
    """Integer division towards zero, as in C."""
    quotient: Array = np.sign(value) * (np.abs(value) // divisor)
    return quotient


def saturate(values: Array, dtype: np.dtype[Any]) -> Array:
    """Clip to what `dtype` holds; floats to integers are rounded, ties to even, NaN lowest."""
    if dtype.kind in "fb" or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    info = np.iinfo(dtype)
    if values.dtype.kind != "f":
        return np.clip(values, info.min, info.max).astype(dtype)
    wide = values.astype(np.float64)
    return np.rint(np.fmin(np.fmax(wide, info.min), info.max)).astype(dtype)


def fma(a: Array, b: Any, c: Any) -> Array:
    """float32 a * b + c with one rounding, as the hardware instruction.

    The product is exact in float64; the sum is rounded to odd there, so that rounding it again to
    float32 cannot go wrong (Boldo and Melquiond, "Emulation of FMA", 2008).
    """
    product: Array = np.multiply(a, b, dtype=np.float64)
    total: Array = product + c
    back = total - product
    lost = (product - (total - back)) + (c - back)
    bits = total.view(np.int64)
    step = np.where((lost > 0) == (total > 0), 1, -1)
    odd = bits + np.where((lost != 0) & (bits & 1 == 0), step, 0)
    rounded: Array = odd.view(np.float64).astype(np.float32)
    return rounded


def matmul_exact(a: Array, b: Array) -> Array:
    """a @ b of integers below 2^17 in magnitude, as int32 that wraps; the last axis of a is summed.

    BLAS in float32 while no partial sum can pass 2^24, splitting the sum if that allows it, else in
    float64, to 2^53.
    """
    terms = a.shape[-1]
    bound = max(peak(a) * peak(b), 1)
    narrow = bound * min(terms, SHORTEST_CHUNK) <= EXACT_F32
    kind, exact = (np.float32, EXACT_F32) if narrow else (np.float64, EXACT_F64)
    chunk = exact // bound
    wide_a, wide_b = a.astype(kind), b.astype(kind)
    total = to_int32(np.matmul(wide_a[..., :chunk], wide_b[..., :chunk, :]))
    for k in range(chunk, terms, chunk):
        total += to_int32(np.matmul(wide_a[..., k : k + chunk], wide_b[..., k : k + chunk, :]))
    return total


def peak(values: Array) -> int:
    """The largest magnitude."""
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


def to_int32(values: Array) -> Array:
    """Two's complement wrap to int32 of integer-valued numbers below 2^53."""
    if values.dtype == np.float32:  # its exact integers are below 2^24
        return values.astype(np.int32)
    return values.astype(np.int64).astype(np.int32)


def pad_window(x: Array, top: int, left: int, height: int, width: int, fill: Any) -> Array:
    """The last two axes of `x` at (top, left) in a height x width plane of `fill`, cut to it."""
    h = max(0, min(x.shape[-2], height - top))
    w = max(0, min(x.shape[-1], width - left))
    x = x[..., :h, :w]
    if (top, left, h, w) == (0, 0, height, width):
        return x
    out = np.full((*x.shape[:-2], height, width), fill, x.dtype)
    out[..., top : top + h, left : left + w] = x
    return out


def windows(
    x: Array, taps: tuple[int, int], out: tuple[int, int], stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Array:  # fmt: skip
    """A view [..., R, S, P, Q] of the planes of x [..., H, W]: the input of tap r, s at p, q."""
    sy, sx = x.strides[-2:]
    return np.lib.stride_tricks.as_strided(
        x,
        (*x.shape[:-2], *taps, *out),
        (*x.strides[:-2], sy * dilation[0], sx * dilation[1], sy * stride[0], sx * stride[1]),
        writeable=False,
    )


def reach(out: Any, stride: Any, taps: Any, dilation: Any) -> Any:
    """Rows (columns) of input, padding included, that `out` rows (columns) of output read."""
    return (out - 1) * stride + (taps - 1) * dilation + 1


def convolve(
    x: Array, w: Array, out: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int],
    pad: tuple[int, int],
) -> Array:  # fmt: skip
    """x [batch.., G, C, H, W] by w [batch.., G, K, C, R, S] -> int32 [batch.., G, K, P, Q].

    Operands have their zero points subtracted, so padding (top, left; below and to the right as
    far as the output asks) is with zeros. Batch axes of length 1 in w serve all of x's.
    """
    taps = (w.shape[-2], w.shape[-1])
    height, width = (reach(*axis) for axis in zip(out, stride, taps, dilation, strict=True))
    x = pad_window(x, *pad, height, width, 0)
    win = windows(x, taps, out, stride, dilation)
    if w.shape[-3] == 1 and w.shape[-4] == 1:
        return depthwise(win, w)
    columns = win.reshape(*win.shape[:-5], -1, out[0] * out[1])
    sums = matmul_exact(w.reshape(*w.shape[:-3], -1), columns)
    return sums.reshape(*sums.shape[:-1], *out)


def depthwise(win: Array, w: Array) -> Array:
    """One channel in, one out, per group: a multiply-add per tap beats tiny matrix products."""
    win, w = win[..., 0, :, :, :, :], w[..., 0, 0, :, :].astype(np.int32)
    total = np.zeros((*win.shape[:-4], *win.shape[-2:]), np.int32)
    for r in range(w.shape[-2]):
        for s in range(w.shape[-1]):
            total += win[..., r, s, :, :] * w[..., r, s, None, None]
    return total[..., None, :, :]
