"""After it, of maps that are not on chip as a whole a part is, in what room tiles leave: a head.

A head is the first planes of a map, or rows, as it is stored. Tiles that lie in it are used where
they lie, and go to DRAM neither way, but for what a tile needs that is not all in it. Tiles and
their buffers stay as they are, so that nothing takes longer. What saves most goes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from dnncc.targets import Target

from ..codegen.ahead import prepared
from ..codegen.locate import count_of
from ..ir.graph import Graph, Head, Tensor
from ..ir.heads import ALL, Cut, behind, cut, is_regular, step
from ..ir.split import Kept, moves, split
from ..ir.tile import SLOT_ALIGN, Compute, Load, Nest, Operand, Store, TileProgram, steps, unroll
from ..mapping.workload import scratchpad_dtype
from ..memory.lifetimes import lifetimes, storage
from .context import Context, target_of
from .place_buffers import in_dram

Span = tuple[int, int]
"""From its first on, and before its second."""


def keep_parts(program: TileProgram, ctx: Context) -> TileProgram:
    target, graph = target_of(ctx), program.graph
    home = target.memory_for("ofmap")
    kept_before = any(tensor.head for tensor in graph.tensors.values())
    if home != target.memory_for("ifmap") or kept_before:
        return program
    room = Room(graph, program.nests, home.name, home.bytes, target)
    found = ((room.part(life), life) for life in lives(program, target))
    heads: dict[str, Part] = {}
    for _, life in sorted(found, key=lambda one: (-one[0].saved, one[1].first)):
        part = room.part(life)
        if part.saved:
            heads[life.root] = part
            room.taken.append((part.place, life.nests))
    nests = (split(nest, list(kept(nest, graph, heads))) for nest in program.nests)
    return TileProgram(with_heads(graph, home.name, heads), tuple(nests))


class Move(Struct, frozen=True, dict=True):
    """A load or store of a nest, of a tensor in DRAM."""

    nest: Nest
    step: Load | Store
    tensor: Tensor
    loops: Mapping[str, int]

    @property
    def operand(self) -> Operand:
        return self.step.out if isinstance(self.step, Load) else self.step.source

    @cached_property
    def ahead(self) -> bool:
        """Whether steps of the nest are done before their turn: then its loops stay as they are."""
        inputs = {buffer.name for buffer in self.nest.buffers if buffer.kind == "ifmap"}
        return any(prepared(s) in inputs for s in steps(self.nest.body) if isinstance(s, Compute))

    def cut(self, elements: int) -> Cut | None:
        """Where its tiles are no longer in the first elements of their storage; rings of rows go on
        as they are."""
        rings = {buffer.name: buffer.ring for buffer in self.nest.buffers if buffer.ring}
        early = {buffer.name for buffer in self.nest.buffers if buffer.ahead}
        if self.ahead or self.operand.buffer in {*rings, *early}:
            return None
        dims = self.nest.dims
        found = cut(self.tensor, self.operand.box, elements, dims, {**dims, **self.loops})
        return None if found and found.var in rings.values() else found

    def behind(self, elements: int) -> int:
        """The first element that such a tile touches."""
        return behind(self.tensor, self.operand.box, self.cut(elements), self.nest.dims)

    def bytes(self, at: Cut | None) -> int:
        """Of DRAM, that are moved before a cut."""
        if at is None:
            return 0
        env = next(item.env for item in unroll(self.nest) if item.step is self.step)
        size = self.tensor.dtype.itemsize * (True if at == ALL else env[at.var].low < at.stop)
        for dim in self.operand.box:
            size = size * dim.range(env).size
        return int(np.broadcast_to(size, count_of(env)).sum())


class Life(Struct, frozen=True):
    """A storage in DRAM, needed in `nests`, and all that moves of it. One index of its outermost
    dimension has `step` elements, which take `bytes` on chip."""

    root: str
    size: int
    first: int
    nests: Span
    step: int
    bytes: int
    moves: tuple[Move, ...]

    def made(self, elements: int) -> int:
        """Of its first elements, those before the first tile that is not all made among them."""
        stores = [move for move in self.moves if isinstance(move.step, Store)]
        while (end := min(move.behind(elements) for move in stores)) < elements:
            elements = end // self.step * self.step
        return elements

    def read(self, elements: int) -> int:
        """Its first element that is read from DRAM, if so many of the first are on chip."""
        loads = (move.behind(elements) for move in self.moves if isinstance(move.step, Load))
        return min(loads, default=self.size)


class Part(Struct, frozen=True):
    """Bytes of a scratchpad for the first `elements` of a storage, of which those before `unread`
    are not in DRAM; and bytes of DRAM's that need not move then."""

    place: Span = (0, 0)
    elements: int = 0
    unread: int = 0
    saved: int = 0


class Room(Struct):
    """What is free of a memory, beside the buffers of nests and all that stays in it: `taken`, with
    the nests in which it is."""

    graph: Graph
    nests: tuple[Nest, ...]
    memory: str
    bytes: int
    target: Target
    taken: list[tuple[Span, Span]] = field(default_factory=list)

    def __post_init__(self) -> None:
        number = numbers(self.graph)
        for root, (first, last) in lifetimes(self.graph).items():
            tensor = self.graph.tensors[root]
            if tensor.memory == self.memory:
                size = tensor.size * scratchpad_dtype(tensor.dtype, self.target).itemsize
                span = tensor.address, tensor.address + size
                self.taken.append((span, (number[first], number[last] + 1)))

    def part(self, life: Life) -> Part:
        """The largest part of a storage for which there is room all its life."""
        start, stop = self.largest_gap(*life.nests)
        room = (stop - start) // life.bytes * life.step
        elements = life.made(min(room, life.size)) if room else 0
        if elements <= 0:
            return Part()
        start = (stop - elements // life.step * life.bytes) // SLOT_ALIGN * SLOT_ALIGN
        unread = min(life.read(elements), elements)
        ends = ((m, elements if isinstance(m.step, Load) else unread) for m in life.moves)
        saved = sum(move.bytes(move.cut(end)) for move, end in ends)
        return Part((start, stop), elements, unread, saved)

    def largest_gap(self, first: int, last: int) -> Span:
        """Free bytes in nests first..last - 1, from a multiple of the alignment to another."""
        alive = ((n - b.ahead, n, b) for n, nest in enumerate(self.nests) for b in nest.buffers)
        buffers = [b for begin, end, b in alive if begin < last and first <= end]
        spans = [(b.address, b.address + b.bytes) for b in buffers if b.memory == self.memory]
        spans += [place for place, (a, b) in self.taken if a < last and first < b]
        largest, end = (0, 0), 0
        for start, stop in (*sorted(spans), (self.bytes, self.bytes)):
            gap = -(-end // SLOT_ALIGN) * SLOT_ALIGN, start // SLOT_ALIGN * SLOT_ALIGN
            largest = max(largest, gap, key=lambda g: g[1] - g[0])
            end = max(end, stop)
        return largest


def numbers(graph: Graph) -> list[int]:
    """Of each node, the nest that it is, or that comes next."""
    found, count = [], 0
    for node in graph.nodes:
        found.append(count)
        count += node.op in ("group", "host")
    return found


def lives(program: TileProgram, target: Target) -> Iterator[Life]:
    """The storages of which a part could stay on chip: what is so many indices of the outermost
    dimension of one view is so many of that of every other one."""
    graph, number = program.graph, numbers(program.graph)
    barred, views, touched = in_dram(graph, target), named(graph), moved(program)
    for root, (first, last) in lifetimes(graph).items():
        tensors = [graph.tensors[name] for name in views[root]]
        if not all(map(is_regular, tensors)):
            continue
        each = max(map(step, tensors))
        alike = len({t.dtype for t in tensors}) == 1 and all(each % step(t) == 0 for t in tensors)
        if root in barred or graph.tensors[root].memory != "dram" or not alike:
            continue
        itemsize = scratchpad_dtype(tensors[0].dtype, target).itemsize
        nests, size = (number[first], number[last] + 1), graph.tensors[root].size
        found = tuple(touched.get(root, ()))
        if any(isinstance(move.step, Store) for move in found):
            yield Life(root, size, first, nests, each, each * itemsize, found)


def named(graph: Graph) -> dict[str, list[str]]:
    """By storage, the tensors that nodes make or read."""
    ends: Iterable[str] = (name for n in graph.nodes for name in (*n.inputs, *n.outputs) if name)
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(ends):
        if name not in graph.constants:
            found.setdefault(storage(graph, name), []).append(name)
    return found


def moved(program: TileProgram) -> dict[str, list[Move]]:
    """By storage, all that moves of it."""
    graph = program.graph
    found: dict[str, list[Move]] = {}
    for nest in program.nests:
        for move in moves_of(nest, graph):
            found.setdefault(storage(graph, move.tensor.name), []).append(move)
    return found


def moves_of(nest: Nest, graph: Graph) -> Iterator[Move]:
    for path, move in moves(nest.body):
        name = move.out.tensor if isinstance(move, Load) else move.source.tensor
        if name not in graph.constants:
            yield Move(nest, move, graph.tensors[name], {loop.var: loop.step for loop in path})


def kept(nest: Nest, graph: Graph, heads: Mapping[str, Part]) -> Iterator[Kept]:
    """Where the nest uses what is in heads."""
    for move in moves_of(nest, graph) if heads else ():
        part = heads.get(storage(graph, move.tensor.name), Part())
        if place := move.cut(part.elements):
            stores = isinstance(move.step, Store)
            unstored = move.cut(part.unread) if stores else None
            yield Kept(move.operand.buffer, move.operand.tensor, place, unstored)


def with_heads(graph: Graph, memory: str, parts: Mapping[str, Part]) -> Graph:
    heads = {root: Head(memory, part.place[0], part.elements) for root, part in parts.items()}
    tensors = {
        name: replace(tensor, head=heads.get(storage(graph, name)))
        for name, tensor in graph.tensors.items()
        if name not in graph.constants
    }
    return replace(graph, tensors={**graph.tensors, **tensors})
