"""Where loads of weights stand whose memory is first in, first out (memory/fifo.py).

Each as early as what it overwrites is done with, behind the load before it, and no more of them
before the steps that read them than half of the engine's queue: one that is full holds up issue.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from dnncc.targets import Target

from ..ir.graph import Graph
from ..ir.tile import Buffer, Compute, Load, Nest, Unrolled, slot_index, unroll
from ..memory.fifo import Floats, Held, buffers_in, fifo_of, last_reads

BEHIND = 0.5
"""The step that it follows."""


class Queue(Struct):
    """What the `memory` holds, with places in the program; where loads would stand that come no
    sooner than they are used, and where the last one does. None comes before the program's first
    step on a tile, which would be issued later."""

    memory: str
    ahead: int
    past: Held
    used: list[float]
    last: float = -1.0
    first: float = -1.0

    @classmethod
    def of(cls, target: Target) -> "Queue":
        return cls(fifo_of(target), target.issue.queue_depth // 2, Held.nothing(), [])

    def brought_forward(
        self, items: Iterable[Unrolled], nest: Nest, start: int, graph: Graph
    ) -> Iterator[Unrolled]:
        """The steps of a nest that begins at place `start`, with their own places."""
        every, buffers = list(items), {b.name: b for b in buffers_in(nest, self.memory)}
        if self.first < 0:
            begins = (i.order.min() for i in every if isinstance(i.step, Compute))
            self.first = float(min(begins, default=-1.0))
        for item in every:
            step = item.step
            if isinstance(step, Load) and step.out.buffer in buffers:
                buffer = buffers[step.out.buffer]
                usual = next(i.order for i in unroll(nest) if i.step is step) + start
                constant = step.out.tensor in graph.constants and not nest.beside
                item = replace(item, order=self.placed(item, buffer, usual, constant))
            yield item
        for buffer in buffers.values():
            self.past = self.past.then(Held.by(buffer, last_reads(every, buffer)))

    def placed(self, item: Unrolled, buffer: Buffer, usual: Floats, constant: bool) -> Floats:
        """Places of loads into a buffer: of a constant's, the first into each slot come early."""
        assert isinstance(item.step, Load)
        order: Floats = item.order.astype(np.float64)
        before = len(self.used)
        self.used += np.sort(usual).tolist()
        slot = slot_index(item.step.out, buffer.slots, item.env)
        slots, first = np.unique(np.broadcast_to(slot, order.shape), return_index=True)
        free = self.past.free(np.array(buffer.starts, np.int64)[slots], buffer.slot_bytes) + BEHIND
        for at in np.argsort(order[first], kind="stable").tolist() if constant else ():
            limit = self.used[before - self.ahead] if before >= self.ahead else self.first
            place = max(self.last, float(free[at]), limit)
            order[first[at]] = self.last = min(place, float(order[first[at]]))
            before += 1
        self.last = max(self.last, float(order.max()))
        return order
