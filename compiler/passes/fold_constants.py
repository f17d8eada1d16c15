"""After it, no node computes what is known, or nothing at all: constants have taken its place.

DequantizeLinear stays, since it is what tells that a weight is quantised; and so does what would
fill more than a gigabyte.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec.structs import replace

from ..host.reference import run_node
from ..ir.edit import Editor
from ..ir.graph import Array, Graph, Node, Tensor
from .context import Context

LIMIT = 1 << 30
KEPT = ("onnx.DequantizeLinear", "onnx.Constant")
KNOWN = "its result is constant"
RANDOM = ("Random", "Bernoulli", "Multinomial", "Dropout")


def fold_constants(graph: Graph, ctx: Context) -> Graph:
    edit = Editor(graph)
    for node in graph.nodes:
        values = folded(edit, node)
        if values is None:
            edit.emit(node)
        else:
            keep(edit, node, values)
    return edit.finish()


def keep(edit: Editor, node: Node, values: Mapping[str, Array]) -> None:
    """The results are constants; one of the graph's outputs is the Identity of a constant."""
    for name, value in values.items():
        if name in edit.graph.outputs:
            source = edit.constant(f"{name}.value", value)
            edit.emit(Node("onnx.Identity", (source,), (name,), {"reason": KNOWN}, loc=node.loc))
        else:
            edit.constants[name] = value
            edit.tensors[name] = Tensor(name, value.shape, value.dtype)


def folded(edit: Editor, node: Node) -> dict[str, Array] | None:
    """The constant results of `node`, or None."""
    if node.op == "onnx.Shape":
        return {node.outputs[0]: shape_of(edit, node)}
    if node.op == "onnx.Size":
        return {node.outputs[0]: np.array(edit.tensors[node.inputs[0]].size, np.int64)}
    made = [edit.tensors[name] for name in node.outputs if name]
    if node.op.startswith("onnx.") and node.op not in KEPT and not any(t.size for t in made):
        return {t.name: np.empty(t.shape, t.dtype) for t in made}
    if not is_foldable(edit, node):
        return None
    feeds = {i: edit.constants[i] for i in node.inputs if i}
    results = run_node(node, feeds, replace(edit.graph, tensors=edit.tensors, constants={}))
    return {k: v.astype(edit.tensors[k].dtype, copy=False) for k, v in results.items()}


def is_foldable(edit: Editor, node: Node) -> bool:
    if node.op == "onnx.Identity" and node.outputs[0] in edit.graph.outputs:
        return False
    name = node.op.removeprefix("onnx.")
    if name == node.op or node.op in KEPT or name.startswith(RANDOM):
        return False
    size = sum(edit.tensors[o].size * edit.tensors[o].dtype.itemsize for o in node.outputs if o)
    return size <= LIMIT and all(not i or i in edit.constants for i in node.inputs)


def shape_of(edit: Editor, node: Node) -> Array:
    shape = edit.tensors[node.inputs[0]].shape
    bounds = slice(node.attrs.get("start", 0), node.attrs.get("end"))
    return np.array(shape[bounds], np.int64)
