"""What is handed from one use to the next as a whole: a slot of a tile buffer, a resident tensor, a
tensor in DRAM. Hazards are looked for within a unit, and between units that share bytes in turn."""

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa.distinct import distinct
from dnncc.targets import Target

from ..codegen.stream import Stream
from ..ir.graph import Graph
from ..ir.tile import TileProgram
from ..mapping.workload import scratchpad_dtype
from .lifetimes import lifetimes

Ints = npt.NDArray[np.int64]
MEMORY_SHIFT = 44


class Units(Struct, frozen=True):
    """Columns, int64[units]: memory number, bytes [start, stop), nests first..last.

    And what it is: the name of a storage, or that of a buffer with the number of the slot.
    """

    memory: Ints
    start: Ints
    stop: Ints
    first: Ints
    last: Ints
    names: tuple[str, ...] = ()

    def find(self, nest: Ints, memory: Ints, start: Ints) -> Ints:
        """The unit that an access of a nest lies in, by its first byte; -1 for constants."""
        found, order = np.empty(len(nest), np.int64), np.argsort(nest, kind="stable")
        numbers = distinct(nest)
        cuts = np.searchsorted(nest[order], numbers[1:])
        for number, here in zip(numbers.tolist(), np.split(order, cuts), strict=False):
            found[here] = self.find_in(number, memory[here], start[here])
        return found

    def find_in(self, nest: int, memory: Ints, start: Ints) -> Ints:
        alive = np.flatnonzero((self.first <= nest) & (nest <= self.last))
        keys = (self.memory[alive] << MEMORY_SHIFT) + self.start[alive]
        alive = alive[np.argsort(keys)]
        if not len(alive):
            return np.full(len(memory), -1, np.int64)
        index = np.searchsorted(np.sort(keys), (memory << MEMORY_SHIFT) + start, "right") - 1
        unit = alive[np.maximum(index, 0)]
        inside = (index >= 0) & (self.memory[unit] == memory) & (start < self.stop[unit])
        return np.where(inside, unit, -1)


Row = tuple[int, int, int, int, int, str]


def units_of(stream: Stream, target: Target) -> Units:
    rows = [*slots(stream.tile, target), *storages(stream.tile.graph, target)]
    memory, start, stop, first, last = np.array([r[:5] for r in rows], np.int64).reshape(-1, 5).T
    return Units(memory, start, stop, first, last, tuple(r[5] for r in rows))


def slots(program: TileProgram, target: Target) -> list[Row]:
    numbers = {m.name: m.id for m in target.memories}
    return [
        (
            numbers[b.memory],
            start,
            start + b.slot_bytes,
            nest - max(b.ahead, item.beside),
            nest,
            f"{b.name}[{i}]",
        )
        for nest, item in enumerate(program.nests)
        for b in item.buffers
        for i, start in enumerate(b.starts)
    ]


def storages(graph: Graph, target: Target) -> list[Row]:
    numbers = {m.name: m.id for m in target.memories} | {"dram": 0}
    nest_of_node = np.cumsum([n.op in ("group", "host") for n in graph.nodes]) - 1
    rows = []
    for root, (first, last) in lifetimes(graph).items():
        tensor = graph.tensors[root]
        dtype = tensor.dtype if tensor.memory == "dram" else scratchpad_dtype(tensor.dtype, target)
        stop = tensor.address + tensor.size * dtype.itemsize
        span = (int(nest_of_node[first]), int(nest_of_node[last]))
        place = (numbers[tensor.memory], tensor.address, stop)
        rows.append((*place, max(span[0], 0), span[1], root))
        if head := tensor.head:
            size = head.elements * scratchpad_dtype(tensor.dtype, target).itemsize
            place = (numbers[head.memory], head.address, head.address + size)
            rows.append((*place, max(span[0], 0), span[1], root))
    return rows
