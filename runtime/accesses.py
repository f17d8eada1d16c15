"""What every instruction of a program reads and writes, to the byte.

Regions of the ISA are ranges; a strided block leaves gaps in its range, in which another engine may
work at the same time. Here each is a row of columns: runs of bytes in a frame of strides.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from dnncc.isa import blocks, control, core
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.isa.distinct import alike

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

COLUMNS = ("instruction", "is_write", "memory", "start", "stop", "frame")
DIMENSIONS = 5
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
    tables = [of_region(p, is_write, r) for p in program.parts for is_write, r in regions(p)]
    tables += [of_symbols(index, w, held) for index, w, held in of_host(program, image, symbols)]
    found = joined([t for t in tables if len(t)] or tables)
    return found.take(np.argsort(2 * found.instruction + found.is_write, kind="stable"))


def joined(tables: Sequence[Accesses]) -> Accesses:
    """The rows of all, one after the other."""
    every = Frames(*(np.concatenate(c) for c in zip(*(t.frames for t in tables), strict=True)))
    first, kind = alike(np.column_stack(every).view(np.uint64))
    ends = np.cumsum([len(t.frames.run) for t in tables])[:-1]
    frames = [k[t.frame] for k, t in zip(np.split(kind, ends), tables, strict=True)]
    columns = {n: np.concatenate([getattr(t, n) for t in tables]) for n in COLUMNS[:-1]}
    alone = Frames(*(column[first] for column in every))
    return Accesses(**columns, frame=np.concatenate(frames), frames=alone)


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
    """The different rows of some columns, and for every row which of them it is. Most are like the
    one before, which is quicker to see than to sort."""
    new = np.zeros(len(columns[0]), np.bool_)
    new[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    rows = np.column_stack([column[new].astype(np.int64) for column in columns])
    first, kind = alike(rows.view(np.uint64))
    return list(rows[first].T), kind[np.cumsum(new) - 1]


def of_symbols(index: int, is_write: bool, symbols: Sequence[images.Symbol]) -> Accesses:
    """The rows of one instruction that touches whole tensors."""
    held = [s for s in symbols if s.stop > s.address]
    sizes, strides = np.ones((2, len(held), DIMENSIONS), np.int64)
    element = column(s.stop - s.address for s in held)  # of a tensor of many dimensions, its range
    for row, symbol in enumerate(held):
        rank = len(symbol.shape)
        if rank <= DIMENSIONS:
            sizes[row, :rank], element[row] = symbol.shape, symbol.element_bytes
            strides[row, :rank] = [s * symbol.element_bytes for s in symbol.strides]
    return Accesses(
        np.full(len(held), index, np.int64),
        np.full(len(held), is_write),
        column(s.memory for s in held),
        column(s.address for s in held),
        column(s.stop for s in held),
        np.arange(len(held)),
        merged(sizes, strides, element),
    )


def column(values: Iterator[int]) -> Ints:
    return np.fromiter(values, np.int64)


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
