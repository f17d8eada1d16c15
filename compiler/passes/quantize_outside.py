"""After it, inputs come as they are quantised, and outputs leave before they are dequantised.

The runtime converts where it copies them to DRAM and back, as drivers do: those of the TPU (Jouppi
et al., ISCA 2017, section 2) and of NVDLA reformat what a caller gives. A byte crosses the link for
each float32's four, and callers see real numbers as before. `Tensor.real` says of which.
"""

from __future__ import annotations

from msgspec.structs import replace

from ..ir.edit import Editor
from ..ir.graph import Graph, Node, prune
from ..ops.match import dequantizer
from ..ops.quantization import border_reason
from .context import Context


def quantize_outside(graph: Graph, ctx: Context) -> Graph:
    for name in graph.inputs:
        graph = input_quantised(graph, name)
    for name in graph.outputs:
        graph = output_quantised(graph, name)
    return graph


def input_quantised(graph: Graph, real: str) -> Graph:
    readers = graph.consumers().get(real, [])
    if len(readers) != 1 or readers[0].op != "onnx.QuantizeLinear":
        return graph
    (integer,) = readers[0].outputs
    return graph if {real, integer} & {*graph.outputs} else without(graph, readers[0], integer)


def output_quantised(graph: Graph, real: str) -> Graph:
    made = graph.producers()
    border = made.get(real)
    if border is None or border.op != "onnx.DequantizeLinear" or real in graph.consumers():
        return graph
    integer = border.inputs[0]
    return without(graph, border, integer) if is_inner(graph, integer) else graph


def is_inner(graph: Graph, name: str) -> bool:
    return name in graph.producers() and name not in graph.outputs


def without(graph: Graph, border: Node, integer: str) -> Graph:
    """The real value that `border` reads or makes is `integer` itself, if its scale is known."""
    (real,) = {border.inputs[0], border.outputs[0]} - {integer}
    quant, tensors = dequantizer(Editor(graph), border), dict(graph.tensors)
    known = tensors[integer]
    held = tensors[integer] = replace(known, quant=quant)
    if known.quant not in (None, quant) or border_reason(real, integer, tensors):
        return graph
    del tensors[integer]
    tensors[real] = replace(held, name=real, real=True)
    nodes = (renamed(n, integer, real, border) for n in graph.nodes if n is not border)
    return prune(replace(graph, nodes=tuple(nodes), tensors=tensors))


def renamed(node: Node, old: str, new: str, border: Node) -> Node:
    """`node` with `new` for `old`; where it makes that, it also does what `border` did."""
    inputs = tuple(new if name == old else name for name in node.inputs)
    outputs = tuple(new if name == old else name for name in node.outputs)
    loc = (*node.loc, *border.loc) if old in node.outputs else node.loc
    return replace(node, inputs=inputs, outputs=outputs, loc=loc)
