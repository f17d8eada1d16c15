"""Growths that make maps larger or smaller, or choose of them: Resize, ConvTranspose, Gather."""

from __future__ import annotations

from math import floor, prod

import numpy as np

from .graphs import Network, Value, root, small
from .growth import Growth, biases, moved, size_of, weights

NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
FACTORS = (0.5, 0.75, 1, 1.5, 2, 2, 3)
BINARY = (0.5, 1, 2, 2)
"""Scales for which float32 holds the weights of a linear interpolation."""


def enlarge(net: Network, x: Value) -> Value | None:
    """Resize, nearest by any factor, or linear by such as are exact."""
    linear = net.maybe() and x.is_exact and not net.qoperator
    factors = [float(net.choose(BINARY if linear else FACTORS)) for _ in x.shape[2:]]
    shape = (*x.shape[:2], *(floor(n * f) for n, f in zip(x.shape[2:], factors, strict=True)))
    if not small(shape) or min(shape) < 1 or max(factors) == 1:
        return None
    modes = ["half_pixel", "asymmetric", "pytorch_half_pixel"]
    attrs = {
        "mode": "linear" if linear else "nearest",
        "coordinate_transformation_mode": net.choose(modes),
    }
    if not linear:
        attrs["nearest_mode"] = net.choose(NEAREST)
    extra = ["", net.constant(np.array([1, 1, *factors], np.float32))]
    if linear:
        return net.computed("Resize", [x], shape, x.spread, exact=True, extra=extra, **attrs)
    if net.dtype == "uint8" and net.maybe():
        return moved(net, x, "Resize", shape, extra=extra, **attrs)
    return None if net.qoperator else net.computed(
        "Resize", [x], shape, x.spread, extra=extra, **attrs
    )  # fmt: skip


def transposed_convolution(net: Network, x: Value) -> Value | None:
    """ConvTranspose; onnxruntime adds in float32, so scales are powers of two."""
    if net.qoperator or not x.is_exact:
        return None
    rank, channels = len(x.shape) - 2, x.shape[1]
    kernel = [int(net.rng.integers(1, 5)) for _ in range(rank)]
    strides = [int(net.rng.integers(1, 4)) for _ in range(rank)]
    pads = [int(net.rng.integers(0, k)) for k in (*kernel, *kernel)]
    more = [int(net.rng.integers(0, s)) for s in strides]
    group = channels if net.maybe(4) else 1
    w_shape = (channels, int(net.rng.integers(1, 9)) if group == 1 else 1, *kernel)
    sizes = (
        (n - 1) * s + k - pads[i] - pads[i + rank] + extra
        for i, (n, s, k, extra) in enumerate(zip(x.shape[2:], strides, kernel, more, strict=True))
    )
    shape = (1, w_shape[1] * group, *sizes)
    if min(shape) < 1 or not small(shape):
        return None
    attrs = {"kernel_shape": kernel, "strides": strides, "pads": pads, "output_padding": more}
    return spread_out(net, x, w_shape, shape, attrs | {"group": group})


def spread_out(
    net: Network,
    x: Value,
    w_shape: tuple[int, ...],
    shape: tuple[int, ...],
    attrs: dict[str, object],
) -> Value:
    """The transposed convolution, with a scale for all weights, and a bias or not."""
    w, scale, zero = weights(net, w_shape, 1, exact=True)
    scale, zero = scale.ravel()[:1].reshape(()), zero.ravel()[:1].reshape(())
    names = [net.constant(v) for v in (w, scale, zero)]
    extra = [net.add("DequantizeLinear", names, f"{names[0]}_real")]
    spread = x.spread * float(scale) * size_of(w) * root(prod(w_shape) // max(shape[1], 1))
    if net.maybe():
        unit = np.float32(x.scale) * scale
        bias = [biases(net, spread, shape[1], unit), unit, np.int32(0)]
        inputs = [net.constant(v) for v in bias]
        extra.append(net.add("DequantizeLinear", inputs, f"{inputs[0]}_real"))
    return net.computed("ConvTranspose", [x], shape, spread, exact=True, extra=extra, **attrs)


def gather(net: Network, x: Value) -> Value | None:
    """Constant indices along an axis, in any order and repeated."""
    axis = int(net.rng.integers(1, len(x.shape)))
    count = int(net.rng.integers(1, x.shape[axis] + 2))
    chosen = net.rng.integers(-x.shape[axis], x.shape[axis], count)
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    if not small(shape):
        return None
    return moved(net, x, "Gather", shape, extra=[net.constant(chosen)], axis=axis)


RESAMPLING: tuple[Growth, ...] = (enlarge, enlarge, transposed_convolution, gather)
