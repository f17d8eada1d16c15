"""Softmax of quantised values, as com.microsoft QLinearSoftmax: steps on integers and float32."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from msgspec.structs import replace

from ..ir.graph import Array, Node, Quant
from .chain import Chain
from .folds import softmax_axes
from .match import Match, Refused
from .op import Op, limits

STEPS = 255
"""The widest difference of two 8-bit values."""
INT16 = np.dtype(np.int16)


class Softmax(Op, onnx=("Softmax",)):
    """q = min(rint(table[x - max] * levels / sum of table[x - max]) + zero, highest).

    The table holds exp in float32, scaled so that its sum cannot overflow; the sum is sequential.
    onnxruntime: contrib_ops/cpu/quantization/qlinear_softmax.cc. Nothing of it is a class of nodes:
    it becomes lane nodes whose results are exactly that kernel's.
    """

    @classmethod
    def recognize(cls, match: Match) -> Node:
        if match.attr("kernel", "float") == "float":
            raise Refused("a Softmax in float32")
        x = match.operand(0)
        dtype = match.edit.tensors[x].dtype
        if dtype.itemsize != 1 or dtype != match.result.dtype:
            raise Refused(f"an integer Softmax from {dtype} to {match.result.dtype}")
        opset = match.edit.graph.opset
        return expand(match, x, softmax_axes(match.attr("axis", None), len(match.shape(x)), opset))


def expand(match: Match, x: str, axes: Sequence[int]) -> Node:
    edit = match.edit
    node = replace(match.node, outputs=(match.output,), loc=match.loc)
    chain = Chain(edit, node, None, {})
    below = chain.binary("sub", x, chain.reduce("max", x, axes), INT16)
    size = prod(match.shape(x)[axis] for axis in axes)
    table = edit.constant(f"{match.output}.table", exponentials(match.quant(x), size))
    power = chain.emit("lookup", (below, table), match.shape(x), first=-STEPS)
    total = chain.reduce("sum", power, axes)
    y, top = match.quant(match.output), limits(match.result.dtype)[1]
    levels = float(np.floor(np.float32(1) / y.scale[0]))
    share = chain.div(chain.mul(power, levels), total)
    placed = chain.add(chain.unary("round", share), float(y.zero[0]))
    inputs = (placed, chain.constant(float(top)))
    return Node("binary", inputs, (match.output,), {"function": "min"}, loc=match.loc)


def exponentials(quant: Quant, size: int) -> Array:
    """exp of -255..0 steps of the scale, times what keeps `size` of them from overflowing."""
    scale = float(quant.scale[0])
    room = np.log(np.finfo(np.float32).max / np.float32(size), dtype=np.float32)
    shift = max(0.0, float(room) - 5) / scale
    powers: Array = np.exp((np.arange(-STEPS, 1) + shift) * scale).astype(np.float32)
    return powers
