"""The borders between float32 and quantised values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dnncc.isa import vector

from ..ir.graph import Array, Node
from ..mapping.build import Builder, scalar_quant
from ..mapping.workload import StepSpec
from .lanes import Lane
from .match import dequantize, quantize
from .op import OPERANDS, Tensors, limits
from .scale import quant_of

if TYPE_CHECKING:
    from dnncc.targets import Target


class Border(Lane):
    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return tensors[node.inputs[0]].shape


class Quantize(Border, name="quantize"):
    """saturate(rint(x / scale) + zero) of float32, as ONNX QuantizeLinear, per tensor."""

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        out = tensors[node.outputs[0]]
        return quantize(inputs[0], quant_of(tensors, out.name), out.dtype)

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        return border_reason(node.inputs[0], node.outputs[0], tensors)

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        out = build.tensor(node.outputs[0])
        scale, zero = scalar_quant(out)
        low, high = limits(out.dtype)
        return {"op": vector.QUANTIZE, "scale": scale, "zero": zero, "low": low, "high": high}

    @classmethod
    def lower_before(cls, build: Builder, node: Node) -> None:
        uses = build.prepare(node.outputs[0], node.inputs[0], lambda box: box)
        build.inner.insert(0, StepSpec("map", uses, cls.numbers(build, node)))


class Dequantize(Border, name="dequantize"):
    """(x - zero) * scale in float32, as ONNX DequantizeLinear, per tensor."""

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        return dequantize(inputs[0], quant_of(tensors, node.inputs[0]))

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        return border_reason(node.outputs[0], node.inputs[0], tensors)

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        scale, zero = scalar_quant(build.tensor(node.inputs[0]))
        return {"op": vector.DEQUANTIZE, "scale": scale, "zero": zero}


def border_reason(real: str, integer: str, tensors: Tensors) -> str | None:
    quant = tensors[integer].quant
    if quant is None or quant.axis is not None:
        return "it is not quantised per tensor"
    if tensors[integer].dtype == np.uint16:
        return "the instruction's limits and zero point are signed"
    if tensors[real].dtype != np.float32 or tensors[integer].dtype not in OPERANDS:
        return f"it is between {tensors[real].dtype} and {tensors[integer].dtype}"
    return None
