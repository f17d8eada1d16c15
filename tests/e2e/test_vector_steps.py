"""Operators that are written as steps of the vector engine, beside onnxruntime: at most one step
off.

Every case is a quantised model of one operator, wholly on the accelerator, of a random shape, on
one of the targets in turn; the simulator's sanitizer watches.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper

import dnncc
from dnncc import targets
from dnncc.runtime import load
from tests.e2e.running import ODD
from tests.models import make_model
from tests.oracle import run

UNARY: dict[str, dict[str, Any]] = {
    "Relu": {}, "Sigmoid": {}, "Tanh": {}, "HardSigmoid": {"alpha": 0.3}, "HardSwish": {},
    "Elu": {"alpha": 0.7}, "Selu": {}, "Celu": {"alpha": 1.5}, "LeakyRelu": {"alpha": 0.1},
    "Softplus": {}, "Softsign": {}, "Mish": {}, "Erf": {}, "Exp": {}, "Abs": {}, "Neg": {},
    "Floor": {}, "Ceil": {}, "Round": {}, "Sign": {}, "Gelu": {"approximate": "tanh"},
}  # fmt: skip
BINARY = ("Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu")
FOLDS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL2")
ALL = (*(name for name in targets.names() if name != "eyeriss-jssc17"), ODD)
SCALES = {"int8": 0.04, "int16": 0.0002}


class Model:
    """DequantizeLinear of each input, nodes, QuantizeLinear."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[NodeProto] = []
        self.inputs: dict[str, Any] = {}
        scale = np.float32(SCALES[dtype])
        zero = self.dtype.type(3 if dtype == "int8" else 0)
        self.constants: dict[str, Any] = {"s": scale, "z": zero}

    def input(self, name: str, shape: tuple[int, ...]) -> str:
        self.inputs[name] = (self.dtype, shape)
        self.nodes.append(helper.make_node("DequantizeLinear", [name, "s", "z"], [f"{name}_real"]))
        return f"{name}_real"

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def made(self, real: str, scale: float) -> ModelProto:
        unit = scale * SCALES[self.dtype.name] / SCALES["int8"]
        self.constants["sy"] = np.float32(unit)
        self.nodes.append(helper.make_node("QuantizeLinear", [real, "sy", "z"], ["y"]))
        outputs = {"y": (self.dtype, None)}
        model = make_model(self.nodes, self.inputs, outputs, self.constants, 21)
        model.ir_version = 10
        return model

    def node(self, op: str, inputs: list[str], **attrs: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, ["real"], **attrs))
        return "real"


def shape_of(rng: np.random.Generator, rank: int) -> tuple[int, ...]:
    return (1, *(int(n) for n in rng.integers(1, 14, rank - 1)))


def compare(model: ModelProto, rng: np.random.Generator, target: str, folder: Path) -> None:
    """All of it on the accelerator, and no element more than one step off."""
    artifact = dnncc.compile(model, target=target, strict=True)
    artifact.save(folder / "a.elf")
    feeds = {}
    for value in model.graph.input:
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        info = np.iinfo(dtype)
        feeds[value.name] = rng.integers(info.min, info.max + 1, shape).astype(dtype)
    (got,) = load(folder / "a.elf").run(None, feeds, sanitize=True)
    (expected,) = run(model, feeds).values()
    assert got.dtype == expected.dtype and got.shape == expected.shape
    off = np.abs(got.astype(np.int64) - expected)
    assert off.max(initial=0) <= 1 and (off > 0).mean() < 0.01, f"{off.max()}, {(off > 0).sum()}"


Build = Callable[[Model, np.random.Generator], ModelProto]


def unary(op: str, attrs: dict[str, Any]) -> Build:
    def build(model: Model, rng: np.random.Generator) -> ModelProto:
        x = model.input("x", shape_of(rng, int(rng.integers(2, 5))))
        return model.made(model.node(op, [x], **attrs), 0.5 if op == "Exp" else 0.03)

    return build


def binary(op: str) -> Build:
    def build(model: Model, rng: np.random.Generator) -> ModelProto:
        shape = shape_of(rng, 4)
        kept = rng.random(4) < 0.6
        other = tuple(int(n) if k else 1 for n, k in zip(shape, kept, strict=True))
        pair = [model.input("a", shape), model.input("b", other[rng.integers(0, 2) :])]
        swap = rng.random() < 0.5 and op != "PRelu"
        return model.made(model.node(op, pair[::-1] if swap else pair), 0.1)

    return build


def fold(op: str) -> Build:
    def build(model: Model, rng: np.random.Generator) -> ModelProto:
        shape = shape_of(rng, 4)
        axes = np.sort(rng.permutation(4)[: rng.integers(1, 4)])
        keep = int(rng.integers(0, 2))
        x = model.input("x", shape)
        attrs: dict[str, Any] = {"keepdims": keep}
        name = model.node(op, [x, model.constant("axes", axes)], **attrs)
        return model.made(name, 0.5)

    return build


def softmax(model: Model, rng: np.random.Generator) -> ModelProto:
    x = model.input("x", shape_of(rng, 4))
    inner = model.node("Softmax", [x], axis=int(rng.integers(1, 4)))
    model.nodes.append(
        helper.make_node("Max", [inner, model.constant("zero", np.float32(0))], ["m"])
    )
    return model.made("m", 0.005)


def layer_normalization(model: Model, rng: np.random.Generator) -> ModelProto:
    shape = shape_of(rng, 3)
    x = model.input("x", shape)
    size = shape[-1]
    gain = model.constant("gain", rng.normal(1, 0.2, size).astype(np.float32))
    shift = model.constant("shift", rng.normal(0, 0.2, size).astype(np.float32))
    return model.made(model.node("LayerNormalization", [x, gain, shift], epsilon=1e-3), 0.03)


def by_hand(model: Model, rng: np.random.Generator) -> ModelProto:
    """Layer normalisation as exporters write it."""
    x = model.input("x", shape_of(rng, 3))
    last = model.constant("last", np.array([-1]))
    two = model.constant("two", np.float32(2))
    tiny = model.constant("tiny", np.float32(1e-3))
    for op, inputs, name in (
        ("ReduceMean", [x, last], "mean"), ("Sub", [x, "mean"], "centred"),
        ("Pow", ["centred", two], "square"), ("ReduceMean", ["square", last], "variance"),
        ("Add", ["variance", tiny], "more"), ("Sqrt", ["more"], "deviation"),
        ("Div", ["centred", "deviation"], "normal"),
    ):  # fmt: skip
        model.nodes.append(helper.make_node(op, inputs, [name]))
    return model.made("normal", 0.03)


def batch_normalization(model: Model, rng: np.random.Generator) -> ModelProto:
    shape = shape_of(rng, 4)
    inputs = [model.input("x", shape)]
    for name, low in (("scale", 0.5), ("shift", -1), ("mean", -1), ("variance", 0.5)):
        value = rng.uniform(low, 1.5, shape[1]).astype(np.float32)
        inputs.append(model.constant(name, value))
    return model.made(model.node("BatchNormalization", inputs), 0.05)


def instance_normalization(model: Model, rng: np.random.Generator) -> ModelProto:
    shape = shape_of(rng, 4)
    inputs = [model.input("x", shape)]
    for name in ("scale", "shift"):
        inputs.append(model.constant(name, rng.normal(0, 1, shape[1]).astype(np.float32)))
    return model.made(model.node("InstanceNormalization", inputs, epsilon=1e-3), 0.03)


def local_response(model: Model, rng: np.random.Generator) -> ModelProto:
    x = model.input("x", shape_of(rng, int(rng.integers(3, 5))))
    size = int(rng.integers(1, 4)) * 2 + 1
    return model.made(model.node("LRN", [x], size=size, alpha=0.3, beta=0.6, bias=1.2), 0.04)


CASES: dict[str, Build] = {
    **{op: unary(op, attrs) for op, attrs in UNARY.items()},
    **{op: binary(op) for op in BINARY},
    **{op: fold(op) for op in FOLDS},
    **{f.__name__: f for f in (softmax, layer_normalization, by_hand)},
    **{f.__name__: f for f in (batch_normalization, instance_normalization, local_response)},
}


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("name", CASES)
def test_steps_equal_onnxruntime(name: str, dtype: str, tmp_path: Path) -> None:
    number = list(CASES).index(name) + 5 * (dtype == "int16")
    rng = np.random.default_rng(number)
    for round_ in range(2):
        target = ALL[(number + 4 * round_) % len(ALL)]
        compare(CASES[name](Model(dtype), rng), rng, target, tmp_path)
