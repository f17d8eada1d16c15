"""Strided blocks of a memory: what they cover, and when they are not legal."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .core import Array, Machine, Region, split_address


def span(sizes: tuple[Any, ...], strides: tuple[Any, ...], bytes_per_element: Any) -> Any:
    """Bytes from the first to the last element of a strided block, inclusive; 0 if it is empty."""
    last = sum((d - 1) * s for d, s in zip(sizes, strides, strict=True))
    empty = np.minimum.reduce(np.broadcast_arrays(*sizes)) == 0
    return np.where(empty, 0, (last + 1) * bytes_per_element)


def collides(sizes: tuple[Any, ...], strides: tuple[Any, ...]) -> Any:
    """Whether a stride of 0 makes several elements of an output one."""
    wrong: Any = False
    for size, stride in zip(sizes, strides, strict=True):
        wrong = wrong | ((size > 1) & (stride == 0))
    return wrong


class Block(Region):
    """The region of a strided block, of whose bytes only those of its elements are touched.

    `strides` are in elements, which take `element` bytes.
    """

    sizes: tuple[Any, ...]
    strides: tuple[Any, ...]
    element: Any

    @classmethod
    def at(
        cls, memory: Any, start: Any, sizes: tuple[Any, ...], strides: tuple[Any, ...], element: Any
    ) -> "Block":
        made = cls(memory, start, start + span(sizes, strides, element))
        made.sizes, made.strides, made.element = sizes, strides, element
        return made


def region(where: Any, sizes: tuple[Any, ...], strides: tuple[Any, ...], element: Any) -> Block:
    """The bytes of a block of `element`-byte elements at address `where`."""
    return Block.at(*split_address(where), sizes, strides, element)


def region_if(condition: Any, where: Any, size: Any) -> Region:
    """`size` bytes at address `where`, none unless `condition` holds."""
    memory, start = split_address(where)
    return Region(memory, start, start + np.where(condition, size, 0))


def ring_parts(rows: Any, ring: Any, first: Any, row_bytes: Any) -> tuple[tuple[Any, Any], ...]:
    """Of a tile whose first row is row `first` of a ring: (bytes to skip, rows) of those up to the
    ring's end, and of those from its beginning on. With no `ring`, which is 0, all are the former.
    """
    before = np.where(ring > 0, np.minimum(rows, ring - first), rows)
    return (first * row_bytes, before), (0, rows - before)


def ring_faults(rows: Any, ring: Any, first: Any) -> Iterator[tuple[Any, str]]:
    yield (ring > 0) & (rows > ring), "the tile has more rows than its ring"
    yield (first > 0) & (first >= ring), "ring_row is not in the ring"


def view(
    machine: Machine, where: int, sizes: tuple[int, ...], strides: tuple[int, ...], code: int
) -> Array:
    """The block's elements, [batch, *sizes]."""
    memory, offset = split_address(where)
    return machine.view(memory, offset, sizes, strides, code)


def shared(values: Array) -> Array:
    """[1, ...] of an array whose batch entries are all the same bytes, else the array."""
    return values[:1] if values.strides[0] == 0 else values
