"""ResNets of any depth, resolution and batch, in int8 QDQ form, with seeded weights.

Shapes are those of He et al., CVPR 2016, Table 1, with batch normalisations folded in.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
WIDTHS = (64, 128, 256, 512)
BOTTLENECK_FROM, EXPANSION = 50, 4
CLASSES = 1000
SPREAD = 40
"""Of the weights' values: their standard deviation."""


class Net:
    """Nodes in order; every activation is int8 and has the same scale."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.constant("scale", np.float32(1 / 32))
        self.constant("zero", np.int8(0))

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, inputs: Sequence[str], **attrs: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attrs))
        return name

    def weights(self, shape: tuple[int, ...]) -> list[str]:
        """Weights and a bias, dequantised."""
        number, fan = len(self.nodes), int(np.prod(shape[1:]))
        values = np.clip(np.rint(self.rng.normal(0, SPREAD, shape)), -127, 127).astype(np.int8)
        scale = np.full(shape[0], 1 / (SPREAD * np.sqrt(fan)), np.float32)
        bias = self.rng.integers(-1000, 1000, shape[0]).astype(np.int32)
        w = self.constant(f"w{number}", values)
        ws = self.constant(f"ws{number}", scale)
        wz = self.constant(f"wz{number}", np.zeros(shape[0], np.int8))
        b = self.constant(f"b{number}", bias)
        bs = self.constant(f"bs{number}", scale / 32)
        bz = self.constant(f"bz{number}", np.zeros(shape[0], np.int32))
        real = self.add("DequantizeLinear", [w, ws, wz], axis=0)
        return [real, self.add("DequantizeLinear", [b, bs, bz], axis=0)]

    def requantised(self, real: str) -> str:
        q = self.add("QuantizeLinear", [real, "scale", "zero"])
        return self.add("DequantizeLinear", [q, "scale", "zero"])

    def conv(self, x: str, shape: tuple[int, ...], stride: int = 1, relu: bool = True) -> str:
        pad = shape[2] // 2
        y = self.add("Conv", [x, *self.weights(shape)], strides=[stride] * 2, pads=[pad] * 4)
        return self.requantised(self.add("Relu", [y]) if relu else y)

    def block(self, x: str, channels: int, width: int, stride: int, wide: bool) -> tuple[str, int]:
        """A residual block and its channels."""
        out = width * (EXPANSION if wide else 1)
        y = x
        if wide:
            y = self.conv(y, (width, channels, 1, 1))
            y = self.conv(y, (width, width, 3, 3), stride)
            y = self.conv(y, (out, width, 1, 1), relu=False)
        else:
            y = self.conv(y, (width, channels, 3, 3), stride)
            y = self.conv(y, (out, width, 3, 3), relu=False)
        if stride > 1 or channels != out:
            x = self.conv(x, (out, channels, 1, 1), stride, relu=False)
        return self.requantised(self.add("Relu", [self.add("Add", [x, y])])), out


def resnet(depth: int, side: int = 224, batch: int = 1, seed: int = 0) -> ModelProto:
    """[batch, 3, side, side] int8 -> [batch, 1000] int8; `depth` is one of BLOCKS."""
    net = Net(seed)
    x = net.add("DequantizeLinear", ["image", "scale", "zero"])
    x = net.conv(x, (64, 3, 7, 7), 2)
    x = net.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = net.requantised(x)
    channels = 64
    for stage, (width, blocks) in enumerate(zip(WIDTHS, BLOCKS[depth], strict=True)):
        for number in range(blocks):
            stride = 2 if stage and not number else 1
            x, channels = net.block(x, channels, width, stride, depth >= BOTTLENECK_FROM)
    x = net.requantised(net.add("GlobalAveragePool", [x]))
    x = net.requantised(net.add("Flatten", [x]))
    y = net.add("Gemm", [x, *net.weights((CLASSES, channels))], transB=1)
    net.nodes.append(helper.make_node("QuantizeLinear", [y, "scale", "zero"], ["scores"], "out"))
    image = helper.make_tensor_value_info("image", TensorProto.INT8, [batch, 3, side, side])
    scores = helper.make_tensor_value_info("scores", TensorProto.INT8, [batch, CLASSES])
    graph = helper.make_graph(net.nodes, f"resnet{depth}", [image], [scores], net.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def saved(cache: Path, depth: int, side: int = 224, batch: int = 1) -> Path:
    """The file of such a model, made if it is not there."""
    path = cache / f"seeded_resnet{depth}_{side}_{batch}.onnx"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        onnx.save(resnet(depth, side, batch), part)
        part.replace(path)
    return path
