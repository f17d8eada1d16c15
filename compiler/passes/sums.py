"""Whether the sums of 16-bit operands stay in the accumulators, whatever the input.

Sums wrap at 32 bits (isa/tensor.py), which is nothing to refuse for bytes: onnxruntime's wrap, too,
and not before 33,026 products. With int16 the second one may. Only the whole sum counts: what wraps
on the way comes back.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..ir.edit import Editor
from ..ir.graph import Array, Node
from ..ops.match import channelwise
from .ranges import integer_range

PSUM = np.iinfo(np.int32)


def overflow(edit: Editor, node: Node) -> str | None:
    """Why `node` cannot add up its products of 16-bit operands, or None."""
    wide = any(edit.tensors[name].dtype.itemsize > 1 for name in node.inputs[:2])
    if node.op not in ("conv2d", "matmul", "global_avgpool") or not wide:
        return None
    low, high = reach(edit, node)
    bias = edit.constants[node.inputs[2]].astype(np.int64) if len(node.inputs) > 2 else 0
    least, most = int((low + bias).min()), int((high + bias).max())
    if PSUM.min <= least and most <= PSUM.max:
        return None
    worst = most if most > PSUM.max else least
    return f"its sums may reach {worst}, which does not fit accumulators of 32 bits"


def reach(edit: Editor, node: Node) -> tuple[Array, Array]:
    """int64: the least and the greatest sum of products, per output channel if one side is
    constant."""
    x = spread(edit, node.inputs[0])
    if node.op == "global_avgpool":
        count = prod(edit.tensors[node.inputs[0]].shape[2:])
        return count * x[0], count * x[1]
    if node.op == "conv2d":
        return weighted(edit, node.inputs[1], x, (1, 2, 3))
    a, b = node.inputs[:2]
    if edit.value(b) is not None:
        return weighted(edit, b, x, (-2,))
    y = spread(edit, b)
    if edit.value(a) is not None:
        return weighted(edit, a, y, (-1,))
    products = np.outer(x, y) * edit.tensors[a].shape[-1]
    return products.min(), products.max()


def spread(edit: Editor, name: str) -> Array:
    """int64[2]: the least and the greatest distance from the zero point; 0, of padding, between."""
    quant, bounds = edit.tensors[name].quant, integer_range(edit, name)
    zero = np.zeros(1, np.int64) if quant is None else quant.zero.astype(np.int64)
    return np.array([min(bounds[0] - zero.max(), 0), max(bounds[1] - zero.min(), 0)])


def weighted(edit: Editor, name: str, x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """The sums over `axes` of a constant times values between x[0] and x[1]."""
    w, quant = edit.constants[name], edit.tensors[name].quant
    if quant is not None and quant.zero.any():
        _, zero = channelwise(quant, w.ndim)
        w = w.astype(np.int32) - zero
    keep = axes != (1, 2, 3)
    plus, minus = (w.sum(axes, np.int64, keepdims=keep, where=chosen) for chosen in (w > 0, w < 0))
    return plus * x[0] + minus * x[1], plus * x[1] + minus * x[0]
