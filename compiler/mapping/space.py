"""The mapspace of a workload: candidate tile sizes, loop orders, residency, as arrays."""

import operator
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from .given import ANY, Given
from .rings import Rolling, rolling
from .workload import Access, Workload

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ORDERS = (("g", "n", "p", "q", "k", "c"), ("g", "k", "n", "p", "q", "c"))
"""Output channels innermost: ifmap tiles stay; pixels innermost: weight tiles stay. Sums of input
channels are innermost in both, so that psums never leave their memory unfinished."""

T = TypeVar("T")
Slots = Mapping[str, int]

SUMS = {"psum": 1, "out": 1}
LONE: tuple[Slots, ...] = ({}, SUMS, {"ifmap": 1}, {"ifmap": 1, **SUMS})
"""Operands of which a buffer has one tile, so that tiles can be larger; none to begin with."""

LONE_OPERAND: tuple[Slots, ...] = ({}, {"ifmap": 1}, {"weight": 1})
"""The same, where psums have a memory of their own."""

MOST, DEEPEST = 8, 16
"""Slots of a buffer that has as many as there is room for: of results that wait, and of others."""

SUMMED = 4
"""Slots of psums that have a memory of their own."""

DEPTHS, RING_DEPTHS = (4, 3, 2, 1), (3, 2, 1)
"""Slots of buffers that are looked at; a ring is the smaller, the fewer rows are loaded ahead."""

TRIPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 4096)
"""Tiles are made equal: as many trips as these, not a multiple and a remainder."""


CHANNELS = ("g", "k", "c")
"""Loops of which an array takes several indices at once."""

ALONG = {"n", "q"}
"""Loops along which a smaller tile uses the array no better. Rows are not: they are what row
stationary folds into sets."""


class Mesh(dict[str, Ints]):
    """Int64 arrays by loop, an axis each, which broadcast to all combinations. What `once` computes
    of them is kept, as choices have most of it in common."""

    def __init__(self, axes: Mapping[str, Ints]) -> None:
        super().__init__(axes)
        self.known: dict[Hashable, Any] = {}


def once(of: Mapping[str, Ints], key: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives, computed once of a mesh; it must not be written to."""
    if not isinstance(of, Mesh):
        return make()
    if key not in of.known:
        of.known[key] = make()
    return of.known[key]  # type: ignore[no-any-return]


class Choice(Struct, frozen=True):
    """What stays the same over a call of the cost model, beside the arrays of tile sizes.

    Buffers have `depth` slots each, but those with `slots` of their own. With `fits`, those of a
    memory have as many as fit, and `depth` at most.
    """

    order: tuple[str, ...]
    resident: tuple[str, ...]
    depth: int
    slots: Slots = field(default_factory=dict)
    ring: Rolling | None = None
    fits: bool = False

    def room(self, role: str) -> int:
        """The most tiles that a buffer holds."""
        return self.slots.get(role, self.depth)

    def rolls(self, access: Access) -> Rolling | None:
        """How it moves on, if it is kept in a ring."""
        return self.ring if self.ring and self.ring.access.role == access.role else None


class Ways(Struct, frozen=True):
    """Choices that differ in slots only, as columns int64[choices, 1]. `numbers` are their places
    among all; `own` slots are 0 where a buffer is as deep as the others; `deep` ones are more."""

    numbers: list[int]
    order: tuple[str, ...]
    resident: tuple[str, ...]
    ring: Rolling | None
    fits: bool
    depth: Ints
    own: Mapping[str, Ints]
    deep: frozenset[str]

    @classmethod
    def of(cls, choices: Mapping[int, Choice]) -> "Ways":
        one, *_ = some = list(choices.values())
        roles = dict.fromkeys(role for choice in some for role in choice.slots)
        own = {role: column(choice.slots.get(role, 0) for choice in some) for role in roles}
        deep = (role for c in some for role, room in c.slots.items() if room > c.depth)
        shared = one.order, one.resident, one.ring, one.fits
        depth = column(choice.depth for choice in some)
        return cls(list(choices), *shared, depth, own, frozenset(deep))

    def room(self, role: str, depth: Ints | None = None) -> Ints:
        """The most tiles that a buffer holds, if others have the given `depth`."""
        own, depth = self.own.get(role), self.depth if depth is None else depth
        return depth if own is None else np.where(own > 0, own, depth)

    def lone(self, role: str) -> Bools | bool:
        """Where a buffer has one slot, and others have more."""
        own = self.own.get(role)
        return False if own is None else (own == 1) & (self.depth > 1)

    def rolls(self, access: Access) -> Rolling | None:
        """How it moves on, if it is kept in a ring."""
        return self.ring if self.ring and self.ring.access.role == access.role else None


Loops = Choice | Ways
"""What is moved how often: by loop order, residents and rings, with any number of slots."""


def column(values: Iterable[int]) -> Ints:
    return np.array([[value] for value in values], np.int64)


def alike(choices: Iterable[Choice]) -> list[Ways]:
    """All choices, those together that differ in slots only."""
    found: dict[Hashable, dict[int, Choice]] = {}
    for number, choice in enumerate(choices):
        found.setdefault((choice.order, choice.resident, choice.fits), {})[number] = choice
    return [Ways.of(some) for some in found.values()]


class Fill(Struct, frozen=True):
    """What fills an array, or 0: the `rows` on which it has the taps of a filter one below the
    other; and the channels that it takes at once, a `block`."""

    rows: int = 0
    block: int = 0


EMPTY = Fill()


def tile_sizes(extent: int, limit: int, few: bool = False) -> list[int]:
    """Candidate steps for a loop over `extent`: equal tiles for a spread of trip counts, and 1."""
    trips = TRIPS[:8] if few else TRIPS
    sizes = {-(-extent // t) for t in trips} | {1}
    return sorted((s for s in sizes if s <= limit), reverse=True)


def sizes_of(load: Workload, given: Given, var: str, fill: Fill = EMPTY) -> list[int]:
    """Candidate steps of one loop, or the one that is given."""
    extent, limit = load.dims[var], load.most(var)
    step = given.step(var, extent)
    if step is not None:
        return [step]
    sizes = tile_sizes(extent, limit, var in ("n", "q"))
    more = full(load, fill.rows) if var == "c" else ()
    more += blocks(extent, fill.block) if var in CHANNELS else ()
    least = load.least(var)
    every = {*sizes, least, *(s for s in more if 0 < s < min(extent, limit + 1))}
    return sorted((s for s in every if s >= least), reverse=True)


def blocks(extent: int, block: int) -> tuple[int, ...]:
    """Whole blocks, as equal as they can be."""
    return tuple(block * -(-extent // block // t) for t in TRIPS) if block else ()


def full(load: Workload, rows: int) -> tuple[int, ...]:
    """Input channels of which all taps fill an array of so many `rows` once, twice, or four times:
    what equal tiles often do not."""
    taps = next((s.attrs["r"] * s.attrs["s"] for s in load.inner if s.op == "tensor"), 1)
    return tuple(times * rows // taps for times in (1, 2, 4)) if taps > 1 else ()


def grid(load: Workload, given: Given = ANY, fill: Fill = EMPTY) -> Mesh:
    """Tile sizes by variable."""
    axes = [np.array(sizes_of(load, given, v, fill), np.int64) for v in load.dims]
    return Mesh(dict(zip(load.dims, np.ix_(*axes), strict=True)) if axes else {})


def boxes(load: Workload, steps: Mapping[str, Ints]) -> Bools:
    """Which tilings have tiles that are boxes, a range per dimension: one of several groups takes
    all their channels."""
    if load.dims.get("g", 1) == 1:
        return np.ones((), np.bool_)
    whole = (steps["k"] == load.dims["k"]) & (steps["c"] == load.dims["c"])
    return np.asarray(whole | (steps["g"] == 1))


class Tiles(Struct, frozen=True):
    """Some tilings, as columns, in the order of their `number` in a mesh. Those of one `split` are
    alike but for the loops in ALONG."""

    number: Ints
    split: Ints
    points: tuple[Ints, ...]
    steps: Mesh

    def of(self, values: Ints) -> Ints:
        """Theirs of what broadcasts to the mesh."""
        many = zip(self.points, values.shape, strict=True)
        return np.asarray(values[tuple(at * (count > 1) for at, count in many)])


def some(mesh: Mesh, where: Bools) -> Tiles:
    """Those `where` the mesh says so: bool[mesh]."""
    number = np.flatnonzero(where)
    points, split = np.unravel_index(number, where.shape), np.zeros_like(number)
    steps = {}
    for (var, sizes), at in zip(mesh.items(), points, strict=True):
        steps[var] = sizes.reshape(-1)[at]
        if var not in ALONG:
            split = split * sizes.size + at
    return Tiles(number, split, points, Mesh(steps))


def tilings(load: Workload, given: Given = ANY) -> dict[str, Ints]:
    """All combinations of tile sizes, one int64 array per variable, all of one length."""
    steps = grid(load, given)
    shape = np.broadcast_shapes(*(s.shape for s in steps.values()))
    keep = np.broadcast_to(boxes(load, steps), shape)
    return {v: np.broadcast_to(s, shape)[keep] for v, s in steps.items()}


def choices(
    load: Workload, given: Given = ANY, uneven: Iterable[Slots] = ({},), tight: bool = False
) -> Iterator[Choice]:
    """Loop orders and residencies worth pricing, and how many tiles a buffer holds of the rest:
    as many of all operands, or two of most and `uneven` numbers of some; where memories are
    `tight`, also as many as fit."""
    ring = rolling(load) if given.ring else None
    ordered, stored = orders(load, given), residencies(load, given)
    for depth, fits in depths(given, tight):
        several = fits or depth == 2
        for order in ordered:
            for whole in stored if several or given.depth else ((),):
                for slots in uneven if several and not given.depth else ({},):
                    if fits or not (whole and 1 in slots.values()):
                        room = {**slots, **given.slots}
                        yield Choice(order, given.whole or whole, depth, room, ring, fits)


def depths(given: Given, tight: bool) -> list[tuple[int, bool]]:
    """Slots that are looked at, and whether they are as many as fit."""
    if given.depth:
        return [(given.depth, False)]
    if given.ring or not tight:
        return [(depth, False) for depth in (RING_DEPTHS if given.ring else DEPTHS)]
    return [(DEEPEST, True), (2, False)]


def orders(load: Workload, given: Given) -> tuple[tuple[str, ...], ...]:
    if given.order is not None:
        return (given.order,)
    if load.orders:
        return load.orders
    outer = tuple(v for v in load.single if v not in ORDERS[0])
    usual = [outer + tuple(v for v in order if v in load.dims) for order in ORDERS]
    if given.ring and (found := rolling(load)):
        usual = [found.order(order, load.reduction) for order in usual]
    weighted = any(a.kind in ("weight", "params") for a in load.inputs)
    return tuple(dict.fromkeys(usual if weighted else usual[:1]))


def residencies(load: Workload, given: Given) -> tuple[tuple[str, ...], ...]:
    """Operands that are loaded whole: none, the weights, or the ifmaps."""
    if given.whole is not None:
        return (given.whole,)
    weights = tuple(a.role for a in load.inputs if a.kind in ("weight", "params"))
    ifmaps = tuple(a.role for a in load.inputs if a.kind == "ifmap" and len(a.box) <= 4)
    if given.ring:
        return ((), weights) if weights else ((),)
    return ((), weights, ifmaps) if weights else ((),)


def trips(load: Workload, steps: Mapping[str, Ints]) -> dict[str, Ints]:
    return once(steps, "trips", lambda: Mesh({v: -(-load.dims[v] // s) for v, s in steps.items()}))


def product_of(count: Mapping[str, Ints], names: Iterable[str]) -> Ints:
    some = frozenset(names)

    def made() -> Ints:
        return np.asarray(reduce(operator.mul, (count[v] for v in some), np.ones((), np.int64)))

    return once(count, some, made)
