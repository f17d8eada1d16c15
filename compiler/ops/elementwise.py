"""Sums, products and the like of two quantised tensors, as onnxruntime computes them.

Attribute `kernel` says how (frontend/kernels.py): "integer", the default, is QLinearAdd or
QLinearMul; "lifted" is that on uint8, 128 above these int8 values, where float32 rounds otherwise;
"float" is the float operator between DequantizeLinear and QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from dnncc.isa import numerics, vector

from ..ir.graph import Array, Graph, Node
from ..mapping.build import (
    OUT,
    Builder,
    broadcast_box,
    elementwise_box,
    scalar_quant,
    with_residual,
)
from ..mapping.workload import StepSpec
from .match import Match, Refused, dequantize
from .op import Op, Tensors
from .scale import product_scale, quant_of


class Elementwise(Op):
    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return np.broadcast_shapes(*(tensors[i].shape for i in node.inputs))

    @classmethod
    def recognize(cls, match: Match) -> Node:
        if match.bias or len(match.node.inputs) != 2:
            raise Refused("it has not two operands")
        shapes = [match.shape(name) for name in match.node.inputs]
        if not broadcasts(shapes):
            raise Refused(f"shapes {shapes[0]} and {shapes[1]} do not broadcast")
        kernel = match.attr("kernel", "integer")
        attrs = {} if kernel == "integer" else {"kernel": kernel}
        return match.make(cls.name, [match.operand(0), match.operand(1)], **attrs)

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        real = (
            cls.real(node, tensors, inputs) if is_float(node) else cls.steps(node, tensors, inputs)
        )
        out = tensors[node.outputs[0]]
        zero = int(quant_of(tensors, out.name).zero[0]) if is_float(node) else -lift(node)
        low, high = node.attrs["low"], node.attrs["high"]
        return numerics.round_and_shift(real, zero, low, high, out.dtype)

    @classmethod
    def real(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        """The float operator's result, in steps of the result's scale."""
        a, b = (
            dequantize(value, quant_of(tensors, name))
            for name, value in zip(node.inputs, inputs, strict=True)
        )
        result: Array = cls.combine(a, b) / quant_of(tensors, node.outputs[0]).scale
        return result

    @classmethod
    def combine(cls, a: Array, b: Array) -> Array:
        raise NotImplementedError(cls.name)

    @classmethod
    def steps(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        """The integer kernel's result before it is rounded, its zero point in it."""
        raise NotImplementedError(cls.name)

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        y = node.outputs[0]
        build.box = elementwise_box(build, build.tensor(y).shape)
        uses = {
            role: build.read(role, name, broadcast_box(build.tensor(name).shape, build.box))
            for role, name in zip("ab", node.inputs, strict=True)
        }
        step = StepSpec("elementwise", {**uses, "out": (OUT, y)}, cls.numbers(build, node))
        build.outer.append(step)

    @classmethod
    def lower_onto(cls, build: Builder, node: Node) -> None:
        """One operand is what the group has computed so far, the other is read."""
        last, y = build.outer[-1], node.outputs[0]
        ((role, name),) = (
            (role, name)
            for role, name in zip("ab", node.inputs, strict=True)
            if name != last.uses["out"][1]
        )
        box = broadcast_box(build.tensor(name).shape, build.box)
        use, numbers = build.read(f"side_{role}", name, box), cls.numbers(build, node)
        if last.op == "requantize":
            build.outer[-1] = with_residual(last, role, use, y, numbers)
            return
        chained = "ab".replace(role, ""), last.uses["out"]
        uses = dict((chained, (role, use), ("out", (OUT, y))))
        build.outer.append(StepSpec("elementwise", uses, numbers))

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        """The instruction's scales, zero points and limits."""
        terms = real_terms(node, build.graph) if is_float(node) else cls.terms(node, build.graph)
        return {"low": node.attrs["low"], "high": node.attrs["high"], **terms}

    @classmethod
    def terms(cls, node: Node, graph: Graph) -> dict[str, Any]:
        """The scales and zero points of the integer kernel."""
        raise NotImplementedError(cls.name)


def broadcasts(shapes: Sequence[tuple[int, ...]]) -> bool:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def is_float(node: Node) -> bool:
    return node.attrs.get("kernel") == "float"


def lift(node: Node) -> int:
    """How far above the values of these tensors the integer kernel's are."""
    return 128 if node.attrs.get("kernel") == "lifted" else 0


class Add(Elementwise, name="add", onnx=("Add",)):
    """y = clamp(rint(fma(a, scale_a, fma(b, scale_b, offset)))), with numpy broadcasting; lifted, a
    and b are 128 more and y less.

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
    def combine(cls, a: Array, b: Array) -> Array:
        return a + b

    @classmethod
    def steps(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        scale_a, scale_b, offset = add_terms(node, tensors)
        a, b = (v.astype(np.float32) + np.float32(lift(node)) for v in inputs)
        return fma(a, scale_a, fma(b, scale_b, offset))

    @classmethod
    def terms(cls, node: Node, graph: Graph) -> dict[str, Any]:
        scale_a, scale_b, offset = (float(term) for term in add_terms(node, graph.tensors))
        zeros = dict.fromkeys(("zero_a", "zero_b", "zero"), -lift(node))
        scales = {"scale_a": scale_a, "scale_b": scale_b, "offset": offset}
        return {"op": vector.QADD, **scales, **zeros}


def add_terms(node: Node, tensors: Tensors) -> tuple[np.float32, np.float32, np.float32]:
    """scale_a, scale_b and offset of `add`."""
    a, b, y = (quant_of(tensors, name) for name in (*node.inputs, node.outputs[0]))
    scale_a, scale_b = a.scale[0] / y.scale[0], b.scale[0] / y.scale[0]
    zero_a, zero_b, zero = (np.float32(q.zero[0] + lift(node)) for q in (a, b, y))
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
    def combine(cls, a: Array, b: Array) -> Array:
        return a * b

    @classmethod
    def steps(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        a, b, y = (quant_of(tensors, name) for name in (*node.inputs, node.outputs[0]))
        product = (inputs[0].astype(np.int32) - a.zero) * (inputs[1].astype(np.int32) - b.zero)
        scale = a.scale * b.scale / y.scale
        scaled: Array = product.astype(np.float32) * scale + np.float32(y.zero + lift(node))
        return scaled

    @classmethod
    def terms(cls, node: Node, graph: Graph) -> dict[str, Any]:
        a, b, y = (scalar_quant(graph.tensors[i])[1] for i in (*node.inputs, node.outputs[0]))
        scale, shift = product_scale(node, graph.tensors), lift(node)
        zeros = {"zero_a": a, "zero_b": b, "offset": float(y + shift), "zero": -shift}
        return {"op": vector.QMUL, "scale_a": float(scale[0]), **zeros}


class Real(Elementwise):
    """An operator for which onnxruntime has no integer kernel: between DequantizeLinear and
    QuantizeLinear, in float32."""

    @classmethod
    def recognize(cls, match: Match) -> Node:
        node = super().recognize(match)
        return replace(node, attrs={**node.attrs, "kernel": "float"})


class Sub(Real, name="sub", onnx=("Sub",)):
    """y = clamp(rint(((a - zero) * scale - (b - zero) * scale) / scale) + zero).

    The instruction is that of a sum, b's scale negative.
    """

    @classmethod
    def combine(cls, a: Array, b: Array) -> Array:
        return a - b

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        terms = super().numbers(build, node)
        return {**terms, "scale_b": -terms["scale_b"]}


class Div(Real, name="div", onnx=("Div",)):
    """As `sub`, of a quotient."""

    @classmethod
    def combine(cls, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return a / b


class Max(Real, name="max", onnx=("Max",)):
    """As `sub`, of the greater one."""

    @classmethod
    def combine(cls, a: Array, b: Array) -> Array:
        return np.maximum(a, b)


class Min(Real, name="min", onnx=("Min",)):
    """As `sub`, of the lesser one."""

    @classmethod
    def combine(cls, a: Array, b: Array) -> Array:
        return np.minimum(a, b)


class PRelu(Real, name="prelu", onnx=("PRelu",)):
    """As `sub`, of a, times b where it is negative."""

    @classmethod
    def combine(cls, a: Array, b: Array) -> Array:
        return np.where(a < 0, a * b, a)


REAL_CODES = {
    "add": vector.REAL_ADD, "sub": vector.REAL_ADD, "mul": vector.REAL_MUL,
    "div": vector.REAL_DIV, "max": vector.REAL_MAX, "min": vector.REAL_MIN,
    "prelu": vector.REAL_PRELU,
}  # fmt: skip


def real_terms(node: Node, graph: Graph) -> dict[str, Any]:
    code = REAL_CODES[node.op]
    a, b, y = (scalar_quant(graph.tensors[i]) for i in (*node.inputs, node.outputs[0]))
    scales = {"scale_a": a[0], "scale_b": b[0], "offset": y[0]}
    return {"op": code, **scales, "zero_a": a[1], "zero_b": b[1], "zero": y[1]}
