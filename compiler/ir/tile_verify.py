"""A Tile program that is not legal is refused, naming the ONNX node of the nest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

from dnncc.targets import Target

from ..memory.lifetimes import lifetimes
from ..memory.makers import Makers
from .graph import Graph, Node
from .graph import Tensor as Value
from .heads import leading, outermost
from .ring_verify import faults
from .tile import (
    Buffer,
    Compute,
    HostCall,
    Load,
    Loop,
    Nest,
    Operand,
    Range,
    Step,
    Store,
    TileProgram,
    operands_of,
    steps,
)
from .verify import VerifyError


def verify_tile(program: TileProgram, target: Target) -> None:
    """Buffers, loops, operands and, once there are addresses, the memories. Raises VerifyError."""
    parts = [n for n in program.graph.nodes if n.op in ("group", "host")]
    if len(parts) != len(program.nests):
        raise VerifyError(f"{len(program.nests)} nests for {len(parts)} groups and host parts")
    rooms = Rooms(program.graph, target)
    early = filled_early(program)
    for part, nest, others in zip(parts, program.nests, early, strict=True):
        check_buffers(nest, target)
        NestVerifier(program.graph, nest).check_body(nest.body, {v: 1 for v in nest.dims}, {})
        rooms.check(part, nest, others)


def filled_early(program: TileProgram) -> list[list[Buffer]]:
    """Of each nest, the buffers of later ones that are filled in it, or were before it."""
    early: list[list[Buffer]] = [[] for _ in program.nests]
    made = Makers.of(program.graph)
    for number, nest in enumerate(program.nests):
        if nest.beside:
            check_beside(nest, program.nests[:number])
            early[number - 1] += nest.buffers
            early[number] += program.nests[number - 1].buffers
        loaded = [s.out for s in steps(nest.body) if isinstance(s, Load)]
        for buffer in (b for b in nest.buffers if b.ahead):
            held = {o.tensor for o in loaded if o.buffer == buffer.name}
            most = number - 1 - max((made.last(name, number) for name in held), default=number)
            if not 0 < buffer.ahead <= most:
                raise error(nest, f"'{buffer.name}' is filled {buffer.ahead} nests ahead")
            for before in early[number - buffer.ahead : number]:
                before.append(buffer)
    return early


def check_beside(nest: Nest, before: Sequence[Nest]) -> None:
    if not before or before[-1].beside or before[-1].op == "host":
        raise error(nest, "it is beside no nest, or one that is beside another")


def error(nest: Nest, message: str) -> VerifyError:
    return VerifyError(message, node=", ".join(nest.loc) or nest.op)


def check_buffers(nest: Nest, target: Target) -> None:
    names = [b.name for b in nest.buffers]
    if len(set(names)) != len(names):
        raise error(nest, f"two of its buffers have one name: {names}")
    memories = {m.name: m.holds for m in target.memories}
    for buffer in nest.buffers:
        if buffer.memory not in memories:
            raise error(nest, f"buffer '{buffer.name}' is in '{buffer.memory}', which is no memory")
        if buffer.kind not in memories[buffer.memory]:
            raise error(nest, f"'{buffer.memory}' does not hold {buffer.kind} ('{buffer.name}')")
        if buffer.slots < 1 or min(buffer.shape, default=1) < 1:
            raise error(nest, f"'{buffer.name}' has {buffer.slots} slots of {list(buffer.shape)}")
        if buffer.ring and (fault := next(faults(nest, buffer), "")):
            raise error(nest, fault)


Ends = Mapping[str, int]
"""Of the loops around something, by variable, the index behind the last."""


class NestVerifier:
    """Checks the loops and steps of one nest."""

    def __init__(self, graph: Graph, nest: Nest) -> None:
        self.graph, self.nest = graph, nest
        self.buffers = {b.name: b for b in nest.buffers}
        self.parts = sum(n.op == "host" for n in graph.nodes)

    def fail(self, message: str) -> VerifyError:
        return error(self.nest, message)

    def check_body(
        self, body: tuple[Loop | Step, ...], steps: Mapping[str, int], loops: Ends
    ) -> None:
        """`loops` are around it, with where they end; outside of its loop a variable stands for all
        of its indices."""
        spans = {v: steps[v] if v in loops else n for v, n in self.nest.dims.items()}
        for item in body:
            if isinstance(item, Loop):
                self.check_loop(item, loops)
                around = {**loops, item.var: item.stop}
                self.check_body(item.body, {**steps, item.var: item.step}, around)
            else:
                self.check_step(item, spans, loops)

    def check_loop(self, loop: Loop, loops: Ends) -> None:
        extent = self.nest.dims.get(loop.var)
        if extent is None:
            raise self.fail(f"it loops over '{loop.var}', which is none of {list(self.nest.dims)}")
        if loop.extent != extent:
            raise self.fail(f"its loop over {loop.var} covers {loop.extent}, not {extent}")
        if not 1 <= loop.step <= loop.extent:
            raise self.fail(f"its loop over {loop.var} takes {loop.step} of {loop.extent} at once")
        if loop.begin % loop.step or not 0 <= loop.begin < loop.stop <= loop.extent:
            raise self.fail(f"its loop over {loop.var} has a part {loop.begin}:{loop.end}")
        if loop.var in loops:
            raise self.fail(f"it has a loop over {loop.var} within one")

    def check_step(self, step: Step, spans: Mapping[str, int], loops: Ends) -> None:
        if isinstance(step, HostCall) and not 0 <= step.part < self.parts:
            raise self.fail(f"it calls host part {step.part} of {self.parts}")
        for operand in operands_of(step):
            self.check_operand(operand, spans, loops)
        if isinstance(step, Load | Store):
            self.check_move(step)
        if isinstance(step, Compute) and not set(step.accumulate) <= set(loops):
            raise self.fail(f"{step.op} accumulates over {step.accumulate}, within {(*loops,)}")

    def check_move(self, move: Load | Store) -> None:
        operand = move.out if isinstance(move, Load) else move.source
        tensor = self.graph.tensors.get(operand.tensor)
        lies = isinstance(move, Store) and tensor is not None and tensor.head is not None
        if not (operand.buffer or lies) or tensor is None or tensor.memory != "dram":
            raise self.fail(f"it moves '{operand.tensor}', which is not in DRAM, or to no buffer")

    def check_operand(self, operand: Operand, spans: Mapping[str, int], loops: Ends) -> None:
        free = {v for d in operand.box for v in d.variables()} - set(self.nest.dims)
        if free:
            raise self.fail(f"the box of {self.told(operand)} depends on '{min(free)}', no loop")
        if operand.tensor:
            self.check_box(operand, {**self.nest.dims, **loops})
        if operand.buffer:
            self.check_tile(operand, spans, loops)

    def check_head(self, operand: Operand, tensor: Value, ends: Mapping[str, int]) -> None:
        """All that is used of it where it lies stays on chip."""
        if tensor.head is None:
            raise self.fail(f"'{tensor.name}' is used where it lies, which is DRAM")
        last = {v: Range(0, end, 0, 1) for v, end in ends.items()}
        high = operand.box[outermost(tensor)].range(last).high
        if high > (count := leading(tensor, tensor.head.elements)):
            raise self.fail(f"{high} of '{tensor.name}' are used on chip, where {count} are")

    def check_box(self, operand: Operand, ends: Mapping[str, int]) -> None:
        tensor = self.graph.tensors.get(operand.tensor)
        if tensor is None:
            raise self.fail(f"there is no tensor '{operand.tensor}'")
        if tuple(d.bound for d in operand.box) != tensor.shape:
            bounds = [d.bound for d in operand.box]
            raise self.fail(f"the box of '{tensor.name}' is within {bounds}, it {told(tensor)}")
        if not operand.buffer and tensor.memory == "dram":
            self.check_head(operand, tensor, ends)

    def check_tile(self, operand: Operand, spans: Mapping[str, int], loops: Ends) -> None:
        buffer = self.buffers.get(operand.buffer)
        if buffer is None:
            raise self.fail(f"there is no buffer '{operand.buffer}' for {self.told(operand)}")
        missing = [v for v in operand.slots if v not in loops]
        if missing:
            raise self.fail(f"the slot of '{buffer.name}' changes with {missing[0]}, no loop of it")
        sizes = [min(d.bound, int(d.span(spans))) for d in operand.buffered()]
        size = prod(sizes) * operand.dtype.itemsize
        if size > buffer.slot_bytes:
            what = f"a tile {sizes} of {self.told(operand)} takes {size} bytes"
            raise self.fail(f"{what}, a slot of '{buffer.name}' has {buffer.slot_bytes}")

    def told(self, operand: Operand) -> str:
        return f"'{operand.tensor}'" if operand.tensor else "the psums"


def told(tensor: Value) -> str:
    return f"is {tensor.dtype}{list(tensor.shape)}"


class Room(NamedTuple):
    """Bytes [start, stop) of a memory, and who has them."""

    start: int
    stop: int
    name: str


class Rooms:
    """What lies in each memory while a nest runs."""

    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph, self.target = graph, target
        self.spans = lifetimes(graph)
        self.place = {id(node): i for i, node in enumerate(graph.nodes)}
        self.bytes = {m.name: m.bytes for m in target.memories} | {"dram": target.dram.bytes}
        self.constants = [
            self.room(graph.tensors[c]) for c in graph.constants if graph.tensors[c].address >= 0
        ]

    def room(self, tensor: Value) -> Room:
        size = tensor.dtype.itemsize
        if tensor.memory != "dram":
            size = max(size, self.target.datapath.operand_bytes)
        return Room(tensor.address, tensor.address + tensor.size * size, tensor.name)

    def head(self, tensor: Value) -> Room:
        """Of what stays on chip of a tensor in DRAM."""
        head = tensor.head
        assert head is not None
        size = head.elements * max(tensor.dtype.itemsize, self.target.datapath.operand_bytes)
        return Room(head.address, head.address + size, tensor.name)

    def check(self, node: Node, nest: Nest, others: Sequence[Buffer]) -> None:
        """While it works, `others` are filled or wait."""
        at = self.place[id(node)]
        alive = [self.graph.tensors[r] for r, (a, b) in self.spans.items() if a <= at <= b]
        for memory, limit in self.bytes.items():
            here = [self.room(t) for t in alive if t.memory == memory]
            buffers = [b for b in (*nest.buffers, *others) if b.memory == memory]
            here += [self.head(t) for t in alive if t.head and t.head.memory == memory]
            total = sum(r.stop - r.start for r in here) + sum(b.bytes for b in buffers)
            if total > limit:
                raise error(nest, f"it needs {total} bytes of '{memory}', which has {limit}")
            more = self.constants if memory == "dram" else []
            check_apart(nest, memory, limit, [*here, *rooms_of(buffers), *more])


def rooms_of(buffers: Iterable[Buffer]) -> Iterator[Room]:
    """Of each slot, where they lie apart."""
    for buffer in buffers:
        if not buffer.places:
            yield Room(buffer.address, buffer.address + buffer.bytes, buffer.name)
        for start in buffer.places:
            yield Room(start, start + buffer.slot_bytes, buffer.name)


def check_apart(nest: Nest, memory: str, limit: int, rooms: list[Room]) -> None:
    """Those that have an address are inside of the memory, and none reaches into the next."""
    placed = sorted(r for r in rooms if r.start >= 0)
    for room in placed:
        if room.stop > limit:
            what = f"'{room.name}' ends at byte {room.stop} of '{memory}'"
            raise error(nest, f"{what}, which has {limit}")
    for one, two in zip(placed, placed[1:], strict=False):
        if two.start < one.stop:
            what = f"'{one.name}' and '{two.name}' overlap in '{memory}'"
            raise error(nest, f"{what}: {one[:2]} and {two[:2]}")
