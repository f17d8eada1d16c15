"""What the cycles above the bound are for, layer by layer and in total; each sum is exact.

A layer's limit is what its bound comes from: the array, or a DRAM link. Every cycle of the layer
goes to the first of these that it is true of, and the bound is taken from the limit's own cycles:

    limit          the array computes, or bytes move over the link
    array          the array is busy, in a layer that DRAM limits
    vector_tail    the SIMD lanes work and the array does not
    ramp           a DMA moves bytes before the first step of the layer
    exposed_dma    a DMA moves bytes, and no engine computes
    host           nothing goes on since a host part is done
    dram_latency   nothing goes on, and a first byte is on its way
    issue          nothing goes on, and the next instruction is not there
    waits          nothing goes on for another reason

Of the array's own cycles above its fewest, those in which only weights enter or psums leave are
`fill_drain`, the others `array`: tiles that use it worse, or do work twice. Of a link's, all are
`traffic`: bytes that the bound does not have, but also, as less than nothing, bytes of this layer
that moved while another one had the array. In total, the limit is that of the whole run, so that
the rows need not sum to it.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dnncc.isa import core
from dnncc.isa.distinct import distinct
from dnncc.isa.image import Debug, Floor
from dnncc.targets import Target
from dnncc.targets import floor as bounds

from .attribution import active, owners_at
from .timing import Timeline

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CAUSES = (
    *("array", "fill_drain", "traffic", "vector_tail", "ramp", "exposed_dma"),
    *("host", "dram_latency", "issue", "waits"),
)
ARRAY, FILL, TRAFFIC, VECTOR, RAMP, EXPOSED, HOST, LATENCY, ISSUE, WAITS = range(len(CAUSES))


class Gap(NamedTuple):
    """`causes` sum to cycles - bound. `limit` is "array", or "dram"."""

    bound: int
    limit: str
    causes: dict[str, int]


class Spans(NamedTuple):
    """The run cut where any engine's state changes, int64[spans]: where each begins, its cycles,
    and the instruction that it belongs to."""

    at: Ints
    width: Ints
    owner: Ints


def gaps(
    timeline: Timeline, hosts: Ints, rows: Ints, floors: list[Floor], target: Target
) -> tuple[list[Gap], Gap]:
    """Of each layer, and in total.

    `hosts` are the instructions that run host parts, `rows` is each instruction's layer, `floors`
    are the layers'.
    """
    parts = spans(timeline)
    states = State(timeline, hosts, parts, rows)
    limits = np.array([bounds.limit(target, [floor]) for floor in floors], np.int64)
    layer = rows[parts.owner]
    table = states.table(limits[layer], layer, len(floors))
    whole = bounds.limit(target, floors)
    total = states.table(np.full(len(layer), whole), np.zeros_like(layer), 1)
    exposed = fill_drain(timeline, rows, len(floors))
    each = [
        gap(row, [floor], int(at), int(fill), target)
        for row, floor, at, fill in zip(table, floors, limits, exposed, strict=True)
    ]
    return each, gap(total[0], floors, whole, int(exposed.sum()), target)


def gap(row: Ints, floors: list[Floor], at: int, exposed: int, target: Target) -> Gap:
    """One line of the table: `row` has the limit's own cycles behind those of the causes."""
    least = bounds.bound(target, floors)
    above = int(row[-1]) - least
    causes = dict(zip(CAUSES, row[:-1].tolist(), strict=True))
    if at == bounds.ARRAY:
        causes["fill_drain"] = min(exposed, max(above, 0))
        causes["array"] = above - causes["fill_drain"]
    else:
        causes["traffic"] = above
    return Gap(least, "array" if at == bounds.ARRAY else "dram", causes)


def spans(timeline: Timeline) -> Spans:
    moments = (timeline.issue, timeline.begin, timeline.start, timeline.end, [0, timeline.cycles])
    edges = distinct(np.concatenate(moments))
    edges = edges[edges <= timeline.cycles]
    at = edges[:-1]
    return Spans(at, np.diff(edges), owners_at(timeline, at))


def fill_drain(timeline: Timeline, rows: Ints, count: int) -> Ints:
    """Cycles int64[count] in which the array is busy with an instruction, but not its body."""
    mine = np.flatnonzero(timeline.engine == core.ENGINES.index("tensor"))
    prices = timeline.prices
    ends = prices.head[mine] + prices.tail[mine]
    busy = timeline.end[mine] - timeline.start[mine]
    sums = np.zeros(count, np.int64)
    np.add.at(sums, rows[mine], np.maximum(busy - (prices.cycles[mine] - ends), 0))
    return sums


class State:
    """What goes on in each span."""

    def __init__(self, timeline: Timeline, hosts: Ints, parts: Spans, rows: Ints) -> None:
        self.timeline, self.parts = timeline, parts
        self.tensor, self.vector = self.busy(("tensor",)), self.busy(("vector",))
        self.moving = self.busy(("load0", "load1", "store0", "store1"))
        self.early = self.before_steps(rows)
        self.idle = self.after_host(hosts), self.asked(), self.unissued()

    def queues(self, names: tuple[str, ...]) -> list[Ints]:
        numbers = [core.ENGINES.index(name) for name in names]
        queues = [np.flatnonzero(self.timeline.engine == number) for number in numbers]
        return [queue for queue in queues if len(queue)]

    def any(self, states: list[Bools]) -> Bools:
        nothing = np.zeros(len(self.parts.at), np.bool_)
        return np.asarray(np.logical_or.reduce([nothing, *states]))

    def busy(self, names: tuple[str, ...]) -> Bools:
        return self.any([active(self.timeline, q, self.parts.at) for q in self.queues(names)])

    def linked(self, number: int) -> Bools:
        """Whether bytes move over a link."""
        channel = self.timeline.prices.channel
        queues = [q[channel[q] == number] for q in self.queues(core.ENGINES)]
        return self.any([active(self.timeline, q, self.parts.at) for q in queues if len(q)])

    def before_steps(self, rows: Ints) -> Bools:
        """Whether the layer has still to compute anything."""
        steps = [core.ENGINES.index(name) for name in ("tensor", "vector")]
        mine = np.flatnonzero(np.isin(self.timeline.engine, steps))
        first = np.full(int(rows.max(initial=0)) + 1, self.timeline.cycles)
        np.minimum.at(first, rows[mine], self.timeline.start[mine])
        return np.asarray(self.parts.at < first[rows[self.parts.owner]])

    def after_host(self, hosts: Ints) -> Bools:
        """Whether a host part has ended since any engine was busy."""
        end, at = self.timeline.end, self.parts.at
        done = latest(np.sort(end[hosts]), at)
        return np.asarray(
            done >= np.maximum(latest(np.sort(end[self.timeline.engine >= 0]), at), 0)
        )

    def asked(self) -> Bools:
        """Whether a DMA has begun of which nothing has arrived."""
        waiting = []
        for queue in self.queues(("load0", "load1", "store0", "store1")):
            last = np.searchsorted(self.timeline.begin[queue], self.parts.at, side="right") - 1
            begun = (last >= 0) & (self.parts.at < self.timeline.start[queue[np.maximum(last, 0)]])
            waiting.append(begun)
        return self.any(waiting)

    def unissued(self) -> Bools:
        return np.asarray(self.timeline.issue[self.parts.owner] > self.parts.at)

    def table(self, limits: Ints, layer: Ints, count: int) -> Ints:
        """Cycles int64[count, CAUSES + 1], the last column those of the limit, which `limits` has
        for each span."""
        limited = (limits == bounds.ARRAY) & self.tensor
        for number in distinct(limits[limits != bounds.ARRAY]):
            limited |= (limits == number) & self.linked(int(number))
        after_host, asked, unissued = self.idle
        states: list[Any] = [limited, self.tensor, self.vector, self.moving & self.early]
        states += [self.moving, after_host, asked, unissued, True]
        columns = np.array([len(CAUSES), ARRAY, VECTOR, RAMP, EXPOSED, HOST, LATENCY, ISSUE, WAITS])
        cause = columns[np.argmax(np.stack(np.broadcast_arrays(*states)), axis=0)]
        sums = np.zeros((count, len(CAUSES) + 1), np.int64)
        np.add.at(sums, (layer, cause), self.parts.width)
        return sums


def latest(moments: Ints, at: Ints) -> Ints:
    """The last of the sorted moments that is not after each time; -1 where there is none."""
    position = np.searchsorted(moments, at, side="right")
    return np.concatenate(([-1], moments))[position]


def per_label(debug: Debug, labels: list[str]) -> list[Floor] | None:
    """The floors of the rows of `node_index`, which merges nodes of one label; None if unknown."""
    if not debug.floors:
        return None
    pairs = list(zip(debug.nodes, debug.floors, strict=True))
    return [bounds.total(floor for node, floor in pairs if node == label) for label in labels]
