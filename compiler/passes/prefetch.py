"""After it, tiles may be on their way in nests before the one that reads them.

Where DRAM's link has less to do in a nest than the array and the lanes, it can bring first tiles of
a later one: of constants, and of maps that an earlier nest has made, such as the other side of a
sum. As many as their buffer has slots, or, where the link is what the later nest waits for, as many
as there is room for, each with a slot of its own. That saves cycles and no energy, and takes room
that parts of maps could have: it is not done where energy is the goal. In a memory that is first
in, first out, tiles only get slots here (memory/fifo.py). A layer alone stays as its mapping was
rehearsed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from dnncc.isa.image import Floor
from dnncc.targets import Target, cost
from dnncc.targets.floor import link, links

from ..codegen.locate import count_of
from ..ir.graph import Graph
from ..ir.ring import Ring
from ..ir.tile import Buffer, Env, Load, Nest, Operand, Store, TileProgram, operands_of, unroll
from ..mapping.bound import floors
from ..memory.fifo import fifo_of
from ..memory.makers import PARTS, Makers
from .context import Context, target_of

ENOUGH = 0.5
"""Of the cycles of loads that the link is the limit of, what must be spare where they go."""

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Of the slots that there is room for."""

Floats = npt.NDArray[np.float64]


class Moved(Struct, frozen=True):
    """A load or store of a nest: its operand, whether every tile is moved once, and the link that
    they go over, with the cycles that each takes there."""

    operand: Operand
    stores: bool
    once: bool
    link: int
    cycles: Floats


class Spare(Struct):
    """Cycles that links are idle, float64[nests, links], and bytes of each memory that are free;
    of nests that run on the host nothing is."""

    cycles: Floats
    bytes: list[dict[str, int]]

    def nearest(self, nest: int, most: int, wanted: Buffer, link: int, cycles: float) -> int:
        """How many nests before it, at `most`, there is time to fill that buffer, and room from
        then on; 0 if there is none."""
        size, memory = wanted.bytes, wanted.memory
        for ahead in range(1, most + 1):
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
    if ctx.goal == "energy" or len(program.nests) == 1:
        return program
    target, graph = target_of(ctx), program.graph
    nests = list(program.nests)
    moves = [list(moves_of(nest, graph, target)) for nest in nests]
    spare = spare_of(program, target, moves, floors(graph, target, ctx.known))
    made, fifo = Makers.of(graph), fifo_of(target)
    for number, some in enumerate(moves):
        if any(nest.beside for nest in nests[number : number + 2]):
            continue
        for buffer, moved in filled_once(nests[number], some):
            if buffer.memory == fifo:
                wanted = deepened(number, buffer, moved, spare)
            else:
                most = number - 1 - made.last(moved.operand.tensor, number)
                wanted = ahead(number, most, buffer, moved, spare)
            nests[number] = with_buffer(nests[number], wanted)
    return TileProgram(graph, tuple(nests))


def ahead(nest: int, most: int, buffer: Buffer, moved: Moved, spare: Spare) -> Buffer:
    """The buffer as it is, or filled `most` nests ahead or less."""
    cycles = moved.cycles
    free = spare.bytes[nest].get(buffer.memory, 0)
    waits = bool(spare.cycles[nest, moved.link] < 0)
    more = min(len(cycles) - buffer.slots, free // buffer.slot_bytes) if waits else 0
    enough = ENOUGH if waits else 1
    for share in SHARES if more > 0 else (0.0,):
        slots = buffer.slots + int(more * share)
        wanted, time = replace(buffer, slots=slots), float(cycles[:slots].sum())
        if distance := spare.nearest(nest, most, wanted, moved.link, time * enough):
            wanted = replace(wanted, ahead=distance)
            spare.take(nest, wanted, moved.link, time)
            spare.bytes[nest][buffer.memory] -= wanted.bytes - buffer.bytes
            return wanted
    return buffer


def deepened(nest: int, buffer: Buffer, moved: Moved, spare: Spare) -> Buffer:
    """The buffer with a slot for each tile, as far as there is room."""
    more = spare.bytes[nest][buffer.memory] // buffer.slot_bytes
    deeper = replace(buffer, slots=min(buffer.slots + more, len(moved.cycles)))
    spare.bytes[nest][buffer.memory] -= deeper.bytes - buffer.bytes
    return deeper


def with_buffer(nest: Nest, buffer: Buffer) -> Nest:
    buffers = (buffer if old.name == buffer.name else old for old in nest.buffers)
    return replace(nest, buffers=tuple(buffers))


def filled_once(nest: Nest, moves: list[Moved]) -> Iterator[tuple[Buffer, Moved]]:
    """Buffers that one step fills with parts of a tensor, each of which is loaded once."""
    buffers = {b.name: b for b in nest.buffers if not b.ring}
    loads = [moved for moved in moves if not moved.stores]
    filled = Counter(moved.operand.buffer for moved in loads)
    for moved in loads:
        name = moved.operand.buffer
        if name in buffers and filled[name] == 1 and moved.once:
            yield buffers[name], moved


def spare_of(
    program: TileProgram, target: Target, moves: list[list[Moved]], least: list[Floor]
) -> Spare:
    """While the array or the lanes work, as long as they must, links that need less are idle."""
    parts = [(n, f) for n, f in zip(program.graph.nodes, least, strict=True) if n.op in PARTS]
    cycles = np.zeros((len(parts), links(target)))
    cycles += np.array([max(f.array, f.vector) for _, f in parts], float)[:, None]
    for row, some in zip(cycles, moves, strict=True):
        for moved in some:
            row[moved.link] -= moved.cycles.sum()
    free = [node.attrs.get("free", {}) for node, _ in parts]
    return Spare(
        cycles, [left(nests, room) for nests, room in zip(at_work(program), free, strict=True)]
    )


def at_work(program: TileProgram) -> list[tuple[Nest, ...]]:
    """Each nest, with the one beside it if there is one."""
    found: list[tuple[Nest, ...]] = [(nest,) for nest in program.nests]
    for number, nest in enumerate(program.nests):
        if nest.beside:
            found[number - 1 : number + 1] = [(program.nests[number - 1], nest)] * 2
    return found


def left(nests: tuple[Nest, ...], free: dict[str, int]) -> dict[str, int]:
    used = {m: sum(b.bytes for n in nests for b in n.buffers if b.memory == m) for m in free}
    return {memory: size - used[memory] for memory, size in free.items()}


def moves_of(nest: Nest, graph: Graph, target: Target) -> Iterator[Moved]:
    """All loads and stores."""
    buffers = {buffer.name: buffer for buffer in nest.buffers}
    for item in unroll(nest):
        if not isinstance(item.step, Load | Store):
            continue
        (operand,), stores = operands_of(item.step), isinstance(item.step, Store)
        buffer, count = buffers.get(operand.buffer), count_of(item.env)
        kind: Any = buffer.kind if buffer else "ofmap"
        engine = target.store_engine(kind) if stores else target.load_engine(kind)
        channel = target.channel_of(engine.name)
        size = bytes_of(operand, buffer, item.env, graph)
        cycles = np.broadcast_to(cost.ceil_div(size, channel.bytes_per_cycle), count)
        once = count == prod(item.env[v].trips for v in operand.slots)
        yield Moved(operand, stores, once, link(target, channel, stores), cycles)


def bytes_of(operand: Operand, buffer: Buffer | None, env: Env, graph: Graph) -> Any:
    """What is moved in each iteration: of a ring, its new rows."""
    extents = tuple(d.range(env) for d in operand.box)
    if buffer and buffer.ring:
        ring = Ring.of(operand, buffer, env)
        extents = ring.with_rows(ring.fresh)
    return prod((e.size for e in extents), start=graph.tensors[operand.tensor].dtype.itemsize)
