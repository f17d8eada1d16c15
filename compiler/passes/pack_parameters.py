"""After it, what a group needs beside its tensors is in constants that the engines can read.

These are, per output channel, a table of bias and scale; zero points of weights where they differ
by channel; and weights of matrix products stored [N][K], so that a tile of them is contiguous.
"""

from math import prod

import numpy as np
from msgspec.structs import replace

from ..ir.graph import Array, Graph, Node, Tensor, View
from ..ops.scale import product_scale, quant_of
from .context import Context

CHANNEL_AXIS = {"conv2d": 1, "matmul": -1, "global_avgpool": 1}


def pack_parameters(graph: Graph, ctx: Context) -> Graph:
    tensors, constants = dict(graph.tensors), dict(graph.constants)

    def add(name: str, value: Array) -> str:
        tensors[name] = Tensor(name, value.shape, value.dtype)
        constants[name] = value
        return name

    def packed(node: Node) -> Node:
        if node.op not in CHANNEL_AXIS:
            return node
        attrs = {**node.attrs, "params": add(f"{node.outputs[0]}.params", table(node, graph))}
        zeros = weight_zeros(node, graph)
        if zeros is not None:
            attrs["zeros"] = add(f"{node.outputs[0]}.zeros", zeros)
        if node.op == "matmul":
            store_transposed(node.inputs[1])
        return replace(node, attrs=attrs)

    def store_transposed(name: str) -> None:
        rows = tensors[name].shape[0]
        if name in constants and len(tensors[name].shape) == 2:
            tensors[name] = replace(tensors[name], view=View(name, 0, (1, rows)))

    nodes = tuple(with_body(n, tuple(packed(b) for b in n.body)) for n in graph.nodes)
    return replace(graph, nodes=nodes, tensors=tensors, constants=constants)


def with_body(group: Node, body: tuple[Node, ...]) -> Node:
    """The group with a new body, and the constants that it names among its inputs."""
    named = [n.attrs[a] for n in body for a in ("params", "zeros") if a in n.attrs]
    inputs = tuple(dict.fromkeys((*group.inputs, *named)))
    return replace(group, body=body, inputs=inputs) if group.op == "group" else group


def table(node: Node, graph: Graph) -> Array:
    """int32[channels, 2]: the bias, and the bits of the float32 scale; of sums that stay int32, the
    bias alone."""
    axis, axes = CHANNEL_AXIS[node.op], 2 if node.attrs.get("apart") else 1
    channels = prod(graph.tensors[node.outputs[0]].shape[axis:][:axes])
    if graph.tensors[node.outputs[0]].dtype == np.int32:
        return np.zeros((channels, 1), np.int32)
    out = np.zeros((channels, 2), np.int32)
    if node.op == "global_avgpool":
        scale = mean_scale(node, graph)
    else:
        scale = product_scale(node, graph.tensors)
        if len(node.inputs) > 2 and node.inputs[2]:
            out[:, 0] = graph.constants[node.inputs[2]].reshape(-1)
    out[:, 1] = np.broadcast_to(scale, (channels,)).astype(np.float32).view(np.int32)
    return out


def mean_scale(node: Node, graph: Graph) -> Array:
    """onnxruntime's QLinearGlobalAveragePool: scale of x / (scale of y * elements), in float32."""
    x, y = (quant_of(graph.tensors, i) for i in (node.inputs[0], node.outputs[0]))
    count = np.float32(np.prod(graph.tensors[node.inputs[0]].shape[2:]))
    return np.asarray(x.scale / (y.scale * count), np.float32)


def weight_zeros(node: Node, graph: Graph) -> Array | None:
    """int16[channels], or None where one zero point serves all."""
    if node.op == "global_avgpool":
        return None
    zero = quant_of(graph.tensors, node.inputs[1]).zero
    return None if np.all(zero == zero[0]) else zero.astype(np.int16)
