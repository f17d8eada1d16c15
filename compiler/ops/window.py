"""Sliding windows: the attributes and sizes that convolutions and pools share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.graph import Array, Node


def window_attrs(node: Node, kernel: Sequence[int]) -> dict[str, Any]:
    """strides, pads, dilations of an ONNX node in two dimensions; a 1-D node's have height 1."""

    def pair(name: str) -> tuple[int, int]:
        return pad_pair(node.attrs.get(name, (1,) * len(kernel)))

    pads = tuple(node.attrs.get("pads", (0, 0, 0, 0)))
    if len(pads) == 2:
        pads = (0, pads[0], 0, pads[1])
    return {"strides": pair("strides"), "pads": pads, "dilations": pair("dilations")}


def pad_pair(values: Sequence[int]) -> tuple[int, int]:
    """The last two of 1, 1, values..."""
    _, y, x = (1, *(1,) * (2 - len(values)), *values)[-3:] if len(values) < 3 else values
    return int(y), int(x)


def output_size(
    size: Sequence[int], kernel: Sequence[int], attrs: Mapping[str, Any]
) -> tuple[int, ...]:
    """Rows and columns of the result."""
    pads, dilations = attrs["pads"], attrs["dilations"]
    rooms = [size[i] + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilations[i] - 1 for i in (0, 1)]
    return tuple(room // stride + 1 for room, stride in zip(rooms, attrs["strides"], strict=True))


def padded(x: Array, pads: Sequence[int], fill: Any) -> Array:
    """x [..., H, W] with `pads` (top, left, bottom, right) of `fill` around."""
    if not any(pads):
        return x
    top, left, bottom, right = pads
    around = [(0, 0)] * (x.ndim - 2) + [(top, bottom), (left, right)]
    return np.pad(x, around, constant_values=fill)


def taps(x: Array, attrs: Mapping[str, Any], out: Sequence[int]) -> Array:
    """The windows [R, S, ..., P, Q] of an already padded x."""
    (sy, sx), (dy, dx) = attrs["strides"], attrs["dilations"]
    (rows, columns), kernel = out, attrs["kernel"]
    return np.stack(
        [
            x[..., r * dy : r * dy + rows * sy : sy, s * dx : s * dx + columns * sx : sx]
            for r in range(kernel[0])
            for s in range(kernel[1])
        ]
    )
