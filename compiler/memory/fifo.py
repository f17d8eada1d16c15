"""Weights in a memory of their own, filled over a link of their own: first in, first out.

A tile may come as soon as what its bytes held before is done with, layers before the one that reads
it. So nests share the bytes of such a memory: a load stands behind the last step that reads what it
overwrites (codegen/queue.py), and slots lie where that is soonest.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.targets import Target

from ..ir.tile import SLOT_ALIGN, Buffer, Compute, Nest, Unrolled, size_of, slot_index, unroll

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEVER = np.inf


def fifo_of(target: Target) -> str:
    """The memory, "" if the target has none such."""
    memory, engine = target.memory_for("weight"), target.load_engine("weight")
    others = [e for e in target.engines if e.channel == engine.channel and e != engine]
    own = memory.holds == engine.serves == ("weight",) and not others
    return memory.name if own else ""


class Held(Struct, frozen=True):
    """Bytes [start, stop) of the memory, int64[n], which nothing reads any more behind the places
    `until`, float64[n]."""

    start: Ints
    stop: Ints
    until: Floats

    @classmethod
    def nothing(cls) -> "Held":
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))

    @classmethod
    def by(cls, buffer: Buffer, until: Floats) -> "Held":
        """What the slots of a buffer take."""
        start = np.array(buffer.starts, np.int64)
        return cls(start, start + buffer.slot_bytes, until)

    def free(self, start: Ints, size: int) -> Floats:
        """The places from which on `size` bytes at each start may be written; -1 where nothing
        was."""
        shared = (self.start < start[:, None] + size) & (start[:, None] < self.stop)
        return np.asarray(np.where(shared, self.until, -1.0).max(axis=1, initial=-1.0))

    def then(self, new: "Held") -> "Held":
        """With what comes after it."""
        covered = (new.start <= self.start[:, None]) & (self.stop[:, None] <= new.stop)
        left = ~covered.any(axis=1)
        return Held(self.start[left], self.stop[left], self.until[left]).beside(new)

    def beside(self, new: "Held") -> "Held":
        """All of both."""
        start, stop = np.append(self.start, new.start), np.append(self.stop, new.stop)
        return Held(start, stop, np.append(self.until, new.until))


def last_reads(items: Iterable[Unrolled], buffer: Buffer) -> Floats:
    """Places of the steps that read a slot last, float64[slots]; -1 where none does."""
    last = np.full(buffer.slots, -1.0)
    for item in items:
        for operand in item.step.operands.values() if isinstance(item.step, Compute) else ():
            if operand.buffer == buffer.name:
                index = slot_index(operand, buffer.slots, item.env)
                slot = np.broadcast_to(index, item.order.shape)
                last[slot] = np.maximum(last[slot], item.order)  # places rise, and the last stays
    return last


def buffers_in(nest: Nest, memory: str) -> Iterator[Buffer]:
    return (buffer for buffer in nest.buffers if buffer.memory == memory)


def held_by(nest: Nest, number: int, memory: str) -> Iterator[Held]:
    """What its buffers take of the memory, with places counted in nests."""
    for buffer in buffers_in(nest, memory):
        last = last_reads(unroll(nest), buffer)
        yield Held.by(buffer, np.where(last < 0, -1.0, number + last / size_of(nest.body)))


def soonest(past: Held, buffer: Buffer, room: int) -> tuple[int, ...]:
    """For each slot, in turn, the first of the addresses at which it can be filled soonest; nothing
    if they do not fit. No slot is filled before the one before it."""
    size, begun, found = buffer.slot_bytes, -1.0, list[int]()
    for _ in range(buffer.slots):
        starts = candidates(past, size, room)
        free = past.free(starts, size)
        best = int(np.maximum(free, begun).argmin()) if len(starts) else -1
        if best < 0 or free[best] == NEVER:
            return ()
        begun = max(begun, float(free[best]))
        found.append(int(starts[best]))
        own = np.array(found[-1:], np.int64)
        past = past.beside(Held(own, own + size, np.full(1, NEVER)))
    return tuple(found)


def candidates(past: Held, size: int, room: int) -> Ints:
    """Starts that touch the edge of something, lowest first."""
    edges: Sequence[Ints] = (past.start - size, past.stop, np.array([0, room - size]))
    starts = np.unique(-(-np.concatenate(edges) // SLOT_ALIGN) * SLOT_ALIGN)
    return starts[(starts >= 0) & (starts <= room - size)]
