"""How integer sums become quantised values again, in onnxruntime's order of float32 operations."""

import numpy as np

from dnncc.isa import numerics

from ..ir.graph import Array, Node, Quant, Tensor
from .op import Tensors


def quant_of(tensors: Tensors, name: str) -> Quant:
    quant = tensors[name].quant
    if quant is None:
        raise ValueError(f"tensor '{name}' has no scale")
    return quant


def product_scale(node: Node, tensors: Tensors) -> Array:
    """float32[1] or float32[channels]: (scale of x * scale of w) / scale of y."""
    x, w = (quant_of(tensors, name) for name in node.inputs[:2])
    y = quant_of(tensors, node.outputs[0])
    product = x.scale * w.scale
    return np.asarray(product / y.scale, np.float32)


def centered(values: Array, tensor: Tensor) -> Array:
    """values - zero point, in float64: exact, and fast to multiply."""
    if tensor.quant is None:
        raise ValueError(f"tensor '{tensor.name}' has no scale")
    zero = tensor.quant.zero
    if tensor.quant.axis is not None:
        shape = [1] * values.ndim
        shape[tensor.quant.axis] = -1
        zero = zero.reshape(shape)
    out: Array = values.astype(np.float64) - zero
    return out


def requantized(sums: Array, node: Node, tensors: Tensors, axis: int) -> Array:
    """clamp(rint(float32(int32 sum) * scale) + zero); channels of the scale lie along `axis`. A
    result that is int32 is the sum."""
    out = tensors[node.outputs[0]]
    if out.dtype == np.int32:
        return numerics.to_int32(sums)
    scale = product_scale(node, tensors)
    if scale.size > 1:
        shape = [1] * sums.ndim
        shape[axis] = -1
        scale = scale.reshape(shape)
    zero, low, high = quant_of(tensors, out.name).zero[0], node.attrs["low"], node.attrs["high"]
    return numerics.requantize(numerics.to_int32(sums), scale, int(zero), low, high, out.dtype)
