"""Moves between DRAM and tile buffers."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dnncc.isa import dma

from ..ir.ring import Ring
from ..ir.tile import Env, Load, Operand, Store
from .locate import Located, Site, aligned, count_of, in_dram, locate, order_of, part_in_dram


def load(site: Site, step: Load, env: Env) -> Any:
    inside = in_dram(site, step.out, env)
    tile = locate(site, step.out, env)
    fields = block(inside, tile, order_of(site, step.out))
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
        here = tile._replace(address=tile.address + skipped)
        fields = block(inside, here, order_of(site, operand))
        kept = np.flatnonzero(np.broadcast_to(rows.size > 0, count_of(env)))
        yield dma.Load.records(count_of(env), queue=queue, **fields)[kept], kept


def store(site: Site, step: Store, env: Env) -> Any:
    operand: Operand = step.source
    kind = site.buffers[operand.buffer].kind if operand.buffer else "ofmap"
    fields = block(in_dram(site, operand, env), locate(site, operand, env), order_of(site, operand))
    engine = site.target.store_engine(kind)  # type: ignore[arg-type]
    return dma.Store.records(count_of(env), queue=int(engine.name[-1]), **fields)


def block(inside: Located, tile: Located, order: tuple[int, ...]) -> dict[str, Any]:
    """The fields that say where a block lies on both sides, dimensions in storage order but for
    those before the last four, of which it has one index."""
    order = tuple(sorted(order, key=lambda i: i >= len(order) - 4))
    sizes = aligned(tuple(inside.sizes[i] for i in order), 1)
    dram = aligned(tuple(inside.strides[i] for i in order), 0)
    spad = aligned(tuple(tile.strides[i] for i in order), 0)
    fields = {"dram": inside.address, "spad": tile.address}
    fields |= {f"d{i}": size for i, size in enumerate(sizes)}
    fields |= {f"dram_s{i}": stride for i, stride in enumerate(dram)}
    fields |= {f"spad_s{i}": spad[i] for i in range(3)}
    return {**fields, "dram_dtype": inside.dtype, "spad_dtype": tile.dtype}
