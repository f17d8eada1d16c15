"""Moves between DRAM and tile buffers."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from dnncc.isa import dma

from ..ir.ring import Ring
from ..ir.tile import Env, Load, Operand, Store
from .locate import (
    Located,
    Site,
    count_of,
    locate,
    order_of,
    part_in_dram,
    part_on_chip,
    ranges,
)


def load(site: Site, step: Load, env: Env) -> Any:
    fields = both_sides(site, step.out, env)
    engine = site.target.load_engine(site.buffers[step.out.buffer].kind)  # type: ignore[arg-type]
    return dma.Load.records(count_of(env), queue=int(engine.name[-1]), **fields)


def rolled(site: Site, step: Load, env: Env) -> Iterator[tuple[Any, Any]]:
    """Loads into a ring of rows, and in which iterations they are: the new rows up to the ring's
    end, and those from its beginning on."""
    operand, buffer = step.out, site.buffers[step.out.buffer]
    ring = Ring.of(operand, buffer, env)
    tile = locate(site, operand, env)
    queue = int(site.target.load_engine(buffer.kind).name[-1])  # type: ignore[arg-type]
    for rows, place in ring.parts():
        inside = part_in_dram(site, operand, ring.with_rows(rows))
        skipped = place * tile.strides[ring.axis] * operand.dtype.itemsize
        here = replace(tile, address=tile.address + skipped)
        fields = block(inside, here, order_of(site, operand))
        kept = np.flatnonzero(np.broadcast_to(rows.size > 0, count_of(env)))
        yield dma.Load.records(count_of(env), queue=queue, **fields)[kept], kept


def store(site: Site, step: Store, env: Env) -> Any:
    operand: Operand = step.source
    kind = site.buffers[operand.buffer].kind if operand.buffer else "ofmap"
    fields = both_sides(site, operand, env)
    engine = site.target.store_engine(kind)  # type: ignore[arg-type]
    return dma.Store.records(count_of(env), queue=int(engine.name[-1]), **fields)


def both_sides(site: Site, operand: Operand, env: Env) -> dict[str, Any]:
    """The fields of a whole tile's move."""
    extents = ranges(operand.box, env)
    inside = part_in_dram(site, operand, extents)
    tile = part_on_chip(site, operand, env, extents)
    return block(inside, tile, order_of(site, operand))


class Axis(NamedTuple):
    """Of a block: how many indices it has of a dimension, and their strides on both sides."""

    size: Any
    dram: Any
    spad: Any

    def continues(self, other: "Axis") -> bool:
        """Whether its indices follow the last one of the `other`, wherever the block is."""
        sides = (other.dram == self.dram * self.size, other.spad == self.spad * self.size)
        return all(np.all(same) for same in sides)


def four(axes: list[Axis]) -> list[Axis]:
    """The same block, on four axes: without those of one index, neighbours as one."""
    axes = [Axis(1, 0, 0)] * (4 - len(axes)) + axes
    while len(axes) > 4:
        lone = next((i for i, axis in enumerate(axes) if np.all(axis.size == 1)), None)
        if lone is not None:
            axes = axes[:lone] + axes[lone + 1 :]
            continue
        at = next(i for i, (a, b) in enumerate(pairwise(axes)) if b.continues(a))
        (outer, inner), rest = axes[at : at + 2], axes[at + 2 :]
        axes = [*axes[:at], inner._replace(size=outer.size * inner.size), *rest]
    return axes


def block(inside: Located, tile: Located, order: tuple[int, ...]) -> dict[str, Any]:
    """The fields that say where a block lies on both sides, dimensions in storage order."""
    order = tuple(sorted(order, key=lambda i: i >= len(order) - 4))
    axes = four([Axis(inside.sizes[i], inside.strides[i], tile.strides[i]) for i in order])
    sizes, dram, spad = zip(*axes, strict=True)
    fields = {"dram": inside.address, "spad": tile.address}
    fields |= {f"d{i}": size for i, size in enumerate(sizes)}
    fields |= {f"dram_s{i}": stride for i, stride in enumerate(dram)}
    fields |= {f"spad_s{i}": spad[i] for i in range(3)}
    return {**fields, "dram_dtype": inside.dtype, "spad_dtype": tile.dtype}
