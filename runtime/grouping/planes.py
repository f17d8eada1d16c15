"""Windows of float copies of planes: what matrix products and multiply-adds read.

Arrays are [images, rows, columns, channels] or [images, channels, rows, columns], as the tensor
lies in memory: copying with the innermost dimension in order is four times faster.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa import numerics

from ..machine import Buffers

Array = npt.NDArray[Any]


class Window(Struct, frozen=True):
    """Rows first, then columns: results, taps, stride, dilation, padding before; what lies outside
    reads as `zero`."""

    out: tuple[int, int]
    taps: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    zero: int

    def covered(self) -> tuple[int, int]:
        """Rows and columns that the windows read, padding included."""
        height, width = (
            numerics.reach(*axis)
            for axis in zip(self.out, self.stride, self.taps, self.dilation, strict=True)
        )
        return height, width


def taps_of(x: Array, plane: int, window: Window, buffers: Buffers, kind: Any) -> Array:
    """A view [..., R, S, P, Q] of x, or of a padded copy; its axes plane, plane + 1 are last."""
    moved = np.moveaxis(padded(x, plane, window, buffers, kind), (plane, plane + 1), (-2, -1))
    return numerics.windows(moved, window.taps, window.out, window.stride, window.dilation)


def padded(x: Array, plane: int, window: Window, buffers: Buffers, kind: Any) -> Array:
    """x in `kind`, in its frame; x itself where each element is read once and all are inside."""
    size, pad, held = window.covered(), window.pad, x.shape[plane : plane + 2]
    inside = pad == (0, 0) and held[0] >= size[0] and held[1] >= size[1]
    if inside and window.taps == (1, 1):
        return x
    out = buffers.take("padded", (*x.shape[:plane], *size, *x.shape[plane + 2 :]), kind)
    if not inside:
        out.fill(window.zero)
    ends = [min(h, s - p) for h, s, p in zip(held, size, pad, strict=True)]
    before = (slice(None),) * plane
    target = tuple(slice(p, p + e) for p, e in zip(pad, ends, strict=True))
    out[(*before, *target)] = x[(*before, slice(ends[0]), slice(ends[1]))]
    return out


def columns_last(x: Array, window: Window, buffers: Buffers, kind: Any) -> Array:
    """[images * P * Q, R * S * C] of x [images, H, W, C]."""
    win = taps_of(x, 1, window, buffers, kind).transpose(0, 4, 5, 2, 3, 1)
    return copied(win, buffers, kind).reshape(-1, win.shape[3] * win.shape[4] * win.shape[5])


def columns_first(x: Array, window: Window, buffers: Buffers, kind: Any) -> Array:
    """[images, G, C * R * S, P * Q] of x [images, G, C, H, W]."""
    win = taps_of(x, 3, window, buffers, kind)
    return copied(win, buffers, kind).reshape(*win.shape[:2], -1, win.shape[5] * win.shape[6])


def copied(win: Array, buffers: Buffers, kind: Any) -> Array:
    out = buffers.take("columns", win.shape, kind)
    np.copyto(out, win, casting="unsafe")
    return out


def tapped(win: Array, taps: Array, buffers: Buffers) -> Array:
    """The sum over R, S of windows [R, S, ...] times taps [R, S, ...] that broadcast to it."""
    shape, kind = win.shape[2:], taps.dtype
    total, part = buffers.take("total", shape, kind), buffers.take("part", shape, kind)
    np.multiply(win[0, 0], taps[0, 0], out=total, casting="unsafe")
    for r in range(win.shape[0]):
        for s in range(r == 0, win.shape[1]):
            np.multiply(win[r, s], taps[r, s], out=part, casting="unsafe")
            np.add(total, part, out=total)
    return total
