"""Float networks that onnxruntime.quantization made integer, in both forms, per channel."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper, version_converter

from dnncc.ir.interpret import interpret
from tests.compiler.small import compiled
from tests.models import find_model, random_feeds
from tests.oracle import run

quantization = pytest.importorskip("onnxruntime.quantization")

NETWORKS = (
    "resnet8_mlperf_nchw_f32",
    "mlperf_tiny_vww_mobilenetv1_f32",
    "mlperf_tiny_kws_dscnn_int8",
)
OPSET = 13


class Calibration:
    """An onnxruntime CalibrationDataReader."""

    def __init__(self, model: ModelProto) -> None:
        self.feeds = iter([random_feeds(model, seed) for seed in range(3)])

    def get_next(self) -> Any:
        return next(self.feeds, None)


def float_model(name: str) -> ModelProto:
    model = version_converter.convert_version(onnx.load(find_model(name)), OPSET)
    return dequantized(model) if name.endswith("int8") else model


def dequantized(model: ModelProto) -> ModelProto:
    """A QDQ model without its quantisers: float weights, float input and output."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    same: dict[str, str] = {}
    nodes = []
    for node in model.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            scale = constants[node.input[1]]
            values = constants[node.input[0]].astype(np.float32)
            scale = scale.reshape(-1, *(1,) * (values.ndim - 1)) if scale.ndim else scale
            constants[node.output[0]] = values * scale
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            same[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.input}
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    model.graph.output[0].name = same.get(model.graph.output[0].name, model.graph.output[0].name)
    kept = [numpy_helper.from_array(v, k) for k, v in constants.items() if k in read]
    graph = helper.make_graph(nodes, "float", model.graph.input, model.graph.output, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


@pytest.mark.parametrize("activation", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("name", NETWORKS)
def test_quantised_network_equals_onnxruntime(
    name: str, form: str, activation: str, tmp_path: Path
) -> None:
    model = float_model(name)
    source, result = tmp_path / "float.onnx", tmp_path / "integer.onnx"
    onnx.save(model, source)
    quantization.quantize_static(
        source,
        result,
        Calibration(model),
        quant_format=quantization.QuantFormat[form],
        per_channel=True,
        activation_type=quantization.QuantType[activation],
        weight_type=quantization.QuantType.QInt8,
    )
    integer = onnx.load(result)
    feeds = random_feeds(integer, seed=9)
    graph = compiled(integer)
    values = interpret(graph, feeds)
    expected = run(integer, feeds)
    for output in graph.outputs:
        np.testing.assert_array_equal(values[output], expected[output])
    assert all(n.op != "host" for n in graph.nodes)
