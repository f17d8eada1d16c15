"""Comparisons, logic, choice and arg max run on the vector engine, exactly."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper
from onnx.reference import ReferenceEvaluator

import dnncc
from dnncc.ir.tile_interpret import interpret_tile
from dnncc.isa import elf
from dnncc.runtime import load
from tests.compiler.qdq import reasons
from tests.models import make_model
from tests.oracle import run

TARGETS = ("eyeriss-like", "tpu-like", "diannao-like")
COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
NUMBERS = ("int8", "uint8", "int16", "uint16", "int32", "float32")
Draw = np.random.Generator


def values(rng: Draw, dtype: str, shape: tuple[int, ...]) -> Any:
    """Few different ones, so that many are equal; some at the ends of the type."""
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype == "float32":
        return rng.choice([-np.inf, -1.5, 0, 0.25, np.inf], shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.choice([info.min, info.min + 1, 0, 1, info.max], shape).astype(dtype)


def check(op: str, inputs: list[Any], target: str, result: str, **attrs: Any) -> None:
    """The operator alone on the accelerator, as onnx.reference computes it; program and binary."""
    feeds: dict[str, Any] = {f"x{i}": value for i, value in enumerate(inputs)}
    node = helper.make_node(op, list(feeds), ["y"], name=op, **attrs)
    model = make_model([node], feeds, {"y": (np.dtype(result), None)}, {}, 17)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    compare(model, feeds, target, reference(model, feeds))


def reference(model: ModelProto, feeds: dict[str, Any]) -> Any:
    results: Any = ReferenceEvaluator(model).run(None, feeds)
    return results[0]


def compare(model: ModelProto, feeds: dict[str, Any], target: str, expected: Any) -> None:
    artifact = dnncc.compile(model, target, precision="float")
    assert reasons(artifact.graph) == {}
    assert artifact.tile is not None
    name = model.graph.output[0].name
    session = load(elf.write(artifact.image))
    for got in (
        interpret_tile(artifact.tile, feeds)[name],
        session.run(None, feeds, sanitize=True)[0],
        session.run(None, feeds, grouped=True)[0],
    ):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("op", COMPARISONS)
def test_comparisons(op: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    shapes = (2, 3, 1, 5), (3, 4, 1)
    check(op, [values(rng, dtype, s) for s in shapes], "eyeriss-like", "bool")


@pytest.mark.parametrize("op", ["And", "Or", "Xor", "Not"])
@pytest.mark.parametrize("target", TARGETS)
def test_logic(op: str, target: str) -> None:
    rng = np.random.default_rng(0)
    shapes = ((2, 3, 5), (3, 1))[: 1 if op == "Not" else 2]
    check(op, [values(rng, "bool", s) for s in shapes], target, "bool")


@pytest.mark.parametrize("dtype", [*NUMBERS, "bool"])
def test_where(dtype: str) -> None:
    """What is not chosen does no harm: infinite values, say."""
    rng = np.random.default_rng(0)
    given = [values(rng, dtype, s) for s in ((3, 5), (2, 1, 5))]
    check("Where", [values(rng, "bool", (2, 3, 1)), *given], "tpu-like", dtype)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "float32"])
@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_extremum(op: str, dtype: str, axis: int) -> None:
    """Of equal ones, the first or the last."""
    rng = np.random.default_rng(abs(axis))
    x = values(rng, dtype, (3, 21, 4, 5))
    for target, last in (("eyeriss-like", 0), ("tpu-like", 1)):
        attrs = {"axis": axis, "keepdims": last, "select_last_index": last}
        check(op, [x], target, "int64", **attrs)


@pytest.mark.parametrize("source", ["int8", "uint8", "int32", "bool", "float32"])
@pytest.mark.parametrize("wanted", ["int64", "bool", "float32", "int32"])
def test_casts(source: str, wanted: str) -> None:
    if source == wanted or (source, wanted) == ("float32", "int64"):
        pytest.skip("nothing to do, or not on the accelerator")
    rng = np.random.default_rng(0)
    x = values(rng, source, (3, 50))
    x = np.nan_to_num(x, posinf=2.0, neginf=-7.0) if source == "float32" else x
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(wanted))
    check("Cast", [x], "eyeriss-like", wanted, to=kind)


@pytest.mark.parametrize("op", ["Max", "Min", "Add", "Sub", "Mul"])
def test_words(op: str) -> None:
    """int32 as it is, which wraps."""
    rng = np.random.default_rng(0)
    given = [values(rng, "int32", s) for s in ((2, 30), (30,))]
    check(op, given, "tpu-like", "int32")


def segmenter(rng: Draw) -> ModelProto:
    """The class of each pixel, and whether it is one of the first."""
    weight = rng.integers(-99, 99, (9, 3, 3, 3)).astype(np.int8)
    nodes: list[Any] = [
        ("DequantizeLinear", ["x", "s", "zx"], "xr", {}),
        ("DequantizeLinear", ["w", "s", "zw"], "wr", {}),
        ("Conv", ["xr", "wr"], "c", {"pads": [1, 1, 1, 1]}),
        ("QuantizeLinear", ["c", "sc", "zx"], "cq", {}),
        ("DequantizeLinear", ["cq", "sc", "zx"], "scores", {}),
        ("ArgMax", ["scores"], "class", {"axis": 1, "keepdims": 0}),
        ("Cast", ["class"], "whole", {"to": 6}),
        ("Less", ["whole", "five"], "y", {}),
    ]
    constants = {
        "w": weight, "s": np.float32(0.02), "sc": np.float32(0.3), "zx": np.uint8(3),
        "zw": np.int8(0), "five": np.int32(5),
    }  # fmt: skip
    return finished(nodes, {"x": (np.dtype("uint8"), (1, 3, 17, 13))}, bool, constants)


def masked(rng: Draw) -> ModelProto:
    """What is above a bound is replaced, then quantised again."""
    nodes: list[Any] = [
        ("DequantizeLinear", ["x", "s", "zx"], "a", {}),
        ("DequantizeLinear", ["b", "sc", "zx"], "br", {}),
        ("Greater", ["a", "br"], "above", {}),
        ("Not", ["above"], "below", {}),
        ("Where", ["below", "a", "bound"], "chosen", {}),
        ("QuantizeLinear", ["chosen", "sc", "zx"], "y", {}),
    ]
    constants = {
        "s": np.float32(0.02), "sc": np.float32(0.3), "zx": np.uint8(3),
        "bound": np.float32(-0.5),
    }  # fmt: skip
    kind = np.dtype("uint8")
    inputs = {"x": (kind, (2, 5, 40)), "b": (kind, (5, 1))}
    return finished(nodes, inputs, np.uint8, constants)


def finished(nodes: list[Any], inputs: dict[str, Any], result: Any, constants: Any) -> ModelProto:
    made = [helper.make_node(op, i, [o], name=o, **attrs) for op, i, o, attrs in nodes]
    model = make_model(made, inputs, {"y": (np.dtype(result), None)}, constants, 17)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("build", [segmenter, masked], ids=lambda b: str(b.__name__))
def test_quantised(build: Callable[[Draw], ModelProto], target: str) -> None:
    rng = np.random.default_rng(0)
    model = build(rng)
    feeds = {
        v.name: rng.integers(0, 256, [d.dim_value for d in v.type.tensor_type.shape.dim])
        .astype(np.uint8)
        for v in model.graph.input
    }  # fmt: skip
    compare(model, feeds, target, run(model, feeds)["y"])
