"""Matrix products of quantised tensors, as ONNX QLinearMatMul and com.microsoft QGemm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Array, Node, Quant
from ..ir.tile import Dim
from ..mapping.build import Builder, requantize, scalar_quant, weight_zeros
from ..mapping.workload import StepSpec
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
        return rank_reason(*(tensors[i].shape for i in node.inputs[:2])) or array_reason(
            node, tensors, target
        )

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        """a[.., M, C] by b[C, K]: rows of a are output columns q of a 1x1 convolution."""
        a, b = build.tensor(node.inputs[0]), build.tensor(node.inputs[1])
        batch = a.shape[0] if len(a.shape) == 3 else 1
        rows, (c, k) = a.shape[-2], b.shape[-2:]
        build.dims |= {"n": batch, "g": 1, "k": k, "c": c, "p": 1, "q": rows}
        build.reduction = ("c",)
        lead = (Dim(batch, (("n", 1),)),) * (len(a.shape) - 2)
        row, out, inner = Dim(rows, (("q", 1),)), Dim(k, (("k", 1),)), Dim(c, (("c", 1),))
        build.box = (*lead, row, out)
        b_lead = tuple(Dim(d, (("n", 1),) if d > 1 else ()) for d in b.shape[:-2])
        if any(d > 1 for d in b.shape[:-2]):
            build.single = ("n",)  # an instruction has the same weights for all its images
        zeros = weight_zeros(build, node, out)
        uses = {
            "weight": build.read("weight", node.inputs[1], (*b_lead, inner, out), "weight"),
            **zeros,
            "ifmap": build.read("ifmap", node.inputs[0], (*lead, row, inner)),
            "psum": build.accumulate((*lead, out, row)),
        }
        attrs = {
            "ifmap_axes": "nwc"[3 - len(a.shape) :], "weight_axes": "bck"[3 - len(b.shape) :],
            "psum_axes": "nkq"[3 - len(a.shape) :],
            "r": 1, "s": 1, "stride_y": 1, "stride_x": 1, "dilation_y": 1, "dilation_x": 1,
            "ifmap_zero": scalar_quant(a)[1],
            "weight_zero": 0 if zeros else scalar_quant(b)[1],
        }  # fmt: skip
        build.inner.append(StepSpec("tensor", uses, attrs))
        requantize(build, node, "nqk"[3 - len(a.shape) :])


def rank_reason(a: tuple[int, ...], b: tuple[int, ...]) -> str | None:
    """Matrices, or one batch of them by one matrix or as many."""
    if len(b) <= len(a) <= 3 and b[:-2] in ((), (1,), a[:-2]):
        return None
    return f"a product of {list(a)} by {list(b)}"


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
