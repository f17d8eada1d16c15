"""A quantised operator in ONNX: DequantizeLinear* -> node -> [Relu|Clip]* -> QuantizeLinear.

QOperator nodes are imported in the same form, so that there is one way to recognise an operator.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from ..ir.edit import Editor
from ..ir.graph import Array, Node, Quant, Tensor
from .op import limits

INTEGER_OPS = (
    *("Reshape", "Transpose", "Slice", "Pad", "MaxPool"),
    *("Gather", "Expand", "Tile", "Resize", "Upsample"),
)
"""ONNX operators that choose among integers, without DequantizeLinear and QuantizeLinear."""

SUM_OPS = ("ConvInteger", "MatMulInteger")
"""ONNX operators that sum products of integers, likewise."""


class Refused(Exception):
    """The pattern is not one that the accelerator computes; the text is the reason."""


class Match(Struct, frozen=True):
    """`node` is the ONNX operator; `output` names the quantised result, of type `result`."""

    edit: Editor
    node: Node
    output: str
    low: int
    high: int
    loc: tuple[str, ...]
    bias: str = ""

    @property
    def result(self) -> Tensor:
        return self.edit.tensors[self.output]

    def attr(self, name: str, default: Any) -> Any:
        return self.node.attrs.get(name, default)

    def operand(self, index: int) -> str:
        """The integer tensor under input `index`, which must be dequantised."""
        return self.dequantized(self.node.inputs[index])

    def dequantized(self, name: str) -> str:
        found = self.edit.producer(name)
        if found is None or found.op != "onnx.DequantizeLinear":
            raise Refused(f"its input '{name}' is not quantised")
        return typed(self.edit, found.inputs[0], dequantizer(self.edit, found))

    def weight(self, index: int) -> str:
        """As `operand`, but constant."""
        name = self.operand(index)
        if self.edit.value(name) is None:
            raise Refused(f"its weight '{name}' is not constant")
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        return self.edit.tensors[name].shape

    def quant(self, name: str) -> Quant:
        quant = self.edit.tensors[name].quant
        if quant is None:
            raise Refused(f"the scale of '{name}' is not constant")
        return quant

    def bias_of(self, name: str, scale: Array) -> str:
        """An int32 constant: the one that is dequantised, or a float one in units of `scale`."""
        producer = self.edit.producer(name)
        if producer is not None and producer.op == "onnx.DequantizeLinear":
            under = self.edit.value(producer.inputs[0])
            if under is not None and under.dtype == np.int32:
                return self.flat_bias(producer.inputs[0], under, scale.size)
        value = constant_value(self.edit, name)
        if value is None:
            raise Refused(f"its bias '{name}' is not constant")
        units = np.rint(value.reshape(-1).astype(np.float64) / scale)
        clipped = np.clip(units, -(2**31), 2**31 - 1).astype(np.int32)
        return self.edit.constant(f"{name}.int32", clipped)

    def flat_bias(self, name: str, value: Array, channels: int) -> str:
        if value.ndim == 1 and value.size == channels:
            return name
        return self.edit.constant(f"{name}.flat", np.resize(value, channels))

    def make(self, op: str, inputs: Sequence[str], **attrs: Any) -> Node:
        """The node `op` that computes the matched result, clamped to low..high."""
        attrs |= {"low": self.low, "high": self.high}
        return Node(op, tuple(inputs), (self.output,), attrs, loc=self.loc)

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        """`name` with another shape, through an emitted view or a new constant."""
        if self.shape(name) == tuple(shape):
            return name
        value = self.edit.value(name)
        if value is not None:
            quant = self.edit.tensors[name].quant
            return self.edit.constant(f"{name}.reshaped", value.reshape(shape), quant)
        new = self.edit.like(name, f"{name}.reshaped", shape=tuple(shape))
        self.edit.emit(Node("reshape", (name,), (new,), loc=self.loc))
        return new

    def inside(self, shape: Sequence[int]) -> "Match":
        """The same match, whose result is first computed with another shape."""
        inner = self.edit.like(self.output, f"{self.output}.inner", shape=tuple(shape))
        return replace(self, output=inner)

    def view_as(self, outer: "Match", inner: Node) -> Node:
        self.edit.emit(inner)
        return Node("reshape", inner.outputs, (outer.output,), loc=outer.loc)


def constant_value(edit: Editor, name: str) -> Array | None:
    """The value of a constant, or of a dequantised constant, as it stands in the graph."""
    value = edit.value(name)
    producer = edit.producer(name)
    if value is None and producer is not None and producer.op == "onnx.DequantizeLinear":
        under, quant = edit.value(producer.inputs[0]), dequantizer(edit, producer)
        if under is not None and quant is not None:
            return dequantize(under, quant)
    return value


def dequantizer(edit: Editor, node: Node) -> Quant | None:
    """The Quant of a QuantizeLinear or DequantizeLinear; None if not constant, or blocked."""
    scale = edit.value(node.inputs[1])
    zero: Array | None = np.zeros(1, np.int32)
    if len(node.inputs) > 2 and node.inputs[2]:
        zero = edit.value(node.inputs[2])
    if (
        scale is None
        or zero is None
        or node.attrs.get("block_size", 0)
        or scale.dtype != np.float32
    ):
        return None
    if scale.size == 1:
        return Quant(scale.reshape(1), zero.reshape(-1)[:1].astype(np.int32))
    rank = len(edit.tensors[node.inputs[0]].shape)
    axis = node.attrs.get("axis", 1) % max(rank, 1)
    zeros = np.broadcast_to(zero.reshape(-1), scale.shape)
    return Quant(scale.reshape(-1), zeros.astype(np.int32), axis)


def typed(edit: Editor, name: str, quant: Quant | None) -> str:
    """`name` read with `quant`: itself, or a view of the same integers with the other meaning."""
    if quant is None:
        raise Refused(f"the scale of '{name}' is not constant and per tensor or per channel")
    known = edit.tensors[name].quant
    if known == quant:
        return name
    if known is None:
        edit.retype(name, quant=quant)
        return name
    value = edit.value(name)
    if value is not None:
        return edit.constant(f"{name}.requantized", value, quant)
    new = edit.like(name, f"{name}.reinterpreted", quant=quant)
    edit.emit(Node("reshape", (name,), (new,)))
    return new


def channelwise(quant: Quant, rank: int) -> tuple[Array, Array]:
    """Scale and zero point, shaped to broadcast over a tensor of `rank`."""
    if quant.axis is None:
        return quant.scale.reshape(()), quant.zero.reshape(())
    shape = [1] * rank
    shape[quant.axis] = -1
    return quant.scale.reshape(shape), quant.zero.reshape(shape)


def dequantize(values: Array, quant: Quant) -> Array:
    """ONNX DequantizeLinear, in float32."""
    scale, zero = channelwise(quant, values.ndim)
    real: Array = (values.astype(np.int32) - zero).astype(np.float32) * scale
    return real


def quantize(real: Array, quant: Quant, dtype: np.dtype[Any]) -> Array:
    """ONNX QuantizeLinear: saturate(rint(real / scale) + zero), in float32; NaN is the lowest, as
    in onnxruntime."""
    scale, zero = channelwise(quant, real.ndim)
    low, high = limits(dtype)
    with np.errstate(all="ignore"):
        steps = np.rint(real.astype(np.float32) / scale) + zero.astype(np.float32)
    values: Array = np.clip(np.nan_to_num(steps, nan=low), low, high).astype(dtype)
    return values
