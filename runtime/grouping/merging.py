"""A nest's steps, each merged into one large instruction; Ungrouped where that is not exact."""

from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from dnncc.isa import core, dma, elementwise, pool, tensor, vector

from .boxes import PLANE, Block, Box, affine, box, partition, with_channels
from .chains import Sums, add_up, windows_of
from .convolution import Convolution, Epilogue
from .gathering import Copy, common_code, parts
from .lookup import Pairs, Single
from .nests import SAME, Reading, Step
from .operands import Ints, Operand, require, through
from .planes import Window

ALIGN = 64
I8, U8, I16, U16 = NARROW = range(4)


class Scratch(Struct, eq=False):
    """Memories beyond the target's, for what merged steps hand to each other."""

    first: int
    sizes: list[int] = field(default_factory=list)
    used: int = 0

    def take(self, size: int) -> int:
        """The number of a memory of that many bytes, which is free until `reset`."""
        if self.used == len(self.sizes):
            self.sizes.append(0)
        self.sizes[self.used] = max(self.sizes[self.used], -(-size // ALIGN) * ALIGN)
        self.used += 1
        return self.first + self.used - 1

    def reset(self) -> None:
        self.used = 0


class Extent(Struct, frozen=True):
    """A block of real memory that a merged instruction reads or writes."""

    block: Block
    sizes: tuple[int, ...]

    @property
    def stop(self) -> int:
        steps = sum((n - 1) * s for n, s in zip(self.sizes, self.block.strides, strict=True))
        return self.block.start + (steps + 1) * int(core.SIZES[self.block.code])


class Limits(NamedTuple):
    """Of a requantisation: the zero point of its result, and within what that is."""

    zero: int
    low: int
    high: int


def limits_of(step: Step, prefix: str = "") -> Limits:
    return Limits(*(step.constant(f"{prefix}{name}") for name in Limits._fields))


SCALED = (
    "op", "scale_a", "scale_b", "offset", "zero_a", "zero_b", "zero", "low", "high",
)  # fmt: skip
"""Numbers of a Residual that are those of its Elementwise."""


class Merger(Struct, eq=False):
    """Merges the steps of one nest; `constants` is where DRAM's constants end. Results of the steps
    in `staying` are left on chip, too, if they are stored."""

    steps: list[Step]
    scratch: Scratch
    constants: int
    staying: set[Step] = field(default_factory=set)
    copies: list[Copy] = field(default_factory=list)
    boxes: dict[Step, Box] = field(default_factory=dict)
    frames: dict[tuple[Step, str], Block] = field(default_factory=dict)
    reads: list[Extent] = field(default_factory=list)
    writes: list[Extent] = field(default_factory=list)

    def merge(self) -> list[Any]:
        """What to execute, in order."""
        computing = [s for s in self.steps if s.cls not in (dma.Load, dma.Store)]
        require(len(computing) > 0, "nothing is computed")
        made: dict[Step, list[Any]] = {}
        for step in sorted(computing, key=lambda s: -int(s.indices[0])):
            if step.cls is not tensor.Tensor:
                made[step] = self.instructions(step)
        return [*self.copies, *(i for step in reversed(made) for i in made[step])]

    def instructions(self, step: Step) -> list[Any]:
        if step in self.staying:
            found = self.boxes[step] = box(step.operands["out"])
            return [*self.made(step, found), self.stored(step, found)]
        whole = self.box(step)
        self.boxes[step] = found = with_channels(whole) if step.apart else whole
        return [self.shuffled(step, whole)] if step.apart else self.made(step, found)

    def made(self, step: Step, found: Box) -> list[Any]:
        if step.cls in (vector.Requantize, vector.Residual):
            return self.from_psums(step, found)
        if step.cls is pool.Pool:
            return self.pooled(step, found)
        return self.elementwise(step, found)

    # Where results go

    def box(self, step: Step) -> Box:
        """That of its results: in a frame, the index of a tile is that of the one that reads it. An
        address may say less, as of a dimension of one index the stride may be any."""
        tiles = self.placed(step)
        reading = step.readers[0] if step.readers else None
        if reading is None or reading.step.cls is dma.Store:
            return box(tiles)
        frame, (first, _) = self.frame(reading.step, reading.name), self.span(reading.step)
        first = first[reading.rows[np.argsort(reading.made)]]
        if first.shape != tiles.sizes.shape:
            return box(tiles)
        start = frame.start + (first * frame.strides).sum(axis=1) * tiles.element
        same = (tiles.sizes == 1) | (tiles.strides == frame.strides)
        if not (same.all() and (tiles.start == start).all()):
            return box(tiles)
        shared = PLANE if reading.step.cls is pool.Pool and is_summed(step) else ()
        return Box(first, partition(first, tiles.sizes, shared), frame, shared)

    def placed(self, step: Step) -> Operand:
        """A step's results where the nest leaves them, or in the memory to its next step."""
        out = step.operands["out"]
        if not step.readers:
            return out
        require(len(step.readers) == 1, "results that are read twice")
        reading = step.readers[0]
        order = np.argsort(reading.made)
        require(np.array_equal(reading.made[order], np.arange(len(step))), "results read twice")
        rows = reading.rows[order]
        near = reading.step.operands[reading.name].take(rows)
        if not step.apart:
            every = np.arange(len(reading.step))
            require(np.array_equal(reading.rows, every), "parts of results")
            require(near.sizes.prod(axis=1) == out.sizes.prod(axis=1), "a part of a result")
        return through(out, near, self.far(step, reading, rows))

    def stored(self, step: Step, found: Box) -> Copy:
        """The same results in DRAM."""
        there = box(self.placed(step))
        require(there.sizes == found.sizes and (there.first == found.first).all(), "parts of them")
        return Copy(found.block, self.real(there.block, there.sizes, written=True), found.sizes)

    def far(self, step: Step, reading: Reading, rows: Ints) -> Operand:
        if reading.step.cls is not dma.Store:
            return self.tiles(reading.step, reading.name).take(rows)
        far = reading.step.operands["dram"].take(rows)
        require(narrows(step, far), "a store that widens")
        return far

    def frame(self, reader: Step, name: str) -> Block:
        """A memory of its own for all tiles of an operand; Requantize wants its sums in order."""
        if (reader, name) not in self.frames:
            require(reader.cls is not tensor.Tensor, "results that the array reads")
            (_, sizes), like = self.span(reader), self.boxes[reader].block.strides
            code = narrowest(reader.sources[name][0])
            strides = dense(sizes, () if name == "psum" else like)
            size = int(np.prod(sizes) * core.SIZES[code])
            self.frames[reader, name] = Block(self.scratch.take(size), 0, strides, code)
        return self.frames[reader, name]

    def tiles(self, reader: Step, name: str) -> Operand:
        """An operand's tiles in their frame."""
        frame, (first, _) = self.frame(reader, name), self.span(reader)
        start = (first * frame.strides).sum(axis=1) * core.SIZES[frame.code]
        sizes = reader.operands["x" if reader.cls is pool.Pool else "out"].sizes.T
        return Operand.at(len(first), (frame.memory, start), sizes, frame.strides, frame.code)

    def span(self, reader: Step) -> tuple[Ints, tuple[int, ...]]:
        """Where the tiles begin that a step reads, and the sizes of all of them together."""
        found = self.boxes[reader]
        if reader.cls is not pool.Pool:
            return found.first, found.sizes
        rows, columns = windows_of(reader, found.first[:, 2:])
        first = np.column_stack((found.first[:, :2], rows.first, columns.first))
        return first, (*found.sizes[:2], rows.valid, columns.valid)

    # Merged instructions

    def real(self, block: Block, sizes: tuple[int, ...], written: bool = False) -> Block:
        if block.memory < self.scratch.first:
            (self.writes if written else self.reads).append(Extent(block, sizes))
        return block

    def operand(self, step: Step, name: str, first: Ints, sizes: tuple[int, ...]) -> Block:
        """The block of all that a step's tiles read."""
        if name in step.sources:
            return self.frame(step, name)
        return self.real(self.whole(step.operands[name], first), sizes)

    def whole(self, tiles: Operand, first: Ints) -> Block:
        """The block of all tiles: put together of what is on chip and in DRAM, if need be."""
        if (tiles.memory == tiles.memory[0]).all():
            return affine(tiles, first)
        found = parts(tiles, first)
        code, sizes = common_code(found), tuple((first + tiles.sizes).max(axis=0).tolist())
        place = Block(self.scratch.take(int(np.prod(sizes) * core.SIZES[code])), 0, (), code)
        place = replace(place, strides=dense(sizes, found[0].block.strides))
        for part in found:
            start = int(np.dot(part.at, place.strides) * core.SIZES[code])
            source = self.real(part.block, part.sizes)
            self.copies.append(Copy(source, replace(place, start=start), part.sizes))
        return place

    def scaled(self, step: Step, found: Box, out: Block, limits: Limits) -> Any:
        """All psums, requantised to `out`."""
        n, k, p, q = found.sizes
        channel = np.stack([found.first[:, 1], np.zeros(len(step), np.int64)], axis=1)
        mode = step.constant("mode")
        params = self.operand(step, "params", channel, (k, vector.PARAM_WORDS[mode]))
        require("psum" in step.sources, "sums of before the nest")
        source, _ = step.sources["psum"]
        if source.cls is tensor.Tensor:
            epilogue = Epilogue(mode, *limits, params=params, out=out)
            return self.convolved(source, add_up(source, step, found, self.whole), epilogue)
        psum = self.frame(step, "psum")
        fields = {f"out_s{axis}": stride for axis, stride in zip("nkpq", out.strides, strict=True)}
        return vector.Requantize(
            psum=psum.address, params=params.address, out=out.address, n=n, k=k, p=p, q=q,
            mode=mode, out_dtype=out.code, **limits._asdict(), **fields,
        )  # fmt: skip

    def from_psums(self, step: Step, found: Box) -> list[Any]:
        """Requantised as a whole, then combined, then looked up, as far as the step does so."""
        out, table = self.real(found.block, found.sizes, written=True), self.table(step)
        last = out if table is None else self.between(found, limits_of(step))
        made = [] if table is None else [Single(indexed(step, found, last, out), table)]
        if step.cls is vector.Requantize:
            return [self.scaled(step, found, last, limits_of(step)), *made]
        limits = limits_of(step, "x_")
        x = self.between(found, limits)
        return [self.scaled(step, found, x, limits), self.combined(step, found, x, last), *made]

    def shuffled(self, step: Step, whole: Box) -> Convolution:
        """Sums whose groups of channels go between each other."""
        out, table = self.real(whole.block, whole.sizes, written=True), "table" in step.operands
        source, _ = step.sources.get("psum", (step, None))
        require(source.cls is tensor.Tensor and not table, "groups of no convolution")
        made: Convolution = self.scaled(step, self.boxes[step], out, limits_of(step))
        return replace(made, epilogue=replace(made.epilogue, groups=whole.sizes[1]))

    def between(self, found: Box, limits: Limits) -> Block:
        """A memory for values of all tiles that stay in the lanes."""
        code = smallest(I16, limits.low, limits.high)
        size = int(np.prod(found.sizes) * core.SIZES[code])
        strides = dense(found.sizes, found.block.strides)
        return Block(self.scratch.take(size), 0, strides, code)

    def combined(self, step: Step, found: Box, x: Block, out: Block) -> Pairs:
        side = self.operand(step, "side", found.first, found.sizes)
        a, b = (side, x) if step.constant("swapped") else (x, side)
        numbers = {name: step.constant(name) for name in SCALED}
        return Pairs(elementwise.Elementwise(**over(found, a=a, b=b, out=out), **numbers))

    def convolved(self, step: Step, sums: Sums, epilogue: Epilogue) -> Convolution:
        n, g, k, c, p, q = sums.sizes
        pair = [(f"{name}_y", f"{name}_x") for name in ("stride", "dilation")]
        names = [("r", "s"), *pair]
        taps, stride, dilation = ((step.constant(a), step.constant(b)) for a, b in names)
        pad = (sums.rows.pad, sums.columns.pad)
        window = Window((p, q), taps, stride, dilation, pad, step.constant("ifmap_zero"))
        self.real(sums.ifmap, (n, g, c, sums.rows.valid, sums.columns.valid))
        for place, sizes in (
            (sums.weight, (g, k, c, *taps)),
            (sums.zeros, (g, k)),
            (epilogue.params, (g * k, vector.PARAM_WORDS[epilogue.mode])),
        ):
            constant = place is None or self.constant(Extent(place, sizes))
            require(constant, "weights or parameters that are not constants")
        return Convolution(sums, window, step.constant("weight_zero"), epilogue)

    def constant(self, extent: Extent) -> bool:
        return extent.block.memory == core.DRAM and extent.stop <= self.constants

    def elementwise(self, step: Step, found: Box) -> list[Any]:
        out = self.real(found.block, found.sizes, written=True)
        fields: dict[str, Any] = {f"d{i}": size for i, size in enumerate(found.sizes)}
        names = ("a", "b") if step.cls is elementwise.Elementwise else ("x",)
        for name in names:
            place = self.operand(step, name, found.first, found.sizes)
            fields |= located(name, place) | {f"{name}_dtype": place.code}
        made: Any = step.cls(**{**shared(step, out), **fields, **located("out", out)})
        if step.cls is elementwise.Map and made.x_dtype in NARROW:
            return [Single(made, self.table(step))]
        require("table" not in step.operands, "a table of wide operands")
        return [Pairs(made) if is_pairs(made) else made]

    def table(self, step: Step) -> Block | None:
        if "table" not in step.operands:
            return None
        entries = (elementwise.TABLE_ENTRIES,)
        place = self.operand(step, "table", np.zeros((len(step), 1), np.int64), entries)
        require(self.constant(Extent(place, entries)), "a table that is not constant")
        return place

    def pooled(self, step: Step, found: Box) -> list[Any]:
        n, c, p, q = found.sizes
        rows, columns = windows_of(step, found.first[:, 2:])
        x = self.operand(step, "x", *self.span(step))
        out = self.real(found.block, found.sizes, written=True)
        fields: dict[str, Any] = {f"x_s{a}": s for a, s in zip("nchw", x.strides, strict=True)}
        fields |= {f"out_s{a}": s for a, s in zip("ncpq", out.strides, strict=True)}
        fields |= {
            "h": rows.valid,
            "w": columns.valid,
            "pad_top": rows.pad,
            "pad_left": columns.pad,
        }
        fields |= {"n": n, "c": c, "p": p, "q": q, "x": x.address, "out": out.address}
        return [pool.Pool(**{**shared(step, out), **fields, "x_dtype": x.code})]


def dense(sizes: tuple[int, ...], like: tuple[int, ...]) -> tuple[int, ...]:
    """Strides without gaps: dimensions in the order of others, or in their own."""
    order = list(range(len(sizes)))
    if like:
        order.sort(key=lambda d: (sizes[d] > 1, -like[d]))
    strides, step = [0] * len(sizes), 1
    for d in reversed(order):
        strides[d], step = step, step * sizes[d]
    return tuple(strides)


def shared(step: Step, out: Block) -> dict[str, Any]:
    """The fields that all tiles have, and the type in which results are left."""
    return {**{name: step.constant(name) for name in SAME[step.cls]}, "out_dtype": out.code}


def over(found: Box, **places: Block) -> dict[str, Any]:
    """Sizes, and addresses, types and strides of operands, of an instruction over a box."""
    fields: dict[str, Any] = {f"d{i}": size for i, size in enumerate(found.sizes)}
    for name, place in places.items():
        fields |= located(name, place) | {f"{name}_dtype": place.code}
    return fields


def indexed(step: Step, found: Box, x: Block, out: Block) -> elementwise.Map:
    """The look-up at the end of a step from psums."""
    fields = over(found, x=x, out=out)
    return elementwise.Map(op=elementwise.TABLE, first=step.constant("first"), **fields)


def located(name: str, place: Block) -> dict[str, Any]:
    return {name: place.address} | {f"{name}_s{i}": s for i, s in enumerate(place.strides)}


def is_summed(step: Step) -> bool:
    """Whether its results are of the array's sums and constants alone."""
    source, _ = step.sources.get("psum", (step, None))
    return step.cls is vector.Requantize and source.cls is tensor.Tensor


def narrows(step: Step, far: Operand) -> bool:
    """Whether saturating to the stored type at once is the same as in two steps."""
    return bool(np.all(dma.WIDENS[far.code, step.operands["out"].code]))


def narrowest(step: Step) -> int:
    """A type for results that nobody else sees: a byte where the limits allow it."""
    own = int(step.operands["out"].code[0])
    mapped = step.cls is elementwise.Map or "table" in step.operands
    if own not in (I16, U16) or "low" not in SAME[step.cls] or mapped:
        return own
    return smallest(own, step.constant("low"), step.constant("high"))


def smallest(code: int, low: int, high: int) -> int:
    """A byte that holds what is within the limits, or else that type of 16 bits."""
    info = np.iinfo(core.DTYPES[code])
    low, high = max(low, int(info.min)), min(high, int(info.max))
    fits = [c for c in (I8, U8) if dma.LOWEST[c] <= low and high <= dma.HIGHEST[c]]
    return fits[0] if fits and low <= high else code


def is_pairs(made: Any) -> bool:
    if not isinstance(made, elementwise.Elementwise):
        return False
    return made.a_dtype in NARROW and made.b_dtype in NARROW
