"""Any function of one quantised value of 8 bits: a table of its 256 results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir.graph import Array, Node
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


def entries(dtype: np.dtype[np.generic]) -> Array:
    """Every value of an 8-bit type, in order."""
    low, high = limits(dtype)
    return np.arange(low, high + 1).astype(dtype)
