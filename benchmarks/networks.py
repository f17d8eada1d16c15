"""Real networks of real size with seeded weights, float and int8; nothing is downloaded.

The onnx package ships the graphs of its light test models with weights as ConstantOfShape. Each
becomes an initializer of seeded values; onnxruntime.quantization makes the int8 QDQ form. Results
are kept in `--cache`, as quantising ResNet-50 takes 20 s.
"""

import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper, version_converter

OPSET, IR_VERSION, SAMPLES = 13, 8, 2
NORMALISED = (1, 4)
"""Inputs of BatchNormalization that have to be positive: scale and variance."""


def light(name: str, cache: Path) -> tuple[Path, Path]:
    """The float and the int8 model of that name."""
    paths = cache / f"{name}.onnx", cache / f"{name}_qdq.onnx"
    if not all(path.is_file() for path in paths):
        cache.mkdir(parents=True, exist_ok=True)
        real = version_converter.convert_version(seeded(light_graph(name)), OPSET)
        saved(real, paths[0])
        saved(int8(real), paths[1])
    return paths


def saved(model: ModelProto, path: Path) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    onnx.save(model, part)
    part.replace(path)


def light_graph(name: str) -> ModelProto:
    import onnx.backend.test as package

    folder = Path(str(package.__file__)).parent / "data" / "light"
    return onnx.load(folder / f"light_{name}.onnx")


def seeded(model: ModelProto) -> ModelProto:
    """The model with values for its weights, and with no input but the image."""
    graph, rng = model.graph, np.random.default_rng(0)
    model.ir_version = IR_VERSION
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    weights = [n for n in graph.node if n.op_type == "ConstantOfShape"]
    for node in weights:
        value = drawn(node.output[0], tuple(shapes[node.input[0]]), graph, rng)
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        graph.node.remove(node)
    used = {name for n in graph.node for name in n.input}
    for shape in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(shape)
    constants = {t.name for t in graph.initializer} | set(shapes)
    for value in [v for v in graph.input if v.name in constants]:
        graph.input.remove(value)
    return model


def drawn(name: str, shape: tuple[int, ...], graph: Any, rng: np.random.Generator) -> Any:
    """Values that keep activations in range through a deep network."""
    node, index = consumer(name, graph)
    if len(shape) > 1:
        value = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    elif node.op_type == "BatchNormalization" and index not in NORMALISED:
        value = rng.normal(0, 0.1, shape)
    elif node.op_type in ("BatchNormalization", "Mul"):
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.normal(0, 0.05, shape)
    return value.astype(np.float32)


def consumer(name: str, graph: Any) -> tuple[NodeProto, int]:
    """The first node that takes a value, behind any Unsqueeze, and as which input."""
    node = next(n for n in graph.node if name in n.input)
    if node.op_type == "Unsqueeze":
        return consumer(node.output[0], graph)
    return node, list(node.input).index(name)


def int8(model: ModelProto) -> ModelProto:
    """QDQ: uint8 activations, int8 weights per channel."""
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    shape_inference: Any = importlib.import_module("onnxruntime.quantization.shape_inference")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = samples(model)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{name}.onnx") for name in ("given", "folded", "int8")]
        onnx.save(model, paths[0])
        shape_inference.quant_pre_process(paths[0], paths[1], skip_symbolic_shape=True)
        quantization.quantize_static(
            paths[1],
            paths[2],
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(paths[2])


def samples(model: ModelProto) -> Iterator[dict[str, Any]]:
    value, rng = model.graph.input[0], np.random.default_rng(1)
    shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
    for _ in range(SAMPLES):
        yield {value.name: rng.normal(0, 1, shape).astype(np.float32)}
