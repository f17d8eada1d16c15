"""Any function of one quantised value of 8 bits: a table of its 256 results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnncc.isa import vector

from ..ir.graph import Array, Node
from ..ir.tile import Dim
from ..mapping.build import OUT, Builder, elementwise_box, with_table
from ..mapping.workload import StepSpec
from .op import Op, Tensors, limits

ENTRIES = 256


class Lut(Op, name="lut"):
    """y = table[x - lowest value of x's type]; the second input is the table, of y's type."""

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return tensors[node.inputs[0]].shape

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        x, table = inputs
        values: Array = table[x.astype(np.intp) - limits(x.dtype)[0]]
        return values

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        build.box = elementwise_box(build, build.tensor(node.outputs[0]).shape)
        uses = cls.table(build, node)
        uses |= {"x": build.read("ifmap", node.inputs[0], build.box), "out": (OUT, node.outputs[0])}
        build.outer.append(StepSpec("map", uses, cls.numbers(build, node)))

    @classmethod
    def lower_onto(cls, build: Builder, node: Node) -> None:
        """Psums are looked up where they are requantised."""
        last, uses, numbers = build.outer[-1], cls.table(build, node), cls.numbers(build, node)
        if last.op in ("requantize", "residual"):
            build.outer[-1] = with_table(last, uses["table"], node.outputs[0], numbers["first"])
            return
        uses |= {"x": (OUT, node.inputs[0]), "out": (OUT, node.outputs[0])}
        build.outer.append(StepSpec("map", uses, numbers))

    @classmethod
    def table(cls, build: Builder, node: Node) -> dict[str, tuple[str, str]]:
        whole = (Dim.whole(build.tensor(node.inputs[1]).size),)
        return {"table": build.read("table", node.inputs[1], whole, "params")}

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, int]:
        return {"op": vector.TABLE, "first": limits(build.tensor(node.inputs[0]).dtype)[0]}


def entries(dtype: np.dtype[np.generic]) -> Array:
    """Every value of an 8-bit type, in order."""
    low, high = limits(dtype)
    return np.arange(low, high + 1).astype(dtype)
