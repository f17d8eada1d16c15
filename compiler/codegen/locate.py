"""Where operands of a step lie: addresses, sizes and strides, for all its iterations at once."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from msgspec import Struct

from dnncc.isa import core
from dnncc.targets import Target

from ..ir.graph import Graph, Tensor
from ..ir.ring import Ring
from ..ir.tile import Box, Buffer, Compute, Env, Extent, Nest, Operand, slot_index, steps
from ..mapping.cost import layout, storage_order


class Located(Struct, frozen=True):
    """The address of the first element; per dimension of the tensor extents and strides."""

    address: Any
    extents: tuple[Extent, ...]
    strides: tuple[Any, ...]
    dtype: int

    @property
    def sizes(self) -> tuple[Any, ...]:
        return tuple(e.size for e in self.extents)

    def axis(self, axes: str, name: str) -> tuple[Any, Any]:
        """(size, stride) of the axis called `name`; (1, 0) where there is none."""
        if name not in axes:
            return 1, 0
        index = axes.index(name)
        return self.extents[index].size, self.strides[index]

    def before(self, axes: str, name: str) -> Any:
        """What was asked for before the first index of an axis."""
        return self.extents[axes.index(name)].before if name in axes else 0


class Site(Struct, frozen=True, dict=True):
    """The nest that instructions are made for, and all that their fields are taken from."""

    graph: Graph
    target: Target
    nest: Nest
    buffers: Mapping[str, Buffer]

    def memory_id(self, name: str) -> int:
        return next(m.id for m in self.target.memories if m.name == name)

    @cached_property
    def in_place_of_psums(self) -> str:
        """The tensor whose results lie in the psums' buffer, "" if none does."""
        computed = [s for s in steps(self.nest.body) if isinstance(s, Compute)]
        held = (o for s in computed for o in s.operands.values() if o.buffer == "psum")
        return next((o.tensor for o in held if o.tensor), "")


def locate(site: Site, operand: Operand, env: Env) -> Located:
    """Where the operand's box lies in a scratchpad."""
    return part_on_chip(site, operand, env, ranges(operand.box, env))


def ranges(box: Box, env: Env) -> tuple[Extent, ...]:
    return tuple(d.range(env) for d in box)


def part_on_chip(site: Site, operand: Operand, env: Env, extents: tuple[Extent, ...]) -> Located:
    code = core.dtype_code(operand.dtype)
    if operand.buffer:
        return in_buffer(site, operand, env, extents, code)
    tensor = site.graph.tensors[operand.tensor]
    strides = layout(tensor)
    first = element(tensor, extents) * operand.dtype.itemsize
    home = tensor.head or tensor
    address = core.address(site.memory_id(home.memory), home.address + first)
    return Located(address, extents, strides, code)


def in_buffer(
    site: Site, operand: Operand, env: Env, extents: tuple[Extent, ...], code: int
) -> Located:
    buffer = site.buffers[operand.buffer]
    if buffer.ring:
        return in_ring(site, operand, Ring.of(operand, buffer, env))
    slot = np.array(buffer.starts)[slot_index(operand, buffer.slots, env)]
    box = operand.buffered()
    held = extents if box is operand.box else ranges(box, env)
    strides = dense([e.size for e in held], order_of(site, operand))
    places = zip(extents, held, strides, strict=True)
    first: Any = sum((mine.low - all_.low) * stride for mine, all_, stride in places)
    place = slot + first * operand.dtype.itemsize
    return Located(core.address(site.memory_id(buffer.memory), place), extents, strides, code)


def in_ring(site: Site, operand: Operand, ring: Ring) -> Located:
    """A tile in a ring of rows: the address is that of the ring's first row, or of the first one
    that is added. Rows are outermost, so that a load of some does not reach past the others."""
    buffer, order = site.buffers[operand.buffer], order_of(site, operand)
    rows_first = (ring.axis, *(i for i in order if i != ring.axis))
    strides = dense(list(ring.shape()), rows_first)
    first = ring.place(ring.tile[ring.axis].low) * strides[ring.axis] if operand.held else 0
    place = buffer.address + first * operand.dtype.itemsize
    address = core.address(site.memory_id(buffer.memory), place)
    return Located(address, ring.tile, strides, core.dtype_code(operand.dtype))


def ring_fields(site: Site, operand: Operand, env: Env) -> dict[str, Any]:
    """Of an instruction that reads rows in a ring."""
    if not operand.buffer or not site.buffers[operand.buffer].ring:
        return {}
    ring = Ring.of(operand, site.buffers[operand.buffer], env)
    return {"ring": ring.rows, "ring_row": ring.place(ring.tile[ring.axis].low)}


def order_of(site: Site, operand: Operand) -> tuple[int, ...]:
    """A tile is laid out in the order in which its tensor is stored; psums in that of the results
    that take their place, or row-major."""
    tensor = operand.tensor or site.in_place_of_psums
    if not tensor:
        return tuple(range(len(operand.box)))
    return storage_order(layout(site.graph.tensors[tensor]))


def dense(sizes: list[Any], order: tuple[int, ...]) -> tuple[Any, ...]:
    strides: list[Any] = [1] * len(sizes)
    step: Any = 1
    for index in reversed(order):
        strides[index] = step
        step = step * sizes[index]
    return tuple(strides)


def element(tensor: Tensor, extents: tuple[Extent, ...]) -> Any:
    """The place of the box's first element in the tensor's storage."""
    first: Any = tensor.view.offset if tensor.view else 0
    for extent, stride in zip(extents, layout(tensor), strict=True):
        first = first + extent.low * stride
    return first


def part_in_dram(site: Site, operand: Operand, extents: tuple[Extent, ...]) -> Located:
    """Where a part of the tensor lies in DRAM."""
    tensor = site.graph.tensors[operand.tensor]
    address = tensor.address + element(tensor, extents) * tensor.dtype.itemsize
    return Located(address, extents, layout(tensor), core.dtype_code(tensor.dtype))


def aligned(values: tuple[Any, ...], fill: Any) -> tuple[Any, Any, Any, Any]:
    """Right-aligned to four dimensions; those before are of one index."""
    a, b, c, d = (*(fill,) * (4 - len(values)), *values[-4:])
    return a, b, c, d


def count_of(env: Env) -> int:
    """Iterations that the arrays of an environment hold."""
    return max((np.size(r.low) for r in env.values()), default=1)
