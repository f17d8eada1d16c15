"""QOperator nodes have become DequantizeLinear -> operator -> QuantizeLinear.

So there is one way to recognise a quantised operator. The operator keeps the node's name; its
metadata says that onnxruntime has an integer kernel for it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..ir.graph import Array

OURS = "dnncc."
MICROSOFT = "com.microsoft"


class Expansion:
    """The nodes that replace one QOperator node `old`."""

    def __init__(self, old: NodeProto, index: int, constants: dict[str, TensorProto]) -> None:
        self.old = old
        self.inputs = [*old.input, *[""] * 12]
        self.name = old.name or f"{old.op_type}_{index}"
        self.stem = f"{old.output[0]}.{old.op_type}"
        self.constants = constants
        self.nodes: list[NodeProto] = []
        self.added: list[TensorProto] = []

    def attribute(self, name: str, default: float) -> float:
        found = [helper.get_attribute_value(a) for a in self.old.attribute if a.name == name]
        return float(found[0]) if found else default

    def dequantized(self, x: str, scale: str, zero: str, axis: int = 0) -> str:
        """The name of the real value of `x`; `axis` holds the channels of weights."""
        name = f"{self.stem}.{len(self.nodes)}"
        inputs = [x, scale, *([zero] if zero else [])]
        self.add("DequantizeLinear", inputs, name, axis=axis)
        return name

    def bias(self, name: str, x_scale: str, w_scale: str) -> str:
        """The real value of an int32 bias, whose unit is the product of the scales."""
        if not name:
            return ""
        scales = [self.constants.get(s) for s in (x_scale, w_scale)]
        values = [np.ones(1, np.float32) if s is None else numpy_helper.to_array(s) for s in scales]
        product = (values[0] * values[1]).astype(np.float32)
        unit = self.constant("unit", product.reshape(()) if product.size == 1 else product.ravel())
        return self.dequantized(name, unit, "")

    def constant(self, suffix: str, value: Array) -> str:
        name = f"{self.stem}.{suffix}"
        self.added.append(numpy_helper.from_array(value, name))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attrs: Any) -> None:
        node = helper.make_node(op, inputs, [output], name=self.name, **attrs)
        entry = node.metadata_props.add()
        entry.key, entry.value = f"{OURS}kernel", "integer"
        self.nodes.append(node)

    def compute(self, op: str, inputs: Sequence[str], scale: str, zero: str, *skip: str) -> None:
        """`op` with the old node's attributes, and its QuantizeLinear."""
        real = f"{self.stem}.real"
        self.add(op, [*inputs], real)
        self.nodes[-1].attribute.extend(a for a in self.old.attribute if a.name not in skip)
        if scale:
            self.add("QuantizeLinear", [real, scale, *([zero] if zero else [])], self.old.output[0])
        else:
            self.nodes[-1].output[0] = self.old.output[0]


def convolution(e: Expansion) -> None:
    x, xs, xz, w, ws, wz, ys, yz, b = e.inputs[:9]
    real = [e.dequantized(x, xs, xz), e.dequantized(w, ws, wz, 0)]
    e.compute("Conv", [*real, *([e.bias(b, xs, ws)] if b else [])], ys, yz, "channels_last")


def matrix_product(e: Expansion) -> None:
    a, az, az0, b, bs, bz, ys, yz = e.inputs[:8]
    last = len(e.constants[b].dims) - 1 if b in e.constants else 1
    e.compute("MatMul", [e.dequantized(a, az, az0), e.dequantized(b, bs, bz, last)], ys, yz)


def gemm(e: Expansion) -> None:
    a, as_, az, b, bs, bz, c, ys, yz = e.inputs[:9]
    axis = 0 if e.attribute("transB", 0) else 1
    real = [e.dequantized(a, as_, az), e.dequantized(b, bs, bz, axis)]
    e.compute("Gemm", [*real, *([e.bias(c, as_, bs)] if c else [])], ys, yz)


def binary(op: str) -> Callable[[Expansion], None]:
    def expand(e: Expansion) -> None:
        a, as_, az, b, bs, bz, ys, yz = e.inputs[:8]
        e.compute(op, [e.dequantized(a, as_, az), e.dequantized(b, bs, bz)], ys, yz)

    return expand


def unary(op: str) -> Callable[[Expansion], None]:
    def expand(e: Expansion) -> None:
        x, xs, xz, ys, yz = e.inputs[:5]
        e.compute(op, [e.dequantized(x, xs, xz)], ys, yz, "channels_last", "opset")

    return expand


def concat(e: Expansion) -> None:
    ys, yz, *rest = e.old.input
    parts = [e.dequantized(*rest[i : i + 3]) for i in range(0, len(rest), 3)]
    e.compute("Concat", parts, ys, yz)


EXPANSIONS: dict[tuple[str, str], Callable[[Expansion], None]] = {
    ("", "QLinearConv"): convolution,
    (MICROSOFT, "QLinearConv"): convolution,
    ("", "QLinearMatMul"): matrix_product,
    (MICROSOFT, "QGemm"): gemm,
    (MICROSOFT, "QLinearAdd"): binary("Add"),
    (MICROSOFT, "QLinearMul"): binary("Mul"),
    (MICROSOFT, "QLinearConcat"): concat,
    (MICROSOFT, "QLinearAveragePool"): unary("AveragePool"),
    (MICROSOFT, "QLinearGlobalAveragePool"): unary("GlobalAveragePool"),
    (MICROSOFT, "QLinearLeakyRelu"): unary("LeakyRelu"),
    (MICROSOFT, "QLinearSigmoid"): unary("Sigmoid"),
    (MICROSOFT, "QLinearSoftmax"): unary("Softmax"),
}


def expand_qoperators(model: ModelProto) -> ModelProto:
    graph = model.graph
    constants = {t.name: t for t in graph.initializer}
    nodes = list(expanded(graph.node, constants))
    added = {t.name: t for t in constants.values()}.keys() - {t.name for t in graph.initializer}
    graph.initializer.extend(constants[name] for name in sorted(added))
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def expanded(nodes: Sequence[NodeProto], constants: dict[str, TensorProto]) -> Iterator[NodeProto]:
    for index, node in enumerate(nodes):
        rule = EXPANSIONS.get((node.domain, node.op_type))
        if rule is None or is_channels_last(node):
            yield node
            continue
        expansion = Expansion(node, index, constants)
        rule(expansion)
        constants.update((t.name, t) for t in expansion.added)
        yield from expansion.nodes


def is_channels_last(node: NodeProto) -> bool:
    return any(a.name == "channels_last" and a.i for a in node.attribute)
