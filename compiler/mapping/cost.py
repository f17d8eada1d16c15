"""What candidate tilings cost: bytes per scratchpad, DMA, array and vector cycles; all vectorised.

The array is priced by the target's dataflow and the rest by targets/cost.py, as in the simulator.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.targets import Channel, Engine, Target, cost, dataflow
from dnncc.targets.floor import link as link_of

from ..ir.graph import Graph, Tensor
from .given import ANY, Given
from .rings import rolling
from .space import Choice, Fill, once, product_of, trips
from .workload import Access, StepSpec, Workload

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Steps = Mapping[str, Ints]


class Problem(Struct, frozen=True):
    """A workload on a target, with the scratchpad bytes that are free for its tiles, and what is
    given of its mapping."""

    load: Workload
    graph: Graph
    target: Target
    free: Mapping[str, int]
    given: Given = ANY

    def moves(self, access: Access) -> bool:
        """Whether tiles of it go through DMA; a psum, or a resident tensor, stays where it is."""
        tensor = "" if access.within else access.tensor
        return bool(tensor) and self.graph.tensors[tensor].memory == "dram"

    def key(self) -> tuple[Any, ...]:
        """All that the choice of a mapping depends on, beside the target."""
        tensors = (self.graph.tensors[a.tensor] if a.tensor else None for a in self.load.accesses())
        fixed = self.graph.constants.keys()
        places = tuple(
            (t.memory, t.dtype.str, layout(t), t.name in fixed) if t else () for t in tensors
        )
        shapes = tuple(
            (a.role, a.kind, a.box, a.dtype.str, a.apart, a.within) for a in self.load.accesses()
        )
        numbers = tuple(
            (s.op, s.apart, *(s.attrs.get(name) for name in PRICED_BY)) for s in self.load.steps()
        )
        load = self.load
        loops = (tuple(load.dims.items()), load.reduction, load.single, load.orders)
        return (loops, shapes, places, numbers, tuple(self.free.items()), self.first, self.alone)

    @property
    def first(self) -> bool:
        """Whether no group comes before it, beside which its constants could be loaded."""
        group = next((n for n in self.graph.nodes if n.op == "group"), None)
        return group is None or self.load.result.tensor in group.outputs

    @property
    def alone(self) -> bool:
        """Whether no other group overlaps with its ends."""
        return sum(n.op == "group" for n in self.graph.nodes) == 1

    @property
    def tight(self) -> bool:
        """Whether the memory of ifmaps is less than what DRAM sends in its latency."""
        link = self.target.channel_of(self.target.load_engine("ifmap").name)
        room = self.target.memory_for("ifmap").bytes
        return link.latency_cycles * link.bytes_per_cycle > room

    @property
    def fill(self) -> Fill:
        """What fills the array."""
        model, array = dataflow.model(self.target), self.target.array
        block = array.rows if self.tight and self.load.inner else 0
        return Fill(array.rows if model.TAPS_ON_ROWS else 0, block)

    def buffered(self, access: Access) -> bool:
        """Whether it has a tile buffer of its own."""
        if access.within or access is self.load.result and self.in_place():
            return False
        return not access.tensor or self.moves(access)

    def in_place(self) -> bool:
        """Results take the place of their psums: as narrow or narrower, and in the same order, no
        result is written where a psum is still to be read."""
        psum, result = self.load.psum, self.load.result
        if psum is None or not self.moves(result):
            return False
        memories = {self.target.memory_for(k).name for k in ("psum", "ofmap")}
        return len(memories) == 1 and [d.terms for d in psum.box] == [d.terms for d in result.box]


PRICED_BY = ("op", "r", "s", "stride_y", "stride_x", "dilation_y", "dilation_x", "ifmap_axes")
"""What a step's cost depends on beside the tile's size."""


def layout(tensor: Tensor) -> tuple[int, ...]:
    """The strides of a tensor in DRAM, in elements: its view's, or row-major."""
    if tensor.view is not None:
        return tensor.view.strides
    return tuple(int(np.prod(tensor.shape[i + 1 :])) for i in range(len(tensor.shape)))


def storage_order(strides: tuple[int, ...]) -> tuple[int, ...]:
    """Dimensions from the outermost in storage to the innermost."""
    return tuple(sorted(range(len(strides)), key=lambda i: (-strides[i], i)))


def repetitions(access: Access, choice: Choice, count: Steps) -> Ints:
    """How often its tiles are loaded: once per iteration of the loops down to its innermost own."""
    whole = access.role in choice.resident
    key = "repetitions", access.role, choice.order, whole
    return once(count, key, lambda: repeated(access, choice.order, whole, count))


def repeated(access: Access, order: tuple[str, ...], whole: bool, count: Steps) -> Ints:
    own = frozenset() if whole else access.variables()
    total: Any = 1
    begun: Any = False
    for var in reversed(order):
        if var in access.apart:
            continue
        if var in own:
            begun = begun | (count[var] > 1)
        if begun is not False:
            total = total * np.where(begun, count[var], 1)
    return np.asarray(total, np.int64)


def held(access: Access, whole: bool, steps: Steps) -> tuple[Any, ...]:
    """What one load of it brings: its largest tile, or all of a resident operand."""
    if whole:
        return tuple(d.bound for d in access.box)
    return access.tile_shape(steps)


def brought(problem: Problem, access: Access, what: str, steps: Steps) -> tuple[Any, ...]:
    """Sizes of what one move brings."""
    ring = rolling(problem.load) if what == ROWS else None
    if ring:
        return ring.with_rows(steps, ring.new_rows(steps))
    return tuple(d.bound for d in access.box) if what == WHOLE else access.tile_shape(steps)


def elements(shape: tuple[Any, ...]) -> Ints:
    total: Any = np.int64(1)
    for size in shape:
        total = total * np.asarray(size, np.int64)
    return np.asarray(total)


def transfer(problem: Problem, access: Access, what: str, steps: Steps) -> tuple[Ints, Ints]:
    """(bytes on the DRAM bus, bytes through the scratchpad's port) of one load or store."""
    tensor = problem.graph.tensors[access.tensor]
    shape, strides = brought(problem, access, what, steps), layout(tensor)
    order = storage_order(strides)
    sizes = tuple(shape[i] for i in order)
    burst = channel(problem, access).burst_bytes
    runs, run = cost.contiguous_runs(
        sizes, tuple(strides[i] for i in order), tensor.dtype.itemsize, burst
    )
    return cost.dma_bus_bytes(runs, run, burst), elements(shape) * access.dtype.itemsize


def engine(problem: Problem, access: Access) -> Engine:
    """The DMA engine that moves it."""
    target, kind = problem.target, access.kind
    stores = access is problem.load.result
    return target.store_engine(kind) if stores else target.load_engine(kind)  # type: ignore[arg-type]


def channel(problem: Problem, access: Access) -> Channel:
    """The DRAM channel that it goes through."""
    return problem.target.channel_of(engine(problem, access).name)


class Moves(NamedTuple):
    """`busy`: per DRAM link the cycles that it is held, but for `fill` and `drain`; `number` of
    moves; `bytes` on buses; `turn` is what all tiles of each operand take one after the other, if
    there are several.

    Before the first step there are, on each engine, the loads of the first tile of each constant
    (`early`, as they can come before the group begins) and of each other operand (`fill`); after
    the last one its result's store (`drain`). Latency is counted once on an engine, and in each
    turn. `again` is what the first tiles take of all sweeps through a ring but the first sweep.
    """

    busy: dict[int, Ints]
    number: Ints
    bytes: Ints
    turn: dict[str, Ints]
    early: dict[str, Ints]
    fill: dict[str, Ints]
    drain: Ints
    again: dict[str, Ints]


Transfers = Mapping[tuple[str, str], tuple[Ints, Ints]]
"""Bytes on the bus and cycles of its channel that one move of an operand takes, by what it brings:
all that a choice decides of it."""

TILE, WHOLE, ROWS = "tile", "whole", "rows"
"""What a move brings: a tile, all of a resident operand, or rows that the tile before did not
have."""


class Moved(NamedTuple):
    """`number` moves that bring `what`: as much as `full` of full size would, were it not for the
    smaller tiles at the ends of the loops in `cut`."""

    what: str
    number: Ints
    full: Any
    cut: frozenset[str]


def moved(problem: Problem, access: Access, choice: Choice, steps: Steps) -> list[Moved]:
    """All moves of an operand; rows of a ring are counted to the row."""
    load, count = problem.load, trips(problem.load, steps)
    if access is load.result:
        number = times(access.apart, choice, count)
        return [Moved(TILE, number, number, access.variables())]
    number = repetitions(access, choice, count)
    ring = choice.rolls(access)
    if ring is None:
        what = WHOLE if access.role in choice.resident else TILE
        return [Moved(what, number, number, access.variables())]
    sweeps, cut = number // count[ring.var], access.variables() - {ring.var}
    later = ring.later_rows(load, steps) / ring.new_rows(steps)
    window, new = access.box[ring.axis].largest(steps), ring.new_rows(steps)
    return [
        Moved(TILE, ring.loads(steps, sweeps, window), sweeps, cut),
        Moved(ROWS, ring.loads(steps, number - sweeps, new), sweeps * later, cut),
    ]


def transfers(problem: Problem, options: Iterable[Choice], steps: Steps) -> Transfers:
    """Of all operands that are moved, under all of the choices."""
    found: dict[tuple[str, str], tuple[Ints, Ints]] = {}
    able = list(filter(problem.moves, problem.load.accesses()))
    for choice, access in product(options, able):
        for what in kinds(access, choice):
            if (access.role, what) not in found:
                found[access.role, what] = one_transfer(problem, access, what, steps)
    return found


def kinds(access: Access, choice: Choice) -> tuple[str, ...]:
    """What moves of an operand bring."""
    if access.role in choice.resident:
        return (WHOLE,)
    return (TILE, ROWS) if choice.rolls(access) else (TILE,)


def one_transfer(problem: Problem, access: Access, what: str, steps: Steps) -> tuple[Ints, Ints]:
    bus, spad = transfer(problem, access, what, steps)
    port = problem.target.memory_for(access.kind).bytes_per_cycle  # type: ignore[arg-type]
    requests = engine(problem, access).requests
    return bus, cost.transfer_cycles(bus, spad, channel(problem, access), port, requests)


class Share(NamedTuple):
    """Of all moves, those of one operand: cycles on its link, `number`, `bytes`, its `turn`, what
    one of the first ones takes, and `again` in a ring."""

    busy: Ints
    number: Ints
    bytes: Ints
    turn: Ints
    first: Ints
    again: Ints | None


def dma(problem: Problem, choice: Choice, steps: Steps, each: Transfers) -> Moves:
    """All moves; they depend on the loop order and on what is resident only."""
    zero = np.zeros((), np.int64)
    found = Moves({}, zero, zero, {}, {}, {}, zero, {})
    busy, early, fill, number, total, drain = found.busy, found.early, found.fill, zero, zero, zero
    for access in filter(problem.moves, problem.load.accesses()):
        stores, role = access is problem.load.result, access.role
        lane = link_of(problem.target, channel(problem, access), stores)
        known = not stores and access.tensor in problem.graph.constants
        share = share_of(problem, access, choice, steps, each)
        busy[lane] = busy.get(lane, zero) + share.busy - share.first * (not known)
        number, total = number + share.number, total + share.bytes
        if share.again is not None:
            found.again[role] = share.again
        if stores:
            drain = share.first
        else:
            first = early if known else fill
            name = engine(problem, access).name
            first[name] = first.get(name, zero) + share.first
        found.turn[role] = share.turn
    return found._replace(number=number, bytes=total, drain=drain)


def share_of(
    problem: Problem, access: Access, choice: Choice, steps: Steps, each: Transfers
) -> Share:
    what = kinds(access, choice)
    key = "share", access.role, choice.order, what
    return once(steps, key, lambda: new_share(problem, access, choice, steps, each))


def new_share(
    problem: Problem, access: Access, choice: Choice, steps: Steps, each: Transfers
) -> Share:
    link, stores = channel(problem, access), access is problem.load.result
    busy, number, total, turn = (np.zeros((), np.int64) for _ in range(4))
    moves = moved(problem, access, choice, steps)
    for what, often, full, cut in moves:
        bus, each_takes = each[access.role, what]
        part = filled(problem.load, steps, cut)
        busy = busy + (each_takes * full * part).astype(np.int64)
        turn = turn + often * (each_takes + cost.first_byte(link, stores))
        number, total = number + often, total + (bus * full * part).astype(np.int64)
    first = each[access.role, moves[0].what][1]
    once_more = (moves[0].number - 1) * (first + cost.first_byte(link, stores))
    turn = np.where(number > 1, turn, 0)
    return Share(busy, number, total, turn, first, once_more if len(moves) > 1 else None)


def times(apart: tuple[str, ...], choice: Choice, count: Steps) -> Ints:
    """How often goes on what is in all loops but these."""
    return product_of(count, [v for v in choice.order if v not in apart])


def runs(load: Workload, spec: StepSpec, choice: Choice, count: Steps) -> Ints:
    """How often a step is done."""
    made = load.prepared(spec)
    return repetitions(made, choice, count) if made else times(spec.apart, choice, count)


def stored(problem: Problem, choice: Choice, count: Steps) -> Ints:
    return times(problem.load.reduction, choice, count)


def filled(load: Workload, steps: Steps, variables: Iterable[str]) -> npt.NDArray[np.float64]:
    """How full tiles are on average: the last one along a loop may be smaller."""
    own = frozenset(variables).intersection(steps)
    return once(steps, ("filled", own), lambda: part_of(load, steps, own))


def part_of(load: Workload, steps: Steps, own: frozenset[str]) -> npt.NDArray[np.float64]:
    full = product_of(steps, own) * product_of(trips(load, steps), own)
    return np.asarray(math.prod(load.dims[v] for v in own) / full)
