"""Sums and products of two quantised tensors, as com.microsoft QLinearAdd and QLinearMul."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..ir.graph import Array, Node
from .match import Match, Refused
from .op import Op, Tensors
from .scale import quant_of


class Elementwise(Op):
    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return np.broadcast_shapes(*(tensors[i].shape for i in node.inputs))

    @classmethod
    def recognize(cls, match: Match) -> Node:
        if match.bias:
            raise Refused("it has three operands")
        return match.make(cls.name, [match.operand(0), match.operand(1)])


class Add(Elementwise, name="add", onnx=("Add",)):
    """y = clamp(rint(fma(a, scale_a, fma(b, scale_b, offset)))), with numpy broadcasting.

    onnxruntime: core/mlas/lib/qladd.cpp, where the multiply-adds round once. An operand that is
    constant along rows is the second one.
    """

    @classmethod
    def recognize(cls, match: Match) -> Node:
        node = super().recognize(match)
        columns = [(1, *match.shape(name))[-1] for name in node.inputs]
        swapped = columns[0] == 1 and columns[1] > 1
        return replace(node, inputs=node.inputs[::-1]) if swapped else node

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        scale_a, scale_b, offset = add_terms(node, tensors)
        a, b = (v.astype(np.float32) for v in inputs)
        total = fma(a, scale_a, fma(b, scale_b, offset))
        out = tensors[node.outputs[0]]
        return np.clip(np.rint(total), node.attrs["low"], node.attrs["high"]).astype(out.dtype)


def add_terms(node: Node, tensors: Tensors) -> tuple[np.float32, np.float32, np.float32]:
    """scale_a, scale_b and offset of `add`."""
    a, b, y = (quant_of(tensors, name) for name in (*node.inputs, node.outputs[0]))
    scale_a, scale_b = a.scale[0] / y.scale[0], b.scale[0] / y.scale[0]
    zero_a, zero_b, zero = (np.float32(q.zero[0]) for q in (a, b, y))
    return scale_a, scale_b, np.float32(zero - fma(scale_a, zero_a, scale_b * zero_b))


def fma(a: Array | np.float32, b: np.float32, c: Array | np.float32) -> Array:
    """a * b + c of float32, rounded once.

    The product is exact in float64; the float64 sum is rounded to odd, so that rounding it again to
    float32 is right (Boldo and Melquiond, 2008).
    """
    product = np.multiply(a, b, dtype=np.float64)
    addend = np.asarray(c, np.float64)
    total = np.asarray(product + addend)
    back = total - product
    error = (product - (total - back)) + (addend - back)
    bits = total.view(np.int64)
    away = np.where((error > 0) == (total > 0), 1, -1)
    odd = np.where((error != 0) & (bits & 1 == 0), bits + away, bits)
    rounded: Array = odd.view(np.float64).astype(np.float32)
    return rounded


class Mul(Elementwise, name="mul", onnx=("Mul",)):
    """y = clamp(rint((a - zero) * (b - zero) * scale + zero)), with numpy broadcasting.

    onnxruntime: core/mlas/lib/qlmul.cpp. The zero point is added in float32, before rounding.
    """

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        out = tensors[node.outputs[0]]
        a, b = (quant_of(tensors, name) for name in node.inputs)
        product = (inputs[0].astype(np.int32) - a.zero) * (inputs[1].astype(np.int32) - b.zero)
        y = quant_of(tensors, out.name)
        scaled = product.astype(np.float32) * (a.scale * b.scale / y.scale) + np.float32(y.zero)
        low, high = node.attrs["low"], node.attrs["high"]
        return np.clip(np.rint(scaled), low, high).astype(out.dtype)
