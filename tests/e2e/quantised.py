"""Float models quantised by onnxruntime.quantization, with seeded random data for calibration."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, version_converter

from tests.models import find_model, random_feeds

quantization = pytest.importorskip("onnxruntime.quantization")

OPSET = 13
"""The first in which DequantizeLinear has an axis: a QDQ model per channel needs it."""


@dataclass(frozen=True)
class Recipe:
    """`weights` and `activations` are QInt8 or QUInt8; `narrow` weights have 7 bits."""

    activations: str
    weights: str
    form: str = "QOperator"
    per_channel: bool = True
    symmetric: bool = True
    narrow: bool = False

    def __str__(self) -> str:
        types = "".join("s8" if "UI" not in t else "u8" for t in (self.activations, self.weights))
        marks = [types, self.form, *(["7bit"] if self.narrow else [])]
        marks += [] if self.per_channel else ["tensor"]
        marks += [] if self.symmetric else ["asymmetric"]
        return "-".join(marks)


@cache
def float_model(name: str) -> ModelProto:
    """A float model of the models folder; of a quantised one, what it was before."""
    model = onnx.load(find_model(name))
    model = dequantised(model) if name.endswith("_int8") else model
    version = next(o.version for o in model.opset_import if o.domain == "")
    return model if version >= OPSET else version_converter.convert_version(model, OPSET)


@lru_cache(maxsize=4)
def quantised(name: str, recipe: Recipe) -> ModelProto:
    model = ModelProto()
    model.CopyFrom(float_model(name))  # quantize_static changes what it is given
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "quantised.onnx"
        quantization.quantize_static(
            model,
            path,
            Samples(model),
            quant_format=quantization.QuantFormat[recipe.form],
            activation_type=quantization.QuantType[recipe.activations],
            weight_type=quantization.QuantType[recipe.weights],
            per_channel=recipe.per_channel,
            reduce_range=recipe.narrow,
            extra_options={"WeightSymmetric": recipe.symmetric},
        )
        return onnx.load(path)


class Samples(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
    """Eight random inputs."""

    def __init__(self, model: ModelProto) -> None:
        self.seeds = iter(range(8))
        self.model = model

    def get_next(self) -> dict[str, Any] | None:
        seed = next(self.seeds, None)
        return None if seed is None else random_feeds(self.model, seed)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the advice to preprocess."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def dequantised(model: ModelProto) -> ModelProto:
    """The float model under a QDQ model: constants are real, nothing else is rounded."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    source: dict[str, str] = {}
    nodes = []
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            nodes.append(node)
        elif node.input[0] in constants:
            constants[node.output[0]] = real_value(node, constants)
        else:
            source[node.output[0]] = source.get(node.input[0], node.input[0])
    for node in nodes:
        node.input[:] = [source.get(name, name) for name in node.input]
    outputs = [v.name for v in model.graph.output]
    renamed = {source[name]: name for name in outputs if name in source}
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return rebuilt(model, nodes, constants)


def real_value(node: Any, constants: Mapping[str, Any]) -> Any:
    value, scale, zero = (constants[name] for name in node.input)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [1] * value.ndim
    if scale.size > 1:
        shape[axis] = scale.size
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return ((value.astype(np.int32) - zero) * scale).astype(np.float32)


def rebuilt(model: ModelProto, nodes: list[Any], constants: Mapping[str, Any]) -> ModelProto:
    used = {name for node in nodes for name in node.input}
    values = [numpy_helper.from_array(v, k) for k, v in constants.items() if k in used]
    inputs, outputs = (
        [as_float(v) for v in side] for side in (model.graph.input, model.graph.output)
    )
    graph = helper.make_graph(nodes, model.graph.name, inputs, outputs, values)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def as_float(value: Any) -> Any:
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
    return helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape)
