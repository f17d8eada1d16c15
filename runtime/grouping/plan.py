"""What to execute instead of a program's instructions: a few large ones per nest, where they are
proved to leave the same.

Nests are those of the debug map, which is only a hint: everything is decided from the decoded
records. A merged nest reads what its loads read and writes what its stores write, but nothing of
what its tiles were in between. So a nest is merged when none of its reads meets one of its writes,
and the program is when nobody reads a tile that was left out.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, field

from dnncc.isa import control, core
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.isa.distinct import distinct

from .classes import classes, staying
from .merging import Extent, Merger, Scratch
from .nests import Step, connect, steps_of
from .operands import Bools, Ints, Ungrouped, require
from .runs import by_nests, reordered

LARGEST_DRAM = 1 << core.MEMORY_SHIFT
"""Bytes of DRAM that a merged instruction's operand can name."""


class Piece(Struct, frozen=True):
    """Instructions first..stop - 1; `merged` stands for them if it is not empty."""

    first: int
    stop: int
    merged: tuple[Any, ...] = ()
    why: str = ""


class Plan(Struct, eq=False):
    """Pieces in the order of `order`, the numbers of instructions; bytes of the memories that they
    need beside the target's, symbols that do not hold at the end what they would without merging,
    and per memory of the target the ranges of bytes that anything touches."""

    order: list[int]
    pieces: list[Piece]
    scratch: list[int]
    stale: set[str] = field(default_factory=set)
    touched: list[list[tuple[int, int]]] = field(default_factory=list)

    def bytes(self, constants: int) -> int:
        """Memory that one input takes: pages that nobody touches are never there."""
        private = [(max(low, constants), high) for low, high in self.touched[core.DRAM]]
        ranges = [*private, *(r for memory in self.touched[1:] for r in memory)]
        return sum(max(high - low, 0) for low, high in ranges) + sum(self.scratch)


def plan(program: programs.Program, image: images.Image, sizes: Sequence[int]) -> Plan | None:
    """None where there is nothing to merge, or where merging would show."""
    if image.debug is None or image.dram_bytes > LARGEST_DRAM:
        return None
    node_of, step_of = (np.asarray(c, np.int64) for c in (image.debug.node_of, image.debug.step_of))
    order = by_nests(program, node_of)
    executed, bounds = reordered(program, order), list(nests(node_of[order]))
    for kept in (False, True):
        scratch = Scratch(len(sizes))
        left_out = LeftOut(executed, image, sizes, step_of[order], kept)
        try:
            pieces = [left_out.follow(first, stop, scratch) for first, stop in bounds]
        except Ungrouped:
            continue
        ranges = left_out.touched(pieces)
        return Plan(order.tolist(), pieces, scratch.sizes, left_out.symbols(), ranges)
    return None


def nests(node_of: Ints) -> Iterator[tuple[int, int]]:
    """First and stop of each run of instructions of the same node."""
    cuts = np.flatnonzero(np.diff(node_of)) + 1
    bounds = [0, *cuts.tolist(), len(node_of)]
    yield from zip(bounds[:-1], bounds[1:], strict=True)


class LeftOut:
    """Which bytes on chip hold, after some nests, not what they would. With `kept`, results that
    are stored are left on chip wherever they stay there."""

    def __init__(
        self,
        program: programs.Program,
        image: images.Image,
        sizes: Sequence[int],
        step_of: Ints,
        kept: bool,
    ) -> None:
        self.program, self.image, self.step_of, self.kept = program, image, step_of, kept
        self.stale: list[Bools] = [np.zeros(0, bool), *(np.zeros(s, bool) for s in sizes[1:])]
        self.constants = len(image.rodata)
        self.ranges: list[tuple[int, int, int]] = []

    def follow(self, first: int, stop: int, scratch: Scratch) -> Piece:
        """Merge a nest if that is possible. Raises Ungrouped if it reads what was left out."""
        scratch.reset()
        try:
            merged = self.merged(first, stop, scratch)
        except Ungrouped as reason:
            self.plain(first, stop)
            return Piece(first, stop, (), str(reason))
        for extent in merged.reads:
            require(not self.view(extent).any(), "a tile of an earlier nest is read")
        for steps in merged.steps:
            self.leave(steps)
        for extent in merged.writes:
            self.view(extent)[...] = False
        for extent in (*merged.reads, *merged.writes):
            self.ranges.append((extent.block.memory, extent.block.start, extent.stop))
        return Piece(first, stop, tuple(merged.made))

    def merged(self, first: int, stop: int, scratch: Scratch) -> "Merged":
        """A nest as a whole, or by classes of its tiles. Raises Ungrouped."""
        found = Merged([], [], [], [])
        try:
            every = self.steps(first, stop) if self.kept else []
            found.add(self.steps(first, stop), scratch, self.constants, every)
        except Ungrouped as reason:
            found = Merged([], [], [], [])
            every = self.steps(first, stop)
            several = classes(every)
            require(bool(several), str(reason))
            for steps in several:
                found.add(steps, scratch, self.constants, every)
        check_apart(found.reads, found.writes)
        return found

    def steps(self, first: int, stop: int) -> list[Step]:
        return steps_of(self.program, first, stop, self.step_of)

    def leave(self, steps: list[Step]) -> None:
        """Mark what loads and tiles would have written."""
        for step in steps:
            operand = step.operands.get(step.result)
            if operand is None or step.result == "out" and not step.readers:
                continue
            for memory in distinct(operand.memory):
                rows = operand.memory == memory
                for low, high in union(operand.start[rows], operand.stop[rows]):
                    self.stale[int(memory)][low:high] = True

    def plain(self, first: int, stop: int) -> None:
        """What instructions one by one read and write, in their order."""
        if not any(memory.any() for memory in self.stale):
            return
        for index in range(first, stop):
            instruction = self.program.instruction(index)
            if isinstance(instruction, control.Host):
                self.host(instruction.part)
            for block in instruction.reads():
                require(not self.bytes_of(block).any(), "a tile of an earlier nest is read")
            for block in instruction.writes():
                self.bytes_of(block)[...] = False

    def host(self, number: int) -> None:
        part, known = self.image.host[number], {s.name: s for s in self.image.symbols}
        for name in part.inputs:
            require(not self.of_symbol(known[name]).any(), "a host part reads a tile")
        for name in part.outputs:
            self.of_symbol(known[name])[...] = False

    def bytes_of(self, block: Any) -> Bools:
        """A view of the mask: all bytes of a block on chip."""
        memory, start, stop = (int(value) for value in block)
        mask = self.stale[memory]
        if memory == core.DRAM or stop <= start:
            return mask[:0]
        if not hasattr(block, "sizes"):
            return mask[start:stop]
        return strided(mask, start, block.sizes, block.strides, int(block.element))

    def view(self, extent: Extent) -> Bools:
        place = extent.block
        if place.memory == core.DRAM:
            return self.stale[0]
        element = int(core.SIZES[place.code])
        return strided(self.stale[place.memory], place.start, extent.sizes, place.strides, element)

    def of_symbol(self, symbol: images.Symbol) -> Bools:
        if symbol.memory == core.DRAM or not all(symbol.shape):
            return self.stale[0]
        mask, element = self.stale[symbol.memory], symbol.element_bytes
        return strided(mask, symbol.address, symbol.shape, symbol.strides, element)

    def touched(self, pieces: list[Piece]) -> list[list[tuple[int, int]]]:
        """Per memory the ranges that merged instructions, the others and symbols reach."""
        found = self.program.regions
        plain = np.zeros(self.program.count, bool)
        for piece in pieces:
            plain[piece.first : piece.stop] = not piece.merged
        rows = plain[found.instruction]
        memory, start, stop = (c[rows] for c in (found.memory, found.start, found.stop))
        parts = (part for symbol in self.image.symbols for part in symbol.parts())
        symbols = [(s.memory, s.address, s.stop) for s in parts]
        others = np.array([*self.ranges, *symbols], np.int64).reshape(-1, 3).T
        memory, start, stop = (
            np.concatenate(c) for c in zip((memory, start, stop), others, strict=True)
        )
        kept = [memory == m for m in range(len(self.stale))]
        return [list(union(start[k], stop[k])) for k in kept]

    def symbols(self) -> set[str]:
        parts = ((s.name, part) for s in self.image.symbols for part in s.parts())
        return {name for name, part in parts if self.of_symbol(part).any()}


class Merged(NamedTuple):
    """What stands for some steps, and what it reads and writes."""

    steps: list[list[Step]]
    made: list[Any]
    reads: list[Extent]
    writes: list[Extent]

    def add(
        self, steps: list[Step], scratch: Scratch, constants: int, every: Sequence[Step] = ()
    ) -> None:
        """Those of a class of tiles; where there are several, the results of one may stay on chip
        though they are stored. `every` step of the nest is not connected. Raises Ungrouped."""
        scratch.reset()
        connect(steps)
        merger = Merger(steps, scratch, constants, staying(steps, every) if every else set())
        self.made.extend(merger.merge())
        self.steps.append(steps)
        self.reads.extend(merger.reads)
        self.writes.extend(merger.writes)


def strided(mask: Bools, start: int, sizes: Any, strides: Any, element: int) -> Bools:
    steps = tuple(int(s) * element for s in strides)
    shape = (*(int(n) for n in sizes), element)
    return np.ndarray(shape, bool, mask, start, (*steps, 1))


def union(start: Ints, stop: Ints) -> Iterator[tuple[int, int]]:
    """Ranges that cover the same bytes and do not meet."""
    if not len(start):
        return
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(stop[order])
    cuts = np.flatnonzero(start[1:] > reach[:-1]) + 1
    lows, highs = start[np.concatenate(([0], cuts))], reach[np.concatenate((cuts - 1, [-1]))]
    yield from zip(lows.tolist(), highs.tolist(), strict=True)


def check_apart(reads: list[Extent], writes: list[Extent]) -> None:
    """Raise Ungrouped where a nest reads a byte that it writes, or writes one in two steps."""
    for at, written in enumerate(writes):
        for other in (*reads, *writes[:at]):
            require(not meet(written, other), "a nest that reads what it writes")


def meet(a: Extent, b: Extent) -> bool:
    low, high = max(a.block.start, b.block.start), min(a.stop, b.stop)
    if a.block.memory != b.block.memory or high <= low:
        return False
    first, stop = min(a.block.start, b.block.start), max(a.stop, b.stop)
    mask = np.zeros(stop - first, bool)
    views = []
    for extent in (a, b):
        element, start = int(core.SIZES[extent.block.code]), extent.block.start - first
        views.append(strided(mask, start, extent.sizes, extent.block.strides, element))
    views[0][...] = True
    return bool(views[1].any())
