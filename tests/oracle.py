"""What onnxruntime's default session computes, on exact integers.

Without VNNI instructions its kernels for uint8 by int8 products saturate at 16 bits. Weights
shifted to uint8 mean the same and use the exact kernels, so every machine gives the same values.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

ort = pytest.importorskip("onnxruntime")

Arrays = dict[str, Any]
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
WEIGHT_AND_ZERO = {
    "DequantizeLinear": (0, 2),
    "QLinearConv": (3, 5),
    "QLinearMatMul": (3, 5),
    "QGemm": (3, 5),
}


def in_float(options: Any) -> Any:
    """Session options that leave products in float32 which the model has so: between 16-bit
    activations and 8-bit weights, onnxruntime 1.32 takes 8 bits of both (MatMulNBits)."""
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    return options


def exact(model: ModelProto) -> ModelProto:
    """The same model with uint8 for int8 constant weights."""
    copy = ModelProto()
    copy.CopyFrom(model)
    constants = {t.name: t for t in copy.graph.initializer}
    factors = {name for n in model.graph.node if n.op_type in PRODUCTS for name in n.input}
    for node in copy.graph.node:
        positions = WEIGHT_AND_ZERO.get(node.op_type, ())
        if node.op_type == "DequantizeLinear" and node.output[0] not in factors:
            continue
        names = [node.input[i] for i in positions if i < len(node.input)]
        signed = all(holds(constants, name, TensorProto.INT8) for name in names)
        if len(names) == 2 and signed and is_inexact(node, constants):
            for position in positions:
                node.input[position] = shifted(copy, constants, node.input[position])
    return copy


def is_inexact(node: NodeProto, constants: Mapping[str, TensorProto]) -> bool:
    """Int8 by int8 is exact as it is (and int8 by uint8 is not taken)."""
    is_weight = node.op_type == "DequantizeLinear"
    return is_weight or holds(constants, node.input[2], TensorProto.UINT8)


def holds(constants: Mapping[str, TensorProto], name: str, kind: int) -> bool:
    return name in constants and constants[name].data_type == kind


def shifted(model: ModelProto, constants: dict[str, TensorProto], name: str) -> str:
    new = f"{name}.uint8"
    if new not in constants:
        values = numpy_helper.to_array(constants[name]).astype(np.int16) + 128
        constants[new] = numpy_helper.from_array(values.astype(np.uint8), new)
        model.graph.initializer.append(constants[new])
    return new


def run(model: ModelProto, feeds: Mapping[str, Any], names: Iterable[str] = ()) -> Arrays:
    """The outputs, and the inner tensors `names`, by name."""
    model = exact(model)
    known = {v.name for v in model.graph.output}
    extra = [name for name in names if name not in known]
    model.graph.output.extend(ValueInfoProto(name=name) for name in extra)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs = [v.name for v in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, dict(feeds)), strict=True))
