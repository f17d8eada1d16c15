"""Which integers a quantised value can have, as far as its producers tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir.edit import Editor
from ..ir.graph import Node
from ..ops.match import constant_value, quantize
from ..ops.op import limits

CLAMPS = ("onnx.Relu", "onnx.Clip")
MOVES = ("reshape", "transpose", "slice", "expand", "copy", "concat", "interleave", "maxpool")
"""Operators whose results are among their inputs' integers."""


def integer_range(edit: Editor, name: str) -> tuple[int, int]:
    """The least and the greatest integer of `name`; all of its type if nothing is known."""
    bounds, known, rest = [], set[str](), [name]
    while rest:
        name = rest.pop()
        node = edit.producer(name)
        if name in known:
            continue
        known.add(name)
        if node is None or node.op not in (*MOVES, "pad"):
            bounds.append(made_range(edit, name, node))
            continue
        rest += node.inputs
        bounds += [(node.attrs["value"],) * 2] if node.op == "pad" else []
    lows, highs = zip(*bounds, strict=True)
    return int(min(lows)), int(max(highs))


def made_range(edit: Editor, name: str, node: Node | None) -> tuple[int, int]:
    """Of a constant, or of what an operator computes that does more than move integers."""
    value = edit.value(node.inputs[1] if node is not None and node.op == "lut" else name)
    if value is not None:
        return int(value.min()), int(value.max())
    if node is not None and "low" in node.attrs:
        return node.attrs["low"], node.attrs["high"]
    low, high = limits(edit.tensors[name].dtype)
    if node is None or node.op != "onnx.QuantizeLinear" or edit.tensors[name].quant is None:
        return low, high
    for least, most in clamps_before(edit, node):
        low, high = min(max(low, least), high), max(min(high, most), low)
    return low, high


def clamps_before(edit: Editor, node: Node) -> Iterator[tuple[int, int]]:
    """The bounds of each Relu and Clip before a QuantizeLinear, from the last one on."""
    producer = edit.producer(node.inputs[0])
    while producer is not None and producer.op in CLAMPS:
        bounds = clamp_bounds(edit, producer, node.outputs[0])
        if bounds is None:
            return
        yield bounds
        producer = edit.producer(producer.inputs[0])


def clamp_bounds(edit: Editor, node: Node, output: str) -> tuple[int, int] | None:
    """The quantised bounds of a Relu or Clip: quantisation is monotone, so clamping commutes."""
    tensor = edit.tensors[output]
    assert tensor.quant is not None
    bounds: list[float] = [0.0, np.inf]
    if node.op == "onnx.Clip":
        bounds = [node.attrs.get("min", -np.inf), node.attrs.get("max", np.inf)]
        for index, name in enumerate(node.inputs[1:]):
            value = constant_value(edit, name) if name else np.array(bounds[index])
            if value is None or value.size != 1:
                return None
            bounds[index] = float(value.reshape(()))
    low, high = limits(tensor.dtype)
    real = np.array(bounds, np.float32)
    steps = quantize(real, tensor.quant, tensor.dtype)
    first = low if np.isneginf(real[0]) else int(steps[0])
    last = high if np.isposinf(real[1]) else int(steps[1])
    return first, last
