"""Operators that onnx.reference computes wrongly, or not at all, in a form that it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..ir.graph import Array, Graph, Node, Tensor

INPUT_PADS = 11
"""The opset from which on Pad takes its pads as an input."""


def evaluable(proto: NodeProto, node: Node, graph: Graph) -> list[NodeProto]:
    """`proto`, which is `node` in ONNX, or the nodes that take its place."""
    if node.op == "onnx.OneHot" and graph.tensors[node.inputs[1]].shape:
        return with_scalar_depth(proto)
    if node.op == "onnx.MaxPool" and not any(node.outputs[1:]):
        return plain_pool(proto, node, graph)
    if is_interpolation(node, graph):
        return truncated(proto, graph.tensors[node.inputs[0]])
    return [proto]


def is_interpolation(node: Node, graph: Graph) -> bool:
    """A Resize of integers that computes new ones."""
    if node.op not in ("onnx.Resize", "onnx.Upsample"):
        return False
    nearest = node.attrs.get("mode", "nearest") == "nearest"
    return not nearest and graph.tensors[node.inputs[0]].dtype.kind != "f"


def truncated(proto: NodeProto, x: Tensor) -> list[NodeProto]:
    """Of real numbers, and the result towards zero, as onnxruntime has it."""
    y, kind = proto.output[0], helper.np_dtype_to_tensor_dtype(x.dtype)
    wide = helper.make_node("Cast", [x.name], [f"{y}.wide"], to=TensorProto.FLOAT)
    back = helper.make_node("Cast", [f"{y}.real"], [y], to=kind)
    proto.input[0], proto.output[0] = f"{y}.wide", f"{y}.real"
    return [wide, proto, back]


def with_scalar_depth(proto: NodeProto) -> list[NodeProto]:
    """The depth of a OneHot is a scalar."""
    depth = f"{proto.output[0]}.depth"
    flat = helper.make_node("Squeeze", [proto.input[1]], [depth])
    proto.input[1] = depth
    return [flat, proto]


def plain_pool(proto: NodeProto, node: Node, graph: Graph) -> list[NodeProto]:
    """A MaxPool of real numbers without pads: those of strides of 1 are taken for others."""
    x, y = graph.tensors[node.inputs[0]], proto.output[0]
    before: list[NodeProto] = []
    after: list[NodeProto] = []
    if x.dtype.kind != "f":
        kind = helper.np_dtype_to_tensor_dtype(x.dtype)
        before.append(helper.make_node("Cast", [x.name], [f"{y}.wide"], to=TensorProto.FLOAT))
        after.append(helper.make_node("Cast", [f"{y}.max"], [y], to=kind))
        proto.input[0], proto.output[0] = f"{y}.wide", f"{y}.max"
    pads = node.attrs.get("pads", ())
    if any(pads):
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype("f4")
        before += padding(proto.input[0], f"{y}.padded", pads, dtype, graph.opset)
        proto.input[0] = f"{y}.padded"
        kept = [a for a in proto.attribute if a.name not in ("pads", "auto_pad")]
        del proto.attribute[:]
        proto.attribute.extend(kept)
    return [*before, proto, *after]


def padding(x: str, y: str, pads: Any, dtype: np.dtype[Any], opset: int) -> list[NodeProto]:
    """Spatial `pads` of the lowest value there is."""
    half = len(pads) // 2
    whole = [0, 0, *pads[:half], 0, 0, *pads[half:]]
    if opset < INPUT_PADS:
        return [helper.make_node("Pad", [x], [y], pads=whole, value=-np.inf)]
    sides = constant(f"{y}.pads", np.array(whole, np.int64))
    lowest = constant(f"{y}.lowest", np.array(-np.inf, dtype))
    return [sides, lowest, helper.make_node("Pad", [x, f"{y}.pads", f"{y}.lowest"], [y])]


def constant(name: str, value: Array) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
