"""A mapping rehearsed: every move and step of all its tiles, by the clock that the simulator has.

What closed forms of many candidates leave out is in it: first and last tiles, for which others
wait, smaller tiles at the ends of loops, and engines that want a DRAM link at once.
"""

from collections.abc import Iterator
from collections.abc import Mapping as Dict
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from dnncc.isa import core
from dnncc.isa.short import SHORT
from dnncc.isa.starts import instruction_bytes
from dnncc.targets import cost, dataflow
from dnncc.targets.events import played
from dnncc.targets.orders import Orders, overlaps, queue_slots
from dnncc.targets.requests import windows

from ..ir.tile import Range
from .array import work_of
from .cost import Ints, Problem, layout, route, storage_order
from .lanes import Spent, spent
from .mapping import Mapping
from .workload import Access, StepSpec, Workload

TENSOR, VECTOR = core.ENGINES.index("tensor"), core.ENGINES.index("vector")

LONGEST = 20_000
"""Instructions of a mapping that is rehearsed; that takes some 40 ms."""


class Line(NamedTuple):
    """All instances of an instruction of the nest: its engine, the loops that it is in, and
    columns int64[instances]: bytes of its `code`; `head`, `tail`, `hide` of what computes;
    `bus` bytes and the cycles for which its link is `held` if it moves."""

    engine: int
    depth: int
    code: Ints
    cycles: Ints
    head: Ints
    tail: Ints
    hide: Ints
    held: Ints
    bus: Ints
    link: int = -1
    latency: int = 0
    after: bool = False
    """It is not before the loops inside, but after them."""

    @classmethod
    def of(cls, unit: int, depth: int, op: str, cycles: Ints, begins: Ints | None = None) -> "Line":
        """Of an engine that only computes. The first instance that takes so long, and as often
        `begins` a sum, is in full form, and others are in short form."""
        zero = np.zeros_like(cycles)
        full, short = forms(op)
        _, first = np.unique(2 * cycles + (zero if begins is None else begins), return_index=True)
        code = zero + short
        code[first] = full
        return cls(unit, depth, code, cycles, zero, zero, zero, zero, zero)


def forms(op: str) -> tuple[int, int]:
    """Bytes of an instruction, in full and in short form."""
    (opcode,) = (code for code, cls in core.instruction_set().items() if cls.mnemonic == op)
    sizes = instruction_bytes()
    return sizes[opcode], sizes[opcode | SHORT]


class Wait(NamedTuple):
    """Instances of a line each wait for one of another, by the lines' numbers."""

    line: int
    rows: Ints
    other: int
    ends: Ints


class Nest(Struct, frozen=True, dict=True):
    """A mapping's loops, outermost first, and what is in them."""

    problem: Problem
    mapping: Mapping

    @property
    def load(self) -> Workload:
        return self.problem.load

    @property
    def order(self) -> tuple[str, ...]:
        return self.mapping.order

    @property
    def steps(self) -> Dict[str, int]:
        return self.mapping.steps

    @cached_property
    def trips(self) -> list[int]:
        return [-(-self.load.dims[v] // self.steps[v]) for v in self.order]

    @cached_property
    def outside(self) -> int:
        """How many loops there are around what comes after the sums."""
        return sum(v not in self.load.reduction for v in self.order)

    def can_be_rehearsed(self) -> bool:
        """One step on the array at most, and loops of sums inside all others; tiles that are not
        used in parts; few iterations; no rows that stay."""
        inner = [spec.op for spec in self.load.inner]
        summed = set(self.order[: self.outside]) & set(self.load.reduction)
        plain = inner in ([], ["tensor"]) and not summed
        plain = plain and not any(a.within for a in self.load.accesses())
        return plain and not self.mapping.ring and self.inner(0) <= LONGEST

    def depth(self, access: Access) -> int:
        """In how many loops its tile is another one."""
        if access.role in self.mapping.resident:
            return 0
        own = access.variables()
        return max((i + 1 for i, v in enumerate(self.order) if v in own), default=0)

    def inner(self, depth: int) -> int:
        """Iterations of the loops inside so many."""
        return prod(self.trips[depth:])

    @cached_property
    def ranges(self) -> list[dict[str, Range]]:
        """Of all variables, in the loops down to each depth."""
        return [self.env(depth) for depth in range(len(self.order) + 1)]

    def env(self, depth: int) -> dict[str, Range]:
        dims, trips = self.load.dims, self.trips[:depth]
        env = {v: Range(0, extent, 0, 1) for v, extent in dims.items()}
        index = np.unravel_index(np.arange(prod(trips)), trips) if trips else ()
        for var, at, count in zip(self.order, index, trips, strict=False):
            low = at * self.steps[var]
            env[var] = Range(low, np.minimum(low + self.steps[var], dims[var]), at, count)
        return env

    def sizes(self, access: Access, depth: int) -> list[Ints]:
        """Of its tiles, int64[instances] per dimension; a scalar has one."""
        one = np.ones(prod(self.trips[:depth]), np.int64)
        return [one * d.range(self.ranges[depth]).size for d in access.box] or [one]

    def move(self, access: Access) -> Line:
        """Its loads, or its stores."""
        problem, stores = self.problem, access is self.load.result
        depth = self.outside if stores else self.depth(access)
        tensor, sizes = problem.graph.tensors[access.tensor], self.sizes(access, depth)
        if access.box and access.role in self.mapping.resident:
            sizes = [np.array([d.bound]) for d in access.box]
        strides = layout(tensor) or (1,)
        way, order = route(problem, access), storage_order(strides)
        unit, link, burst = way.engine, way.channel, way.channel.burst_bytes
        runs, run = cost.contiguous_runs(
            tuple(sizes[i] for i in order),
            tuple(strides[i] for i in order),
            tensor.dtype.itemsize,
            burst,
        )
        bus, spad = cost.dma_bus_bytes(runs, run, burst), prod(sizes) * access.dtype.itemsize
        cycles = cost.transfer_cycles(bus, spad, link, way.port, unit.requests)
        held = cost.dma_cycles(bus, spad, link.bytes_per_cycle, way.port)
        line = Line.of(core.ENGINES.index(unit.name), depth, "store" if stores else "load", cycles)
        return line._replace(
            held=held,
            bus=bus,
            link=way.link,
            latency=way.latency,
            after=stores,
        )

    def on_array(self, spec: StepSpec) -> Line:
        depth, target = len(self.order), self.problem.target
        shapes = {name: self.sizes(a, depth) for name, a in self.load.used(spec).items()}
        begins = np.arange(self.inner(0)) % self.inner(self.outside) == 0
        table = work_of(spec, shapes, np.where(begins, 0, 1)).table()
        tiles, same = np.unique(table, axis=0, return_inverse=True)
        model, work = dataflow.model(target), dataflow.Work.from_table(tiles)
        params = model.choose(target, work, dataflow.fixed(target, self.mapping.array))
        found = dataflow.Phases(*(c[same.ravel()] for c in model.phases(target, work, params)))
        line = Line.of(TENSOR, depth, "tensor", found.cycles, begins)
        return line._replace(head=found.head, tail=found.tail, hide=found.hide)

    def on_lanes(self, spec: StepSpec) -> Line:
        def count(access: Access) -> Ints:
            return np.asarray(prod(self.sizes(access, self.outside)))

        found = Spent(*map(np.asarray, spent(self.load, spec, self.problem.target, count)))
        line = Line.of(VECTOR, self.outside, spec.op, found.cycles)
        return line._replace(head=found.head, hide=found.hide, after=True)


class Body(Struct, frozen=True):
    """What is in a nest, in program order: moves of inputs, the step on the array if there is one,
    moves of what joins its sums, steps of the lanes, and stores if there are any. `inputs` and
    `steps` have the numbers of their lines."""

    nest: Nest
    inputs: Dict[int, Access]
    steps: tuple[int, ...]
    lines: list[Line]

    @classmethod
    def of(cls, nest: Nest) -> "Body":
        load, moves = nest.load, nest.problem.moves
        inputs = sorted(filter(moves, load.inputs), key=nest.depth)
        joining = load.joining
        late = [a for a in inputs if a.role in joining and nest.depth(a) == nest.outside]
        early = [a for a in inputs if a not in late]
        lines = [nest.move(access) for access in early]
        lines += [nest.on_array(spec) for spec in load.inner]
        lines += [nest.move(access)._replace(after=True) for access in late]
        lines += [nest.on_lanes(spec) for spec in load.outer]
        lines += [nest.move(load.result)] if moves(load.result) else []
        first, after = len(early), len(early) + len(load.inner)
        steps = (*range(first, after), *range(after + len(late), len(inputs) + len(load.steps())))
        numbers = {**dict(enumerate(early)), **dict(enumerate(late, after))}
        return cls(nest, numbers, steps, lines)

    @property
    def store(self) -> int | None:
        stored = self.nest.problem.moves(self.nest.load.result)
        return len(self.lines) - 1 if stored else None

    def users(self, role: str) -> list[int]:
        """Numbers of the steps that use an operand, in program order."""
        steps = zip(self.steps, self.nest.load.steps(), strict=True)
        return [n for n, spec in steps if any(role == r for r, _ in spec.uses.values())]

    def waits(self) -> Iterator[Wait]:
        load, slots, store = self.nest.load, self.nest.mapping.slots, self.store
        for number, access in self.inputs.items():
            users, depth = self.users(access.role), self.lines[number].depth
            yield from self.handed(depth, [number, *users], slots[access.role])
        given = [] if store is None else [store]
        outside, in_place = self.nest.outside, self.nest.problem.in_place
        if load.psum is not None:
            users = [*self.users("psum"), *(given if in_place else ())]
            yield from self.handed(outside, users, slots["psum"])
        if given:
            makers = self.users("psum" if in_place else load.result.role)
            yield from self.handed(outside, [*makers[-1:], *given], slots.get(load.result.role, 1))

    def handed(self, depth: int, users: list[int], slots: int) -> Iterator[Wait]:
        """The first of its users makes a tile, the others wait for it; the last one frees the slot
        for the tile that comes `slots` later. The tile is another one in `depth` loops."""
        if len(users) < 2:
            return
        maker, first, *_, last = *users, users[-1]
        inner = self.nest.inner(depth)
        begin = np.arange(self.nest.inner(0) // inner) * inner
        end = begin + inner - 1
        yield Wait(first, self.at(first, begin), maker, self.at(maker, end))
        yield Wait(maker, self.at(maker, begin[slots:]), last, self.at(last, end[:-slots]))

    def at(self, line: int, iteration: Ints) -> Ints:
        return iteration // self.nest.inner(self.lines[line].depth)

    def place(self, number: int) -> Ints:
        """Of all instances of a line, in program order over all lines."""
        line, inner = self.lines[number], self.nest.inner(self.lines[number].depth)
        early = number in self.inputs and [x.engine for x in self.lines].count(line.engine) == 1
        ahead = self.nest.mapping.slots[self.inputs[number].role] - 1 if early else 0
        instance = np.maximum(np.arange(len(line.cycles)) - ahead, 0)
        iteration = (instance + line.after) * inner - line.after
        return iteration * len(self.lines) + number


def rehearsed(problem: Problem, mapping: Mapping) -> int | None:
    """Cycles of a group alone, from its first load to its last store; None where it cannot be
    rehearsed."""
    nest = Nest(problem, mapping)
    if not nest.can_be_rehearsed():
        return None
    body = Body.of(nest)
    if sum(len(line.cycles) for line in body.lines) > LONGEST:
        return None
    return int(played(orders(body)).end.max())


def orders(body: Body) -> Orders:
    """What the clock takes."""
    lines, target = body.lines, body.nest.problem.target
    counts = [len(line.cycles) for line in lines]
    place = np.concatenate([body.place(number) for number in range(len(lines))])
    rank = np.empty_like(place)
    rank[np.argsort(place, kind="stable")] = np.arange(len(place))
    starts = np.cumsum([0, *counts])

    def column(name: str) -> Ints:
        values = np.empty_like(place)
        parts = (np.broadcast_to(getattr(x, name), n) for x, n in zip(lines, counts, strict=True))
        values[rank] = np.concatenate(list(parts))
        return values

    unit = column("engine")
    waited = np.full((len(place), len(core.ENGINES)), -1)
    for wait in body.waits():
        mine, other = rank[starts[wait.line] + wait.rows], rank[starts[wait.other] + wait.ends]
        of = waited[:, lines[wait.other].engine]
        of[mine] = np.maximum(of[mine], other)
    queues = [np.flatnonzero(unit == number) for number in range(len(core.ENGINES))]
    cycles, link, bus = column("cycles"), column("link"), column("bus")
    waited[np.arange(len(unit)), unit] = -1
    behind, ahead = windows(bus, cycles, link, queues, target)
    issue = target.issue
    code, rate = column("code"), issue.bytes_per_cycle
    return Orders(
        engine=unit,
        waited=waited,
        slot=queue_slots(len(unit), queues, issue.queue_depth),
        fetch=cost.issue_cycles(code, rate, issue.cycles_per_instruction),
        channel=link,
        latency=column("latency"),
        held=column("held"),
        behind=behind,
        ahead=ahead,
        cycles=cycles,
        overlap=overlaps(column("head"), column("tail"), column("hide"), cycles, queues),
    )
