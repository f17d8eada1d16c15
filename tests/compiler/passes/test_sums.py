"""int16 models from elsewhere: sums that can leave 32 bits are the host's, all others are not."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

import dnncc
from dnncc.isa import elf
from dnncc.runtime import load
from tests.models import make_model
from tests.oracle import run

WIDE = "eyeriss-like"
REASON = "does not fit accumulators of 32 bits"
INT16, FLOAT = np.dtype(np.int16), np.dtype(np.float32)
ALL_WRAP = 65536
"""That many products of -2^15 and 1 are -2^31, which is the last sum that fits."""


class Network:
    """float32 inputs, which are quantised in units of 1; the result of one operator, in 2^16."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.inputs: dict[str, Any] = {}
        self.constants: dict[str, Any] = {
            "one": np.float32(1), "many": np.float32(2**16), "zero": np.int16(0),
        }  # fmt: skip

    def add(self, op: str, inputs: list[str], output: str, **attrs: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"N_{output}", **attrs))
        return output

    def value(self, name: str, shape: tuple[int, ...], bound: int | None = None) -> str:
        """The real value of an input; `bound` is of the Clip before its QuantizeLinear."""
        self.inputs[name] = (FLOAT, shape)
        if bound is not None:
            for side, limit in (("low", -bound), ("high", bound)):
                self.constants[f"{name}_{side}"] = np.float32(limit)
            self.add("Clip", [name, f"{name}_low", f"{name}_high"], f"{name}_clip")
        source = name if bound is None else f"{name}_clip"
        self.add("QuantizeLinear", [source, "one", "zero"], f"{name}_q")
        return self.add("DequantizeLinear", [f"{name}_q", "one", "zero"], f"{name}_real")

    def constant(self, name: str, value: Any, scale: str = "one") -> str:
        self.constants[name] = value
        return self.add("DequantizeLinear", [name, scale], f"{name}_real")

    def model(self, result: str) -> ModelProto:
        self.add("QuantizeLinear", [result, "many", "zero"], "y")
        model = make_model(self.nodes, self.inputs, {"y": (INT16, None)}, self.constants, 21)
        model.graph.output[0].type.tensor_type.ClearField("shape")
        return model


def convolution(
    channels: int, weight: int = 127, bias: int | None = None, bound: int | None = None
) -> ModelProto:
    net = Network()
    x = net.value("x", (1, channels, 2, 2), bound)
    inputs = [x, net.constant("w", np.full((2, channels, 1, 1), weight, np.int8))]
    if bias is not None:
        inputs.append(net.constant("b", np.array([0, bias], np.int32)))
    return net.model(net.add("Conv", inputs, "r"))


def pooled_convolution(bound: int) -> ModelProto:
    """A MaxPool and a Transpose are between the bound and the convolution."""
    net = Network()
    x = net.value("x", (1, 700, 4, 4), bound)
    net.add("MaxPool", [x], "m", kernel_shape=[2, 2], strides=[2, 2])
    net.add("QuantizeLinear", ["m", "one", "zero"], "m_q")
    net.add("Transpose", ["m_q"], "t", perm=[0, 1, 3, 2])
    net.add("DequantizeLinear", ["t", "one", "zero"], "t_real")
    w = net.constant("w", np.full((2, 700, 1, 1), -127, np.int8))
    return net.model(net.add("Conv", ["t_real", w], "r"))


def product(depth: int, bound: int | None) -> ModelProto:
    """Of two computed matrices."""
    net = Network()
    a, b = net.value("a", (3, depth), bound), net.value("b", (depth, 4), bound)
    return net.model(net.add("MatMul", [a, b], "r"))


def turned_product(weight: int) -> ModelProto:
    """Of a constant and a computed matrix."""
    net = Network()
    b = net.value("b", (700, 4))
    return net.model(
        net.add("MatMul", [net.constant("w", np.full((3, 700), weight, np.int8)), b], "r")
    )


WRAPPING = {
    "convolution": convolution(517),
    "one too many": convolution(ALL_WRAP + 1, 1),
    "bias": convolution(515, bias=2**23),
    "clip": convolution(700, bound=30000),
    "pool": pooled_convolution(30000),
    "product": product(2, None),
    "turned": turned_product(127),
}
FITTING = {
    "convolution": convolution(516),
    "as many as fit": convolution(ALL_WRAP, 1),
    "bias": convolution(515, bias=2**20),
    "clip": convolution(700, bound=20000),
    "pool": pooled_convolution(20000),
    "product": product(2, 32767),
    "turned": turned_product(90),
}


def refused(artifact: Any) -> bool:
    """Whether a node is the host's for its sums."""
    hosts = [n for n in artifact.graph.nodes if n.op == "host"]
    return any(REASON in reason for n in hosts for reason in n.attrs["reason"])


def extreme(model: ModelProto, sign: int) -> dict[str, Any]:
    """The least or greatest input, beyond what int16 holds."""
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input
    }
    return {name: np.full(shape, sign * 40000, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", WRAPPING)
def test_what_wraps_is_refused_by_name(name: str) -> None:
    artifact = dnncc.compile(WRAPPING[name], WIDE)
    assert refused(artifact)
    check_extremes(WRAPPING[name], artifact)


@pytest.mark.parametrize("name", FITTING)
def test_what_cannot_wrap_is_taken(name: str) -> None:
    artifact = dnncc.compile(FITTING[name], WIDE)
    assert not refused(artifact)
    check_extremes(FITTING[name], artifact)


def test_what_is_moved_before_it_is_quantised_has_its_clip() -> None:
    """A float model of ours: the Transpose is between the Softmax and the first quantisation."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["s"], axis=1),
        helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t", "x"], ["y"]),
    ]
    model = make_model(nodes, {"x": (FLOAT, (1, 64, 8))}, {"y": (FLOAT, (1, 8, 8))}, {}, 13)
    artifact = dnncc.compile(model, WIDE)
    assert not refused(artifact)


def check_extremes(model: ModelProto, artifact: Any) -> None:
    """onnxruntime computes in float32: a step is allowed."""
    session = load(elf.write(artifact.image))
    for sign in (-1, 1):
        feeds = extreme(model, sign)
        (got,) = session.run(None, feeds)
        expected = run(model, feeds)["y"]
        assert np.abs(got.astype(int) - expected).max() <= 1
