"""Requantize, Elementwise, Map and Reduce against the formulas, and against onnxruntime."""

from typing import Any

import numpy as np
import pytest

from dnncc.isa import core, vector

A, B, OUT, TABLE = (
    core.address(1, 0),
    core.address(1, 4000),
    core.address(2, 0),
    core.address(2, 9000),
)
F32 = np.float32
CODES = {code: dtype.str for code, dtype in enumerate(core.DTYPES)}


def draw(rng: Any, code: int, shape: tuple[int, ...]) -> Any:
    dtype = core.DTYPES[code]
    if dtype.kind == "f":
        return (rng.standard_normal(shape) * 50).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def saturated(values: Any, code: int) -> Any:
    """Python's round is ties to even."""
    dtype = core.DTYPES[code]
    if dtype.kind == "f":
        return np.asarray(values, dtype)
    info = np.iinfo(dtype)
    flat = [min(max(round(float(v)), info.min), info.max) for v in np.asarray(values).flat]
    return np.array(flat, dtype).reshape(np.shape(values))


@pytest.mark.parametrize("code", [0, 1, 2])
def test_requantize_fp32(machine: Any, rng: Any, code: int) -> None:
    psum = rng.integers(-(2**20), 2**20, (2, 2, 5, 3, 4))
    table = np.zeros((2, 5), vector.PARAMS[vector.FP32])
    table["bias"] = rng.integers(-(2**16), 2**16, (2, 5))
    table["scale"] = rng.uniform(1e-5, 1e-3, (2, 5))
    machine.put(A, psum, "<i4")
    machine.put(B, table.view("u1").reshape(2, -1), "u1")
    fields = {"n": 2, "k": 5, "p": 3, "q": 4, "out_sn": 60, "out_sk": 12, "out_sp": 4}
    limits = {"zero": 3, "low": -100, "high": 120, "out_dtype": code}
    vector.Requantize(psum=A, params=B, out=OUT, **fields, **limits).execute(machine)
    sums = psum + table["bias"][:, None, :, None, None]
    real = sums.astype(F32) * table["scale"][:, None, :, None, None]
    expected = saturated(
        np.clip(np.array([round(float(v)) + 3 for v in real.flat]), -100, 120), code
    )
    assert np.array_equal(machine.get(OUT, (2 * 60,), CODES[code]).ravel(), expected)


def test_groups_of_channels_lie_between_each_other(machine: Any, rng: Any) -> None:
    psum = rng.integers(-120, 120, (2, 6, 4))
    table = np.zeros((2, 6), vector.PARAMS[vector.FP32])
    table["scale"] = 1.0
    machine.put(A, psum, "<i4")
    machine.put(B, table.view("u1").reshape(2, -1), "u1")
    fields = {"k": 6, "q": 4, "groups": 3, "out_sg": 1, "out_sk": 3, "out_sq": 6}
    vector.Requantize(psum=A, params=B, out=OUT, **fields).execute(machine)
    shuffled = psum.reshape(2, 3, 2, 4).transpose(0, 3, 2, 1)
    assert np.array_equal(machine.get(OUT, (4, 2, 3), "i1"), shuffled)


def test_requantize_fixed_reads_its_table(machine: Any, rng: Any) -> None:
    psum = rng.integers(-(2**20), 2**20, (2, 4, 6))
    table = np.zeros((2, 4), vector.PARAMS[vector.FIXED])
    table["bias"], table["multiplier"] = rng.integers(-99, 99, (2, 4)), 1 << 30
    table["shift"] = rng.integers(-12, -7, (2, 4))
    machine.put(A, psum, "<i4")
    machine.put(B, table.view("u1").reshape(2, -1), "u1")
    vector.Requantize(psum=A, params=B, out=OUT, k=4, q=6, out_sk=6, mode=1).execute(machine)
    sums = psum + table["bias"][..., None]
    halves = np.floor(sums / 2 + 0.5)
    scaled = halves * 2.0 ** table["shift"][..., None]
    expected = np.clip(np.sign(scaled) * np.floor(abs(scaled) + 0.5), -128, 127)
    got = machine.get(OUT, (4, 6), "i1")
    assert (abs(got - expected) <= 1).all() and (got == expected).mean() > 0.95


@pytest.mark.parametrize("code", range(6))
def test_arithmetic(machine: Any, rng: Any, code: int) -> None:
    for other in range(6):
        a, b = draw(rng, code, (2, 60)), draw(rng, other, (2, 60))
        machine.put(A, a, CODES[code])
        machine.put(B, b, CODES[other])
        for op, name in (
            (2, "add"),
            (3, "subtract"),
            (4, "multiply"),
            (6, "maximum"),
            (7, "minimum"),
        ):
            kind = F32 if 5 in (code, other) else np.int32
            expected = getattr(np, name)(a.astype(kind), b.astype(kind))
            for out in range(6):
                fields = {"a_dtype": code, "b_dtype": other, "out_dtype": out, "op": op, "d3": 60}
                vector.Elementwise(a=A, b=B, out=OUT, **fields).execute(machine)
                got = machine.get(OUT, (60,), CODES[out])
                assert np.array_equal(got, saturated(expected, out))


def test_division_is_of_reals(machine: Any) -> None:
    machine.put(A, [[7, -7, 5, 0, 1]] * 2, "i1")
    machine.put(B, [[2, 2, 2, 0, 0]] * 2, "i1")
    vector.Elementwise(a=A, b=B, out=OUT, op=5, d3=5).execute(machine)
    assert machine.get(OUT, (5,), "i1")[0].tolist() == [4, -4, 2, -128, 127]


def test_a_stride_of_zero_broadcasts(machine: Any, rng: Any) -> None:
    a, b = draw(rng, 0, (2, 3, 4)), draw(rng, 0, (2, 3))
    machine.put(A, a, "i1")
    machine.put(B, b, "i1")
    strides = {"a_s2": 4, "b_s2": 1, "b_s3": 0, "out_s2": 4}
    vector.Elementwise(a=A, b=B, out=OUT, op=3, d2=3, d3=4, **strides).execute(machine)
    expected = saturated(a.astype(int) - b[..., None], 0)
    assert np.array_equal(machine.get(OUT, (3, 4), "i1"), expected)


@pytest.mark.parametrize("code", range(5))
def test_dequantize_and_quantize(machine: Any, rng: Any, code: int) -> None:
    x = draw(rng, code, (2, 50))
    machine.put(A, x, CODES[code])
    fields = {"d3": 50, "scale": 0.037, "zero": -3}
    vector.Map(x=A, out=OUT, op=1, x_dtype=code, out_dtype=5, **fields).execute(machine)
    real = (x.astype(np.int64) + 3).astype(np.int32).astype(F32) * F32(0.037)
    assert np.array_equal(machine.get(OUT, (50,), "<f4"), real)
    back = {"op": 2, "x_dtype": 5, "out_dtype": code, "low": -32768, "high": 32767}
    vector.Map(x=OUT, out=A, **fields, **back).execute(machine)
    if code < 3:
        assert np.array_equal(machine.get(A, (50,), CODES[code]), x)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_table(machine: Any, rng: Any, code: int) -> None:
    x, table = draw(rng, code, (2, 300)), draw(rng, 5, (2, 256))
    machine.put(A, x, CODES[code])
    machine.put(TABLE, table, "<f4")
    first = -128 if code != 1 else 0
    fields = {"op": vector.TABLE, "x_dtype": code, "out_dtype": 5, "first": first, "d3": 300}
    vector.Map(x=A, out=OUT, table=TABLE, **fields).execute(machine)
    index = np.clip(x.astype(int) - first, 0, 255)
    expected = np.take_along_axis(table, index, axis=1)
    assert np.array_equal(machine.get(OUT, (300,), "<f4"), expected)


FUNCTIONS = [
    "exp",
    "log",
    "sqrt",
    "reciprocal",
    "tanh",
    "sigmoid",
    "erf",
    "abs",
    "negative",
    "floor",
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(machine: Any, rng: Any, name: str) -> None:
    from math import erf

    x = abs(rng.standard_normal((2, 90))).astype(F32) * 3 + F32(0.01)
    machine.put(A, x, "<f4")
    op = 3 + FUNCTIONS.index(name)
    vector.Map(x=A, out=OUT, op=op, x_dtype=5, out_dtype=5, d3=90).execute(machine)
    wide = x.astype(np.float64)
    mine: dict[str, Any] = {"sigmoid": lambda v: 1 / (1 + np.exp(-v)), "erf": np.vectorize(erf)}
    function: Any = mine.get(name) or getattr(np, name)
    expected = function(wide)
    assert np.array_equal(machine.get(OUT, (90,), "<f4"), np.asarray(expected, F32))


@pytest.mark.parametrize("code", range(6))
def test_reduce(machine: Any, rng: Any, code: int) -> None:
    x = draw(rng, code, (2, 7, 33))
    machine.put(A, x, CODES[code])
    wide = x if code == 5 else (x.astype(np.int64) - 5).astype(np.int32)
    sums = wide[..., 0].copy()
    for column in range(1, 33):
        sums = sums + wide[..., column]
    for op, expected in enumerate((sums, wide.max(-1), wide.min(-1))):
        for out in (0, 4, 5):
            fields = {"op": op, "x_dtype": code, "out_dtype": out, "zero": 5, "d2": 7, "d3": 33}
            vector.Reduce(x=A, out=OUT, x_s2=33, out_s2=1, **fields).execute(machine)
            assert np.array_equal(machine.get(OUT, (7,), CODES[out]), saturated(expected, out))


def test_reduce_over_inner_axes(machine: Any, rng: Any) -> None:
    x = draw(rng, 5, (2, 3, 4, 5, 6))
    machine.put(A, x, "<f4")
    sizes = {"d0": 3, "d1": 4, "d2": 5, "d3": 6, "x_s0": 120, "x_s1": 30, "x_s2": 6}
    fields = {**sizes, "x_dtype": 5, "out_dtype": 5, "out_s0": 6, "out_s3": 1}
    vector.Reduce(x=A, out=OUT, **fields).execute(machine)
    rows = x.transpose(0, 1, 4, 2, 3).reshape(2, 3, 6, -1)
    expected = rows[..., 0].copy()
    for column in range(1, rows.shape[-1]):
        expected += rows[..., column]
    assert np.array_equal(machine.get(OUT, (3, 6), "<f4"), expected)


@pytest.mark.parametrize("name", ["real_div", "real_max", "real_min", "real_prelu"])
def test_float_operators_between_borders(machine: Any, rng: Any, name: str) -> None:
    a, b = draw(rng, 0, (2, 64)), draw(rng, 0, (2, 64))
    machine.put(A, a, CODES[0])
    machine.put(B, b, CODES[0])
    op = {"real_div": 10, "real_max": 11, "real_min": 12, "real_prelu": 13}[name]
    numbers = {"scale_a": F32(0.11), "scale_b": F32(0.07), "offset": F32(0.2)}
    zeros = {"zero_a": 3, "zero_b": -7, "zero": 2}
    vector.Elementwise(a=A, b=B, out=OUT, op=op, d3=64, **numbers, **zeros).execute(machine)
    x, y = (a.astype(F32) - 3) * F32(0.11), (b.astype(F32) + 7) * F32(0.07)
    with np.errstate(all="ignore"):
        real = {
            "real_div": x / y,
            "real_max": np.maximum(x, y),
            "real_min": np.minimum(x, y),
            "real_prelu": np.where(x < 0, x * y, x),
        }[name]
        steps = np.rint(np.fmin(np.fmax(real / F32(0.2), F32(-130)), F32(125))) + 2
    assert np.array_equal(machine.get(OUT, (64,), CODES[0]), steps.astype(np.int8))


def test_erf_is_exact_to_a_few_bits_of_float64() -> None:
    from math import erf

    from dnncc.isa import elementwise

    x = np.concatenate([np.linspace(-7, 7, 5001), [0.0, np.inf, -np.inf]])
    expected = np.array([erf(v) for v in x])
    assert abs(elementwise.erf(x) - expected).max() < 4e-16
    assert np.isnan(elementwise.erf(np.array([np.nan]))).all()


def quantised(kind: str, inputs: Any, attributes: Any = None) -> Any:
    """One com.microsoft operator in onnxruntime; numbers are constants of the model."""
    ort = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    names = [f"i{n}" for n in range(len(inputs))]
    arrays = {n: v for n, v in zip(names, inputs, strict=True) if v is not None and v.ndim}
    fixed = [n for n, v in zip(names, inputs, strict=True) if v is not None and not v.ndim]
    node = helper.make_node(
        kind,
        [n if v is not None else "" for n, v in zip(names, inputs, strict=True)],
        ["y"],
        domain="com.microsoft",
        **(attributes or {}),
    )
    element = helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
    given = [helper.make_tensor_value_info(n, element, list(v.shape)) for n, v in arrays.items()]
    constants = [numpy_helper.from_array(inputs[names.index(n)], n) for n in fixed]
    out = helper.make_tensor_value_info("y", element, None)
    assert TensorProto.INT8
    graph = helper.make_graph([node], "g", given, [out], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, arrays)[0]


SHAPE = (2, 3000)
SCALES = [(0.021, 0.013, 0.03), (0.5, 0.25, 0.5), (0.1, 0.2, 0.011)]


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("scales", SCALES)
def test_qadd_is_onnxruntimes(machine: Any, rng: Any, code: int, scales: Any) -> None:
    dtype = core.DTYPES[code]
    a, b = draw(rng, code, SHAPE), draw(rng, code, SHAPE)
    zeros = [dtype.type(z) for z in rng.integers(1, 100, 3)]
    pairs = [value for s, z in zip(scales, zeros, strict=True) for value in (F32(s), z)]
    expected = quantised("QLinearAdd", [*map(np.array, (a, *pairs[:2], b, *pairs[2:]))])
    rate_a, rate_b = F32(F32(scales[0]) / F32(scales[2])), F32(F32(scales[1]) / F32(scales[2]))
    zero_a, zero_b, zero = (F32(int(z)) for z in zeros)
    inner = np.float64(rate_a) * np.float64(zero_a) + np.float64(F32(rate_b * zero_b))
    offset = F32(zero - F32(inner))
    machine.put(A, a, CODES[code])
    machine.put(B, b, CODES[code])
    numbers = {"scale_a": rate_a, "scale_b": rate_b, "offset": offset, "low": -128, "high": 255}
    types = {"a_dtype": code, "b_dtype": code, "out_dtype": code}
    vector.Elementwise(a=A, b=B, out=OUT, op=vector.QADD, d3=3000, **numbers, **types).execute(
        machine
    )
    assert np.array_equal(machine.get(OUT, (3000,), CODES[code]), expected)


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("scales", SCALES)
def test_qmul_is_onnxruntimes(machine: Any, rng: Any, code: int, scales: Any) -> None:
    dtype = core.DTYPES[code]
    a, b = draw(rng, code, SHAPE), draw(rng, code, SHAPE)
    zeros = [dtype.type(z) for z in rng.integers(1, 100, 3)]
    pairs = [value for s, z in zip(scales, zeros, strict=True) for value in (F32(s), z)]
    expected = quantised("QLinearMul", [*map(np.array, (a, *pairs[:2], b, *pairs[2:]))])
    rate = F32(F32(scales[0]) * F32(scales[1])) / F32(scales[2])
    machine.put(A, a, CODES[code])
    machine.put(B, b, CODES[code])
    numbers = {"scale_a": rate, "offset": F32(int(zeros[2])), "low": -128, "high": 255, "d3": 3000}
    numbers |= {n: int(z) for n, z in zip(("zero_a", "zero_b"), zeros, strict=False)}
    types = {"a_dtype": code, "b_dtype": code, "out_dtype": code}
    vector.Elementwise(a=A, b=B, out=OUT, op=vector.QMUL, **numbers, **types).execute(machine)
    assert np.array_equal(machine.get(OUT, (3000,), CODES[code]), expected)


@pytest.mark.parametrize("op", [vector.QADD, vector.QMUL])
def test_operands_can_be_moved(machine: Any, rng: Any, op: int) -> None:
    """Bytes kept as int8, 128 lower, give what uint8 gives, 128 lower."""
    a, b = draw(rng, 1, SHAPE), draw(rng, 1, SHAPE)
    numbers = {"scale_a": 0.013, "scale_b": 0.6, "offset": 3.5, "d3": 3000}
    results = []
    for code, move in ((1, 0), (0, 128)):
        machine.put(A, a.astype(int) - move, CODES[code])
        machine.put(B, b.astype(int) - move, CODES[code])
        fields = numbers | {
            "zero_a": -move,
            "zero_b": -move,
            "zero": -move,
            "low": -128,
            "high": 255,
        }
        types = {"a_dtype": code, "b_dtype": code, "out_dtype": code}
        vector.Elementwise(a=A, b=B, out=OUT, op=op, **fields, **types).execute(machine)
        results.append(machine.get(OUT, (3000,), CODES[code]).astype(int) + move)
    assert np.array_equal(*results)


@pytest.mark.parametrize("op", [vector.REAL_ADD, vector.REAL_MUL])
def test_real_operators_round_like_their_parts(machine: Any, rng: Any, op: int) -> None:
    """DequantizeLinear twice, Add or Mul, QuantizeLinear: each rounded to float32."""
    a, b = draw(rng, 1, SHAPE), draw(rng, 1, SHAPE)
    machine.put(A, a, "u1")
    machine.put(B, b, "u1")
    real_a = (a.astype(np.int32) - 7).astype(F32) * F32(0.021)
    real_b = (b.astype(np.int32) - 130).astype(F32) * F32(0.013)
    real = real_a + real_b if op == vector.REAL_ADD else real_a * real_b
    expected = np.clip(np.rint(real / F32(0.03)) + 111, 0, 255)
    numbers = {"scale_a": 0.021, "scale_b": 0.013, "offset": 0.03, "zero_a": 7, "zero_b": 130}
    fields = {"zero": 111, "low": 0, "high": 255, "a_dtype": 1, "b_dtype": 1, "out_dtype": 1}
    vector.Elementwise(a=A, b=B, out=OUT, op=op, d3=3000, **numbers, **fields).execute(machine)
    assert np.array_equal(machine.get(OUT, (3000,), "u1"), expected)
