"""int8 networks with random weights, as ONNX models, and what they cost on a target."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import dnncc
from dnncc.runtime import InferenceSession, load

SCALE, ZERO, WEIGHT_SCALE = "scale", "zero", "weight_scale"
INPUT = "x"
CONTRIB = "com.microsoft"
"""onnxruntime's operators."""


@dataclass
class Network:
    """A model in the making: every method adds a node and gives its output's name."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        scales = {SCALE: np.float32(0.02), WEIGHT_SCALE: np.float32(0.01)}
        self.constants |= {name: np.asarray(value) for name, value in scales.items()}
        self.constants[ZERO] = np.asarray(np.int8(0))

    def weight(self, *shape: int) -> str:
        name = f"weight{len(self.constants)}"
        self.constants[name] = self.rng.integers(-127, 128, shape, np.int8)
        return name

    def node(self, op: str, inputs: list[str], domain: str = "", **attributes: Any) -> str:
        name = f"{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name, domain=domain, **attributes))
        return name

    def conv(
        self, x: str, channels: int, filters: int, size: int, stride: int = 1, **attributes: Any
    ) -> str:
        """Padded by half of its size, if `pads` is not among the attributes."""
        weight = self.weight(filters, channels, size, size)
        inputs = [x, SCALE, ZERO, weight, WEIGHT_SCALE, ZERO, SCALE, ZERO]
        sizes: dict[str, Any] = {"kernel_shape": [size] * 2, "pads": [size // 2] * 4} | attributes
        return self.node("QLinearConv", inputs, strides=[stride] * 2, **sizes)

    def matmul(self, x: str, rows: int, cols: int) -> str:
        weight = self.weight(rows, cols)
        inputs = [x, SCALE, ZERO, weight, WEIGHT_SCALE, ZERO, SCALE, ZERO]
        return self.node("QLinearMatMul", inputs)

    def add(self, a: str, b: str) -> str:
        inputs = [a, SCALE, ZERO, b, SCALE, ZERO, SCALE, ZERO]
        return self.node("QLinearAdd", inputs, CONTRIB)

    def average(self, x: str) -> str:
        """Of each plane."""
        inputs = [x, SCALE, ZERO, SCALE, ZERO]
        return self.node("QLinearGlobalAveragePool", inputs, CONTRIB, channels_last=0)

    def model(self, shape: tuple[int, ...], output: str, out_shape: tuple[int, ...]) -> Any:
        kind = onnx.TensorProto.INT8
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info(INPUT, kind, shape)],
            [helper.make_tensor_value_info(output, kind, out_shape)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def gemm(m: int, n: int, k: int) -> Any:
    """[m, k] x [k, n]."""
    net = Network()
    return net.model((m, k), net.matmul(INPUT, k, n), (m, n))


def fully_connected(batch: int, size: int, layers: int) -> Any:
    """Layers of size x size, one after the other."""
    net, x = Network(), INPUT
    for _ in range(layers):
        x = net.matmul(x, size, size)
    return net.model((batch, size), x, (batch, size))


def convolutions(batch: int, channels: int, side: int, layers: int) -> Any:
    """3x3 convolutions of as many channels as filters, one after the other."""
    net, x = Network(), INPUT
    for _ in range(layers):
        x = net.conv(x, channels, channels, 3)
    shape = (batch, channels, side, side)
    return net.model(shape, x, shape)


STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Of ResNet-50: the width of the 3x3 convolutions, and the number of blocks."""


def resnet50() -> Any:
    """He et al., CVPR 2016, with strides in the 3x3 convolutions, at 224 x 224."""
    net = Network()
    x = net.conv(INPUT, 3, 64, 7, 2)
    x = net.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, (width, blocks) in enumerate(STAGES):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            x = bottleneck(net, x, channels, width, stride)
            channels = 4 * width
    scores = net.conv(net.average(x), channels, 1000, 1)
    return net.model((1, 3, 224, 224), scores, (1, 1000, 1, 1))


def bottleneck(net: Network, x: str, channels: int, width: int, stride: int) -> str:
    y = net.conv(x, channels, width, 1)
    y = net.conv(y, width, width, 3, stride)
    y = net.conv(y, width, 4 * width, 1)
    if channels != 4 * width:
        x = net.conv(x, channels, 4 * width, 1, stride)
    return net.add(y, x)


def session(model: Any, target: str, table: dict[str, Any] | None = None) -> InferenceSession:
    """The compiled model, ready to be timed. `target` is a name or a file; `table` is what is given
    of the mapping of every node."""
    mapping = {node.name: table for node in model.graph.node} if table else None
    return load(dnncc.compile(model, target, strict=True, mapping=mapping).image)
