"""The Tile program: per group a nest of loops over tiles; buffers with slots; moves and steps.

A loop variable stands for a range of indices, [low, high), not for one. A `Dim` says which indices
of a tensor's dimension a step touches, as an affine image of those ranges; a `Box` is one Dim per
dimension. All of it works on ints, or on int64 arrays that hold every iteration at once.

Double buffering is explicit: iteration i of the loops in `Operand.slots` uses slot i mod
`Buffer.slots`. Steps run as if in program order; the engines overlap them as the slots allow.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from msgspec import Struct, field

from .graph import Graph


class Range(Struct, frozen=True):
    """The present indices [low, high) of a loop variable, in its iteration `index` of `trips`."""

    low: Any
    high: Any
    index: Any
    trips: int


class Extent(Struct, frozen=True):
    """Indices [low, high) of a dimension; `before`, `after` more were asked for outside of it.

    There is always an index inside: where all that was asked for is outside, one behind that.
    """

    low: Any
    high: Any
    before: Any
    after: Any

    @property
    def size(self) -> Any:
        return self.high - self.low


Env = Mapping[str, Range]


class Dim(Struct, frozen=True):
    """[sum(scale * low) + offset, sum(scale * (high - 1)) + offset + extent), cut to [0, bound)."""

    bound: int
    terms: tuple[tuple[str, int], ...] = ()
    offset: int = 0
    extent: int = 1

    @classmethod
    def whole(cls, bound: int) -> "Dim":
        return cls(bound, (), 0, bound)

    def range(self, env: Env) -> Extent:
        if not self.terms and (self.offset, self.extent) == (0, self.bound):
            return Extent(0, self.bound, 0, 0)
        low: Any = self.offset
        high: Any = self.offset + self.extent
        for var, scale in self.terms:
            low = low + scale * env[var].low
            high = high + scale * (env[var].high - 1)
        if np.minimum.reduce(low, None) >= 0 and np.maximum.reduce(high, None) <= self.bound:
            return Extent(low, high, 0, 0)
        inside_low = np.minimum(np.maximum(low, 0), self.bound - 1)
        inside_high = np.maximum(np.minimum(high, self.bound), inside_low + 1)
        outside = (high <= 0) | (low >= self.bound)
        before = np.where(outside, high - low, inside_low - low)
        return Extent(inside_low, inside_high, before, np.where(outside, 0, high - inside_high))

    def largest(self, steps: Mapping[str, Any]) -> Any:
        """The most indices that one iteration touches, for loops with these steps."""
        return np.minimum(self.bound, self.span(steps))

    def span(self, steps: Mapping[str, Any]) -> Any:
        """The same, not cut to the bound."""
        span: Any = self.extent
        for var, scale in self.terms:
            span = span + scale * (steps[var] - 1)
        return span

    def variables(self) -> frozenset[str]:
        return frozenset(var for var, _ in self.terms)

    def substituted(self, images: Mapping[str, "Dim"]) -> "Dim":
        """With the ranges `images` in place of loop variables, not cut to their bounds."""
        found = self
        for var, scale in self.terms:
            if image := images.get(var):
                others = tuple(term for term in found.terms if term[0] != var)
                terms = (*others, *((v, factor * scale) for v, factor in image.terms))
                extent = found.extent + (image.extent - 1) * scale
                found = Dim(self.bound, terms, found.offset + image.offset * scale, extent)
        return found

    def at(self, range_: "Dim") -> "Dim":
        """Of an image of one loop variable, that of a range of indices."""
        ((_, scale),) = self.terms
        terms = tuple((var, factor * scale) for var, factor in range_.terms)
        offset = self.offset + range_.offset * scale
        return Dim(self.bound, terms, offset, self.extent + (range_.extent - 1) * scale)


Box = tuple[Dim, ...]


class Buffer(Struct, frozen=True):
    """`slots` tiles of at most `shape` elements in a scratchpad; `address` is -1 until allocated.

    `kind` is what it holds: "ifmap", "weight", "params", "psum" or "ofmap". With `ring`, a loop,
    its one slot is a ring of rows that go on from tile to tile along it (ring.py). Constants fill
    their slots for the first time while the nest works that is `ahead` nests before. `places` are
    the addresses of slots that are not one behind the other.
    """

    name: str
    kind: str
    memory: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    slots: int = 1
    address: int = -1
    ring: str = ""
    ahead: int = 0
    places: tuple[int, ...] = ()

    @property
    def starts(self) -> tuple[int, ...]:
        """Addresses of the slots."""
        own = (self.address + i * self.slot_bytes for i in range(self.slots))
        return self.places or tuple(own)

    @property
    def slot_bytes(self) -> int:
        """One slot, rounded up so that the next one is aligned."""
        size = prod(self.shape) * self.dtype.itemsize
        return -(-size // SLOT_ALIGN) * SLOT_ALIGN

    @property
    def bytes(self) -> int:
        return self.slot_bytes * self.slots


SLOT_ALIGN = 16


class Operand(Struct, frozen=True):
    """The part `box` of `tensor`, as `dtype`, in a slot of `buffer` or where it is resident.

    A tile buffer holds exactly `box`, dense, in the order in which the tensor is stored; or `held`,
    of which the box is a part, where that is not (); a `whole` one holds the whole tensor so. With
    no buffer the tensor's own view says where the box lies in the scratchpad `Tensor.memory`, or in
    that of its head. Psums are no tensor of the graph: theirs is "".
    """

    tensor: str
    box: Box
    dtype: np.dtype[Any]
    buffer: str = ""
    slots: tuple[str, ...] = ()
    whole: bool = False
    held: Box = ()

    def buffered(self) -> Box:
        """What the buffer holds."""
        return tuple(Dim.whole(d.bound) for d in self.box) if self.whole else self.held or self.box


class Load(Struct, frozen=True):
    """buffer <- box of the tensor in DRAM."""

    out: Operand


class Store(Struct, frozen=True):
    """box of the tensor in DRAM <- buffer, or the tensor's head."""

    source: Operand


class Compute(Struct, frozen=True):
    """An instruction on tiles: `op` names it, `operands` by role; `attrs` are its numbers.

    Its result starts from zero where all loops in `accumulate` are in their first iteration.
    """

    op: str
    operands: Mapping[str, Operand]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    accumulate: tuple[str, ...] = ()


class HostCall(Struct, frozen=True):
    """The host runs its part number `part`."""

    part: int


Step = Load | Store | Compute | HostCall


class Loop(Struct, frozen=True):
    """for `var` in 0:extent:step; the last range may be shorter.

    Of these iterations, those from index `begin` on and before `end` (0: the extent): what is left
    of a loop that was split where its steps change. Iterations keep their numbers.
    """

    var: str
    extent: int
    step: int
    body: tuple["Loop | Step", ...]
    begin: int = 0
    end: int = 0

    @property
    def stop(self) -> int:
        """Behind its last index."""
        return self.end or self.extent

    @property
    def first(self) -> int:
        """The number of its first iteration."""
        return self.begin // self.step

    @property
    def trips(self) -> int:
        return -(-self.stop // self.step) - self.first

    @property
    def whole(self) -> int:
        """Iterations of the loop that it is a part of."""
        return -(-self.extent // self.step)


class Nest(Struct, frozen=True):
    """What one group of the graph became; `dims` are the extents of all its variables. One that is
    `beside` the nest before works on tiles of that one's result as soon as they are stored."""

    loc: tuple[str, ...]
    op: str
    dims: Mapping[str, int]
    body: tuple[Loop | Step, ...]
    buffers: tuple[Buffer, ...] = ()
    beside: bool = False


class TileProgram(Struct, frozen=True):
    graph: Graph
    nests: tuple[Nest, ...]


def size_of(body: tuple[Loop | Step, ...]) -> int:
    """Steps that one run of `body` takes, every loop unrolled."""
    return sum(i.trips * size_of(i.body) if isinstance(i, Loop) else 1 for i in body)


class Unrolled(Struct, frozen=True):
    """All iterations of one step: their places in the unrolled nest, int64[n], and loop ranges."""

    step: Step
    order: Any
    env: dict[str, Range]


def unroll(nest: Nest) -> Iterator[Unrolled]:
    """Each step of the nest with every iteration at once."""
    zero = np.zeros(1, np.int64)
    env = {var: Range(zero, zero + extent, zero, 1) for var, extent in nest.dims.items()}
    yield from unroll_body(nest.body, zero, env)


def unroll_body(
    body: tuple[Loop | Step, ...], start: Any, env: dict[str, Range]
) -> Iterator[Unrolled]:
    for item in body:
        if isinstance(item, Loop):
            yield from unroll_loop(item, start, env)
            start = start + item.trips * size_of(item.body)
        else:
            yield Unrolled(item, start, env)
            start = start + 1


def unroll_loop(loop: Loop, start: Any, env: dict[str, Range]) -> Iterator[Unrolled]:
    done = np.tile(np.arange(loop.trips), len(start))
    inner = {v: repeated(r, loop.trips) for v, r in env.items()}
    index = loop.first + done
    low = index * loop.step
    inner[loop.var] = Range(low, np.minimum(low + loop.step, loop.extent), index, loop.whole)
    inner_start = np.repeat(start, loop.trips) + done * size_of(loop.body)
    yield from unroll_body(loop.body, inner_start, inner)


def repeated(present: Range, times: int) -> Range:
    low, high, index = (np.repeat(n, times) for n in (present.low, present.high, present.index))
    return Range(low, high, index, present.trips)


def slot_index(operand: Operand, slots: int, env: Env) -> Any:
    """Which slot an iteration uses: the loops' iteration number, mixed radix, mod `slots`."""
    index: Any = 0
    for var in operand.slots:
        index = index * env[var].trips + env[var].index
    return index % slots


def steps(body: tuple[Loop | Step, ...]) -> Iterator[Step]:
    for item in body:
        if isinstance(item, Loop):
            yield from steps(item.body)
        else:
            yield item


def operands_of(step: Step) -> Iterator[Operand]:
    if isinstance(step, Load):
        yield step.out
    elif isinstance(step, Store):
        yield step.source
    elif isinstance(step, Compute):
        yield from step.operands.values()
