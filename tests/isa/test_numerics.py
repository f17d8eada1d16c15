"""The golden arithmetic, against exact fractions and scalar code of another hand."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dnncc.isa import numerics

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def multiply_by_quantized_multiplier(x: int, multiplier: int, shift: int) -> int:
    """TFLite's, with double rounding (kernels/internal/common.h), on Python ints."""
    left, right = max(shift, 0), max(-shift, 0)
    x = (x * (1 << left) + 2**31) % 2**32 - 2**31
    high = saturating_rounding_doubling_high_mul(x, multiplier)
    return rounding_divide_by_pot(high, right)


def saturating_rounding_doubling_high_mul(a: int, b: int) -> int:
    if a == b == INT32_MIN:
        return INT32_MAX
    nudge = 1 << 30 if a * b >= 0 else 1 - (1 << 30)
    total = a * b + nudge
    return total // 2**31 if total >= 0 else -(-total // 2**31)


def rounding_divide_by_pot(x: int, exponent: int) -> int:
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if (x & mask) > threshold else 0)


def test_requantize_fixed_is_tflite(rng: Any) -> None:
    edges = [INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX, 1 << 30, -(1 << 30)]
    psums = np.array([*edges, *rng.integers(INT32_MIN, INT32_MAX, 400)], np.int32)
    factors = np.array([*edges, *rng.integers(1 << 30, INT32_MAX, 400)], np.int32)
    shifts = np.array([*range(-31, 32), *rng.integers(-12, 3, 345)], np.int32)
    for turn in range(20):
        factor, shift = np.roll(factors, 3 * turn), np.roll(shifts, 7 * turn)
        got = numerics.requantize_fixed(
            psums, factor, shift, -5, INT32_MIN, INT32_MAX, np.dtype(np.int32)
        )
        triples = zip(psums.tolist(), factor.tolist(), shift.tolist(), strict=True)
        expected = [multiply_by_quantized_multiplier(*t) - 5 for t in triples]
        assert got.tolist() == np.clip(expected, INT32_MIN, INT32_MAX).tolist()


def nearest_float32(value: Fraction) -> np.float32:
    """Ties to even."""
    guess = np.float32(float(value))
    near = [
        np.nextafter(guess, np.float32(-np.inf)),
        guess,
        np.nextafter(guess, np.float32(np.inf)),
    ]
    return min(near, key=lambda f: (abs(Fraction(float(f)) - value), f.view(np.uint32) & 1))


def test_fma_rounds_once(rng: Any) -> None:
    a, b = rng.standard_normal((2, 3000)).astype(np.float32)
    c = (-a * b * rng.choice([1.0, 0.5, 1e-8, 1e8], 3000)).astype(np.float32)
    c[::3] = rng.standard_normal(1000).astype(np.float32)
    a[1500:] = rng.integers(-128, 128, 1500)
    got = numerics.fma(a, b, c)
    triples = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    exact = [Fraction(x) * Fraction(y) + Fraction(z) for x, y, z in triples]
    assert np.array_equal(got, np.array([nearest_float32(e) for e in exact]))


def test_fma_meets_halfway_cases() -> None:
    """a * b + c is a hair off a tie of float32 values: rounding to float64 first would hide it."""
    hair = np.float32(2.0**-70)
    one = np.array([1 + 2.0**-23], np.float32)
    half = np.array([2.0**-24], np.float32)
    assert numerics.fma(np.array([hair]), np.float32(1), np.float64(1 + 2.0**-24)) == one
    assert numerics.fma(np.array([-hair]), np.float32(1), np.float64(1 + 2.0**-24)) == 1
    assert numerics.fma(half, np.float32(1), np.float64(1)) == 1


def test_requantize_is_one_float32_product(rng: Any) -> None:
    psum = rng.integers(INT32_MIN, INT32_MAX, (3, 40, 50)).astype(np.int32)
    psum[0] = rng.integers(-3000, 3000, (40, 50))
    scale = rng.uniform(1e-4, 0.1, (40, 1)).astype(np.float32)
    got = numerics.requantize(psum, scale, 7, -100, 90, np.dtype(np.int8))
    products = psum.astype(np.float32) * scale
    expected = [round(Fraction(float(v))) + 7 for v in products.flat]
    assert got.ravel().tolist() == np.clip(expected, -100, 90).tolist()


@pytest.mark.parametrize("value", [0.5, 1.5, 2.5, -0.5, -1.5])
def test_ties_go_to_even(value: float) -> None:
    scaled = np.array([value], np.float32)
    got = numerics.quantize(scaled, 1.0, 3, -128, 127, np.int8)
    assert got.tolist() == [round(value) + 3]


def test_nan_and_infinity_have_a_value() -> None:
    values = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert numerics.quantize(values, 1, 0, -128, 127, np.int8).tolist() == [-128, 127, -128]
    assert numerics.saturate(values, np.dtype(np.int32)).tolist() == [
        INT32_MIN,
        INT32_MAX,
        INT32_MIN,
    ]


def test_limits_are_cut_to_the_type() -> None:
    psum = np.array([-1000, 1000], np.int32)
    got = numerics.requantize(psum, np.float32(1), 0, -32768, 32767, np.dtype(np.uint8))
    assert got.tolist() == [0, 255]


def test_matmul_is_exact_at_every_magnitude(rng: Any) -> None:
    for bits in range(1, 18):
        for terms in (1, 63, 300, 5000):
            a = rng.integers(-(2**bits) + 1, 2**bits, (2, 3, terms))
            b = rng.integers(-(2**bits) + 1, 2**bits, (2, terms, 4))
            got = numerics.matmul_exact(a.astype(np.int32), b.astype(np.int32))
            assert np.array_equal(got, (a @ b).astype(np.uint32).view(np.int32))


def test_matmul_counts_the_lowest_byte() -> None:
    """-128 * -128, whose magnitude int8 cannot hold, 5000 times."""
    a = np.full((1, 5000), -128, np.int8)
    assert numerics.matmul_exact(a, a.T).tolist() == [[5000 * 128 * 128]]
