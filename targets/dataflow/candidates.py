"""Choosing among candidate mapping parameters, for many tiles at once."""

from collections.abc import Callable

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


def choose(work: Work, candidates: Candidates, legal: Legal, price: Price) -> Ints:
    """int64 [..., parameters]: for each tile its cheapest legal candidate.

    `candidates` gives int64 [tiles, candidates, parameters] for tiles int64 [tiles, 1]; `price`
    gives two int64 arrays, of which the second decides among equals of the first; then the
    smallest parameters win. Equal tiles are looked at once.
    """
    table = np.ascontiguousarray(work.table())
    flat = table.reshape(-1, table.shape[-1])
    rows = flat.view(np.dtype((np.void, flat.itemsize * flat.shape[1])))[:, 0]
    _, index, inverse = np.unique(rows, return_index=True, return_inverse=True)
    tiles = flat[index]
    starts = range(0, len(tiles), TILES)
    best = [cheapest(tiles[i : i + TILES], candidates, legal, price) for i in starts]
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


def packed(params: Ints) -> Ints:
    """Parameters int64 [..., n], each a byte, as one number that sorts as they do."""
    shifts = np.arange(params.shape[-1] - 1, -1, -1) * 8
    return np.asarray((params << shifts).sum(axis=-1))


def unpacked(keys: Ints, count: int) -> Ints:
    shifts = np.arange(count - 1, -1, -1) * 8
    return (keys[..., None] >> shifts) & LARGEST
