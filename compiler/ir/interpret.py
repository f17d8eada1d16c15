"""Every value of a Graph, computed: our operators by their reference semantics, ONNX by its own."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..diagnostics import CompileError
from ..host.reference import run_nodes
from ..ops import find_op
from ..ops.match import dequantize, quantize
from .graph import Array, Graph, Node, Tensor


def interpret(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The value of every tensor but the constants, by name; outputs as callers get them."""
    return with_real_outputs(graph, computed(graph, feeds))


def computed(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The value of every tensor but the constants, by name, as memory holds it."""
    values = {name: held(graph, name, feeds) for name in graph.inputs}
    for node in graph.nodes:
        execute(graph, node, values)
    return values | {o: graph.constants[o] for o in graph.outputs if o in graph.constants}


def held(graph: Graph, name: str, feeds: Mapping[str, Array]) -> Array:
    """An input as memory holds it."""
    tensor, value = graph.tensors[name], checked(graph, name, feeds)
    return quantize(value, tensor.quant, tensor.dtype) if tensor.real and tensor.quant else value


def with_real_outputs(graph: Graph, values: Mapping[str, Array]) -> dict[str, Array]:
    tensors = [graph.tensors[name] for name in graph.outputs]
    real = {t.name: dequantize(values[t.name], t.quant) for t in tensors if t.real and t.quant}
    return {**values, **real}


def checked(graph: Graph, name: str, feeds: Mapping[str, Array]) -> Array:
    tensor = graph.tensors[name]
    if name not in feeds:
        raise CompileError(f"no value is given for input '{name}'")
    value = np.asarray(feeds[name])
    expected = given_as(tensor)
    if value.shape != tensor.shape or value.dtype != expected:
        raise CompileError(
            f"input '{name}' is {value.dtype}{list(value.shape)}, "
            f"not {expected}{list(tensor.shape)}"
        )
    return value


def given_as(tensor: Tensor) -> np.dtype[Any]:
    """The type in which callers give an input."""
    return np.dtype(np.float32) if tensor.real else tensor.dtype


def execute(graph: Graph, node: Node, values: dict[str, Array]) -> None:
    """Add the results of `node`, and of its body, to `values`."""
    if node.op == "host":
        execute_onnx(graph, node.body, values)
    elif node.op == "group":
        for inner in node.body:
            execute(graph, inner, values)
    elif node.op.startswith("onnx."):
        execute_onnx(graph, (node,), values)
    else:
        values[node.outputs[0]] = execute_op(graph, node, values)


def execute_op(graph: Graph, node: Node, values: Mapping[str, Array]) -> Array:
    op = find_op(node)
    if op is None:
        raise CompileError(f"no operator '{node.op}'", node=node.loc[0] if node.loc else None)
    names = [i for i in node.inputs if i]
    inputs = [graph.constants[i] if i in graph.constants else values[i] for i in names]
    return op.run(node, graph.tensors, inputs)


def execute_onnx(graph: Graph, nodes: tuple[Node, ...], values: dict[str, Array]) -> None:
    made = {o for n in nodes for o in n.outputs}
    read = {i for n in nodes for i in n.inputs if i} - made
    feeds = {i: values[i] for i in sorted(read) if i not in graph.constants}
    outputs = [o for n in nodes for o in n.outputs if o]
    values.update(run_nodes(nodes, feeds, outputs, graph))
