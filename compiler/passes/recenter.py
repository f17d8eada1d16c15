"""After it, quantised values of 16 bits are int16: of uint16 ones, 32768 is taken off.

So are their zero points, which means the same; arrays multiply int16, and zero points and limits of
instructions are int16, too. Where others read or give a uint16 value, the vector engine shifts it.
"""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from ..ir.edit import Editor
from ..ir.graph import Array, Graph, Node
from .context import Context

MIDDLE = 1 << 15
WIDE, SIGNED = np.dtype(np.uint16), np.dtype(np.int16)
QUANTIZE, DEQUANTIZE = "onnx.QuantizeLinear", "onnx.DequantizeLinear"


def recenter(graph: Graph, ctx: Context) -> Graph:
    edit, shifted = Editor(graph), dict[str, str]()
    for node in graph.nodes:
        zero = zero_of(edit, node) if is_wide(graph, node) else None
        if zero is None:
            edit.emit(node)
        elif node.op == QUANTIZE:
            quantize(edit, node, zero, shifted)
        else:
            dequantize(edit, node, zero, shifted)
    return edit.finish()


def is_wide(graph: Graph, node: Node) -> bool:
    """A QuantizeLinear to uint16, or a DequantizeLinear of it."""
    if node.op not in (QUANTIZE, DEQUANTIZE):
        return False
    integer = node.outputs[0] if node.op == QUANTIZE else node.inputs[0]
    return graph.tensors[integer].dtype == WIDE


def zero_of(edit: Editor, node: Node) -> str | None:
    """The zero point as int16; None if it or the scale is computed."""
    scale, name = edit.value(node.inputs[1]), (*node.inputs, "")[2]
    if scale is None or name and edit.value(name) is None:
        return None
    value = edit.value(name)
    below = lowered(np.zeros_like(scale, WIDE) if value is None else value)
    return edit.constant(f"{node.outputs[0]}.zero", below)


def lowered(value: Array) -> Array:
    below: Array = (value.astype(np.int32) - MIDDLE).astype(SIGNED)
    return below


def quantize(edit: Editor, node: Node, zero: str, shifted: dict[str, str]) -> None:
    (name,) = node.outputs
    shifted[name] = edit.like(name, f"{name}.int16", dtype=SIGNED)
    attrs = {k: v for k, v in node.attrs.items() if k != "output_dtype"}
    inputs = (*node.inputs[:2], zero)
    edit.emit(replace(node, inputs=inputs, outputs=(shifted[name],), attrs=attrs))
    edit.emit(moved(edit, "add", shifted[name], name, node))


def dequantize(edit: Editor, node: Node, zero: str, shifted: dict[str, str]) -> None:
    name = node.inputs[0]
    value = edit.value(name)
    if name not in shifted and value is not None:
        shifted[name] = edit.constant(f"{name}.int16", lowered(value))
    if name not in shifted:
        shifted[name] = edit.like(name, f"{name}.int16", dtype=SIGNED)
        edit.emit(moved(edit, "sub", name, shifted[name], node))
    edit.emit(replace(node, inputs=(shifted[name], node.inputs[1], zero)))


def moved(edit: Editor, function: str, source: str, result: str, node: Node) -> Node:
    """float32 holds these numbers exactly."""
    middle = edit.constant(f"{result}.middle", np.array(MIDDLE, np.float32))
    return Node("binary", (source, middle), (result,), {"function": function}, loc=node.loc)
