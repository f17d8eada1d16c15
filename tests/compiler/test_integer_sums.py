"""ConvInteger, MatMulInteger, Cast and DynamicQuantizeLinear: exact, and nothing on the host."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import dnncc
from dnncc.ir.interpret import interpret
from dnncc.isa import elf
from dnncc.runtime import load
from tests.e2e.running import ODD
from tests.oracle import run

TARGETS = ("tpu-like", "eyeriss-like", ODD)
KINDS = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "float32": TensorProto.FLOAT}
KINDS["int32"] = TensorProto.INT32
RNG = np.random.default_rng(5)
Nodes = Sequence[Any]
Values = Mapping[str, Any]


def node(op: str, inputs: str, outputs: str, **attrs: Any) -> Any:
    return helper.make_node(op, inputs.split(), outputs.split(), f"{op}_{outputs}", **attrs)


def model(nodes: Nodes, feeds: Values, outputs: Mapping[str, str], **constants: Any) -> ModelProto:
    ins = [helper.make_tensor_value_info(k, KINDS[str(v.dtype)], v.shape) for k, v in feeds.items()]
    outs = [helper.make_tensor_value_info(k, KINDS[v], None) for k, v in outputs.items()]
    given = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "sums", ins, outs, given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def integers(shape: tuple[int, ...], dtype: str) -> Any:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max + 1, shape).astype(dtype)


def real(*shape: int) -> Any:
    return RNG.normal(0, 3, shape).astype(np.float32)


def check(made: ModelProto, feeds: Values, target: str) -> None:
    """The Graph's values and the binary's, merged and instruction by instruction, are
    onnx.reference's, which sums exactly."""
    expected: Any = ReferenceEvaluator(made).run(None, dict(feeds))
    artifact = dnncc.compile(made, target)
    assert all(n.op != "host" for n in artifact.graph.nodes)
    names = [v.name for v in made.graph.output]
    session, known = load(elf.write(artifact.image)), interpret(artifact.graph, feeds)
    merged, single = session.run(names, feeds), session.run(names, feeds, sanitize=True)
    for name, *values, wanted in zip(names, merged, single, expected, strict=True):
        for value in (*values, known[name]):
            np.testing.assert_array_equal(value, wanted, name)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_matrix_product(dtype: str, target: str) -> None:
    feeds = {"a": integers((3, 5, 24), dtype)}
    zeros = {"za": np.array(7, dtype), "zw": integers((10,), "int8")}
    made = model(
        [node("MatMulInteger", "a w za zw", "y")],
        feeds, {"y": "int32"}, w=integers((24, 10), "int8"), **zeros,
    )  # fmt: skip
    check(made, feeds, target)


WINDOWS: Mapping[str, dict[str, Any]] = {
    "strided": {"strides": [1, 2], "pads": [1, 0, 1, 2]},
    "same": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "dilated": {"dilations": [2, 1]},
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("groups", [1, 4])
def test_convolution(groups: int, window: str, target: str) -> None:
    feeds = {"a": integers((2, 4, 9, 11), "uint8")}
    made = model(
        [node("ConvInteger", "a w za", "y", group=groups, **WINDOWS[window])],
        feeds, {"y": "int32"}, w=integers((8, 4 // groups, 3, 3), "int8"), za=np.uint8(200),
    )  # fmt: skip
    check(made, feeds, target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("values", ["any", "positive"])
def test_quantisation_at_run_time(values: str, target: str) -> None:
    x = real(2, 3, 10, 10)
    feeds = {"x": {"any": x, "positive": np.abs(x) + 1}[values]}
    check(quantiser(feeds), feeds, target)


def quantiser(feeds: Values) -> ModelProto:
    outputs = {"y": "uint8", "scale": "float32", "zero": "uint8"}
    return model([node("DynamicQuantizeLinear", "x", "y scale zero")], feeds, outputs)


def test_zeros_have_the_scale_that_onnxruntime_gives_them() -> None:
    feeds = {"x": np.zeros((2, 3), np.float32)}
    made = quantiser(feeds)
    got = load(dnncc.compile(made, "tpu-like").image).run(None, feeds)
    for value, expected in zip(got, run(made, feeds).values(), strict=True):
        np.testing.assert_array_equal(value, expected)


LAYERS: Mapping[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "ConvInteger": ((1, 4, 12, 13), (8, 4, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "MatMulInteger": ((5, 24), (24, 10), {}),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("op", LAYERS)
def test_layer_with_a_zero_point_that_is_computed(op: str, target: str) -> None:
    """As onnxruntime's quantize_dynamic writes it."""
    shape, w_shape, attrs = LAYERS[op]
    nodes = [
        node("DynamicQuantizeLinear", "x", "q scale zero"),
        node(op, "q w zero", "sums", **attrs),
        node("Cast", "sums", "real", to=TensorProto.FLOAT),
        node("Mul", "scale w_scale", "unit"),
        node("Mul", "real unit", "scaled"),
        node("Relu", "scaled", "y"),
    ]
    feeds, w = {"x": real(*shape)}, integers(w_shape, "int8")
    check(model(nodes, feeds, {"y": "float32"}, w=w, w_scale=np.float32(0.01)), feeds, target)


def test_casts() -> None:
    feeds = {"x": real(4, 5)}
    nodes = [
        node("Cast", "x", "whole", to=TensorProto.INT32),
        node("Cast", "whole", "y", to=TensorProto.FLOAT),
    ]
    check(model(nodes, feeds, {"y": "float32"}), feeds, "tpu-like")


def test_a_network_quantised_at_run_time(tmp_path: Path) -> None:
    """onnxruntime's quantize_dynamic of a small network; its weights as uint8, which it sums
    exactly on every CPU."""
    quantization: Any = pytest.importorskip("onnxruntime.quantization")
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r"),
        node("MaxPool", "r", "s", kernel_shape=[3, 2], pads=[1, 0, 1, 0], strides=[2, 2]),
        node("Conv", "s u", "e", pads=[1, 1, 1, 1]), node("Concat", "s e", "k", axis=1),
        node("GlobalAveragePool", "k", "p"), node("Flatten", "p", "f"),
        node("MatMul", "f v", "m"), node("Add", "m d", "y"),
    ]  # fmt: skip
    feeds = {"x": real(1, 3, 9, 8)}
    weights = {"w": real(6, 3, 3, 3), "b": real(6), "v": real(10, 10), "d": real(10)}
    weights["u"] = real(4, 6, 3, 3)
    paths = tmp_path / "real.onnx", tmp_path / "dynamic.onnx"
    onnx.save(model(nodes, feeds, {"y": "float32"}, **weights), paths[0])
    quantization.quantize_dynamic(*paths, weight_type=quantization.QuantType.QUInt8)
    made = onnx.load(paths[1])
    artifact = dnncc.compile(made, "tpu-like")
    assert all(n.op != "host" for n in artifact.graph.nodes)
    assert {"conv2d", "matmul"} <= {n.op for g in artifact.graph.nodes for n in g.body}
    (got,) = load(artifact.image).run(["y"], feeds)
    expected: Any = ReferenceEvaluator(made).run(None, feeds)
    np.testing.assert_allclose(got, expected[0], rtol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_a_pool_of_real_numbers_is_quantised_after_it(target: str) -> None:
    """It gives float32 to a QuantizeLinear, and is no operator from one to the other."""
    nodes = [
        node("DequantizeLinear", "a scale", "r"),
        node("LRN", "r", "n", size=3),
        node("MaxPool", "n", "p", kernel_shape=[2, 2]),
        node("QuantizeLinear", "p scale", "y"),
    ]
    feeds = {"a": integers((1, 4, 6, 6), "uint8")}
    made = model(nodes, feeds, {"y": "uint8"}, scale=np.float32(0.05))
    (got,) = load(dnncc.compile(made, target).image).run(["y"], feeds)
    assert np.abs(got.astype(int) - run(made, feeds)["y"]).max() <= 1
