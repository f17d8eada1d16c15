"""What every instruction of a program reads and writes, to the byte.

Regions of the ISA are ranges; a strided block leaves gaps in its range, in which another engine may
work at the same time. Here each is a row of columns: runs of bytes in a frame of strides.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa import blocks, control, core
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.isa.distinct import alike
from dnncc.isa.places import Places, ordered, places

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

COLUMNS = ("instruction", "is_write", "memory", "start", "stop", "frame")
DIMENSIONS = 5
CHUNK = 1 << 16
"""Instructions whose rows are written together, while they are in the cache."""
FAR = np.iinfo(np.int64).max


class Frames(NamedTuple):
    """Forms of blocks: `run` bytes at sum(i * strides) for all i below `sizes`, int64[frames,
    DIMENSIONS], strides in bytes, the widest first. Programs have few, as tiles are alike."""

    run: Ints
    sizes: Ints
    strides: Ints


class Accesses(Struct, frozen=True):
    """One row per block that an instruction touches, in program order, reads before writes.

    The bytes of a row lie in [start, stop) of `memory`, as its frame says, from start on; `frame`
    are rows of `frames`, of which no two are alike.
    """

    instruction: Counts
    is_write: Bools
    memory: Numbers
    start: Ints
    stop: Ints
    frame: Counts
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

    def bounds(self, count: int) -> Ints:
        """Where the rows of each of `count` instructions begin, and those of the last end."""
        bounds = np.zeros(count + 1, np.int64)
        np.cumsum(np.bincount(self.instruction, minlength=count), out=bounds[1:])
        return bounds

    def reach(self, memories: int) -> Ints:
        """The end of the last byte that is touched in each memory."""
        reach = np.zeros(memories, np.int64)
        np.maximum.at(reach, self.memory, self.stop)
        return reach

    def first_rows(self, instructions: Sequence[int]) -> Ints:
        """The first row of each of some instructions, or of one behind it."""
        most = np.iinfo(self.instruction.dtype).max
        wanted = np.minimum(np.array(instructions, np.int64), most)
        return np.searchsorted(self.instruction, wanted.astype(self.instruction.dtype))

    def dense(self) -> Bools:
        """Which rows are one run of bytes."""
        return np.asarray(self.run == self.stop - self.start)


def accesses(
    program: programs.Program, image: images.Image, symbols: Mapping[str, images.Symbol]
) -> Accesses:
    """All of a program; of Host the tensors of its part, of Halt the model's outputs."""
    tables = [place for part in program.parts for place in places(part)]
    tables += [
        of_symbol(index, is_write, symbol)
        for index, is_write, held in of_host(program, image, symbols)
        for symbol in held
        if symbol.stop > symbol.address
    ]
    return of_places(tables, program.count)


def of_places(tables: Sequence[Places], count: int) -> Accesses:
    """The rows of all, which are of `count` instructions."""
    frames, kinds = together([frames_of(table) for table in tables])
    found = nothing(sum(len(table.indices) for table in tables), frames)
    done = 0
    for first in range(0, count, CHUNK):
        some = [table.within(first, first + CHUNK) for table in tables]
        order = ordered(min(CHUNK, count - first), [t.indices - first for t in some])
        for table, kind, at in zip(some, kinds, order, strict=True):
            fill(found, table, kind, at + done)
        done += sum(len(table.indices) for table in some)
    return found


def nothing(rows: int, frames: Frames) -> Accesses:
    """Rows to be filled in."""
    instruction, frame = np.empty(rows, np.int32), np.empty(rows, np.int32)
    start, stop = np.empty(rows, np.int64), np.empty(rows, np.int64)
    is_write, memory = np.empty(rows, np.bool_), np.empty(rows, np.uint8)
    return Accesses(instruction, is_write, memory, start, stop, frame, frames)


def fill(found: Accesses, table: Places, kind: Ints, at: Ints) -> None:
    """Write the rows `at`, in place."""
    form = table.form
    found.instruction[at], found.is_write[at] = table.indices, table.is_write
    found.memory[at], found.frame[at] = table.memory[form], kind[form]
    start = table.start
    found.start[at], found.stop[at] = start, start + table.bytes[form]


def joined(tables: Sequence[Accesses]) -> Accesses:
    """The rows of all, one after the other."""
    frames, kinds = together([table.frames for table in tables])
    columns = {n: np.concatenate([getattr(t, n) for t in tables]) for n in COLUMNS[:-1]}
    frame = np.concatenate([kind[t.frame] for t, kind in zip(tables, kinds, strict=True)])
    return Accesses(**columns, frame=frame.astype(np.int32), frames=frames)


def together(tables: Sequence[Frames]) -> tuple[Frames, list[Ints]]:
    """The different frames of all tables, and which of them those of each table are."""
    none = np.zeros((0, DIMENSIONS), np.int64)
    every = Frames(*map(np.concatenate, zip((none[:, 0], none, none), *tables, strict=True)))
    first, kind = alike(np.column_stack(every).view(np.uint64))
    ends = np.cumsum([len(frames.run) for frames in tables])[:-1]
    return Frames(*(column[first] for column in every)), np.split(kind, ends)


def frames_of(table: Places) -> Frames:
    """Of the forms of a region."""
    region, count = table.region, len(table.bytes)
    sizes, strides = np.ones((2, count, DIMENSIONS), np.int64)
    if not isinstance(region, blocks.Block):
        return merged(sizes, strides, table.bytes)
    element = np.broadcast_to(region.element, count).astype(np.int64)
    for at, (size, stride) in enumerate(zip(region.sizes, region.strides, strict=True)):
        sizes[:, at], strides[:, at] = size, stride * element
    return merged(sizes, strides, element)


def of_symbol(index: int, is_write: bool, symbol: images.Symbol) -> Places:
    """Of an instruction that touches a whole tensor; of one of many dimensions, its range."""
    where = symbol.memory, symbol.address
    region = core.Region(*where, symbol.stop)
    if 0 < len(symbol.shape) <= DIMENSIONS:
        region = blocks.Block.at(*where, symbol.shape, symbol.strides, symbol.element_bytes)
    one, size = np.zeros(1, np.int64), symbol.stop - symbol.address
    memory, start = one + symbol.memory, one + symbol.address
    return Places(is_write, one + index, one, start, (), memory, one + size, region)


def of_host(
    program: programs.Program, image: images.Image, symbols: Mapping[str, images.Symbol]
) -> Iterator[tuple[int, bool, list[images.Symbol]]]:
    """Instruction, whether it writes, and tensors, of what the issue unit has the host do."""
    for part in (p for p in program.parts if p.cls is control.Host):
        for index, number in zip(part.indices.tolist(), part.column("part").tolist(), strict=True):
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
