"""What every instruction of a program reads and writes, to the byte.

Regions of the ISA are ranges; a strided block leaves gaps in its range, in which another engine may
work at the same time. Here each is a row of columns: runs of bytes in a frame of strides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from dnncc.isa import blocks, control, core
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.isa.distinct import alike, alike_in

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

COLUMNS = ("instruction", "is_write", "memory", "start", "stop", "frame")
DIMENSIONS = 5
CHUNK = 1 << 17
"""Instructions that are looked at together: their columns take the place of those before them, as
memory that is new to a process costs more than to look at it."""
FAR = np.iinfo(np.int64).max


class Frames(NamedTuple):
    """Forms of blocks: `run` bytes at sum(i * strides) for all i below `sizes`, int64[frames,
    DIMENSIONS], strides in bytes, the widest first. Programs have few, as tiles are alike."""

    run: Ints
    sizes: Ints
    strides: Ints


@dataclass(frozen=True, slots=True)
class Accesses:
    """One row per block that an instruction touches, in program order, reads before writes.

    The bytes of a row lie in [start, stop) of `memory`, as its frame says, from start on; `frame`
    are rows of `frames`, of which no two are alike.
    """

    instruction: Ints
    is_write: Bools
    memory: Ints
    start: Ints
    stop: Ints
    frame: Ints
    frames: Frames

    def __len__(self) -> int:
        return len(self.instruction)

    @property
    def run(self) -> Ints:
        return self.frames.run[self.frame]

    @property
    def sizes(self) -> Ints:
        return self.frames.sizes[self.frame]

    @property
    def strides(self) -> Ints:
        return self.frames.strides[self.frame]

    def take(self, rows: npt.NDArray[Any]) -> Self:
        """Some of the rows."""
        return type(self)(
            **{name: getattr(self, name)[rows] for name in COLUMNS}, frames=self.frames
        )

    def bytes(self) -> Ints:
        """How many bytes each row touches, where its runs do not overlap."""
        return np.asarray((self.frames.run * self.frames.sizes.prod(axis=1))[self.frame])

    def dense(self) -> Bools:
        """Which rows are one run of bytes."""
        return np.asarray(self.run == self.stop - self.start)


def accesses(
    program: programs.Program, image: images.Image, symbols: Mapping[str, images.Symbol]
) -> Accesses:
    """All of a program; of Host the tensors of its part, of Halt the model's outputs."""
    hosted = [
        of_symbol(index, is_write, symbol)
        for index, is_write, held in of_host(program, image, symbols)
        for symbol in held
        if symbol.stop > symbol.address
    ]
    spans = [range(i, min(i + CHUNK, program.count)) for i in range(0, program.count, CHUNK)]
    return joined([in_order(tables(program, hosted, span), span) for span in spans])


def tables(
    program: programs.Program, hosted: Sequence[Accesses], span: range
) -> Iterator[Accesses]:
    """Of some instructions, region by region."""
    for part in program.parts:
        rows = slice(*np.searchsorted(part.indices, (span.start, span.stop)))
        some = programs.Part(part.cls, part.indices[rows], part.records[rows])
        if len(some.indices):
            yield from (of_region(some, is_write, region) for is_write, region in regions(some))
    yield from (table for table in hosted if int(table.instruction[0]) in span)


def in_order(tables: Iterable[Accesses], span: range) -> Accesses:
    """The rows of all, of which each has one of an instruction at most, by instruction."""
    every = [nothing(), *tables]
    frames, kinds = together(every)
    rows = np.zeros(len(span), np.int64)
    for table in every:
        rows[table.instruction - span.start] += 1
    place, total = np.cumsum(rows) - rows, int(rows.sum())
    is_write = np.zeros(total, np.bool_)
    memory, start, stop, frame = (np.zeros(total, np.int64) for _ in range(4))
    for table, kind in zip(every, kinds, strict=True):
        at = place[table.instruction - span.start]
        is_write[at], memory[at], frame[at] = table.is_write, table.memory, kind[table.frame]
        start[at], stop[at] = table.start, table.stop
        place[table.instruction - span.start] += 1
    instruction = np.repeat(np.arange(span.start, span.stop), rows)
    return Accesses(instruction, is_write, memory, start, stop, frame, frames)


def nothing() -> Accesses:
    none, wide = np.zeros(0, np.int64), np.zeros((0, DIMENSIONS), np.int64)
    frames = Frames(none, wide, wide)
    return Accesses(none, none.astype(np.bool_), none, none, none, none, frames)


def joined(tables: Sequence[Accesses]) -> Accesses:
    """The rows of all, one after the other."""
    frames, kinds = together(tables)
    columns = {n: np.concatenate([getattr(t, n) for t in tables]) for n in COLUMNS[:-1]}
    frame = [kind[t.frame] for t, kind in zip(tables, kinds, strict=True)]
    return Accesses(**columns, frame=np.concatenate(frame), frames=frames)


def together(tables: Sequence[Accesses]) -> tuple[Frames, list[Ints]]:
    """The different frames of all tables, and which of them those of each table are."""
    every = Frames(*(np.concatenate(c) for c in zip(*(t.frames for t in tables), strict=True)))
    first, kind = alike(np.column_stack(every).view(np.uint64))
    ends = np.cumsum([len(t.frames.run) for t in tables])[:-1]
    return Frames(*(column[first] for column in every)), np.split(kind, ends)


def regions(part: programs.Part) -> Iterator[tuple[bool, core.Region]]:
    every = part.cls.from_records(part.records)
    yield from ((False, region) for region in every.reads())
    yield from ((True, region) for region in every.writes())


def of_region(part: programs.Part, is_write: bool, region: core.Region) -> Accesses:
    """The rows of one region of all instructions of a class; empty ones are left out."""
    count = len(part.indices)
    memory, start, stop = (np.broadcast_to(c, count).astype(np.int64) for c in region)
    shape = [stop - start]
    if isinstance(region, blocks.Block):
        shape = [region.element, *region.sizes, *region.strides]
    (element, *frames), frame = different([np.broadcast_to(c, count) for c in shape])
    sizes, strides = np.ones((2, len(element), DIMENSIONS), np.int64)
    rank = len(frames) // 2
    for at, (size, stride) in enumerate(zip(frames[:rank], frames[rank:], strict=True)):
        sizes[:, at], strides[:, at] = size, stride * element
    columns = (part.indices, np.full(count, is_write), memory, start, stop, frame)
    found = Accesses(*columns, merged(sizes, strides, element))
    return found if (stop > start).all() else found.take(np.flatnonzero(stop > start))


def different(columns: Sequence[npt.NDArray[Any]]) -> tuple[list[Ints], Ints]:
    """The different rows of some columns, and for every row which of them it is."""
    first, kind = alike_in(columns)
    return [column[first].astype(np.int64) for column in columns], kind


def of_symbol(index: int, is_write: bool, symbol: images.Symbol) -> Accesses:
    """The row of an instruction that touches a whole tensor."""
    sizes, strides = np.ones((2, 1, DIMENSIONS), np.int64)
    rank, element = len(symbol.shape), symbol.stop - symbol.address
    if rank <= DIMENSIONS:  # of a tensor of more, its range
        sizes[0, :rank], element = symbol.shape, symbol.element_bytes
        strides[0, :rank] = [s * element for s in symbol.strides]
    return Accesses(
        np.array([index]),
        np.array([is_write]),
        np.array([symbol.memory]),
        np.array([symbol.address]),
        np.array([symbol.stop]),
        np.zeros(1, np.int64),
        merged(sizes, strides, np.array([element])),
    )


def of_host(
    program: programs.Program, image: images.Image, symbols: Mapping[str, images.Symbol]
) -> Iterator[tuple[int, bool, list[images.Symbol]]]:
    """Instruction, whether it writes, and tensors, of what the issue unit has the host do."""
    for part in (p for p in program.parts if p.cls is control.Host):
        for index, number in zip(part.indices.tolist(), part.records["part"].tolist(), strict=True):
            held = image.host[number] if number < len(image.host) else None
            if held is not None:
                yield index, False, [symbols[n] for n in held.inputs]
                yield index, True, [symbols[n] for n in held.outputs]
    yield program.count - 1, False, [s for s in image.symbols if s.kind == "output"]


def merged(sizes: Ints, strides: Ints, element: Ints) -> Frames:
    """With the dimensions in order of stride and dense ones in the run."""
    sizes = np.where(strides == 0, 1, sizes)
    order = np.argsort(np.where(sizes == 1, FAR, strides), axis=1, kind="stable")[:, ::-1]
    sizes = np.take_along_axis(sizes, order, axis=1)
    strides = np.take_along_axis(strides, order, axis=1)
    run, growing = element.copy(), np.ones(len(element), np.bool_)
    for at in reversed(range(sizes.shape[1])):
        grows = growing & (strides[:, at] == run)
        run = np.where(grows, run * sizes[:, at], run)
        growing &= grows | (sizes[:, at] == 1)
        sizes[:, at] = np.where(grows, 1, sizes[:, at])
    return Frames(run, sizes, np.where(sizes == 1, 0, strides))
