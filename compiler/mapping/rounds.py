"""Which tiles the array's model prices: in rounds, those that may still be the fastest.

A tile uses the array no better than one of all pixels of the same channels, which is a bound for
all; and no better than a larger one of the same split of channels and rows. So the largest tile of
a split comes first, and the others where that one leaves room for them.
"""

from functools import reduce

import numpy as np

from .array import array_parts
from .asking import Asking
from .bound import PIXELS, whole_pixels
from .cost import Problem
from .pool import UNKNOWN, Ints, Steps
from .space import Bools

ALONG = {"n", "q"}
"""Loops along which a smaller tile uses the array no better. Rows are not: they are what row
stationary folds into sets."""

LENIENCE = 0.95
"""Tiles that divide better than a larger one may use the array so much better."""


class Learned:
    """What is known of the array's cycles of tiles: `array`, int64[tiles, 2], has bounds of those
    that are not `known`."""

    def __init__(self, steps: Steps, floor: Ints) -> None:
        self.steps, self.floor = steps, floor
        self.split = combinations(steps, [v for v in steps if v not in ALONG])
        self.known = np.zeros(len(self.split), np.bool_)
        self.ratio = np.ones(len(self.split))
        self.array = floor

    def learn(self, new: Ints, cycles: Ints) -> None:
        """The cycles of some tiles, and what follows for those that are no larger than one of them,
        but for the lenience."""
        self.known[new] = True
        found = LENIENCE * cycles[:, 0] / np.maximum(self.floor[new, 0], 1)
        row, of = same_split(self.split, new)
        below = np.ones(len(row), np.bool_)
        for var in ALONG.intersection(self.steps):
            below &= self.steps[var][row] <= self.steps[var][new[of]]
        np.maximum.at(self.ratio, row[below], found[of[below]])
        bounds = (self.floor * self.ratio[:, None]).astype(np.int64)
        self.array = np.where(self.known[:, None], self.array, bounds)
        self.array[new] = cycles

    def largest(self, fits: Bools) -> Ints:
        """For each tile the largest one of its split that fits, or one that does not."""
        along = [self.steps[v] for v in ALONG.intersection(self.steps)]
        order = np.lexsort((-reduce(np.multiply, along, fits.astype(np.int64)), self.split))
        begin = np.searchsorted(self.split[order], self.split)
        return np.asarray(order[begin])


def asked_cycles(problem: Problem, steps: Steps) -> Asking[Ints]:
    """Cycles of the array over all tiles, were they all of full size: int64[tiles, 2]: of all of
    them back to back, and the sum of those of each alone, in which it holds its buffers."""
    total = np.zeros((len(next(iter(steps.values()))), 2), np.int64)
    for part in array_parts(problem.load, steps):
        phases = yield part.work
        held = phases.cycles * part.tiles
        total = total + np.stack((phases.repeated(part.tiles), held), axis=-1)
    return total


def asked_floor(problem: Problem, steps: Steps) -> Asking[Ints]:
    """The least of what `asked_cycles` says of a tile: that of one with all pixels, as cutting
    these only repeats work, but for the lenience."""
    whole = whole_pixels(problem.load).steps
    split = combinations(steps, [v for v in steps if v not in PIXELS])
    _, first, of = np.unique(split, return_index=True, return_inverse=True)
    sizes = {v: np.full(len(first), whole[v]) if v in whole else s[first] for v, s in steps.items()}
    cycles = yield from asked_cycles(problem, sizes)
    return (LENIENCE * cycles[of]).astype(np.int64)


def combinations(steps: Steps, names: list[str]) -> Ints:
    """A number for each combination of tile sizes of some loops."""
    split = np.zeros_like(next(iter(steps.values())))
    for var in names:
        sizes, index = np.unique(steps[var], return_inverse=True)
        split = split * len(sizes) + index
    return split


def same_split(split: Ints, new: Ints) -> tuple[Ints, Ints]:
    """All pairs of a tile, and the place in `new` of one of the same split."""
    order = np.argsort(split, kind="stable")
    begin, end = (np.searchsorted(split[order], split[new], side) for side in ("left", "right"))
    of = np.repeat(np.arange(len(new)), end - begin)
    return order[np.arange(len(of)) + (end - np.cumsum(end - begin))[of]], of


def promising(least: Ints, learned: Learned, largest: Ints, most: int) -> Ints:
    """Tiles that are not known and may be faster than the best that is, the lowest bounds first; of
    a split of which none is known its largest. `least` are the bounds of their cycles."""
    best = least[learned.known].min(initial=UNKNOWN)
    tiles = np.flatnonzero(~learned.known & (least < best))
    tiles = tiles[np.argsort(least[tiles], kind="stable")]
    tiles = np.where(learned.known[largest[tiles]], tiles, largest[tiles])
    _, first = np.unique(tiles, return_index=True)
    return tiles[np.sort(first)[:most]]
