"""What candidate tilings move: how often, how many bytes, and for how long; all vectorised."""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from dnncc.targets import cost

from ..ir.graph import Tensor
from .cost import (
    Ints,
    Problem,
    Route,
    Steps,
    elements,
    filled,
    layout,
    repetitions,
    route,
    storage_order,
    times,
)
from .rings import rolling
from .space import Loops, once, trips
from .workload import Access


def brought(problem: Problem, access: Access, what: str, steps: Steps) -> tuple[Any, ...]:
    """Sizes of what one move brings."""
    ring = rolling(problem.load) if what == ROWS else None
    if ring:
        return ring.with_rows(steps, ring.new_rows(steps))
    return tuple(d.bound for d in access.box) if what == WHOLE else access.tile_shape(steps)


def transfer(problem: Problem, access: Access, what: str, steps: Steps) -> tuple[Ints, Ints]:
    """(bytes on the DRAM bus, bytes through the scratchpad's port) of one load or store."""
    tensor, burst = problem.graph.tensors[access.tensor], route(problem, access).channel.burst_bytes
    return bytes_of(tensor, access, brought(problem, access, what, steps), burst)


def bytes_of(
    tensor: Tensor, access: Access, shape: tuple[Any, ...], burst: int
) -> tuple[Ints, Ints]:
    strides = layout(tensor)
    order = [i for i in storage_order(strides) if access.box[i].bound > 1]
    sizes, apart = tuple(shape[i] for i in order), tuple(strides[i] for i in order)
    runs, run = cost.contiguous_runs(sizes, apart, tensor.dtype.itemsize, burst)
    return cost.dma_bus_bytes(runs, run, burst), elements(shape) * access.dtype.itemsize


class Moves(Struct, frozen=True):
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


def moved(problem: Problem, access: Access, choice: Loops, steps: Steps) -> list[Moved]:
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


def transfers(problem: Problem, options: Iterable[Loops], steps: Steps) -> Transfers:
    """Of all operands that are moved, under all of the choices."""
    every = list(options)
    return {
        (way.access.role, what): one_transfer(problem, way, what, steps)
        for way in problem.routes
        for what in dict.fromkeys(w for choice in every for w in kinds(way.access, choice))
    }


def kinds(access: Access, choice: Loops) -> tuple[str, ...]:
    """What moves of an operand bring."""
    if access.role in choice.resident:
        return (WHOLE,)
    return (TILE, ROWS) if choice.rolls(access) else (TILE,)


def one_transfer(problem: Problem, way: Route, what: str, steps: Steps) -> tuple[Ints, Ints]:
    shape = brought(problem, way.access, what, steps)
    tensor = problem.graph.tensors[way.access.tensor]
    bus, spad = bytes_of(tensor, way.access, shape, way.channel.burst_bytes)
    return bus, cost.transfer_cycles(bus, spad, way.channel, way.port, way.engine.requests)


class Share(NamedTuple):
    """Of all moves, those of one operand: cycles on its link, `number`, `bytes`, its `turn`, what
    one of the first ones takes, `again` in a ring, and the `rest` of the cycles but for the first
    one."""

    busy: Ints
    number: Ints
    bytes: Ints
    turn: Ints
    first: Ints
    again: Ints | None
    rest: Ints


def dma(problem: Problem, choice: Loops, steps: Steps, each: Transfers) -> Moves:
    """All moves; they depend on the loop order and on what is resident only."""
    zero = np.zeros((), np.int64)
    found = Moves({}, zero, zero, {}, {}, {}, zero, {})
    busy, number, total, drain = found.busy, zero, zero, zero
    for way in problem.routes:
        role, share = way.access.role, share_of(problem, way, choice, steps, each)
        held = share.busy if way.constant else share.rest
        busy[way.link] = busy[way.link] + held if way.link in busy else held
        number, total = number + share.number, total + share.bytes
        if share.again is not None:
            found.again[role] = share.again
        if way.stores:
            drain = share.first
        else:
            first, name = found.early if way.constant else found.fill, way.engine.name
            first[name] = first[name] + share.first if name in first else share.first
        found.turn[role] = share.turn
    return replace(found, number=number, bytes=total, drain=drain)


def share_of(problem: Problem, way: Route, choice: Loops, steps: Steps, each: Transfers) -> Share:
    what = kinds(way.access, choice)
    key = "share", way.access.role, choice.order, what
    return once(steps, key, lambda: new_share(problem, way, choice, steps, each))


def new_share(problem: Problem, way: Route, choice: Loops, steps: Steps, each: Transfers) -> Share:
    role, latency = way.access.role, way.latency
    moves = moved(problem, way.access, choice, steps)
    parts = []
    for what, often, full, cut in moves:
        bus, takes = each[role, what]
        part = filled(problem.load, steps, cut)
        busy, size = ((one * full * part).astype(np.int64) for one in (takes, bus))
        parts.append((busy, size, often, often * (takes + latency)))
    busy, total, number, turn = (reduce(np.add, column) for column in zip(*parts, strict=True))
    first = each[role, moves[0].what][1]
    again = (moves[0].number - 1) * (first + latency) if len(moves) > 1 else None
    return Share(busy, number, total, np.where(number > 1, turn, 0), first, again, busy - first)
