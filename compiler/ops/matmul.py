"""Matrix products of quantised tensors, as ONNX QLinearMatMul and com.microsoft QGemm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Array, Node, Quant
from .match import Match, Refused
from .op import Op, Tensors, array_reason
from .scale import centered, requantized

if TYPE_CHECKING:
    from dnncc.targets import Target


class MatMul(Op, name="matmul", onnx=("MatMul", "Gemm")):
    """y = clamp(requantize((a - zero) @ (b - zero) + bias)), as numpy.matmul; bias int32[N].

    b is a constant [K, N], quantised per tensor or per column, or another value. attrs: low, high.
    onnxruntime: contrib_ops/cpu/quantization/quant_gemm.cc, qlinear_matmul.cc.
    """

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        a, b = (tensors[i].shape for i in node.inputs[:2])
        return *np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1]

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        a, b = (centered(v, tensors[n]) for v, n in zip(inputs, node.inputs[:2], strict=False))
        sums = a @ b
        if len(inputs) > 2:
            sums += inputs[2].astype(np.float64)
        return requantized(sums, node, tensors, axis=-1)

    @classmethod
    def recognize(cls, match: Match) -> Node:
        a, b = match.operand(0), match.operand(1)
        if match.node.op == "onnx.Gemm":
            b = gemm_weight(match, b)
        if min(len(match.shape(a)), len(match.shape(b))) < 2:
            raise Refused("a vector operand")
        inputs = [a, b]
        bias = match.bias or (*match.node.inputs, "")[2]
        if bias:
            units = match.quant(a).scale.astype(np.float64) * match.quant(b).scale
            units = np.broadcast_to(units, match.shape(b)[-1:])
            inputs.append(match.bias_of(bias, units))
        return match.make("matmul", inputs)

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        b = tensors[node.inputs[1]]
        if b.quant is not None and b.quant.axis not in (None, len(b.shape) - 1):
            return f"its second operand is quantised along axis {b.quant.axis}, not per column"
        return array_reason(node, tensors, target)


def gemm_weight(match: Match, b: str) -> str:
    """The [K, N] operand of a Gemm; one that scales its operands is refused."""
    for name, default in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        if match.attr(name, default) != default:
            raise Refused(f"Gemm with {name} = {match.attr(name, default)}")
    if not match.attr("transB", 0):
        return b
    value, quant = match.edit.value(b), match.quant(b)
    if value is None:
        raise Refused("Gemm with transB of an operand that is not constant")
    return match.edit.constant(f"{b}.transposed", value.T.copy(), transposed(quant))


def transposed(quant: Quant) -> Quant:
    return quant if quant.axis is None else replace(quant, axis=1 - quant.axis)
