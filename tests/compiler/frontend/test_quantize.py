"""Float models become QDQ models that onnxruntime and the accelerator compute alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

import dnncc
from dnncc.diagnostics import CompileError, Remarks
from dnncc.driver import quantised_model
from dnncc.frontend import quantize
from dnncc.frontend.floats import UNKNOWN
from dnncc.options import Options
from dnncc.runtime import load
from tests.compiler.frontend.floats import attention, kinds, network, samples, weight_only
from tests.models import make_model
from tests.oracle import in_float

ort = pytest.importorskip("onnxruntime")


def through(
    model: ModelProto, target: str = "tpu-like", data: Any = None, precision: str = "auto"
) -> tuple[ModelProto, Remarks]:
    remarks, given = Remarks(), {"x": samples()} if data is None else data
    options = Options(target=target, calibrate=given, precision=precision)
    return quantised_model(model, options, remarks), remarks


def default_session(model: ModelProto, feeds: Mapping[str, Any]) -> list[Any]:
    options = in_float(ort.SessionOptions())
    return list(ort.InferenceSession(model.SerializeToString(), options).run(None, dict(feeds)))


def compiled(model: ModelProto, feeds: Mapping[str, Any], target: str = "tpu-like") -> list[Any]:
    artifact = dnncc.compile(model, target)
    assert not artifact.image.host
    return list(load(artifact.image).run(None, feeds))


@pytest.mark.parametrize("target", ["tpu-like", "eyeriss-like"])
@pytest.mark.parametrize("make", [network, weight_only])
def test_values_are_those_of_onnxruntime(make: Any, target: str) -> None:
    model, remarks = through(make(), target, precision="int8")
    feeds = {"x": samples(1, 9)}
    np.testing.assert_array_equal(compiled(model, feeds, target), default_session(model, feeds))
    assert remarks.quantisation["samples"] == 4 and not remarks.warnings
    assert all(row["snr_db"] > 25 for row in remarks.quantisation["layers"])


def test_int16_is_the_default_of_16_bit_targets() -> None:
    for target, wanted in (("tpu-like", "int8"), ("eyeriss-like", "int16")):
        assert through(network(), target)[1].quantisation["precision"] == wanted


def test_int16_is_within_a_step_of_onnxruntime() -> None:
    model, _ = through(network(), "eyeriss-like")
    feeds = {"x": samples(1, 9)}
    (got,), (expected,) = (f(model, feeds) for f in (on_eyeriss, default_session))
    last = [n for n in model.graph.node if n.op_type == "QuantizeLinear"][-1]
    scale = next(t for t in model.graph.initializer if t.name == last.input[1])
    assert np.abs(got - expected).max() <= 1.5 * onnx.numpy_helper.to_array(scale)


def on_eyeriss(model: ModelProto, feeds: Mapping[str, Any]) -> list[Any]:
    return compiled(model, feeds, "eyeriss-like")


def test_no_sum_of_int16_products_overflows() -> None:
    """Inputs far outside of the calibrated range saturate, and are not wrapped around."""
    data = {"x": samples(64).reshape(-1)[: 8 * 16 * 4].reshape(-1, 8, 16)}
    model, _ = through(attention(512), "eyeriss-like", data)
    assert "Clip" in kinds(model)
    feeds = {"x": 100 * data["x"][0]}
    (got,), (expected,) = on_eyeriss(model, feeds), default_session(model, feeds)
    assert np.abs(got - expected).max() < 1e-3 * np.abs(expected).max()


def test_without_data_there_is_a_warning() -> None:
    artifact = dnncc.compile(network(), "tpu-like")
    assert artifact.warnings == (UNKNOWN,)
    report = load(artifact.image).profile.report
    assert report["quantisation"]["synthetic"] and report["macs"] == 4 * 64 * 27 + 20


def test_same_bytes_each_time() -> None:
    first, second = (through(network())[0].SerializeToString(deterministic=True) for _ in "12")
    assert first == second


def test_float_stays_on_the_host() -> None:
    artifact = dnncc.compile(network(), "tpu-like", precision="float")
    assert artifact.image.host and not artifact.warnings
    assert "quantisation" not in artifact.image.options


def test_float16_keeps_its_borders() -> None:
    model, _ = through(network("float16"))
    kind = onnx.TensorProto.FLOAT16
    assert {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)} == {
        kind
    }
    feeds = {"x": samples(1, 9).astype(np.float16)}
    got = load(dnncc.compile(model, "tpu-like").image).run(None, feeds)
    np.testing.assert_array_equal(got, default_session(model, feeds))


def test_mixed_models_keep_what_is_quantised() -> None:
    """The convolution is quantised by the model's author, the matrix product by us."""
    model = network()
    scale = {"s": np.array(0.05, np.float32), "z": np.array(7, np.uint8)}
    for name in ("x", "w"):
        model.graph.node.insert(0, node("DequantizeLinear", f"{name}.q", f"{name}.d"))
        model.graph.node.insert(0, node("QuantizeLinear", name, f"{name}.q"))
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    conv.input[0], conv.input[1] = "x.d", "w.d"
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in scale.items()
    )
    made, _ = through(model)
    held = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    first = next(n for n in made.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "x")
    assert held[first.input[1]] == np.float32(0.05)
    gemm = next(n for n in made.graph.node if n.op_type == "Gemm")
    made_by = {o: n.op_type for n in made.graph.node for o in n.output}
    assert made_by[gemm.input[0]] == "DequantizeLinear"


def node(op: str, source: str, result: str) -> Any:
    return helper.make_node(op, [source, "s", "z"], [result], f"{op}.{source}")


def test_softmax_is_kept_from_overflow() -> None:
    """onnxruntime gives zeros for a QLinearSoftmax of one element."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Softmax", ["a"], ["s"], "softmax", axis=-1),
        helper.make_node("MatMul", ["s", "v"], ["y"], "second"),
    ]
    weights = {"w": np.ones((4, 1), np.float32), "v": np.ones((1, 3), np.float32)}
    model = make_model(nodes, {"x": ("float32", (2, 4))}, {"y": ("float32", (2, 3))}, weights)
    made, _ = through(model, data={"x": samples(1).reshape(-1)[:64].reshape(8, 2, 4)})
    feeds = {"x": np.ones((2, 4), np.float32)}
    np.testing.assert_allclose(default_session(made, feeds)[0], 1, atol=0.01)


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime.quantization", None)
    monkeypatch.setattr(ort, "quantization", None, raising=False)
    monkeypatch.delattr(ort, "quantization")
    with pytest.raises(CompileError, match="pip install onnxruntime"):
        quantize.toolkit()
