"""After it, float32 operators are steps of the vector engine where it has them.

What stays onnx.* is the host's. Operators that only host nodes are next to stay with them: values
do not go to the accelerator and back for an addition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec.structs import replace

from ..ir.edit import Editor
from ..ir.graph import Graph, Node
from ..ops import Op, find_op, is_view
from ..ops.chain import Chain
from ..ops.lanes import NUMBERS
from ..ops.match import Match, Refused, dequantizer
from ..ops.quantization import Quantize
from ..ops.steps import Steps
from .context import Context

VIEWS = ("onnx.Reshape", "onnx.Transpose", "onnx.Slice", "onnx.MaxPool")
"""Operators that choose among their first input's elements, and compute nothing."""

OF_ANY_NUMBERS = frozenset(
    "onnx." + name
    for name in (
        "Cast DynamicQuantizeLinear Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor Not "
        "Where ArgMax ArgMin Max Min ReduceMax ReduceMin"
    ).split()
)
OF_WORDS = ("onnx.Add", "onnx.Sub", "onnx.Mul")
"""Operators of float32, or of int32, which wraps."""

INDICES = ("onnx.ArgMax", "onnx.ArgMin", "onnx.Cast")
"""Operators whose results may be int64: they are int32 on chip."""

BORDERS = ("onnx.QuantizeLinear", "onnx.DequantizeLinear")
REAL, WORD, TRUTH = (np.dtype(t) for t in (np.float32, np.int32, bool))


def lower_floats(graph: Graph, ctx: Context) -> Graph:
    taken = chosen(graph)
    edit = Editor(graph)
    known: dict[str, str] = {}
    for node in graph.nodes:
        refusal = ctx.refusal(node)
        if node.outputs[0] in taken and refusal:
            edit.emit(replace(node, attrs={**node.attrs, "reason": refusal}))
        elif node.outputs[0] in taken:
            lower(Chain(edit, edit.resolved(node), ctx.target, known))
        else:
            edit.emit(quantized(edit, edit.resolved(node), ctx))
    return edit.finish()


def lower(chain: Chain) -> None:
    """Emit the steps of a node, or the node with the reason why there are none."""
    edit, node = chain.edit, chain.node
    mark, known = len(edit.nodes), dict(chain.known)
    try:
        if node.op == "onnx.Concat":
            edit.emit(concatenated(chain))
        elif node.op in VIEWS:
            moved = replace(node, inputs=(chain.input(), *node.inputs[1:]))
            match = Match(edit, moved, node.outputs[0], 0, 0, node.loc)
            edit.emit(moving(chain, Op.recognizers[node.op].recognize(match)))
        else:
            chain.finish(Steps.named[node.op].expand(chain))
    except Refused as reason:
        del edit.nodes[mark:]
        chain.known.clear()
        chain.known.update(known)
        edit.emit(replace(node, attrs={**node.attrs, "reason": str(reason)}))


def moving(chain: Chain, view: Node) -> Node:
    if not all(chain.edit.tensors[name].size for name in (*view.inputs[:1], *view.outputs)):
        raise Refused("nothing is moved")
    reason = None if is_view(view) else Op.named[view.op].reason_not(
        view, chain.edit.tensors, chain.target
    )  # fmt: skip
    if reason:
        raise Refused(reason)
    return view


def concatenated(chain: Chain) -> Node:
    """The parts are written into the whole."""
    node, parts = chain.node, tuple(chain.input(i) for i in range(len(chain.node.inputs)))
    axis = chain.attr("axis", 1) % len(chain.shape(chain.result))
    if not all(chain.edit.tensors[name].size for name in parts):
        raise Refused("one of its inputs is empty")
    return Node("concat", parts, node.outputs, {"axis": axis}, loc=node.loc)


def quantized(edit: Editor, node: Node, ctx: Context) -> Node:
    """A QuantizeLinear of what the vector engine computes is a step of its own."""
    source = edit.producer(node.inputs[0]) if node.op == "onnx.QuantizeLinear" else None
    quant = dequantizer(edit, node) if source is not None and find_op(source) else None
    if quant is None or quant.axis is not None:
        return node
    made = Node("quantize", node.inputs[:1], node.outputs, loc=node.loc)
    edit.retype(node.outputs[0], quant=quant)
    return node if Quantize.reason_not(made, edit.tensors, ctx.target) else made


def chosen(graph: Graph) -> set[str]:
    """The results of the operators to take: of those that are next to each other all or none. They
    touch a quantised value, or no node of the host."""
    able: dict[str, Node] = {}
    for node in graph.nodes:
        if is_able(graph, node, able):
            able[node.outputs[0]] = node
    near = Neighbours(graph, able)
    taken = set[str]()
    for component in near.components():
        if any(map(near.meets_border, component)) or not any(map(near.meets_host, component)):
            taken |= component
    return taken


def is_able(graph: Graph, node: Node, able: Mapping[str, Node]) -> bool:
    """Whether its values are of types that the vector engine has; `able` are those before it."""
    if node.op not in {*Steps.named, *VIEWS, "onnx.Concat"} or "domain" in node.attrs:
        return False
    named = [i for i in node.inputs if i]
    values = named[:1] if node.op in VIEWS or node.op.startswith("onnx.Reduce") else named
    results = [o for o in node.outputs if o and node.op not in INDICES]
    kinds = {graph.tensors[n].dtype for n in (*values, *results) if n not in able}
    return kinds <= taken_types(node.op)


def taken_types(op: str) -> set[np.dtype[Any]]:
    if op in OF_ANY_NUMBERS:
        return {*NUMBERS}
    views = {WORD, TRUTH} if op in (*VIEWS, "onnx.Concat") else set()
    return {REAL, WORD} if op in OF_WORDS else {REAL, *views}


class Neighbours:
    """Who makes and who reads the values of each node in `able`, by the nodes' results."""

    def __init__(self, graph: Graph, able: dict[str, Node]) -> None:
        self.able, self.made, self.users = able, graph.producers(), graph.consumers()
        self.outputs = set(graph.outputs)

    def around(self, name: str) -> list[Node]:
        node = self.able[name]
        before = (self.made[i] for i in node.inputs if i in self.made)
        return [*before, *self.users.get(name, ())]

    def meets_border(self, name: str) -> bool:
        """A value that is quantised, or what the accelerator computes."""
        near = self.around(name)
        return any(n.op in BORDERS or not n.op.startswith("onnx.") for n in near)

    def meets_host(self, name: str) -> bool:
        """An ONNX node that is not taken, be it for its own sake."""
        nodes = (n for n in self.around(name) if n.op not in BORDERS)
        return any(n.op.startswith("onnx.") and n.outputs[0] not in self.able for n in nodes)

    def components(self) -> list[set[str]]:
        """Sets of nodes that values connect."""
        found: list[set[str]] = []
        left = dict.fromkeys(self.able)
        while left:
            pending, members = [next(iter(left))], set[str]()
            while pending:
                name = pending.pop()
                if left.pop(name, name) is None:
                    members.add(name)
                    pending += [o for n in self.around(name) for o in n.outputs if o in left]
            found.append(members)
        return found
