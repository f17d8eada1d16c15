"""ConvInteger and MatMulInteger: sums of integer products that stay int32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from ..ir.graph import Array, Node, Quant
from .conv import build as convolution
from .conv import convolve, recognize_1d
from .match import Match, Refused, typed
from .matmul import product
from .op import Op
from .window import padded, window_attrs

INT32 = np.dtype(np.int32)


class MatMulInteger(Op, onnx=("MatMulInteger",)):
    """It is recognised as a `matmul` whose result is int32, so no node of the Graph is one.

    A zero point of the first operand that is computed, as by DynamicQuantizeLinear, is taken off
    the sums afterwards: (a - z) @ b = a @ b - z * (sums of b's columns).
    """

    @classmethod
    def recognize(cls, match: Match) -> Node:
        a, b = (operand(match, index) for index in (0, 1))
        if min(len(match.shape(name)) for name in (a, b)) < 2:
            raise Refused("an operand of it is a vector")
        if known_zero(match, 2) is not None:
            return product(match, a, b, "")
        inner = unsettled(match)
        match.edit.emit(product(inner, a, b, ""))
        return settled(match, inner.output, weights(match, b).sum(axis=-2, keepdims=True))


class ConvInteger(Op, onnx=("ConvInteger",)):
    """It is recognised as a `conv2d` whose result is int32, so no node of the Graph is one.

    A zero point of the input that is computed is taken off as in MatMulInteger; at the borders the
    weights that lie in the padding are no part of what it is multiplied with.
    """

    @classmethod
    def recognize(cls, match: Match) -> Node:
        x, w = (operand(match, index) for index in (0, 1))
        bare = replace(match, node=replace(match.node, inputs=match.node.inputs[:2]))
        if known_zero(match, 2) is not None:
            return summed(bare, x, w)
        inner = unsettled(bare)
        made = summed(inner, x, w)
        match.edit.emit(made)
        return settled(match, inner.output, taps(match, x, w))


def summed(match: Match, x: str, w: str) -> Node:
    if len(match.shape(w)) == 3:
        return recognize_1d(match, x, w)
    if len(match.shape(w)) != 4:
        raise Refused(f"it has {len(match.shape(w)) - 2} spatial dimensions, not 1 or 2")
    return convolution(match, x, w, window_attrs(match.node, match.shape(w)[2:]))


def operand(match: Match, index: int) -> str:
    """The integers, with their zero point; 0 for one that is computed. Raises Refused."""
    name, zero = match.node.inputs[index], known_zero(match, index + 2)
    if index == 1 and zero is None:
        raise Refused("the zero point of its second operand is not constant")
    zeros = np.zeros(1, np.int32) if zero is None else zero.reshape(-1).astype(np.int32)
    if index == 0 and zeros.size > 1:
        raise Refused("its first operand has a zero point per row")
    along = 0 if match.node.op == "onnx.ConvInteger" else len(match.shape(name)) - 1
    axis = None if zeros.size == 1 else along
    return typed(match.edit, name, Quant(np.ones(zeros.size, np.float32), zeros, axis))


def known_zero(match: Match, index: int) -> Array | None:
    """The zero point in input `index`, 0 if it is absent; None if it is computed."""
    name = (*match.node.inputs, "", "", "")[index]
    return match.edit.value(name) if name else np.zeros(1, np.int32)


def weights(match: Match, name: str) -> Array:
    """int64: a constant less its zero point. Raises Refused."""
    value, quant = match.edit.value(name), match.quant(name)
    if value is None:
        raise Refused("a zero point is computed, and so is the other operand")
    shape = [1] * value.ndim
    shape[quant.axis or 0] = -1
    return np.asarray(value.astype(np.int64) - quant.zero.reshape(shape))


def taps(match: Match, x: str, w: str) -> Array:
    """Of each result, the sum of the weights that meet its input."""
    values = weights(match, w).astype(np.float64)
    spatial = len(match.shape(w)) - 2
    attrs = window_attrs(match.node, (1, 1, *match.shape(w)[2:])[-2:])
    node = Node("conv2d", (), (), {**attrs, "group": match.attr("group", 1)})
    channels, *sizes = match.shape(x)[1:]
    ones = np.ones((1, channels, *(1, *sizes)[-2:]))
    kernel = values.reshape(*values.shape[:2], *(1, *values.shape[2:])[-2:])
    found = convolve(padded(ones, attrs["pads"], 0.0), kernel, node)
    return found.reshape(found.shape[:2] + found.shape[-spatial:])


def unsettled(match: Match) -> Match:
    """The same match, from whose result the zero point has still to be taken off."""
    return match.inside(match.result.shape)


def settled(match: Match, sums: str, factor: Array) -> Node:
    """sums - zero point * factor, in int32."""
    edit, zero = match.edit, match.node.inputs[2]
    known = edit.constant(f"{match.output}.factor", factor.astype(np.int32))
    moved = edit.tensor(f"{match.output}.moved", factor.shape, INT32)
    emit(match, "mul", (zero, known), moved)
    attrs = {"function": "sub"}
    return Node("binary", (sums, moved), (match.output,), attrs, loc=match.loc)


def emit(match: Match, function: str, inputs: Sequence[str], output: str) -> None:
    node = Node("binary", tuple(inputs), (output,), {"function": function}, loc=match.loc)
    match.edit.emit(node)
