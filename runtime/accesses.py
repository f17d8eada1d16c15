"""What every instruction of a program reads and writes, to the byte.

Regions of the ISA are ranges; a strided block leaves gaps in its range, in which another engine may
work at the same time. Here each is a row of columns: runs of bytes in a frame of strides.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dnncc.isa import blocks, control, core
from dnncc.isa import image as images
from dnncc.isa import program as programs

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DIMENSIONS = 5
FAR = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Accesses:
    """One row per block that an instruction touches, in program order, reads before writes.

    The bytes of a row lie in [start, stop) of `memory`: `run` bytes at start + sum(i * strides) for
    all i below `sizes`, int64[rows, DIMENSIONS], strides in bytes, the widest first.
    """

    instruction: Ints
    is_write: Bools
    memory: Ints
    start: Ints
    stop: Ints
    run: Ints
    sizes: Ints
    strides: Ints

    def __len__(self) -> int:
        return len(self.instruction)

    def take(self, rows: npt.NDArray[Any]) -> Self:
        """Some of the rows."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    def bytes(self) -> Ints:
        """How many bytes each row touches, where its runs do not overlap."""
        return np.asarray(self.run * self.sizes.prod(axis=1))

    def dense(self) -> Bools:
        """Which rows are one run of bytes."""
        return np.asarray(self.run == self.stop - self.start)


def accesses(
    program: programs.Program, image: images.Image, symbols: Mapping[str, images.Symbol]
) -> Accesses:
    """All of a program; of Host the tensors of its part, of Halt the model's outputs."""
    tables = [of_region(p, is_write, r) for p in program.parts for is_write, r in regions(p)]
    tables += [of_symbols(index, w, held) for index, w, held in of_host(program, image, symbols)]
    tables = [t for t in tables if len(t)] or tables
    columns = (np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(Accesses))
    found = Accesses(*columns)
    return found.take(np.lexsort((found.is_write, found.instruction)))


def regions(part: programs.Part) -> Iterator[tuple[bool, core.Region]]:
    every = part.cls.from_records(part.records)
    yield from ((False, region) for region in every.reads())
    yield from ((True, region) for region in every.writes())


def of_region(part: programs.Part, is_write: bool, region: core.Region) -> Accesses:
    """The rows of one region of all instructions of a class; empty ones are left out."""
    count = len(part.indices)
    memory, start, stop = (np.broadcast_to(c, count).astype(np.int64) for c in region)
    sizes, strides = np.ones((2, count, DIMENSIONS), np.int64)
    element = stop - start
    if isinstance(region, blocks.Block):
        element = np.broadcast_to(region.element, count).astype(np.int64)
        for at, (size, stride) in enumerate(zip(region.sizes, region.strides, strict=True)):
            sizes[:, at], strides[:, at] = size, stride * element
    run, sizes, strides = merged(sizes, strides, element)
    columns = (part.indices, np.full(count, is_write), memory, start, stop, run, sizes, strides)
    found = Accesses(*columns)
    return found if (stop > start).all() else found.take(np.flatnonzero(stop > start))


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
    run, sizes, strides = merged(sizes, strides, element)
    return Accesses(
        np.full(len(held), index, np.int64),
        np.full(len(held), is_write),
        column(s.memory for s in held),
        column(s.address for s in held),
        column(s.stop for s in held),
        run,
        sizes,
        strides,
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


def merged(sizes: Ints, strides: Ints, element: Ints) -> tuple[Ints, Ints, Ints]:
    """(run, sizes, strides) with the dimensions in order of stride and dense ones in the run."""
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
    return run, sizes, np.where(sizes == 1, 0, strides)
