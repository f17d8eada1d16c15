"""Average pools and Softmax say, in attribute `kernel`, how onnxruntime computes them.

"integer" is a kernel of its own on quantised values; "float" is DequantizeLinear, the float
operator, QuantizeLinear. The two round differently. onnxruntime's default session takes the first
if both sides have one type, after it has made uint8 of each int8 value that passes only from a
QuantizeLinear to a DequantizeLinear (optimizer/qdq_transformer/qdq_s8_to_u8.cc); so int8 values at
the model's borders, at forks and at reshapes decide.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir.graph import Graph, Node

POOLS = ("onnx.AveragePool", "onnx.GlobalAveragePool", "onnx.Softmax")


def choose_kernels(graph: Graph) -> Graph:
    users, makers = graph.consumers(), graph.producers()
    nodes = tuple(
        replace(node, attrs={**node.attrs, "kernel": kernel(graph, node, users, makers)})
        if node.op in POOLS and "kernel" not in node.attrs
        else node
        for node in graph.nodes
    )
    return graph.with_nodes(nodes)


def kernel(graph: Graph, node: Node, users: dict[str, list[Node]], makers: dict[str, Node]) -> str:
    before = makers.get(node.inputs[0])
    after = users.get(node.outputs[0], [])
    if before is None or before.op != "onnx.DequantizeLinear" or len(after) != 1:
        return "float"
    if after[0].op != "onnx.QuantizeLinear":
        return "float"
    types = {
        runtime_type(graph, name, users, makers) for name in (before.inputs[0], after[0].outputs[0])
    }
    return "integer" if len(types) == 1 else "float"


def runtime_type(
    graph: Graph, name: str, users: dict[str, list[Node]], makers: dict[str, Node]
) -> np.dtype[np.generic]:
    """The type that onnxruntime gives the integer value `name`."""
    dtype = graph.tensors[name].dtype
    maker, readers = makers.get(name), users.get(name, [])
    if dtype != np.int8 or maker is None or maker.op != "onnx.QuantizeLinear":
        return dtype
    alone = name not in graph.outputs and len(readers) == 1
    if not alone or readers[0].op != "onnx.DequantizeLinear":
        return dtype
    forked = len(users.get(readers[0].outputs[0], [])) > 1
    return dtype if forked else np.dtype(np.uint8)
