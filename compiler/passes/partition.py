"""After it, execution alternates between accelerator parts and as few `host` nodes as it can.

A host node holds the ONNX nodes it runs; attribute `reason` says why those in `refused` are there.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.edit import Editor
from ..ir.graph import Graph, Node
from ..ops.lanes import NUMBERS
from ..ops.match import dequantizer
from ..ops.op import Op, Tensors
from ..ops.steps import Steps
from .context import Context

BORDERS = {"onnx.QuantizeLinear": "quantize", "onnx.DequantizeLinear": "dequantize"}


def partition(graph: Graph, ctx: Context) -> Graph:
    graph = take_borders(graph, ctx)
    orders = [schedule(graph, first) for first in (False, True)]
    parts = min(orders, key=lambda order: sum(is_host(part[0]) for part in order))
    wanted = outside_uses(graph)
    nodes: list[Node] = []
    for part in parts:
        nodes.extend([host(part, wanted, graph.tensors)] if is_host(part[0]) else part)
    return graph.with_nodes(tuple(nodes))


def is_host(node: Node) -> bool:
    return node.op.startswith("onnx.")


def take_borders(graph: Graph, ctx: Context) -> Graph:
    """Quantising an input and dequantising to an output, which no host node is next to, is ours."""
    edit = Editor(graph)
    users = graph.consumers()
    made = graph.producers()
    for node in graph.nodes:
        near = [made.get(node.inputs[0])] if node.inputs else []
        near += [u for o in node.outputs for u in users.get(o, ())]
        lonely = not any(n is not None and is_host(n) and n.op not in BORDERS for n in near)
        edit.emit(border(edit, node, ctx) if node.op in BORDERS and lonely else node)
    return edit.finish()


def border(edit: Editor, node: Node, ctx: Context) -> Node:
    """`node` as a group of the accelerator, if it can be."""
    integer = (node.outputs if node.op == "onnx.QuantizeLinear" else node.inputs)[0]
    quant = dequantizer(edit, node)
    known = edit.tensors[integer].quant
    if quant is None or (known is not None and known != quant) or integer in edit.constants:
        return node
    edit.retype(integer, quant=quant)
    inner = Node(BORDERS[node.op], node.inputs[:1], node.outputs, loc=node.loc)
    if Op.named[inner.op].reason_not(inner, edit.tensors, ctx.target):
        return node
    return Node("group", inner.inputs, inner.outputs, body=(inner,), loc=inner.loc)


def schedule(graph: Graph, host_first: bool) -> list[list[Node]]:
    """Alternating parts of all nodes, each as long as dependencies allow, in the original order."""
    ready = {*graph.inputs, *graph.constants, ""}
    waiting = list(graph.nodes)
    parts: list[list[Node]] = []
    on_host = host_first
    while waiting:
        part, later = [], []
        for node in waiting:
            if is_host(node) == on_host and ready.issuperset(node.inputs):
                part.append(node)
                ready.update(node.outputs)
            else:
                later.append(node)
        parts.extend([part] if part else [])
        waiting, on_host = later, not on_host
    return parts


def outside_uses(graph: Graph) -> dict[str, set[int]]:
    """Per value, the nodes that read it, by id; 0 for the graph's outputs."""
    uses: dict[str, set[int]] = {name: {0} for name in graph.outputs}
    for node in graph.nodes:
        for name in node.inputs:
            uses.setdefault(name, set()).add(id(node))
    return uses


def host(part: Sequence[Node], uses: dict[str, set[int]], tensors: Tensors) -> Node:
    members = {id(node) for node in part}
    made = [o for node in part for o in node.outputs if o]
    inputs = dict.fromkeys(i for n in part for i in n.inputs if i and i not in made)
    outputs = tuple(name for name in made if uses.get(name, set()) - members)
    told = [n for n in part if n.op not in BORDERS or "reason" in n.attrs] or part
    reasons = {node.loc[0]: reason(node, tensors) for node in told}
    attrs = {"refused": tuple(reasons), "reason": tuple(reasons.values())}
    loc = tuple(dict.fromkeys(name for node in part for name in node.loc))
    return Node("host", tuple(inputs), outputs, attrs, tuple(part), loc)


def reason(node: Node, tensors: Tensors) -> str:
    """As noted; else a type that the accelerator does not have; else that it is not one of its."""
    name, ours = node.op.removeprefix("onnx."), {*Op.recognizers, *Steps.named}
    sides = (("takes", node.inputs[:1]), ("gives", node.outputs))
    kinds = ((verb, tensors[i].dtype) for verb, side in sides for i in side if i)
    odd = [f"{name} {verb} {kind}" for verb, kind in kinds if kind not in NUMBERS]
    default = f"{name} is not an operator of the accelerator"
    if odd:
        default = f"{odd[0]}, which is no type of the accelerator's"
    elif node.op in ours:
        default = f"{name} of {tensors[node.inputs[0]].dtype} that is not quantised"
    return str(node.attrs.get("reason", default))
