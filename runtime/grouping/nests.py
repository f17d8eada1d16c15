"""A nest's instructions as steps of one class each, and what each operand comes from."""

from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, field

from dnncc.isa import core, dma, elementwise, pool, tensor, vector
from dnncc.isa import program as programs
from dnncc.isa.distinct import distinct

from .operands import Ints, Operand, operands, require, through
from .rings import in_rings, rows_of, together
from .writers import OUTSIDE, joined, last_writers, overlapping, touched

SAME: dict[type[core.Instruction], tuple[str, ...]] = {
    tensor.Tensor: (
        "r", "s", "stride_y", "stride_x", "dilation_y", "dilation_x", "ifmap_dtype",
        "weight_dtype", "ifmap_zero", "weight_zero", "ring",
    ),
    vector.Requantize: ("mode", "out_dtype", "zero", "low", "high", "first"),
    vector.Residual: (
        "mode", "x_zero", "x_low", "x_high", "op", "swapped", "side_dtype", "out_dtype", "scale_a",
        "scale_b", "offset", "zero_a", "zero_b", "zero", "low", "high", "first",
    ),
    elementwise.Elementwise: (
        "op", "a_dtype", "b_dtype", "out_dtype", "scale_a", "scale_b", "offset", "zero_a",
        "zero_b", "zero", "low", "high",
    ),
    elementwise.Map: ("op", "x_dtype", "out_dtype", "first", "scale", "zero", "low", "high"),
    pool.Pool: (
        "r", "s", "op", "stride_y", "stride_x", "dilation_y", "dilation_x", "include_pad",
        "x_dtype", "out_dtype", "x_zero", "out_zero", "low", "high", "x_scale", "out_scale",
    ),
    dma.Load: (),
    dma.Store: (),
}  # fmt: skip
"""Fields that all tiles of a step share; the others are addresses, sizes, strides and padding."""


class Step(Struct, eq=False):
    """All instructions of one class that a nest holds for one of its steps, in program order.

    `sources` says for each operand that is read which step, and which of its rows, made it; an
    operand that is not there was made before the nest, or moved in from DRAM: then `operands` says
    where it lies there.
    """

    cls: type[core.Instruction]
    indices: Ints
    records: Any
    item: Any
    operands: dict[str, Operand]
    sources: dict[str, tuple["Step", Ints]] = field(default_factory=dict)
    readers: list["Reading"] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def apart(self) -> bool:
        """Whether its results have an axis of groups, between each other."""
        return self.cls is vector.Requantize and self.operands["out"].sizes.shape[1] > 4

    @property
    def result(self) -> str:
        if self.cls is dma.Load:
            return "spad"
        return "psum" if self.cls is tensor.Tensor else "out"

    def reads(self) -> dict[str, Ints]:
        """The operands that are read on chip, with the rows that read them."""
        every = np.arange(len(self))
        if self.cls is dma.Load:
            return {}
        if self.cls is dma.Store:
            return {"spad": every}
        found = {name: every for name in self.operands if name != self.result}
        if self.cls is tensor.Tensor:
            found["psum"] = np.flatnonzero(column_of(self.item.accumulate, len(self)))
        return found

    def some(self, rows: Ints) -> "Step":
        """Of some of its instructions, not yet connected."""
        return step(self.cls, self.indices[rows], self.records[rows])

    def constant(self, name: str) -> Any:
        """A field of SAME."""
        return np.asarray(getattr(self.item, name)).reshape(-1)[0].item()


class Reading(NamedTuple):
    """Rows of `step` read, as operand `name`, what rows `made` of another step wrote."""

    step: Step
    name: str
    rows: Ints
    made: Ints


def column_of(value: Any, count: int) -> Ints:
    return np.broadcast_to(np.asarray(value), (count,))


def steps_of(program: programs.Program, first: int, stop: int, step_of: Ints) -> list[Step]:
    """The steps of instructions first..stop - 1. Raises Ungrouped if one cannot be grouped."""
    found: list[Step] = []
    for part in program.parts:
        low, high = np.searchsorted(part.indices, (first, stop))
        if low == high:
            continue
        require(part.cls in SAME, f"{part.cls.mnemonic} is executed one by one")
        kinds = step_of[part.indices[low:high]]
        for kind in distinct(kinds):
            rows = low + np.flatnonzero(kinds == kind)
            found.append(step(part.cls, part.indices[rows], part.records[rows]))
    return found


def step(cls: type[core.Instruction], indices: Ints, records: Any) -> Step:
    require(cls is not pool.Pool or not np.any(records["ring"]), "a ring of what lanes make")
    for name in SAME[cls]:
        require(records[name] == records[name][0], f"{cls.mnemonic}s of several kinds")
    item: Any = cls.from_records(records)
    if cls is dma.Load:
        framed = item.top | item.bottom | item.left | item.right
        require((framed == 0) & (item.d0 * item.d1 * item.d2 * item.d3 > 0), "loads of frames")
    return Step(cls, indices, records, item, operands(item, len(indices)))


class Read(NamedTuple):
    """Rows of `step` read, as operand `name`, what rows `made` of the steps number `source` wrote,
    or what was there before the nest (OUTSIDE)."""

    step: Step
    name: str
    rows: Ints
    source: Ints
    made: Ints


def connect(steps: list[Step]) -> None:
    """Fill in sources and readers; operands that a load brought become blocks of DRAM."""
    for read in traced(steps):
        sources = distinct(read.source)
        if len(sources) > 1:
            gather(steps, read, sources)
        elif sources[0] == OUTSIDE:
            require(not is_ring(read.step, read.name), "a ring of before the nest")
        else:
            link(read.step, read.name, read.rows, steps[int(sources[0])], read.made)


def traced(steps: list[Step]) -> list[Read]:
    """What each operand that is read on chip comes from; of rings, row by row."""
    writing = [s for s in steps if s.cls is not dma.Store]
    asked = [(s, name, rows) for s in steps for name, rows in s.reads().items() if len(rows)]
    asked = [row for row in asked if not gathered(row[0], writing)]
    require(bool(asked), "nothing is read on chip")
    writes = [touched(s.operands[s.result], 2 * s.indices + 1) for s in writing]
    reads = [touched(*read_by(s, n, r)) for s, n, r in asked]
    writers = last_writers(joined(reads), joined(writes))
    begins = np.cumsum([0, *(len(s) for s in writing)])
    numbers = np.array([*(steps.index(s) for s in writing), OUTSIDE])
    parts = np.split(writers, np.cumsum([len(r.start) for r in reads])[:-1])
    found = []
    for (reader, name, rows), part in zip(asked, parts, strict=True):
        at = np.searchsorted(begins, part, side="right") - 1
        source = np.where(part == OUTSIDE, OUTSIDE, numbers[at])
        found.append(Read(reader, name, rows, source, part - begins[at]))
    return found


def gather(steps: list[Step], read: Read, sources: Ints) -> None:
    """Some of an operand's tiles were there before the nest, loads brought the others."""
    reader, name = read.step, read.name
    brought = [int(s) for s in sources if s != OUTSIDE]
    require([steps[s].cls is dma.Load for s in brought], f"{name} of several sources")
    inner = is_ring(reader, name) or reader.cls is dma.Store or len(read.rows) < len(reader)
    require(not inner, f"{name} of several sources")
    whole = reader.operands[name]
    for source in brought:
        rows = np.flatnonzero(read.source == source)
        near, far = (steps[source].operands[s].take(read.made[rows]) for s in ("spad", "dram"))
        whole = whole.with_rows(rows, through(whole.take(rows), near, far))
    reader.operands[name] = whole


def gathered(store: Step, writing: list[Step]) -> bool:
    """Whether what is stored was put together from groups that are apart; then they are linked.

    Back in time, a store is what a group's results come from. Together they are as many elements as
    the tile has, and lie in it; that none is there twice is seen where they are put together.
    """
    parts = next((s for s in writing if s.apart), None)
    if store.cls is not dma.Store or parts is None:
        return False
    out, tile = parts.operands["out"], store.operands["spad"]
    tiles = touched(tile, -2 * store.indices)
    others = joined([touched(s.operands[s.result], s.indices) for s in writing if s is not parts])
    require(~overlapping(tiles, others), "results of several steps")
    rows = last_writers(touched(out, -2 * parts.indices - 1), tiles)
    require(rows != OUTSIDE, "groups that are not stored")
    count = np.zeros(len(store), np.int64)
    np.add.at(count, rows, out.sizes.prod(axis=1))
    require(count == tile.sizes.prod(axis=1), "groups that are missing")
    parts.readers.append(Reading(store, "spad", rows, np.arange(len(parts))))
    return True


def is_ring(step: Step, name: str) -> bool:
    return name == "ifmap" and in_rings(step.item)


def read_by(step: Step, name: str, rows: Ints) -> tuple[Operand, Ints]:
    """The blocks that rows of a step read, and when; of a ring each row is a block."""
    if is_ring(step, name):
        blocks, tile = rows_of(step.item, step.operands[name])
        return blocks, 2 * step.indices[tile]
    return step.operands[name].take(rows), 2 * step.indices[rows]


def link(reader: Step, name: str, rows: Ints, source: Step, made: Ints) -> None:
    if source.cls is not dma.Load:
        require(not is_ring(reader, name), "a ring of what is computed")
        reader.sources[name] = (source, made)
        source.readers.append(Reading(reader, name, rows, made))
        return
    require(reader.cls is not dma.Store, "a copy from DRAM to DRAM")
    require(len(rows) == len(reader), "sums that come from DRAM")
    near, far = (source.operands[side].take(made) for side in ("spad", "dram"))
    ifmap = reader.operands[name]
    if is_ring(reader, name):
        blocks, tile = rows_of(reader.item, ifmap)
        reader.operands[name] = together(through(blocks, near, far), ifmap, tile)
    else:
        reader.operands[name] = through(ifmap, near, far)
