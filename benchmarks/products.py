"""The convolutions and matrix products of a network in plain NumPy: im2col and float32 matmul.

What the arithmetic alone takes in this process, with values of no meaning: the measure beside which
a simulator of any machine can be put.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper

Array = Any
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Product:
    """x [N, G, C, H, W], padded, by w [G, K, C * R * S]; a matrix product has one pixel of taps."""

    x: Array
    w: Array
    taps: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def macs(self) -> int:
        planes = np.prod([self.out(axis) for axis in (0, 1)])
        return int(len(self.x) * self.w.size * planes)

    def out(self, axis: int) -> int:
        reach = (self.taps[axis] - 1) * self.dilation[axis] + 1
        return int((self.x.shape[3 + axis] - reach) // self.stride[axis] + 1)

    def run(self) -> Array:
        if self.taps == self.stride == (1, 1):
            columns = self.x.reshape(*self.x.shape[:3], -1)
        else:
            columns = self.windows().reshape(*self.x.shape[:2], self.w.shape[2], -1)
        return np.matmul(self.w, columns)

    def windows(self) -> Array:
        sy, sx = self.x.strides[3:]
        steps = (*self.x.strides[:3], sy * self.dilation[0], sx * self.dilation[1])
        strides = (*steps, sy * self.stride[0], sx * self.stride[1])
        shape = (*self.x.shape[:3], *self.taps, self.out(0), self.out(1))
        return np.lib.stride_tricks.as_strided(self.x, shape, strides, writeable=False)


def products(model: ModelProto, batch: int = 1) -> list[Product]:
    """All of a model of static shapes; of a QDQ model, as if it were float."""
    shapes = known_shapes(model)
    made: dict[str, Callable[..., Product]] = {
        "Conv": convolution,
        "Gemm": matrix,
        "MatMul": matrix,
    }
    found = [
        made[n.op_type](n, shapes, batch)
        for n in model.graph.node
        if n.op_type in made and all(name in shapes for name in n.input[:2])
    ]
    return found


def known_shapes(model: ModelProto) -> Shapes:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    found = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
    return found | {t.name: tuple(t.dims) for t in graph.initializer}


def convolution(node: NodeProto, shapes: Shapes, batch: int) -> Product:
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    x, w = shapes[node.input[0]], shapes[node.input[1]]
    groups, pads = attrs.get("group", 1), attrs.get("pads", [0, 0, 0, 0])
    height, width = x[2] + pads[0] + pads[2], x[3] + pads[1] + pads[3]
    return Product(
        values((batch * x[0], groups, x[1] // groups, height, width)),
        values((groups, w[0] // groups, w[1] * w[2] * w[3])),
        (w[2], w[3]),
        tuple(attrs.get("strides", (1, 1))),
        tuple(attrs.get("dilations", (1, 1))),
    )


def matrix(node: NodeProto, shapes: Shapes, batch: int) -> Product:
    """[rows, C] by [C, K] as a convolution of a row of pixels."""
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    x, w = shapes[node.input[0]], shapes[node.input[1]]
    c, k = w[::-1] if attrs.get("transB") else w[-2:]
    rows = batch * int(np.prod(x)) // c
    return Product(values((1, 1, c, 1, rows)), values((1, k, c)), (1, 1), (1, 1), (1, 1))


MAKERS: dict[str, Callable[..., Product]] = {
    "Conv": convolution,
    "Gemm": matrix,
    "MatMul": matrix,
}


def values(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(0).standard_normal(shape, np.float32)
