"""After it, quantised operators are nodes of compiler/ops on integers that carry their Quant.

What is still onnx.* is the host's; what was matched and refused says why in attribute `reason`.
"""

from __future__ import annotations

from msgspec.structs import replace

from ..ir.edit import Editor
from ..ir.graph import Graph, Node
from ..ops import Op, find_op
from ..ops.expression import table_of
from ..ops.match import INTEGER_OPS, SUM_OPS, Match, Refused, constant_value, dequantizer
from ..ops.op import OPERANDS, limits
from .context import Context
from .ranges import CLAMPS, clamp_bounds
from .sums import overflow


def legalize(graph: Graph, ctx: Context) -> Graph:
    edit = Editor(graph)
    declare_quants(edit)
    for node in graph.nodes:
        node = edit.resolved(node)
        try:
            edit.emit(legal(edit, node, ctx))
        except Refused as reason:
            edit.emit(replace(node, attrs={**node.attrs, "reason": str(reason)}))
    return edit.finish()


def legal(edit: Editor, node: Node, ctx: Context) -> Node:
    if node.op == "onnx.QuantizeLinear":
        return quantized(edit, node, ctx)
    name = node.op.removeprefix("onnx.")
    if name not in (*INTEGER_OPS, *SUM_OPS) or edit.tensors[node.inputs[0]].dtype not in OPERANDS:
        return node
    match = Match(edit, node, node.outputs[0], 0, 0, node.loc)
    return recognized(edit, match, ctx)


def recognized(edit: Editor, match: Match, ctx: Context) -> Node:
    """The node that computes a match, after what else it needs, all of which the target can."""
    mark = len(edit.nodes)
    try:
        made = Op.recognizers[match.node.op].recognize(match)
        for inner in edit.nodes[mark:]:
            checked(edit, inner, ctx)
        return checked(edit, made, ctx)
    except Refused:
        del edit.nodes[mark:]
        raise


def checked(edit: Editor, node: Node, ctx: Context) -> Node:
    op, refusal = find_op(node), ctx.refusal(node)
    if refusal:
        raise Refused(refusal)
    reason = op.reason_not(node, edit.tensors, ctx.target) or overflow(edit, node) if op else None
    if reason:
        raise Refused(reason)
    return node


def quantized(edit: Editor, node: Node, ctx: Context) -> Node:
    """The operator whose result `node` quantises."""
    quant = dequantizer(edit, node)
    output = node.outputs[0]
    if quant is None or quant.axis is not None:
        raise Refused("its result is not quantised per tensor")
    if edit.tensors[output].dtype not in OPERANDS:
        raise Refused(f"its result is {edit.tensors[output].dtype}")
    edit.retype(output, quant=quant)
    table = table_of(edit, node, quant)
    if table is not None:
        return checked(edit, table, ctx)
    match = find_match(edit, node)
    if match is None or match.node.op not in Op.recognizers:
        return node
    try:
        return recognized(edit, match, ctx)
    except Refused as reason:
        blame(edit, match.node, str(reason))
        return node


def blame(edit: Editor, node: Node, reason: str) -> None:
    """Write the reason on the ONNX node that was refused."""
    index = next(i for i in reversed(range(len(edit.nodes))) if edit.nodes[i] is node)
    edit.nodes[index] = replace(node, attrs={**node.attrs, "reason": reason})
    edit.made.update((o, edit.nodes[index]) for o in node.outputs)


def find_match(edit: Editor, node: Node) -> Match | None:
    """From a QuantizeLinear back over Relu and Clip, and the Add of a bias, to an operator."""
    output, name = node.outputs[0], node.inputs[0]
    low, high = limits(edit.tensors[output].dtype)
    loc = node.loc
    producer = edit.producer(name)
    while producer is not None and producer.op in CLAMPS and edit.is_single_use(name):
        bounds = clamp_bounds(edit, producer, output)
        if bounds is None:
            return None
        low, high = min(max(low, bounds[0]), high), max(min(high, bounds[1]), low)
        loc, name = producer.loc + loc, producer.inputs[0]
        producer = edit.producer(name)
    if producer is None or not edit.is_single_use(name):
        return None
    anchor, bias = under_bias(edit, producer)
    loc = (anchor.loc + producer.loc if bias else producer.loc) + loc
    return Match(edit, anchor, output, low, high, loc, bias)


def under_bias(edit: Editor, node: Node) -> tuple[Node, str]:
    """MatMul + constant vector: the MatMul and the bias."""
    if node.op != "onnx.Add":
        return node, ""
    for name, other in (node.inputs, node.inputs[::-1]):
        product = edit.producer(name)
        if product is None or product.op not in ("onnx.MatMul",) or not edit.is_single_use(name):
            continue
        if is_bias(edit, other, edit.tensors[name].shape[-1]):
            return product, other
    return node, ""


def is_bias(edit: Editor, name: str, channels: int) -> bool:
    value = constant_value(edit, name)
    if value is None:
        return False
    return value.size in (1, channels) and value.shape[-1:] in ((), (1,), (channels,))


def declare_quants(edit: Editor) -> None:
    """The Quant of each integer value: as its QuantizeLinear or first DequantizeLinear says."""
    for node in edit.graph.nodes:
        if node.op in ("onnx.QuantizeLinear", "onnx.DequantizeLinear"):
            name = (node.outputs if node.op == "onnx.QuantizeLinear" else node.inputs)[0]
            quant = dequantizer(edit, node)
            if quant is not None and edit.tensors[name].quant is None:
                edit.retype(name, quant=quant)
    for node in reversed(edit.graph.nodes):
        if node.op.removeprefix("onnx.") in INTEGER_OPS:
            share_quant(edit, node.outputs[0], node.inputs[0])
    for node in edit.graph.nodes:
        if node.op.removeprefix("onnx.") in INTEGER_OPS:
            share_quant(edit, node.inputs[0], node.outputs[0])


def share_quant(edit: Editor, source: str, target: str) -> None:
    quant = edit.tensors[source].quant
    if quant is not None and quant.axis is None and edit.tensors[target].quant is None:
        edit.retype(target, quant=quant)
