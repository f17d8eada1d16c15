"""Softmax of quantised values, as com.microsoft QLinearSoftmax, in ONNX operators for the host."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ..ir.graph import Array, Node, Quant
from .match import Match, Refused
from .op import Op, limits

STEPS = 255
"""The widest difference of two 8-bit values."""


class Softmax(Op, onnx=("Softmax",)):
    """q = min(rint(table[x - max] * levels / sum of table[x - max]) + zero, highest).

    The table holds exp in float32, scaled so that its sum cannot overflow; the sum is sequential.
    onnxruntime: contrib_ops/cpu/quantization/qlinear_softmax.cc. Nothing of it is a class of nodes:
    it becomes onnx.* nodes whose results are exactly that kernel's.
    """

    @classmethod
    def recognize(cls, match: Match) -> Node:
        x = match.operand(0)
        shape, dtype = match.shape(x), match.edit.tensors[x].dtype
        axis = match.attr("axis", -1 if match.edit.graph.opset >= 13 else 1) % len(shape)
        if match.attr("kernel", "float") != "integer" or axis != len(shape) - 1:
            raise Refused("Softmax is not an operator of the accelerator")
        if dtype.itemsize != 1 or dtype != match.result.dtype:
            raise Refused(f"an integer Softmax from {dtype} to {match.result.dtype}")
        return expand(match, x, axis)


def expand(match: Match, x: str, axis: int) -> Node:
    chain = Chain(match)
    wide = chain.step("Cast", [x], np.int32, to=int(TensorProto.INT32))
    highest = chain.reduce_max(wide, axis)
    below = chain.step("Sub", [wide, highest], np.int32)
    index = chain.step("Add", [below, chain.constant(np.int32(STEPS))], np.int32)
    size = match.shape(x)[axis]
    table = chain.constant(exponentials(match.quant(x), size))
    power = chain.step("Gather", [table, index], np.float32, axis=0)
    sums = chain.step("CumSum", [power, chain.constant(np.array(axis, np.int64))], np.float32)
    last = chain.constant(np.array([size - 1], np.int64))
    total = chain.step("Gather", [sums, last], np.float32, axis=axis)
    y, top = match.quant(match.output), limits(match.result.dtype)[1]
    levels = np.float32(np.floor(np.float32(1) / y.scale[0]))
    scaled = chain.step("Mul", [power, chain.constant(levels)], np.float32)
    share = chain.step("Div", [scaled, total], np.float32)
    steps = chain.step("Round", [share], np.float32)
    placed = chain.step("Add", [steps, chain.constant(np.float32(y.zero[0]))], np.float32)
    capped = chain.step("Min", [placed, chain.constant(np.float32(top))], np.float32)
    kind = TensorProto.INT8 if match.result.dtype == np.int8 else TensorProto.UINT8
    return Node(
        "onnx.Cast",
        (capped,),
        (match.output,),
        {"to": int(kind), "reason": Chain.reason},
        loc=match.loc,
    )


def exponentials(quant: Quant, size: int) -> Array:
    """exp of -255..0 steps of the scale, times what keeps `size` of them from overflowing."""
    scale = float(quant.scale[0])
    room = np.log(np.finfo(np.float32).max / np.float32(size), dtype=np.float32)
    shift = max(0.0, float(room) - 5) / scale
    powers: Array = np.exp((np.arange(-STEPS, 1) + shift) * scale).astype(np.float32)
    return powers


class Chain:
    """Emits onnx nodes on values of the matched result's shape."""

    reason = "Softmax is not an operator of the accelerator"

    def __init__(self, match: Match) -> None:
        self.match = match

    def constant(self, value: Array | np.generic) -> str:
        return self.match.edit.constant(f"{self.match.output}.softmax", np.asarray(value))

    def step(self, op: str, inputs: list[str], dtype: type[np.generic], **attrs: int) -> str:
        edit, output = self.match.edit, self.match.output
        shapes = [edit.tensors[i].shape for i in inputs]
        shape = self.match.result.shape if op != "Gather" or attrs["axis"] == 0 else None
        shape = shape or (*shapes[0][:-1], 1)
        name = edit.tensor(f"{output}.{op.lower()}", shape, dtype)
        said = {**attrs, "reason": self.reason}
        edit.emit(Node(f"onnx.{op}", tuple(inputs), (name,), said, loc=self.match.loc))
        return name

    def reduce_max(self, x: str, axis: int) -> str:
        edit = self.match.edit
        name = edit.tensor(f"{x}.max", (*edit.tensors[x].shape[:-1], 1), np.int32)
        said: dict[str, object] = {"reason": self.reason}
        inputs: tuple[str, ...] = (x,)
        if edit.graph.opset >= 18:
            inputs = (x, self.constant(np.array([axis], np.int64)))
        else:
            said["axes"] = (axis,)
        edit.emit(Node("onnx.ReduceMax", inputs, (name,), said, loc=self.match.loc))
        return name
