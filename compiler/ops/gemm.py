"""ONNX Gemm: a matrix product of operands that may be transposed, scaled, with a bias."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from ..ir.graph import Array, Node, Quant
from .match import Match, Refused, constant_value
from .matmul import product
from .op import Op


class Gemm(Op, onnx=("Gemm",)):
    """It is recognised as `matmul`, so no node of the Graph is one.

    alpha is in the scale of the first operand, where com.microsoft QGemm has it, too:
    onnxruntime's contrib_ops/cpu/quantization/quant_gemm.cc.
    """

    @classmethod
    def recognize(cls, match: Match) -> Node:
        a, b = (match.operand(i) for i in (0, 1))
        a = turned(match, a) if match.attr("transA", 0) else a
        b = turned(match, b) if match.attr("transB", 0) else b
        alpha, beta = (float(match.attr(name, 1.0)) for name in ("alpha", "beta"))
        bias = (*match.node.inputs, "")[2]
        if bias and (alpha, beta) != (1.0, 1.0):
            bias = scaled_bias(match, bias, beta)
        elif bias:
            check_rows(match, bias)
        return product(match, a if alpha == 1.0 else scaled(match, a, alpha), b, bias)


def turned(match: Match, name: str) -> str:
    """The transpose: of a constant another constant, of a value a view."""
    value, quant = match.edit.value(name), match.quant(name)
    quant = quant if quant.axis is None else replace(quant, axis=1 - quant.axis)
    if value is not None:
        return match.edit.constant(f"{name}.transposed", value.T.copy(), quant)
    shape = match.shape(name)[::-1]
    new = match.edit.like(name, f"{name}.transposed", shape=shape, quant=quant)
    match.edit.emit(Node("transpose", (name,), (new,), {"perm": (1, 0)}, loc=match.loc))
    return new


def scaled(match: Match, name: str, factor: float) -> str:
    """The same integers, which mean `factor` times as much."""
    quant = match.quant(name)
    scale = np.asarray(np.float32(factor) * quant.scale, np.float32)
    changed, value = Quant(scale, quant.zero, quant.axis), match.edit.value(name)
    if value is not None:
        return match.edit.constant(f"{name}.scaled", value, changed)
    new = match.edit.like(name, f"{name}.scaled", quant=changed)
    match.edit.emit(Node("reshape", (name,), (new,), loc=match.loc))
    return new


def scaled_bias(match: Match, name: str, factor: float) -> str:
    """The float constant `factor` times `name`."""
    value = check_rows(match, name)
    return match.edit.constant(f"{name}.scaled", (value * np.float32(factor)).astype(np.float32))


def check_rows(match: Match, name: str) -> Array:
    """The value of a bias that is the same for all rows."""
    value = constant_value(match.edit, name)
    if value is None:
        raise Refused(f"its bias '{name}' is not constant")
    if value.ndim == 2 and value.shape[0] != 1:
        raise Refused(f"its bias '{name}' differs between rows")
    return value
