"""What an operator of the Graph is: one class, declared once, found by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from msgspec.structs import replace

from ..ir.graph import Array, Node, Tensor

if TYPE_CHECKING:
    from dnncc.targets import Target

    from ..mapping.build import Builder
    from .match import Match

Tensors = Mapping[str, Tensor]

LARGEST_WINDOW = 255
OPERANDS = tuple(np.dtype(t) for t in ("int8", "uint8", "int16"))
"""Of quantised values: zero points and limits of instructions are int16."""


class Op:
    """Subclasses register by being defined; `onnx` names the ONNX operators they are forms of.

    All have one result. Nothing is ever instantiated.
    """

    name: ClassVar[str]
    is_view: ClassVar[bool] = False
    """Its result is its input's storage, addressed otherwise: it computes nothing."""

    named: ClassVar[dict[str, type[Op]]] = {}
    recognizers: ClassVar[dict[str, type[Op]]] = {}
    """By `onnx.NAME`."""

    def __init_subclass__(cls, name: str = "", onnx: tuple[str, ...] = ()) -> None:
        Op.recognizers.update((f"onnx.{operator}", cls) for operator in onnx)
        if name:
            cls.name = name
            Op.named[name] = cls

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        """The shape of the result."""
        raise NotImplementedError(cls.name)

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        """The reference semantics; an absent optional input is not in `inputs`."""
        raise NotImplementedError(cls.name)

    @classmethod
    def recognize(cls, match: Match) -> Node:
        """The node of this class that computes the matched ONNX nodes; raises Refused."""
        raise NotImplementedError(cls.name)

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        """Why the accelerator cannot take `node`, or None."""
        return operand_reason(node, tensors)

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        """Open the loops of a group: add its operands, its loops and its steps to `build`."""
        raise NotImplementedError(cls.name)

    @classmethod
    def lower_onto(cls, build: Builder, node: Node) -> None:
        """Add a step that works on what the group has computed so far."""
        raise NotImplementedError(cls.name)

    @classmethod
    def lower_before(cls, build: Builder, node: Node) -> None:
        """Add a step that makes an input of the group, tile by tile."""
        raise NotImplementedError(cls.name)


def operand_reason(node: Node, tensors: Tensors) -> str | None:
    """Accelerator values are int8, uint8 or int16, besides int32 biases."""
    for name in (*node.inputs[:2], *node.outputs):
        if name and tensors[name].dtype not in OPERANDS:
            return f"'{name}' is {tensors[name].dtype}, not int8, uint8 or int16"
        if name and not tensors[name].size:
            return f"'{name}' is empty"
    return None


def array_reason(node: Node, tensors: Tensors, target: Target | None) -> str | None:
    """Why the PE array cannot multiply the first two operands of `node`; sums may stay int32."""
    if target is not None:
        for dtype in (str(tensors[name].dtype) for name in node.inputs[:2]):
            if dtype not in target.datapath.operands:
                return f"the array of {target.name} does not multiply {dtype}"
    summed = tensors[node.outputs[0]].dtype == np.int32
    return operand_reason(replace(node, outputs=()) if summed else node, tensors)


def window_reason(node: Node, kernel: Sequence[int]) -> str | None:
    """Windows are described by bytes."""
    sizes = (*kernel, *(n for a in ("strides", "dilations", "pads") for n in node.attrs[a]))
    if not 0 <= min(sizes) <= max(sizes) <= LARGEST_WINDOW:
        return f"a window, stride or pad outside of 0..{LARGEST_WINDOW}"
    return None


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)
