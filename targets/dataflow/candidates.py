"""Choosing among candidate mapping parameters, for many tiles at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .work import Bools, Ints, Work, ceil_div

LARGEST = 255
"""What a mapping parameter of an instruction can be."""

TILES = 256
"""Tiles that are looked at together: enough for NumPy to be fast, few enough for the cache."""

UNUSABLE = np.iinfo(np.int64).max

Candidates = Callable[[Work], Ints]
Legal = Callable[[Work, Ints], Bools]
Price = Callable[[Work, Ints], tuple[Ints, Ints]]


def quotients(number: int) -> list[int]:
    """The different values of number // i: the sizes that use `number` units best, i at a time."""
    return sorted({number // i for i in range(1, number + 1)})


def balanced(extent: Ints, largest: Ints | int) -> Ints:
    """The smallest block size that needs no more blocks of `extent` than `largest` does."""
    return ceil_div(extent, ceil_div(extent, largest))


def choose(
    work: Work, candidates: Candidates, legal: Legal, price: Price, fixed: Ints | None = None
) -> Ints:
    """int64 [..., parameters]: for each tile its cheapest legal candidate.

    `candidates` gives int64 [tiles, candidates, parameters] for tiles int64 [tiles, 1]; `price`
    gives two int64 arrays, of which the second decides among equals of the first; then the
    smallest parameters win. Equal tiles are looked at once. Parameters that are not 0 in `fixed`
    are what it says, but for tiles that cannot be run so.
    """
    table = np.ascontiguousarray(work.table())
    flat = table.reshape(-1, table.shape[-1])
    rows = flat.view(np.dtype((np.void, flat.itemsize * flat.shape[1])))[:, 0]
    _, index, inverse = np.unique(rows, return_index=True, return_inverse=True)
    tiles = flat[index]
    starts = range(0, len(tiles), TILES)
    if fixed is None or not fixed.any():
        best = [cheapest(tiles[i : i + TILES], candidates, legal, price) for i in starts]
    else:
        forced = Fixed(fixed, candidates, legal, price)
        best = [forced.cheapest(tiles[i : i + TILES]) for i in starts]
    chosen = np.concatenate(best)[inverse.reshape(-1)]
    return chosen.reshape(*table.shape[:-1], chosen.shape[-1])


def cheapest(tiles: Ints, candidates: Candidates, legal: Legal, price: Price) -> Ints:
    """int64 [tiles, parameters] for tiles int64 [tiles, 15]."""
    params = candidates(Work.from_table(tiles[:, None]))
    count = params.shape[-1]
    keys = np.sort(packed(params), axis=1)
    new = np.ones(keys.shape, np.bool_)
    new[:, 1:] = keys[:, 1:] != keys[:, :-1]
    tile, cell = np.nonzero(new)
    fits = legal(Work.from_table(tiles[tile]), unpacked(keys[tile, cell], count))
    tile, cell = tile[fits], cell[fits]
    costs = np.full((2, *keys.shape), UNUSABLE)
    costs[:, tile, cell] = price(Work.from_table(tiles[tile]), unpacked(keys[tile, cell], count))
    costs[1][costs[0] > costs[0].min(axis=1, keepdims=True)] = UNUSABLE
    best = costs[1].argmin(axis=1)
    return unpacked(keys[np.arange(len(tiles)), best], count)


class Fixed(NamedTuple):
    """Choosing with the parameters that are not 0 in `values` given.

    Larger parameters are never legal where smaller ones are not: ones tell whether a tile can.
    """

    values: Ints
    candidates: Candidates
    legal: Legal
    price: Price

    def cheapest(self, tiles: Ints) -> Ints:
        """As the function of that name; tiles that cannot be run so are chosen for freely."""
        ones = self.imposed(np.ones_like(self.values))
        chosen = np.broadcast_to(ones, (len(tiles), len(ones))).copy()
        able = self.legal(Work.from_table(tiles), chosen)
        for rows, proposals in ((able, self.proposals), (~able, self.candidates)):
            if rows.any():
                chosen[rows] = cheapest(tiles[rows], proposals, self.legal, self.price)
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
