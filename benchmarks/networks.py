"""Real networks of real size with seeded weights, float and int8; nothing is downloaded.

The onnx package ships the graphs of its light test models with weights as ConstantOfShape. Each
becomes an initializer of seeded values; onnxruntime.quantization makes the int8 forms, of weights
over all of int8 and with a scale per output channel. Results are kept in `--cache`, as quantising
ResNet-50 takes 20 s.

    python -m benchmarks.networks NAME FORM CACHE
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper, version_converter

FORMS = {
    "qdq-u8s8": ("QDQ", "QUInt8"),
    "qdq-s8s8": ("QDQ", "QInt8"),
    "qop-u8s8": ("QOperator", "QUInt8"),
    "qop-s8s8": ("QOperator", "QInt8"),
}
"""onnxruntime's names of the format and of the type of activations."""

OPSET, IR_VERSION, SAMPLES = 13, 8, 2
NORMALISED = (1, 4)
"""Inputs of BatchNormalization that have to be positive: scale and variance."""


def names() -> list[str]:
    """All of them, the small ones first."""
    sizes = {name: weight_count(light_graph(name)) for name in shipped()}
    return sorted(sizes, key=lambda name: sizes[name])


def light(name: str, cache: Path) -> tuple[Path, Path]:
    """The float and the int8 model of that name."""
    return real(name, cache), quantised(name, "qdq-u8s8", cache)


def real(name: str, cache: Path) -> Path:
    """The float model. Raises FileNotFoundError if onnx has no network of that name."""
    made = path(name, "float", cache)
    if not made.is_file():
        saved(version_converter.convert_version(seeded(light_graph(name)), OPSET), made)
    return made


def quantised(name: str, form: str, cache: Path) -> Path:
    """The int8 model in one of the FORMS."""
    made = path(name, form, cache)
    if not made.is_file():
        saved(int8(onnx.load(real(name, cache)), form), made)
    return made


def path(name: str, form: str, cache: Path) -> Path:
    return cache / f"{name}_{form}.onnx"


def saved(model: ModelProto, made: Path) -> None:
    made.parent.mkdir(parents=True, exist_ok=True)
    part = made.with_name(f"{made.name}.{os.getpid()}")
    onnx.save(model, part)
    part.replace(made)


def light_graph(name: str) -> ModelProto:
    return onnx.load(folder() / f"light_{name}.onnx")


def shipped() -> list[str]:
    return [path.stem.removeprefix("light_") for path in folder().glob("light_*.onnx")]


def folder() -> Path:
    import onnx.backend.test as package

    return Path(str(package.__file__)).parent / "data" / "light"


def weight_count(model: ModelProto) -> int:
    """Elements of all weights."""
    shapes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    made = [n.input[0] for n in model.graph.node if n.op_type == "ConstantOfShape"]
    return sum(int(np.prod(shapes[name])) for name in made)


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


def int8(model: ModelProto, form: str) -> ModelProto:
    """The model in one of the FORMS, weights with a scale per channel."""
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    shape_inference: Any = importlib.import_module("onnxruntime.quantization.shape_inference")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = samples(model)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    layout, activations = FORMS[form]
    with tempfile.TemporaryDirectory() as place:
        paths = [str(Path(place) / f"{name}.onnx") for name in ("given", "folded", "int8")]
        onnx.save(model, paths[0])
        shape_inference.quant_pre_process(paths[0], paths[1], skip_symbolic_shape=True)
        quantization.quantize_static(
            paths[1],
            paths[2],
            Reader(),
            quant_format=quantization.QuantFormat[layout],
            per_channel=True,
            activation_type=quantization.QuantType[activations],
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(paths[2])


def samples(model: ModelProto) -> Iterator[dict[str, Any]]:
    """What ranges are taken from."""
    rng = np.random.default_rng(1)
    for _ in range(SAMPLES):
        yield image(model, rng)


def image(model: ModelProto, rng: np.random.Generator) -> dict[str, Any]:
    """A normally distributed input, by name."""
    value = model.graph.input[0]
    shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
    return {value.name: rng.normal(0, 1, shape).astype(np.float32)}


def main() -> None:
    name, form, cache = sys.argv[1:]
    make = real(name, Path(cache)) if form == "float" else quantised(name, form, Path(cache))
    print(make)


if __name__ == "__main__":
    main()
