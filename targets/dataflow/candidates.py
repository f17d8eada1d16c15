"""Choosing among candidate mapping parameters, for many tiles at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dnncc.isa.distinct import alike, distinct

from .work import Bools, Ints, Work, ceil_div

LARGEST = 255
"""What a mapping parameter of an instruction can be."""

TILES = 256
"""Tiles that are looked at together: enough for NumPy to be fast, few enough for the cache."""

UNUSABLE = np.iinfo(np.int64).max

Candidates = Callable[[Work], Ints]
Legal = Callable[[Work, Ints], Bools]
Price = Callable[[Work, Ints], tuple[Ints, Ints]]
Floor = Callable[[Work, Ints], Ints]


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

    `candidates` gives int64 [tiles, candidates, parameters] for tiles int64 [tiles, 1]; `price`
    gives two int64 arrays, of which the second decides among equals of the first; then the
    smallest parameters win. `floor` is never above the first of them: only candidates that may be
    the cheapest by it are priced. Equal tiles are looked at once. Parameters that are not 0 in
    `fixed` are what it says, but for tiles that cannot be run so.
    """
    table = work.table()
    flat = table.reshape(-1, table.shape[-1])
    index, inverse = alike(flat.view(np.uint64))
    tiles = flat[index]
    order = bundles(tiles)
    if fixed is None or not fixed.any():
        best = [cheapest(tiles[rows], candidates, legal, price, floor) for rows in order]
    else:
        forced = Fixed(fixed, candidates, legal, price, floor)
        best = [forced.cheapest(tiles[rows]) for rows in order]
    chosen = np.empty((len(tiles), best[0].shape[-1]), np.int64)
    chosen[np.concatenate(order)] = np.concatenate(best)
    return chosen[inverse].reshape(*table.shape[:-1], chosen.shape[-1])


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


def cheapest(
    tiles: Ints, candidates: Candidates, legal: Legal, price: Price, floor: Floor | None
) -> Ints:
    """int64 [tiles, parameters] for tiles int64 [tiles, 15]. The smallest candidate of a tile for
    which none is legal."""
    work = Work.from_table(tiles[:, None])
    params = candidates(work)
    fits = np.broadcast_to(legal(work, params), params.shape[:-1])
    lost = ~fits.any(axis=1)
    if floor is not None:
        fits = promising(tiles, params, fits, np.asarray(floor(work, params)), price)
    best = np.empty(len(tiles), np.int64)
    best[lost] = packed(params[lost]).min(axis=1)
    tile, keys = contenders(params, fits)
    cycles, second = price(Work.from_table(tiles[tile]), unpacked(keys, params.shape[-1]))
    ranked = np.lexsort((second, cycles, tile))
    best[~lost] = keys[ranked[np.unique(tile, return_index=True)[1]]]
    return unpacked(best, params.shape[-1])


def promising(tiles: Ints, params: Ints, fits: Bools, floors: Ints, price: Price) -> Bools:
    """Legal candidates that may cost no more than the one of the lowest floor: bool [tiles,
    candidates]."""
    floors = np.where(fits, floors, UNUSABLE)
    rows = np.arange(len(tiles))[fits.any(axis=1)]
    lowest = params[rows, floors[rows].argmin(axis=1)]
    limit = np.zeros((len(tiles), 1), np.int64)
    limit[rows, 0] = price(Work.from_table(tiles[rows]), lowest)[0]
    return np.asarray(fits & (floors <= limit))


def contenders(params: Ints, fits: Bools) -> tuple[Ints, Ints]:
    """(tile, packed parameters) of the different candidates that fit, in ascending order."""
    bits = 8 * params.shape[-1]
    tile, cell = np.nonzero(fits)
    pairs = distinct((tile << bits) | packed(params[tile, cell]))
    return pairs >> bits, pairs & ((1 << bits) - 1)


class Fixed(NamedTuple):
    """Choosing with the parameters that are not 0 in `values` given.

    Larger parameters are never legal where smaller ones are not: ones tell whether a tile can.
    """

    values: Ints
    candidates: Candidates
    legal: Legal
    price: Price
    floor: Floor | None

    def cheapest(self, tiles: Ints) -> Ints:
        """As the function of that name; tiles that cannot be run so are chosen for freely."""
        ones = self.imposed(np.ones_like(self.values))
        chosen = np.broadcast_to(ones, (len(tiles), len(ones))).copy()
        able = self.legal(Work.from_table(tiles), chosen)
        for rows, proposals in ((able, self.proposals), (~able, self.candidates)):
            if rows.any():
                chosen[rows] = cheapest(tiles[rows], proposals, self.legal, self.price, self.floor)
        return chosen

    def imposed(self, params: Ints) -> Ints:
        return np.where(self.values > 0, self.values, params)

    def proposals(self, work: Work) -> Ints:
        """Those of the dataflow with the given values in them, and ones for the rest."""
        params = self.imposed(self.candidates(work))
        ones = np.ones_like(params[..., :1, :])
        return np.concatenate((params, self.imposed(ones)), axis=-2)


def packed(params: Ints) -> Ints:
    """Parameters int64 [..., n], each a byte, as one number that sorts as they do."""
    shifts = np.arange(params.shape[-1] - 1, -1, -1) * 8
    return np.asarray((params << shifts).sum(axis=-1))


def unpacked(keys: Ints, count: int) -> Ints:
    shifts = np.arange(count - 1, -1, -1) * 8
    return (keys[..., None] >> shifts) & LARGEST
