"""Writes an ONNX operator as lane nodes, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from ..ir.edit import Editor
from ..ir.graph import Array, Node
from .lanes import LONG, Reduce
from .match import Refused, constant_value, dequantizer, typed
from .op import OPERANDS, Op

if TYPE_CHECKING:
    from dnncc.targets import Target

REAL = np.dtype(np.float32)


class Chain(Struct, frozen=True):
    """Emits the nodes that compute `node`; raises Refused where the vector engine cannot."""

    edit: Editor
    node: Node
    target: Target | None
    known: dict[str, str]
    """By the results of DequantizeLinears, those of the nodes that stand for them."""

    @property
    def result(self) -> str:
        return self.node.outputs[0]

    def attr(self, name: str, default: Any) -> Any:
        return self.node.attrs.get(name, default)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.edit.tensors[name].shape

    def value(self, index: int) -> Array | None:
        """The value of an input that is constant."""
        name = self.node.inputs[index] if len(self.node.inputs) > index else ""
        return constant_value(self.edit, name) if name else None

    def input(self, index: int = 0) -> str:
        """The float32 value of an input; of a quantised one, through a `dequantize`. Or that of
        other numbers, int64 as the int32 that was stored so.
        """
        name = self.node.inputs[index]
        producer = self.edit.producer(name)
        if self.edit.value(name) is not None or producer is None:
            return name
        if producer.op == "cast" and self.edit.tensors[name].dtype == LONG:
            return producer.inputs[0]
        if producer.op != "onnx.DequantizeLinear":
            return name
        return self.dequantized(name, producer)

    def dequantized(self, name: str, border: Node) -> str:
        value, quant = constant_value(self.edit, name), dequantizer(self.edit, border)
        if value is not None:
            return self.constant(value)
        if quant is None or quant.axis is not None:
            raise Refused(f"its input '{name}' is not quantised per tensor")
        if self.edit.tensors[border.inputs[0]].dtype not in OPERANDS:
            raise Refused(f"its input '{name}' is not of 8 or 16 bits")
        if name not in self.known:
            source = typed(self.edit, border.inputs[0], quant)
            made = self.emit("dequantize", (source,), self.shape(name), loc=border.loc)
            self.known[name] = made
        return self.known[name]

    def constant(self, value: Any, dtype: np.dtype[Any] = REAL) -> str:
        return self.edit.constant(f"{self.result}.constant", np.asarray(value, dtype))

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        dtype: np.dtype[Any] = REAL,
        loc: Sequence[str] = (),
        **attrs: Any,
    ) -> str:
        name = self.edit.tensor(f"{self.result}.{attrs.get('function', op)}", shape, dtype)
        node = Node(op, tuple(inputs), (name,), attrs, loc=(*loc, *self.node.loc))
        reason = Op.named[op].reason_not(node, self.edit.tensors, self.target)
        if reason:
            raise Refused(reason)
        self.edit.emit(node)
        return name

    # Steps; a number stands for a constant

    def unary(self, function: str, x: str) -> str:
        return self.emit("unary", (x,), self.shape(x), function=function)

    def binary(
        self, function: str, a: str | float, b: str | float, dtype: np.dtype[Any] = REAL
    ) -> str:
        a, b = (v if isinstance(v, str) else self.constant(v) for v in (a, b))
        try:
            shape = np.broadcast_shapes(self.shape(a), self.shape(b))
        except ValueError:
            raise Refused(f"shapes {self.shape(a)} and {self.shape(b)} do not broadcast") from None
        return self.emit("binary", (a, b), shape, dtype, function=function)

    def add(self, a: str | float, b: str | float) -> str:
        return self.binary("add", a, b)

    def sub(self, a: str | float, b: str | float) -> str:
        return self.binary("sub", a, b)

    def mul(self, a: str | float, b: str | float) -> str:
        return self.binary("mul", a, b)

    def div(self, a: str | float, b: str | float) -> str:
        return self.binary("div", a, b)

    def above(self, x: str, bound: str | float) -> str:
        return self.binary("max", x, bound)

    def below(self, x: str, bound: str | float) -> str:
        return self.binary("min", x, bound)

    def reduce(self, function: str, x: str, axes: Sequence[int]) -> str:
        """Over all of `axes` at once, or one after the other where they do not fit."""
        axes = tuple(sorted(a % max(len(self.shape(x)), 1) for a in axes))
        if not self.folds(x, axes) and len(axes) > 1:
            for axis in reversed(axes):
                x = self.reduce(function, x, (axis,))
            return x
        tensor = self.edit.tensors[x]
        shape = tuple(1 if i in axes else n for i, n in enumerate(tensor.shape))
        return self.emit("reduce", (x,), shape, tensor.dtype, function=function, axes=axes)

    def folds(self, x: str, axes: tuple[int, ...]) -> bool:
        node = Node("reduce", (x,), (x,), {"axes": axes})
        return Reduce.fold_reason(node, self.edit.tensors, self.target) is None

    def reshaped(self, x: str, shape: Sequence[int]) -> str:
        value = self.edit.value(x)
        if value is not None:
            return self.constant(value.reshape(tuple(shape)))
        name = self.edit.like(x, f"{x}.reshaped", shape=tuple(shape))
        self.edit.emit(Node("reshape", (x,), (name,), loc=self.node.loc))
        return name

    def mean(self, x: str, axes: Sequence[int]) -> str:
        count = prod(self.shape(x)[axis] for axis in axes)
        return self.div(self.reduce("sum", x, axes), float(count))

    def finish(self, name: str) -> None:
        """`name` is what the operator computes: its result, in the declared shape."""
        edit, wanted = self.edit, self.shape(self.result)
        if prod(self.shape(name)) != prod(wanted):
            raise Refused(f"its result would be {list(self.shape(name))}, not {list(wanted)}")
        last = edit.nodes[-1] if edit.nodes else None
        if last is not None and last.outputs == (name,) and self.shape(name) == wanted:
            edit.nodes.pop()
            edit.emit(replace(last, outputs=(self.result,)))
        else:
            edit.emit(Node("reshape", (name,), (self.result,), loc=self.node.loc))
