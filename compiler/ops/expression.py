"""Elementwise ONNX nodes between one 8-bit value and its QuantizeLinear, as a table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from ..host.reference import run_nodes
from ..ir.edit import Editor
from ..ir.graph import Array, Graph, Node, Quant, Tensor
from .match import constant_value, dequantize, dequantizer, quantize, typed
from .table import entries

ELEMENTWISE = frozenset(
    "onnx." + name
    for name in (
        "Relu Clip LeakyRelu PRelu ThresholdedRelu Elu Selu Celu Gelu Mish HardSwish HardSigmoid "
        "Sigmoid Tanh Softplus Softsign Erf Exp Log Sqrt Reciprocal Sin Cos Tan Sinh Cosh "
        "Asin Acos Atan Asinh Acosh Atanh Pow Shrink "
        "Abs Neg Floor Ceil Round Sign Add Sub Mul Div Min Max"
    ).split()
)
BYTES = {np.dtype("int8"), np.dtype("uint8")}


class Expression(Struct, frozen=True):
    """`result`, which `nodes` compute from the dequantised `leaves` of one tensor, and scalars."""

    result: str
    nodes: tuple[Node, ...]
    leaves: tuple[Node, ...]
    scalars: Mapping[str, Array]


def table_of(edit: Editor, node: Node, quant: Quant) -> Node | None:
    """The `lut` for QuantizeLinear `node` if what it quantises is a function of one 8-bit value."""
    found = expression(edit, node.inputs[0])
    if found is None:
        return None
    scale = dequantizer(edit, found.leaves[0])
    source, output = found.leaves[0].inputs[0], node.outputs[0]
    kind = edit.tensors[output].dtype
    if scale is None or scale.axis is not None or not {kind, edit.tensors[source].dtype} <= BYTES:
        return None
    source = typed(edit, source, scale)
    values = tabulate(edit, found, dequantize(entries(edit.tensors[source].dtype), scale))
    table = edit.constant(f"{output}.table", quantize(values, quant, kind))
    loc = tuple(name for n in (*found.nodes, node) for name in n.loc)
    return Node("lut", (source, table), (output,), loc=loc)


def expression(edit: Editor, result: str) -> Expression | None:
    """The elementwise nodes back to the DequantizeLinears of one tensor."""
    nodes: dict[str, Node] = {}
    leaves: dict[str, Node] = {}
    scalars: dict[str, Array] = {}
    pending = [result]
    while pending:
        name = pending.pop()
        node, value = edit.producer(name), constant_value(edit, name)
        if value is not None and value.size == 1:
            scalars[name] = value.reshape(())
        elif node is not None and node.op == "onnx.DequantizeLinear":
            leaves[name] = node
        elif node is not None and node.op in ELEMENTWISE:
            nodes[name] = node
            pending.extend(i for i in node.inputs if i and i not in nodes)
        else:
            return None
    if len({n.inputs[:3] for n in leaves.values()}) != 1:
        return None
    made = {id(node) for node in nodes.values()}
    ordered = tuple(n for n in edit.nodes if id(n) in made) if made else ()
    return Expression(result, ordered, tuple(leaves.values()), scalars)


def tabulate(edit: Editor, found: Expression, real: Array) -> Array:
    """The float32 result for every value `real` of the leaf."""
    feeds = {leaf.outputs[0]: real for leaf in found.leaves}
    if found.result in feeds:
        return real
    named = [*feeds, found.result, *(o for n in found.nodes for o in n.outputs if o)]
    tensors = {n: Tensor(n, real.shape, real.dtype) for n in named}
    frame = Graph("table", (), (), tensors, found.scalars, (), edit.graph.opset)
    return run_nodes(found.nodes, feeds, [found.result], frame)[found.result]
