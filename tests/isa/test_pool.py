"""Pool against loops over its windows, and against onnxruntime."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from dnncc.isa import core, pool

X, OUT = core.address(1, 0), core.address(2, 0)
F32 = np.float32
CODES = {code: dtype.str for code, dtype in enumerate(core.DTYPES)}


def random_fields(rng: Any, op: int) -> dict[str, int]:
    f = {name: int(rng.integers(1, 4)) for name in ("n", "c", "r", "s", "p", "q")}
    f |= {
        f"{name}_{axis}": int(rng.integers(1, 4))
        for name in ("stride", "dilation")
        for axis in "yx"
    }
    f |= {"pad_top": int(rng.integers(0, 4)), "pad_left": int(rng.integers(0, 4))}
    f |= {"h": int(rng.integers(1, 12)), "w": int(rng.integers(1, 12)), "op": op}
    f |= {"x_zero": int(rng.integers(-5, 200)), "include_pad": int(rng.integers(0, 2))}
    return f


def layouts(f: dict[str, int]) -> dict[str, int]:
    plane, out = f["h"] * f["w"], f["p"] * f["q"]
    strides = {"x_sn": f["c"] * plane, "x_sc": plane, "x_sh": f["w"]}
    return strides | {"out_sn": f["c"] * out, "out_sc": out, "out_sp": f["q"]}


def taps(f: dict[str, int], p: int, q: int) -> list[tuple[int, int]]:
    """Rows and columns of the tile that output p, q sees, in order."""
    rows = [p * f["stride_y"] + r * f["dilation_y"] - f["pad_top"] for r in range(f["r"])]
    columns = [q * f["stride_x"] + s * f["dilation_x"] - f["pad_left"] for s in range(f["s"])]
    return [(y, x) for y, x in product(rows, columns) if 0 <= y < f["h"] and 0 <= x < f["w"]]


def fold(values: list[Any], f: dict[str, int], lowest: Any) -> Any:
    if f["op"] == pool.MAX:
        return max([lowest, *values])
    if f["op"] == pool.SUM:
        return sum(int(v) - f["x_zero"] for v in values)
    total = F32(0)
    for value in values:
        total = F32(total + F32(F32(int(value) - f["x_zero"]) * F32(0.1)))
    return total / F32(f["r"] * f["s"] if f["include_pad"] else len(values))


def reference(x: Any, f: dict[str, int]) -> Any:
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    out = np.zeros((*x.shape[:3], f["p"], f["q"]))
    for p, q in product(range(f["p"]), range(f["q"])):
        seen = taps(f, p, q)
        for plane in product(*map(range, x.shape[:3])):
            if seen or f["op"] not in pool.MEANS or f["include_pad"]:
                out[(*plane, p, q)] = fold([x[(*plane, *at)] for at in seen], f, lowest)
    return out


@pytest.mark.parametrize("code", range(6))
def test_max(machine: Any, rng: Any, code: int) -> None:
    for _ in range(25):
        f = random_fields(rng, pool.MAX)
        x = rng.integers(-99, 99, (2, f["n"], f["c"], f["h"], f["w"])).astype(core.DTYPES[code])
        machine.put(X, x, CODES[code])
        types = {"x_dtype": code, "out_dtype": code}
        pool.Pool(x=X, out=OUT, **f, **layouts(f), **types).execute(machine)
        got = machine.get(OUT, (f["n"], f["c"], f["p"], f["q"]), CODES[code])
        assert np.array_equal(got, reference(x, f))


@pytest.mark.parametrize("rows_outermost", [False, True])
def test_rows_in_a_ring(machine: Any, rng: Any, rows_outermost: bool) -> None:
    """The same as of the same rows one after the other, wherever in the ring they begin."""
    for _ in range(25):
        f = random_fields(rng, pool.MAX)
        x = rng.integers(-99, 99, (2, f["n"], f["c"], f["h"], f["w"])).astype("i1")
        ring = int(rng.integers(f["h"], f["h"] + 6))
        first = int(rng.integers(0, ring))
        held = rng.integers(-99, 99, (2, f["n"], f["c"], ring, f["w"])).astype("i1")
        held[..., (first + np.arange(f["h"])) % ring, :] = x
        places = layouts(f | {"h": ring}) | {k: v for k, v in layouts(f).items() if "out" in k}
        if rows_outermost:
            held = np.moveaxis(held, 3, 1)
            places |= {"x_sh": f["n"] * f["c"] * f["w"], "x_sn": f["c"] * f["w"], "x_sc": f["w"]}
        machine.put(X, held, "i1")
        pool.Pool(x=X, out=OUT, **f, **places, ring=ring, ring_row=first).execute(machine)
        got = machine.get(OUT, (f["n"], f["c"], f["p"], f["q"]), "i1")
        assert np.array_equal(got, reference(x, f))


def test_a_tile_that_is_in_no_ring_is_refused() -> None:
    wrong = [{"h": 5, "ring": 4}, {"ring": 4, "ring_row": 4}, {"ring_row": 1}]
    assert all(any(np.any(bad) for bad, _ in pool.Pool(x=X, out=OUT, **f).faults()) for f in wrong)


@pytest.mark.parametrize("code", range(5))
def test_sum(machine: Any, rng: Any, code: int) -> None:
    for _ in range(25):
        f = random_fields(rng, pool.SUM)
        x = rng.integers(-9999, 9999, (2, f["n"], f["c"], f["h"], f["w"])).astype(core.DTYPES[code])
        machine.put(X, x, CODES[code])
        pool.Pool(x=X, out=OUT, **f, **layouts(f), x_dtype=code, out_dtype=4).execute(machine)
        got = machine.get(OUT, (f["n"], f["c"], f["p"], f["q"]), "<i4")
        assert np.array_equal(got, reference(x, f))


@pytest.mark.parametrize("op", [pool.AVERAGE, pool.MEAN, pool.LIFTED])
def test_average(machine: Any, rng: Any, op: int) -> None:
    for _ in range(60):
        f = random_fields(rng, op)
        f |= {"pad_top": 0, "pad_left": 0, "h": 12, "w": 12}  # no window without an element
        x = rng.integers(0, 256, (2, f["n"], f["c"], 12, 12))
        machine.put(X, x, "u1")
        scales = {"x_scale": 0.1, "out_scale": 0.07, "out_zero": 11}
        types = {"x_dtype": 1, "out_dtype": 1, "low": 0, "high": 255}
        pool.Pool(x=X, out=OUT, **f, **layouts(f), **scales, **types).execute(machine)
        mean = reference(x.astype(np.uint8), f).astype(F32)
        inner, outer = {
            pool.AVERAGE: (F32(11), 0), pool.MEAN: (F32(0), 11), pool.LIFTED: (F32(139), -128)
        }[op]  # fmt: skip
        expected = np.clip(np.rint(mean / F32(0.07) + inner) + outer, 0, 255)
        got = machine.get(OUT, (f["n"], f["c"], f["p"], f["q"]), "u1")
        seen = np.array([[len(taps(f, p, q)) for q in range(f["q"])] for p in range(f["p"])]) > 0
        assert np.array_equal(got[..., seen], expected[..., seen])


@pytest.mark.parametrize("include_pad", [0, 1])
@pytest.mark.parametrize("code", [0, 1])
def test_average_is_onnxruntimes(machine: Any, rng: Any, code: int, include_pad: int) -> None:
    ort = pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    dtype = core.DTYPES[code]
    x = rng.integers(-128 * (code == 0), 128, (2, 5, 13, 11)).astype(dtype)
    values = [F32(0.043), dtype.type(9), F32(0.031), dtype.type(17)]
    constants = [numpy_helper.from_array(np.array(v), f"c{i}") for i, v in enumerate(values)]
    node = helper.make_node(
        "QLinearAveragePool",
        ["x", "c0", "c1", "c2", "c3"],
        ["y"],
        domain="com.microsoft",
        kernel_shape=[3, 2],
        strides=[2, 1],
        pads=[1, 1, 1, 0],
        count_include_pad=include_pad,
    )
    element = helper.np_dtype_to_tensor_dtype(dtype)
    info = [helper.make_tensor_value_info(n, element, s) for n, s in (("x", x.shape), ("y", None))]
    graph = helper.make_graph([node], "g", info[:1], info[1:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x})[0]
    machine.put(X, x, CODES[code])
    f = {
        "c": 5,
        "r": 3,
        "s": 2,
        "h": 13,
        "w": 11,
        "p": 7,
        "q": 11,
        "n": 1,
        "include_pad": include_pad,
    }
    f |= {"stride_y": 2, "pad_top": 1, "pad_left": 1, "op": pool.AVERAGE}
    f |= {"x_zero": 9, "out_zero": 17, "low": -128, "high": 255, "x_dtype": code, "out_dtype": code}
    one = pool.Pool(x=X, out=OUT, **f, **layouts(f), x_scale=0.043, out_scale=0.031)
    one.execute(machine)
    assert np.array_equal(machine.get(OUT, (5, 7, 11), CODES[code]), expected)


@pytest.mark.parametrize("code", range(5))
def test_frame_is_pad(machine: Any, rng: Any, code: int) -> None:
    x = rng.integers(0, 99, (2, 3, 4, 5))
    machine.put(X, x, CODES[code])
    f = {
        "n": 1,
        "c": 3,
        "r": 1,
        "s": 1,
        "h": 4,
        "w": 5,
        "p": 9,
        "q": 8,
        "pad_top": 2,
        "pad_left": 1,
    }
    types = {"x_dtype": code, "out_dtype": code, "op": pool.FRAME, "out_zero": 77}
    pool.Pool(x=X, out=OUT, **f, **layouts(f), **types).execute(machine)
    expected = np.pad(x, [(0, 0), (0, 0), (2, 3), (1, 2)], constant_values=77)
    assert np.array_equal(machine.get(OUT, (3, 9, 8), CODES[code]), expected)


def test_a_frame_saturates(machine: Any) -> None:
    one = pool.Pool(x=X, out=OUT, op=pool.FRAME, pad_top=1, out_zero=-5, x_dtype=1, out_dtype=1)
    one.execute(machine)
    assert machine.get(OUT, (1,), "u1").ravel().tolist() == [0, 0]
