"""Faults of a model that ONNX's own inference lets pass: each is refused, with its node."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnx import ModelProto

from ..diagnostics import CompileError
from ..ir.graph import Array, Node, Tensor

Tensors = Mapping[str, Tensor]

QUANTISERS = ("onnx.QuantizeLinear", "onnx.DequantizeLinear")
POOLS = ("onnx.MaxPool", "onnx.AveragePool")


def check_names(model: ModelProto, file: str) -> None:
    """All names are text: protobuf gives bytes for what is no UTF-8."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    names: list[object] = [graph.name, *(o.domain for o in model.opset_import)]
    names += (v.name for v in values)
    for node in graph.node:
        names += (node.name, node.op_type, node.domain, *node.input, *node.output)
        names += (a.name for a in node.attribute)
    for name in names:
        if not isinstance(name, str):
            raise CompileError(f"the name {name!r} is not UTF-8 text", file=file)


def check_nodes(
    nodes: Sequence[Node], tensors: Tensors, constants: Mapping[str, Array], file: str
) -> None:
    for node in nodes:
        for fault in (*faults(node, tensors), *scale_faults(node, constants)):
            raise CompileError(fault, file=file, node=node.loc[0])


def faults(node: Node, tensors: Tensors) -> Iterator[str]:
    if node.op == "onnx.Conv":
        x, w = (tensors[name].shape for name in node.inputs[:2])
        yield from convolution_faults(node, tensors)
        yield from window_faults(node, x, w[2:])
    elif node.op in POOLS:
        x = tensors[node.inputs[0]].shape
        yield from window_faults(node, x, node.attrs.get("kernel_shape", ()))
    elif node.op in QUANTISERS:
        yield from quantiser_faults(node, tensors)


def convolution_faults(node: Node, tensors: Tensors) -> Iterator[str]:
    """Weights and bias fit the input."""
    x, w, *bias = (tensors[name].shape for name in node.inputs if name)
    group = node.attrs.get("group", 1)
    if group < 1 or x[1] != w[1] * group or w[0] % group:
        yield f"its input has {x[1]} channels, its weights are {w[0]}x{w[1]} in {group} groups"
    if bias and bias[0] != w[:1]:
        yield f"its bias has shape {bias[0]}, its weights {w[0]} output channels"
    if tuple(node.attrs.get("kernel_shape", w[2:])) != w[2:]:
        yield f"kernel_shape is {node.attrs['kernel_shape']}, its weights' is {w[2:]}"


def window_faults(node: Node, x: Sequence[int], kernel: Sequence[int]) -> Iterator[str]:
    """Strides and dilations are positive, and the window fits the padded input."""
    rank = len(kernel)
    strides, dilations = (node.attrs.get(n, (1,) * rank) for n in ("strides", "dilations"))
    pads = node.attrs.get("pads", (0,) * 2 * rank)
    if (len(x), len(strides), len(dilations), len(pads)) != (rank + 2, rank, rank, 2 * rank):
        yield f"its window has {rank} dimensions, which its input or attributes have not"
    elif min((*kernel, *strides, *dilations), default=1) < 1:
        yield "its window, strides or dilations are not positive"
    elif node.attrs.get("auto_pad", "NOTSET") in ("NOTSET", "VALID"):
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        room = [x[2 + i] + pads[i] + pads[rank + i] for i in range(rank)]
        if any(r > size for r, size in zip(reach, room, strict=True)):
            yield f"its window reaches over {reach}, its padded input is {room}"


def quantiser_faults(node: Node, tensors: Tensors) -> Iterator[str]:
    """The scale is one number, or one per channel; so is the zero point."""
    x, scale, *zero = (tensors[name] for name in node.inputs if name)
    if node.attrs.get("block_size", 0):
        return
    if len(scale.shape) > 1 or not scale.size:
        yield f"its scale has shape {scale.shape}"
    elif zero and zero[0].size != scale.size:
        yield f"its scale has {scale.size} elements, its zero point {zero[0].size}"
    elif scale.size > 1:
        axis = node.attrs.get("axis", 1)
        if not -len(x.shape) <= axis < len(x.shape) or x.shape[axis] != scale.size:
            yield f"its scale has {scale.size} elements, which axis {axis} of {x.shape} has not"


def scale_faults(node: Node, constants: Mapping[str, Array]) -> Iterator[str]:
    """Steps have a size; that of a channel of zeros may be 0 where nothing is divided by it."""
    scale = constants.get(node.inputs[1]) if node.op in QUANTISERS else None
    if scale is None:
        return
    smallest = np.nextafter(np.float32(0), np.float32(1)) if node.op == QUANTISERS[0] else 0
    if not (np.isfinite(scale).all() and (scale >= smallest).all()):
        yield f"its scale {scale.reshape(-1)[:4]} is not a positive number"
