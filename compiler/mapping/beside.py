"""What a group takes besides the array: its engines side by side, slot by slot, end to end."""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.targets import cost

from .buffers import Queue
from .cost import Problem, Steps, runs, stored
from .lanes import handing_cycles, vector_cycles
from .moves import Moves, Transfers, dma
from .space import Loops, Ways, product_of, trips

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Beside(NamedTuple):
    """What a group takes beside the array's cycles. Int64 arrays that broadcast to the candidates.

    Engines overlap but for what is `alone`, and what the array has to wait for between two tiles of
    an operand of which there is one slot (`between`). A slot is free again when its tile was moved,
    which takes DRAM's latency, too, and worked on: all that is `turn`, and held / `slots`, which
    have an axis more, of memories with their own number of slots, in front. `code` is the number
    of instructions, `bytes` what goes over DRAM's buses, code included.
    """

    overlap: Ints
    between: Ints
    turn: Ints
    slots: Ints
    alone: Ints
    code: Ints
    bytes: Ints

    def with_array(self, array: Ints, held: Ints) -> Ints:
        """Cycles of all of it, if the array takes so many, and each tile alone the sum `held`."""
        memories = zip(self.turn, self.slots, strict=True)
        turn = reduce(np.maximum, (t + cost.floor_div(held, slots) for t, slots in memories))
        busiest = np.maximum(array + self.between, self.overlap)
        return np.asarray(np.maximum(busiest, turn) + self.alone)

    def at(self, *points: Ints) -> "Beside":
        """Of some candidates."""
        where: Any = (..., *points)
        return Beside(*(column[where] for column in self))


class Common(Struct, frozen=True):
    """What choices have in common that differ in slots only: all moves, cycles of the lanes, and of
    these those on tiles for the array, instructions, cycles of the busiest engine, those of the
    `ends`, and of all tiles what a slot is taken for: beside the array's work on its tile (`turns`,
    by operand), or without it (`lanes`)."""

    moves: Moves
    vector: Ints
    handing: Ints
    code: Ints
    busiest: Ints
    ends: Ints
    turns: Mapping[str, Ints]
    lanes: Mapping[str, Ints]


def common(problem: Problem, choice: Loops, steps: Steps, each: Transfers) -> Common:
    """Before the first tile come its loads; after all the vector work on the last one, and its
    store."""
    moves, after = dma(problem, choice, steps, each), vector_cycles(problem, choice, steps)
    between, waited = handing_cycles(problem, choice, steps)
    vector = after + between
    code = moves.number + computes(problem, choice, steps)
    last = after // stored(problem, choice, trips(problem.load, steps)) * bool(problem.load.inner)
    engines = (vector - last, issue_cycles(problem, code), *moves.busy.values())
    ends = moves.drain + waited + last
    busiest = reduce(np.maximum, engines)
    waits = turns(problem, moves, vector, between)
    return Common(moves, vector, between, code, busiest, ends, *waits)


def beside(
    problem: Problem,
    ways: Ways,
    steps: Steps,
    shares: Bools,
    all_: Common,
    room: Steps,
    stored: Queue,
) -> Beside:
    """Engines overlap, so the busiest sets the time, but where there is one slot of everything.
    `room` is the most tiles that each buffer holds, `stored` how results wait for their link."""
    moves = all_.moves
    turn, slots = paces(problem, ways, all_, room)
    alone: Any = start(problem, moves, shares, lead(problem, ways, steps)) + all_.ends
    overlap = np.maximum(all_.busiest, joined(problem, ways, all_, room))
    overlap = np.maximum(overlap, behind_loads(problem, all_, stored))
    between = waits_between(problem, ways, all_) + sweep_waits(problem, ways, steps, moves)
    single = ways.depth == 1
    if single.any():
        between = between + np.where(single, all_.vector + sum(moves.busy.values()), 0)
    bytes_ = moves.bytes + all_.code * CODE_BYTES
    columns = (overlap, between, turn, slots, alone, all_.code, bytes_)
    return Beside(*(np.asarray(column, np.int64) for column in columns))


def turns(
    problem: Problem, moves: Moves, vector: Ints, between: Ints
) -> tuple[dict[str, Ints], dict[str, Ints]]:
    """What a slot is taken for beside the array's work on its tile, by operand; and that of slots
    that the array has nothing to do with: where memories are tight, also of what lanes make tiles
    for the array from, which they are soon done with. Of all tiles."""
    load, zero = problem.load, np.zeros((), np.int64)
    parts = {a.role: a.within or a.role for a in load.accesses()}
    used = {parts[role] for spec in load.inner for role, _ in spec.uses.values()}
    held = load.on_array() if problem.tight else load.inner
    on_array = {parts[role] for spec in held for role, _ in spec.uses.values()}
    away = moves.turn.get(load.result.role, zero)
    inputs = {r: t for r, t in moves.turn.items() if r != load.result.role}
    work = {r: between if r in used else vector for r in inputs}
    others = {r: t + work[r] for r, t in inputs.items() if r not in on_array}
    scaled = (vector + away * problem.in_place) * bool(load.inner)
    worked_on = {r: t for r, t in inputs.items() if r in on_array} | {"psum": scaled}
    result = {load.result.role: away + vector}
    return (worked_on | result, others) if load.gathered() else (worked_on, others | result)


def paces(problem: Problem, ways: Ways, all_: Common, room: Steps) -> tuple[Ints, Ints]:
    """By memory, how long a slot waits for its next tile, and how many there are. Of all operands
    the longest, as each has its slots; a lone one counts in other ways."""
    if not problem.tight:
        deep = (ways.deep | ({"psum"} if problem.psums_apart else set())) & all_.turns.keys()
        usual = [t for role, t in all_.turns.items() if role not in deep]
        shared = reduce(np.maximum, usual, np.zeros((), np.int64)), ways.depth
        own = ((all_.turns[role], np.maximum(room[role], ways.depth)) for role in deep)
        each = longest_by([shared, *own])
        return each[None], ways.depth[None]
    made = {a.role: all_.handing for s in problem.load.inner if (a := problem.load.prepared(s))}
    found: dict[str, tuple[Ints, Ints]] = {}
    kinds = {a.role: a.kind for a in problem.load.accesses()}
    for role, turn in {**all_.turns, **made}.items():
        kind: Any = kinds.get(role, "psum")
        memory = problem.target.memory_for(kind).name
        longest, slots = found.get(memory, (turn * 0, ways.depth))
        number = room.get(role, slots)
        found[memory] = np.maximum(longest, turn // number), np.minimum(slots, number)
    return stacked(t for t, _ in found.values()), stacked(n for _, n in found.values())


def stacked(columns: Iterable[Ints]) -> Ints:
    return np.stack(np.broadcast_arrays(*columns))


def joined(problem: Problem, ways: Ways, all_: Common, room: Steps) -> Ints:
    """What slots are taken for that the array has nothing to do with, one after the other. Of a map
    that joins the sums one may do: it comes while the array works."""
    joining = problem.load.joining
    known = room if problem.tight else dict.fromkeys(all_.lanes, ways.depth)
    lone = {role: room[role] == 1 for role in joining}
    each = {r: np.where(lone[r], 1, n) if r in lone else n for r, n in known.items()}
    return longest_by((t, each[r]) for r, t in all_.lanes.items())


def longest_by(taken: Iterable[tuple[Ints, Ints]]) -> Ints:
    """The most cycles of a slot, of what takes so many, and has so many slots; 0 of nothing."""
    each = [t // number for t, number in taken]
    return reduce(np.maximum, each, np.zeros((1, 1), np.int64))


def behind_loads(problem: Problem, all_: Common, stored: Queue) -> Ints:
    """Cycles of the results' link, and of the lanes those in which it is idle: results beyond those
    that there are slots for, of which the first one is taken, are made when a load has ended."""
    link = next((way.link for way in problem.routes if way.stores), None)
    if link is None:
        return np.zeros((), np.int64)
    late = np.maximum(stored.load - stored.slots + 1, 0) * all_.vector // np.maximum(stored.load, 1)
    return np.asarray(all_.moves.busy[link] + late)


def start(problem: Problem, moves: Moves, shares: Bools, lead: Ints) -> Ints:
    """Cycles until the first tile is there, of the engine that takes longest. Constants that lie
    beside the tiles of the group before come as long before as `lead`; on an engine of their own at
    any time."""
    each: list[Ints] = []
    latency: dict[str, int] = {w.engine.name: w.channel.latency_cycles for w in problem.routes}
    for name in dict.fromkeys((*moves.early, *moves.fill)):
        early, fill = moves.early.get(name), moves.fill.get(name)
        left = np.zeros((), np.int64) if fill is None else fill
        if early is not None:
            before = early if fill is None and not problem.first else lead
            left = np.maximum(early - shares * before, 0) + left
        each.append(left + latency[name] * (left > 0))
    return reduce(np.maximum, each, np.zeros((), np.int64))


def lead(problem: Problem, ways: Ways, steps: Steps) -> Ints:
    """Cycles that constants can be loaded in before a group begins: once the one before has loaded
    its last tiles. That is taken to be one like this."""
    if problem.first:
        return np.zeros((), np.int64)
    count = trips(problem.load, steps)
    return ways.depth * problem.at_work // product_of(count, ways.order)


def waits_between(problem: Problem, ways: Ways, all_: Common) -> Ints:
    """What happens to a tile that has the only slot of its buffer, while the array has to wait."""
    load, apart = problem.load, problem.load.joining
    lone = {role: ways.lone(role) for role in ways.own if role not in apart}
    held = lone.keys() if problem.in_place else lone.keys() - {load.result.role}
    waits = [all_.moves.turn[role] * lone[role] for role in held & all_.moves.turn.keys()]
    if "psum" in lone:
        waits.append(all_.vector * lone["psum"])
    made: Any = [lone[a.role] for s in load.inner if (a := load.prepared(s)) and a.role in lone]
    if made:
        waits.append(all_.handing * reduce(np.logical_or, made))
    return reduce(np.add, waits, np.zeros((), np.int64))


def sweep_waits(problem: Problem, ways: Ways, steps: Steps, moves: Moves) -> Ints:
    """What the array has to wait for where the rows of a ring begin again, and the ring does not
    have the room for another first tile beside the last one."""
    total: Any = np.zeros((), np.int64)
    for access in problem.load.inputs:
        if rolling := ways.rolls(access):
            ahead = rolling.new_rows(steps) * (ways.room(access.role) - 1)
            tile = access.box[rolling.axis].largest(steps)
            total = total + moves.again[access.role] * (ahead < tile)
    return np.asarray(total)


CODE_BYTES = 32
"""Of an average instruction, most being in short form."""


def computes(problem: Problem, choice: Loops, steps: Steps) -> Ints:
    """Instructions other than moves."""
    count = trips(problem.load, steps)
    number = [runs(problem.load, spec, choice, count) for spec in problem.load.steps()]
    return np.asarray(reduce(np.add, number))


def issue_cycles(problem: Problem, code: Ints) -> Ints:
    unit = problem.target.issue
    once = cost.issue_cycles(CODE_BYTES, unit.bytes_per_cycle, unit.cycles_per_instruction)
    return np.asarray(code * once)
