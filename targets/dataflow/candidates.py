"""Choosing among candidate mapping parameters, for many tiles at once."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from dnncc.isa.distinct import alike, distinct

from .work import Bools, Ints, Work, ceil_div

LARGEST = 255
"""What a mapping parameter of an instruction can be."""

TILES = 256
"""Tiles that are looked at together: enough for NumPy to be fast, few enough for the cache."""

UNUSABLE = np.iinfo(np.int64).max

Columns = tuple[Ints, ...]
"""Parameters, one by one: int64 arrays that broadcast to [tiles, ...]."""

Candidates = Callable[[Work], Columns]
Legal = Callable[[Work, Columns], Bools]
Price = Callable[[Work, Ints], tuple[Ints, Ints]]
Floor = Callable[[Work, Columns], Ints]
Way = tuple[Ints, Candidates]
"""Tiles that are looked at together, and what proposes their candidates."""


def quotients(number: int) -> list[int]:
    """The different values of number // i: the sizes that use `number` units best, i at a time."""
    return sorted({number // i for i in range(1, number + 1)})


def balanced(extent: Ints, largest: Ints | int) -> Ints:
    """The smallest block size that needs no more blocks of `extent` than `largest` does."""
    return ceil_div(extent, ceil_div(extent, largest))


def choose(
    work: Work,
    candidates: Candidates,
    legal: Legal,
    price: Price,
    fixed: Ints | None = None,
    floor: Floor | None = None,
) -> Ints:
    """int64 [..., parameters]: for each tile its cheapest legal candidate.

    `candidates` gives the columns of all of them for tiles int64 [tiles, 1]; `price` gives two
    int64 arrays, of which the second decides among equals of the first; then the smallest
    parameters win. `floor` is never above the first of them: only candidates that may be
    the cheapest by it are priced. Equal tiles are looked at once. Parameters that are not 0 in
    `fixed` are what it says, but for tiles that cannot be run so.
    """
    table = work.table()
    flat = table.reshape(-1, table.shape[-1])
    index, inverse = alike(flat.view(np.uint64))
    tiles = flat[index]
    ways: list[Way] = [(rows, candidates) for rows in bundles(tiles)]
    if fixed is not None and fixed.any():
        forced = Fixed(fixed, candidates, legal)
        ways = [way for rows, _ in ways for way in forced.ways(tiles, rows)]
    offers = [offered(tiles, way, legal, floor) for way in ways]
    if floor is not None:
        offers = promising(tiles, offers, price)
    keys = cheapest(tiles, offers, price)[inverse]
    return unpacked(keys, offers[0].number).reshape(*table.shape[:-1], offers[0].number)


def bundles(tiles: Ints) -> list[Ints]:
    """Which tiles are looked at together: those with the same filter, of one group or of several,
    next to their like. What is proposed for a tile must not depend on which others there are."""
    of = Work.from_table(tiles)
    several = of.g > 1
    order = np.lexsort((of.c, of.p, several, of.s, of.r))
    kinds = np.stack((of.r, of.s, several), axis=-1)[order]
    cuts = np.flatnonzero((kinds[1:] != kinds[:-1]).any(axis=1)) + 1
    parts = np.split(order, cuts)
    return [part[i : i + TILES] for part in parts for i in range(0, len(part), TILES)]


class Offer(Struct, frozen=True):
    """The candidates of the tiles in `rows`, `number` parameters packed in one of `keys`, which of
    them are legal, and what they cost at least: [rows, candidates]."""

    rows: Ints
    keys: Ints
    fits: Bools
    floors: Ints
    number: int


def offered(tiles: Ints, way: Way, legal: Legal, floor: Floor | None) -> Offer:
    rows, candidates = way
    params = candidates(Work.from_table(tiles[rows, None]))
    shape = (len(rows), *np.broadcast_shapes(*(column.shape for column in params))[1:])
    work = Work.from_table(tiles[rows].reshape(len(rows), *(1 for _ in shape[1:]), -1))

    def each(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.broadcast_to(values, shape).reshape(len(rows), -1)

    floors = each(np.zeros((), np.int64) if floor is None else floor(work, params))
    return Offer(rows, each(packed(params)), each(legal(work, params)), floors, len(params))


def promising(tiles: Ints, offers: list[Offer], price: Price) -> list[Offer]:
    """Of legal candidates those that may cost no more than the one of the lowest floor."""
    floors = [np.where(offer.fits, offer.floors, UNUSABLE) for offer in offers]
    lowest = [f.argmin(axis=1) for f in floors]
    keys = [o.keys[np.arange(len(at)), at] for o, at in zip(offers, lowest, strict=True)]
    rows = np.concatenate([offer.rows for offer in offers])
    limits = np.full(len(rows), UNUSABLE - 1)
    able = np.concatenate([offer.fits.any(axis=1) for offer in offers])
    params = unpacked(np.concatenate(keys)[able], offers[0].number)
    limits[able] = price(Work.from_table(tiles[rows[able]]), params)[0]
    limit = np.split(limits[:, None], np.cumsum([len(at) for at in lowest])[:-1])
    return [
        replace(offer, fits=least <= most)
        for offer, least, most in zip(offers, floors, limit, strict=True)
    ]


def cheapest(tiles: Ints, offers: list[Offer], price: Price) -> Ints:
    """Packed parameters of each tile; of a tile for which none is legal its smallest candidate.
    What has no rival is not priced."""
    best = np.empty(len(tiles), np.int64)
    for offer in offers:
        best[offer.rows] = offer.keys.min(axis=1)
    pairs = [contenders(offer) for offer in offers]
    tile, keys = (np.concatenate(column) for column in zip(*pairs, strict=True))
    best[tile] = keys
    rivals = np.bincount(tile, minlength=len(tiles))[tile] > 1
    if rivals.any():
        tile, keys = tile[rivals], keys[rivals]
        cycles, second = price(Work.from_table(tiles[tile]), unpacked(keys, offers[0].number))
        ranked = np.lexsort((second, cycles, tile))[::-1]
        best[tile[ranked]] = keys[ranked]  # of one tile the last assignment stays
    return best


def contenders(offer: Offer) -> tuple[Ints, Ints]:
    """(tile, packed parameters) of the different candidates that fit, in ascending order."""
    bits = 8 * offer.number
    row, cell = np.nonzero(offer.fits)
    pairs = distinct((row << bits) | offer.keys[row, cell])
    return offer.rows[pairs >> bits], pairs & ((1 << bits) - 1)


class Fixed(Struct, frozen=True):
    """Choosing with the parameters that are not 0 in `values` given.

    Larger parameters are never legal where smaller ones are not: ones tell whether a tile can.
    """

    values: Ints
    candidates: Candidates
    legal: Legal

    def ways(self, tiles: Ints, rows: Ints) -> list[Way]:
        """With the values for tiles that can be run so, and others freely."""
        able = self.legal(Work.from_table(tiles[rows]), self.imposed(self.ones()))
        ways = ((rows[able], self.proposals), (rows[~able], self.candidates))
        return [way for way in ways if len(way[0])]

    def ones(self) -> Columns:
        return tuple(np.ones((len(self.values), 1), np.int64))

    def imposed(self, params: Columns) -> Columns:
        values = zip(self.values, params, strict=True)
        return tuple(np.full_like(p, value) if value else p for value, p in values)

    def proposals(self, work: Work) -> Columns:
        """Those of the dataflow with the given values in them, and ones for the rest."""
        params = np.broadcast_arrays(*self.imposed(self.candidates(work)))
        flat = (column.reshape(len(column), -1) for column in params)
        ones = self.imposed(self.ones())
        both = zip(flat, ones, strict=True)
        return tuple(np.insert(column, column.shape[1], one, axis=1) for column, one in both)


def packed(params: Columns) -> Ints:
    """Parameters, each a byte, as one number that sorts as they do."""
    shifts = range(8 * (len(params) - 1), -1, -8)
    parts = (column << shift for column, shift in zip(params, shifts, strict=True))
    return np.asarray(reduce(np.add, parts))


def unpacked(keys: Ints, count: int) -> Ints:
    shifts = np.arange(count - 1, -1, -1) * 8
    return (keys[..., None] >> shifts) & LARGEST
