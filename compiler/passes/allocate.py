"""After it, every tile buffer has an address in its scratchpad, and every storage one in DRAM."""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from dnncc.targets import Target

from ..ir.graph import Graph
from ..ir.tile import SLOT_ALIGN, Buffer, Nest, TileProgram
from ..memory.arena import Block, pack
from ..memory.fifo import NEVER, Held, buffers_in, fifo_of, held_by, soonest
from ..memory.lifetimes import lifetimes, storage, storage_bytes
from .context import Context, target_of

DRAM_ALIGN = 64

Rooms = Sequence[Mapping[str, int]]
"""Of some nests, the bytes at the bottom of each memory that tiles may have."""

REMEMBERED = 24
"""Buffers that came before which a new one avoids; what was earlier is long done."""


def allocate(program: TileProgram, ctx: Context) -> TileProgram:
    free = [n.attrs["free"] if n.op == "group" else {} for n in program.graph.nodes
            if n.op in ("group", "host")]  # fmt: skip
    nests: list[Nest] = []
    fifo, past = fifo_of(target_of(ctx)), Held.nothing()
    paired = [nest.beside for nest in program.nests[1:]] + [False]
    for number, nest in enumerate(program.nests, 1):
        apart = not (nest.beside or paired[number - 1])
        nest = in_turn(nest, past, fifo, free[number - 1]) if fifo and apart else nest
        buffers = least_recent(nest, free[:number], nests) if apart else ()
        if not buffers:
            nest = replace(nest, buffers=tuple(replace(b, ahead=0) for b in nest.buffers))
            buffers = least_recent(nest, free[:number], nests) if apart else ()
        below = nests[-1].buffers if nest.beside else ()
        nests.append(replace(nest, buffers=buffers or from_the_bottom(nest, below)))
        for held in held_by(nests[-1], number, fifo):
            past = past.then(held)
    return TileProgram(place_in_dram(program.graph, target_of(ctx)), tuple(nests))


def in_turn(nest: Nest, past: Held, fifo: str, free: Mapping[str, int]) -> Nest:
    """With buffers placed that lie in a memory that is first in, first out, if they fit."""
    placed: dict[str, Buffer] = {}
    for buffer in buffers_in(nest, fifo):
        places = soonest(past, buffer, free[fifo])
        if places:
            placed[buffer.name] = replace(buffer, address=places[0], places=places)
            taken = np.full(buffer.slots, NEVER)
            past = past.then(Held.by(placed[buffer.name], taken))
    return replace(nest, buffers=tuple(placed.get(b.name, b) for b in nest.buffers))


class Taken(Struct, frozen=True):
    """Bytes [start, stop) of a memory that a tile buffer has."""

    memory: str
    start: int
    stop: int

    @classmethod
    def by(cls, buffer: Buffer) -> "Taken":
        return cls(buffer.memory, buffer.address, buffer.address + buffer.bytes)


def least_recent(nest: Nest, free: Rooms, before: Sequence[Nest]) -> tuple[Buffer, ...]:
    """Each buffer, the largest first, where nothing was or what has been there longest ago, so that
    it can be filled while the nests before are at work; nothing if that leaves none a place."""
    placed: dict[str, Buffer] = {}
    past = [Taken.by(b) for n in before[-REMEMBERED:] for b in n.buffers][-REMEMBERED:]
    for buffer in sorted(nest.buffers, key=lambda b: -b.bytes):
        if buffer.address >= 0:
            placed[buffer.name] = buffer
            continue
        size, memory, begin = buffer.bytes, buffer.memory, begin_of(buffer, before)
        alive = (*placed.values(), *(b for n in before[begin:] for b in n.buffers))
        own = [Taken.by(b) for b in alive if b.memory == memory]
        mine = [t for t in past if t.memory == memory]
        room = min(bytes_of[memory] for bytes_of in free[begin:])
        starts = [s for s in candidates(size, [*own, *mine], room)
                  if not any(overlap(t, s, size) for t in own)]  # fmt: skip
        if not starts:
            return ()
        best = min(starts, key=lambda s: (newest(mine, s, size), s))
        placed[buffer.name] = replace(buffer, address=best)
    return tuple(placed[b.name] for b in nest.buffers)


def begin_of(buffer: Buffer, before: Sequence[Nest]) -> int:
    """The number of the first nest in whose time it is there: of two that work side by side the
    first, as it is filled among the steps of both."""
    begin = len(before) - buffer.ahead
    return begin - (buffer.ahead > 0 and before[begin].beside)


def candidates(size: int, others: list[Taken], room: int) -> list[int]:
    """Starts that touch the edge of something, as the best ones do."""
    edges = {
        0,
        room - size,
        *(t.stop for t in others),
        *(t.start - size for t in others),
    }
    starts = (e // SLOT_ALIGN * SLOT_ALIGN for e in edges)
    return [s for s in starts if 0 <= s <= room - size]


def overlap(taken: Taken, start: int, size: int) -> bool:
    return taken.start < start + size and start < taken.stop


def newest(past: list[Taken], start: int, size: int) -> int:
    """The place in `past` of the latest that was there, -1 if nothing was."""
    places = reversed(range(len(past)))
    return next((i for i in places if overlap(past[i], start, size)), -1)


def from_the_bottom(nest: Nest, below: Sequence[Buffer]) -> tuple[Buffer, ...]:
    """Each buffer above the one before it, and those of the nest that it is beside."""
    used: dict[str, int] = {}
    for other in below:
        used[other.memory] = max(used.get(other.memory, 0), other.address + other.bytes)
    placed = []
    for buffer in nest.buffers:
        address = used.get(buffer.memory, 0)
        placed.append(replace(buffer, address=address, places=()))
        used[buffer.memory] = address + buffer.bytes
    return tuple(placed)


def loaded_constants(graph: Graph) -> list[str]:
    """Constants that groups read, in order."""
    names = [i for n in graph.nodes if n.op == "group" for i in n.inputs if i in graph.constants]
    unused = {
        b.inputs[2]
        for n in graph.nodes
        for b in n.body
        if len(b.inputs) > 2 and "params" in b.attrs
    }
    return [n for n in dict.fromkeys(names) if n not in unused]


def place_in_dram(graph: Graph, target: Target) -> Graph:
    """Constants first, then the activations, whose storage is used again when they are dead."""
    address = 0
    tensors = dict(graph.tensors)
    for name in loaded_constants(graph):
        tensors[name] = replace(tensors[name], address=address)
        address += -(-storage_bytes(graph, name) // DRAM_ALIGN) * DRAM_ALIGN
    arena = pack(activation_blocks(graph), DRAM_ALIGN)
    for name, tensor in graph.tensors.items():
        root = storage(graph, name)
        if root in arena:
            tensors[name] = replace(tensor, address=address + arena[root])
    return replace(graph, tensors=tensors)


def activation_blocks(graph: Graph) -> list[Block]:
    """Storages in DRAM with their lives; the model's inputs and outputs live throughout."""
    last = len(graph.nodes)
    pinned = {storage(graph, n) for n in (*graph.inputs, *graph.outputs)}
    spans = lifetimes(graph)
    blocks = []
    for root in dict.fromkeys((*sorted(pinned), *spans)):
        if graph.tensors[root].memory != "dram" or root in graph.constants:
            continue
        first, end = (0, last) if root in pinned else spans[root]
        blocks.append(Block(root, storage_bytes(graph, root), first, end))
    return blocks
