"""After it, constants may be on their way in nests before the one that reads them.

Where DRAM's link has less to do in a nest than the array and the lanes, it can bring first tiles of
the weights and parameters of a later one: as many as their buffer has slots, or, where the link is
what the later nest waits for, all of them, each with a slot of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dnncc.isa.image import Floor
from dnncc.targets import Target, cost
from dnncc.targets.floor import link, links

from ..codegen.locate import count_of
from ..ir.graph import Graph
from ..ir.ring import Ring
from ..ir.tile import Buffer, Load, Nest, Store, TileProgram, Unrolled, operands_of, unroll
from ..mapping.bound import floors
from .context import Context, target_of

ENOUGH = 0.5
"""Of the cycles of loads that the link is the limit of, what must be spare where they go."""

Floats = npt.NDArray[np.float64]


class Constant(NamedTuple):
    """A buffer of a nest that one step fills, with parts of a constant: the link that they come
    over, and the cycles that each takes there."""

    buffer: Buffer
    link: int
    cycles: Floats


@dataclass
class Spare:
    """Cycles that links are idle, float64[nests, links], and bytes of each memory that are free;
    of nests that run on the host nothing is."""

    cycles: Floats
    bytes: list[dict[str, int]]

    def nearest(self, nest: int, wanted: Buffer, link: int, cycles: float) -> int:
        """How many nests before it there is time to fill that buffer, and room from then on; 0 if
        there is none."""
        size, memory = wanted.bytes, wanted.memory
        for ahead in range(1, nest + 1):
            if self.bytes[nest - ahead].get(memory, 0) < size:
                return 0
            if self.cycles[nest - ahead, link] >= cycles:
                return ahead
        return 0

    def take(self, nest: int, buffer: Buffer, link: int, cycles: float) -> None:
        self.cycles[nest - buffer.ahead, link] -= cycles
        for before in self.bytes[nest - buffer.ahead : nest]:
            before[buffer.memory] -= buffer.bytes


def prefetch(program: TileProgram, ctx: Context) -> TileProgram:
    target = target_of(ctx)
    nests = list(program.nests)
    found = [list(constants(nest, program.graph, target)) for nest in nests]
    if not any(found):
        return program
    spare = spare_of(program, target, floors(program.graph, target, ctx.known))
    for number, some in enumerate(found):
        for constant in some:
            nests[number] = with_buffer(nests[number], ahead(number, constant, spare))
    return TileProgram(program.graph, tuple(nests))


def ahead(nest: int, constant: Constant, spare: Spare) -> Buffer:
    """The buffer as it is, or filled ahead."""
    buffer, link, cycles = constant
    tiles = len(cycles)
    more = (tiles - buffer.slots) * buffer.slot_bytes
    fits = more <= spare.bytes[nest].get(buffer.memory, 0)
    waits = bool(spare.cycles[nest, link] < 0)
    for slots in (tiles, buffer.slots) if waits and fits and more > 0 else (buffer.slots,):
        wanted, time = replace(buffer, slots=slots), float(cycles[:slots].sum())
        if distance := spare.nearest(nest, wanted, link, time * (ENOUGH if waits else 1)):
            wanted = replace(wanted, ahead=distance)
            spare.take(nest, wanted, link, time)
            spare.bytes[nest][buffer.memory] -= wanted.bytes - buffer.bytes
            return wanted
    return buffer


def with_buffer(nest: Nest, buffer: Buffer) -> Nest:
    buffers = (buffer if old.name == buffer.name else old for old in nest.buffers)
    return replace(nest, buffers=tuple(buffers))


def constants(nest: Nest, graph: Graph, target: Target) -> Iterator[Constant]:
    """Of which every tile is loaded once."""
    buffers = {buffer.name: buffer for buffer in nest.buffers}
    loads = [(item, item.step.out) for item in unroll(nest) if isinstance(item.step, Load)]
    filled = Counter(operand.buffer for _, operand in loads)
    for item, operand in loads:
        once = count_of(item.env) == prod(item.env[v].trips for v in operand.slots)
        if operand.tensor in graph.constants and filled[operand.buffer] == 1 and once:
            yield Constant(buffers[operand.buffer], *moved(item, nest, graph, target))


def spare_of(program: TileProgram, target: Target, least: list[Floor]) -> Spare:
    """While the array or the lanes work, as long as they must, links that need less are idle."""
    graph, nests = program.graph, program.nests
    nodes = [i for i, node in enumerate(graph.nodes) if node.op in ("group", "host")]
    cycles = np.zeros((len(nests), links(target)))
    cycles += np.array([max(least[i].array, least[i].vector) for i in nodes], float)[:, None]
    for row, nest in zip(cycles, nests, strict=True):
        for item in unroll(nest):
            if isinstance(item.step, Load | Store):
                number, taken = moved(item, nest, graph, target)
                row[number] -= taken.sum()
    free = [graph.nodes[i].attrs.get("free", {}) for i in nodes]
    return Spare(cycles, [left(nest, room) for nest, room in zip(nests, free, strict=True)])


def left(nest: Nest, free: dict[str, int]) -> dict[str, int]:
    used = {m: sum(b.bytes for b in nest.buffers if b.memory == m) for m in free}
    return {memory: size - used[memory] for memory, size in free.items()}


def moved(item: Unrolled, nest: Nest, graph: Graph, target: Target) -> tuple[int, Floats]:
    """The link that a load or store moves tiles over, and the cycles that each takes."""
    stores = isinstance(item.step, Store)
    (operand,) = operands_of(item.step)
    buffer = next((b for b in nest.buffers if b.name == operand.buffer), None)
    kind: Any = buffer.kind if buffer else "ofmap"
    engine = target.store_engine(kind) if stores else target.load_engine(kind)
    channel, tensor = target.channel_of(engine.name), graph.tensors[operand.tensor]
    extents = tuple(d.range(item.env) for d in operand.box)
    if buffer and buffer.ring:
        ring = Ring.of(operand, buffer, item.env)
        extents = ring.with_rows(ring.fresh)
    size: Any = prod((e.size for e in extents), start=tensor.dtype.itemsize)
    every = np.broadcast_to(cost.ceil_div(size, channel.bytes_per_cycle), count_of(item.env))
    return link(target, channel, stores), every
