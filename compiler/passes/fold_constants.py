"""After it, no node computes what is known: constants have taken its place.

DequantizeLinear stays, since it is what tells that a weight is quantised; and so does what would
fill more than a gigabyte.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..host.reference import run_node
from ..ir.edit import Editor
from ..ir.graph import Array, Graph, Node, Tensor
from .context import Context

LIMIT = 1 << 30
KEPT = ("onnx.DequantizeLinear", "onnx.Constant")
RANDOM = ("Random", "Bernoulli", "Multinomial", "Dropout")


def fold_constants(graph: Graph, ctx: Context) -> Graph:
    edit = Editor(graph)
    for node in graph.nodes:
        values = folded(edit, node)
        if values is None:
            edit.emit(node)
        else:
            edit.constants |= values
            for name, value in values.items():
                edit.tensors[name] = Tensor(name, value.shape, value.dtype)
    return edit.finish()


def folded(edit: Editor, node: Node) -> dict[str, Array] | None:
    """The constant results of `node`, or None."""
    if node.op == "onnx.Shape":
        return {node.outputs[0]: shape_of(edit, node)}
    if node.op == "onnx.Size":
        return {node.outputs[0]: np.array(edit.tensors[node.inputs[0]].size, np.int64)}
    if not is_foldable(edit, node):
        return None
    feeds = {i: edit.constants[i] for i in node.inputs if i}
    results = run_node(node, feeds, replace(edit.graph, tensors=edit.tensors, constants={}))
    return {k: v.astype(edit.tensors[k].dtype, copy=False) for k, v in results.items()}


def is_foldable(edit: Editor, node: Node) -> bool:
    name = node.op.removeprefix("onnx.")
    if name == node.op or node.op in KEPT or name.startswith(RANDOM):
        return False
    size = sum(edit.tensors[o].size * edit.tensors[o].dtype.itemsize for o in node.outputs if o)
    return size <= LIMIT and all(not i or i in edit.constants for i in node.inputs)


def shape_of(edit: Editor, node: Node) -> Array:
    shape = edit.tensors[node.inputs[0]].shape
    bounds = slice(node.attrs.get("start", 0), node.attrs.get("end"))
    return np.array(shape[bounds], np.int64)
