"""Matrix products of quantised tensors, as ONNX QLinearMatMul."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Array, Node
from ..ir.tile import Dim
from ..mapping.build import Builder, broadcast_box, requantize, scalar_quant, weight_zeros
from ..mapping.workload import StepSpec
from .match import Match
from .op import Op, Tensors, array_reason
from .scale import centered, requantized

if TYPE_CHECKING:
    from dnncc.targets import Target


class MatMul(Op, name="matmul", onnx=("MatMul",)):
    """y = clamp(requantize((a - zero) @ (b - zero) + bias)), as numpy.matmul; bias int32[N].

    b is quantised per tensor or per column. attrs: low, high.
    onnxruntime: core/providers/cpu/quantization/quantize_linear_matmul.cc.
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
        """A vector is a matrix of one row, or of one column."""
        a, b = match.operand(0), match.operand(1)
        rows, columns = (match.shape(name) for name in (a, b))
        if len(rows) > 1 < len(columns):
            return product(match, a, b, match.bias)
        a = match.reshaped(a, (1, *rows)) if len(rows) == 1 else a
        b = match.reshaped(b, (*columns, 1)) if len(columns) == 1 else b
        lead = np.broadcast_shapes(match.shape(a)[:-2], match.shape(b)[:-2])
        inner = match.inside((*lead, match.shape(a)[-2], match.shape(b)[-1]))
        return inner.view_as(match, product(inner, a, b, match.bias))

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        a, b = (tensors[name] for name in node.inputs[:2])
        if a.quant is not None and a.quant.axis is not None:
            return "its first operand is not quantised per tensor"
        if b.quant is not None and b.quant.axis not in (None, len(b.shape) - 1):
            return f"its second operand is quantised along axis {b.quant.axis}, not per column"
        return array_reason(node, tensors, target)

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        """a[.., M, C] by b[.., C, K]: rows of a are output columns q of a 1x1 convolution."""
        a, b, y = (build.tensor(name) for name in (*node.inputs[:2], node.outputs[0]))
        rows, (c, k) = a.shape[-2], b.shape[-2:]
        names = loops_of(y.shape[:-2], b.shape[:-2])
        build.dims |= {"n": 1, "g": 1, "k": k, "c": c, "p": 1, "q": rows}
        build.dims |= dict(zip(names, y.shape, strict=False))
        build.single = tuple(v for v in names if v not in "np")
        build.reduction = ("c",)
        row, out, inner = Dim(rows, (("q", 1),)), Dim(k, (("k", 1),)), Dim(c, (("c", 1),))
        lead = tuple(Dim(d, ((v, 1),)) for d, v in zip(y.shape, names, strict=False))
        build.box = (*lead, row, out)
        sums_box, sums_axes = order_of_sums(names, build.box)
        zeros = weight_zeros(build, node, out)
        a_box, b_box = (broadcast_box(t.shape[:-2], lead) for t in (a, b))
        uses = {
            "weight": build.read("weight", node.inputs[1], (*b_box, inner, out), "weight"),
            **zeros,
            "ifmap": build.read("ifmap", node.inputs[0], (*a_box, row, inner)),
            "psum": build.accumulate(sums_box),
        }
        axes = "".join(ROWS.get(v, v[-1]) for v in names)[len(names) - len(a_box) :]
        attrs = {
            "ifmap_axes": f"{axes}wc", "weight_axes": " " * len(b_box) + "ck",
            "psum_axes": sums_axes,
            "r": 1, "s": 1, "stride_y": 1, "stride_x": 1, "dilation_y": 1, "dilation_x": 1,
            "ifmap_zero": scalar_quant(a)[1],
            "weight_zero": 0 if zeros else scalar_quant(b)[1],
        }  # fmt: skip
        build.inner.append(StepSpec("tensor", uses, attrs))
        requantize(build, node, "".join(v[-1] for v in names) + "qk")


ROWS = {"p": "h"}
"""What the ifmap's axis of a loop is called, if not as the loop."""


def loops_of(lead: Sequence[int], weights: Sequence[int]) -> tuple[str, ...]:
    """The loop over each axis before the matrices. An instruction has one matrix of weights: of the
    last two axes, those along which all have the same one are its images n and rows p."""
    names = [f"d{i}" for i in range(len(lead))]
    whole = (1,) * (len(lead) - len(weights)) + tuple(weights)
    shared = [i for i, size in enumerate(whole) if size == 1 and i >= len(lead) - 2]
    for i, name in zip(reversed(shared), "np", strict=False):
        names[i] = name
    return tuple(names)


def order_of_sums(names: Sequence[str], box: Sequence[Dim]) -> tuple[tuple[Dim, ...], str]:
    """Psums are stored [n][k][p][q], whatever the order of the result's axes; also the axes' names,
    of which those of loops over single matrices are digits."""
    ranks = {"n": 1, "k": 2, "p": 3, "q": 4}
    loops = [*names, "q", "k"]
    order = sorted(range(len(loops)), key=lambda i: ranks.get(loops[i], 0))
    return tuple(box[i] for i in order), "".join(loops[i][-1] for i in order)


def product(match: Match, a: str, b: str, bias: str) -> Node:
    """The product of two integer tensors, and a constant of a float or int32 `bias` per column."""
    if not bias:
        return match.make("matmul", [a, b])
    units = match.quant(a).scale.astype(np.float64) * match.quant(b).scale
    units = np.broadcast_to(units, match.shape(b)[-1:])
    return match.make("matmul", [a, b, match.bias_of(bias, units)])
