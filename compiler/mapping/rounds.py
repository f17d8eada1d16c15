"""Which tiles the array's model prices: in rounds, those that may still be the fastest.

A tile uses the array no better than one of all pixels of the same channels, which is a bound for
all; and no better than a larger one of the same split of channels and rows. So the largest tile of
a split comes first, and the others where that one leaves room for them.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from .array import array_parts
from .asking import Asking
from .bound import PIXELS, whole_pixels
from .buffers import one_slot_each, within
from .cost import Problem
from .pool import (
    CYCLE_SLACK,
    UNEVEN,
    UNKNOWN,
    Fitting,
    Ints,
    Pool,
    Steps,
    fastest,
    fitting,
    near,
    pooled,
    taken,
)
from .smallest import hindrance, runnable
from .space import ALONG, Bools, Choice, Mesh, Tiles, boxes, grid, some

ROUNDS = 6
"""In which the array's model prices tiles, each time twice as many as before."""

FIRST = 640
"""Tiles that the first of these are taken from."""

LENIENCE = 0.95
"""Tiles that divide better than a larger one may use the array so much better."""


class Space(NamedTuple):
    """All tile sizes as a mesh, and those of its points that are `able`, bool[mesh]."""

    mesh: Mesh
    able: Bools


def space(problem: Problem, options: Sequence[Choice]) -> Space:
    """What is legal, and fits if each buffer has one slot. Raises NoMapping if nothing is."""
    mesh = grid(problem.load, problem.given, problem.fill)
    able = boxes(problem.load, mesh) & runnable(problem, mesh) & with_room(problem, options, mesh)
    able = np.broadcast_to(able, np.broadcast_shapes(*(s.shape for s in mesh.values())))
    if not able.any():
        raise hindrance(problem)
    return Space(mesh, able)


def with_room(problem: Problem, options: Sequence[Choice], mesh: Mesh) -> Bools:
    """What may fit under one of the choices."""
    whole = set.intersection(*(set(choice.resident) for choice in options))
    fits = within(problem, one_slot_each(problem, tuple(whole), mesh), 1)
    rolls = [
        ring.legal(problem.load, mesh, order, 1)
        for ring, order in {(choice.ring, choice.order) for choice in options}
        if ring
    ]
    return fits & reduce(np.logical_or, rolls) if rolls else fits


class Learned:
    """What is known of the array's cycles of tiles: `array`, int64[tiles, 2], has bounds of those
    that are not `known`; `largest` is the one to ask about first, for each of them."""

    def __init__(self, tiles: Tiles, floor: Ints, fits: Bools) -> None:
        """Nothing yet, but for their floors, int64[2, mesh]."""
        self.tiles, self.largest = tiles, largest(tiles, fits)
        self.floor = np.stack([tiles.of(column) for column in floor], axis=-1)
        self.known = np.zeros(len(self.floor), np.bool_)
        self.ratio = np.ones(len(self.floor))
        self.array = self.floor

    def learn(self, new: Ints, cycles: Ints) -> None:
        """The cycles of some tiles, and what follows for those that are no larger than one of them,
        but for the lenience."""
        self.known[new] = True
        found = LENIENCE * cycles[:, 0] / np.maximum(self.floor[new, 0], 1)
        row, of = same_split(self.tiles.split, new)
        below = np.ones(len(row), np.bool_)
        for sizes in along(self.tiles):
            below &= sizes[row] <= sizes[new[of]]
        np.maximum.at(self.ratio, row[below], found[of[below]])
        bounds = (self.floor * self.ratio[:, None]).astype(np.int64)
        self.array = np.where(self.known[:, None], self.array, bounds)
        self.array[new] = cycles


def largest(tiles: Tiles, fits: Bools) -> Ints:
    """For each tile the largest one of its split that fits, or one that does not."""
    size = reduce(np.multiply, along(tiles), fits.astype(np.int64))
    order = np.lexsort((-size, tiles.split))
    begin = np.searchsorted(tiles.split[order], tiles.split)
    return np.asarray(order[begin])


def along(tiles: Tiles) -> list[Ints]:
    """Tile sizes of loops along which a smaller one is no better."""
    return [sizes for var, sizes in tiles.steps.items() if var in ALONG]


def priced(problem: Problem, options: list[Choice], limit: int, rounds: int) -> Asking[Pool]:
    """Only what the array's model has priced, best first as far as its bounds say; everything near
    the fastest, if the array has nothing to do. Each round is twice the one before. Raises
    NoMapping."""
    if not problem.load.inner:
        every = everything(problem, options, some(*space(problem, options)).steps)
        cycles = every.cycles
        return taken(every, cycles <= UNEVEN * cycles.min())
    pool, learned = yield from opened(problem, options, max(8 * limit >> rounds, 1))
    slack = UNEVEN if problem.alone else CYCLE_SLACK
    pool = near(pool, learned.known, slack)
    for left in range(rounds - 1, 0, -1):
        new = promising(fastest(pool), learned, max(8 * limit >> left, 1))
        if not len(new):
            break
        asked = {v: s[new] for v, s in pool.steps.items()}
        learned.learn(new, (yield from asked_cycles(problem, asked)))
        pool = near(replace(pool, array=learned.array), learned.known, slack)
    return taken(pool, learned.known[pool.tile])


def everything(problem: Problem, options: Sequence[Choice], steps: Mesh) -> Pool:
    """All that fits of some tilings, as if every PE were always busy. Raises NoMapping."""
    found = fitting(problem, options, steps)
    if not found.fits.any():
        raise hindrance(problem)
    least = np.full((found.fits.shape[1], 2), problem.at_work)
    return pooled(found, found.fits, least, steps)


def opened(problem: Problem, options: list[Choice], most: int) -> Asking[tuple[Pool, Learned]]:
    """What may be near the fastest after a first round, in which so many tiles are priced at
    `most`: of those of the lowest floors. All that the best of them leaves room for is looked at,
    too, where these were not enough."""
    mesh, able = space(problem, options)
    floor = yield from asked_floor(problem, mesh, able)
    tiles, found = guessed(problem, options, Space(mesh, able), floor[0])
    learned = Learned(tiles, floor, found.some)
    new = promising(found.cycles(learned.array).min(axis=0), learned, most)
    cycles = yield from asked_cycles(problem, {v: s[new] for v, s in tiles.steps.items()})
    learned.learn(new, cycles)
    near_ = UNEVEN * found.cycles(learned.array)[:, new].min()
    reach = able & (floor[0] <= max(near_, learned.floor[:, 0].max()))
    if np.count_nonzero(reach) > len(tiles.number):
        number, tiles = tiles.number[new], some(mesh, reach)
        found = fitting(problem, options, tiles.steps)
        learned = Learned(tiles, floor, found.some)
        learned.learn(np.searchsorted(tiles.number, number), cycles)
    fast = found.cycles(learned.array) <= near_
    return pooled(found, fast, learned.array, tiles.steps), learned


def guessed(
    problem: Problem, options: list[Choice], tilings: Space, floor: Ints
) -> tuple[Tiles, Fitting]:
    """Those of the lowest floors, of which some fit. Raises NoMapping."""
    mesh, able = tilings
    every, count = np.sort(np.broadcast_to(floor, able.shape)[able]), FIRST
    while True:
        tiles = some(mesh, able & (floor <= every[:count][-1]))
        found = fitting(problem, options, tiles.steps)
        if found.fits.any():
            return tiles, found
        if count >= len(every):
            raise hindrance(problem)
        count *= 4


def asked_cycles(problem: Problem, steps: Steps) -> Asking[Ints]:
    """Cycles of the array over all tiles, were they all of full size: int64[tiles, 2]: of all of
    them back to back, and the sum of those of each alone, in which it holds its buffers."""
    total = np.zeros((len(next(iter(steps.values()))), 2), np.int64)
    for part in array_parts(problem.load, steps):
        phases = yield part.work
        held = phases.cycles * part.tiles
        total = total + np.stack((phases.repeated(part.tiles), held), axis=-1)
    return total


def asked_floor(problem: Problem, mesh: Steps, able: Bools) -> Asking[Ints]:
    """The least of what `asked_cycles` says of the tiles that are `able`, int64[2, mesh] or
    broadcast to it: that of one with all pixels, as cutting these only repeats work, but for the
    lenience."""
    whole = whole_pixels(problem.load).steps
    pixels = tuple(axis for axis, var in enumerate(mesh) if var in PIXELS)
    sizes = {v: np.array(whole[v]) if v in whole else s for v, s in mesh.items()}
    there = np.asarray(able.any(axis=pixels, keepdims=True))
    split = some(Mesh(sizes), there)
    cycles = yield from asked_cycles(problem, split.steps)
    floor = np.full((2, *there.shape), UNKNOWN)
    floor[:, there] = (LENIENCE * cycles).astype(np.int64).T
    return floor


def same_split(split: Ints, new: Ints) -> tuple[Ints, Ints]:
    """All pairs of a tile, and the place in `new` of one of the same split."""
    order = np.argsort(split, kind="stable")
    begin, end = (np.searchsorted(split[order], split[new], side) for side in ("left", "right"))
    of = np.repeat(np.arange(len(new)), end - begin)
    return order[np.arange(len(of)) + (end - np.cumsum(end - begin))[of]], of


def promising(least: Ints, learned: Learned, most: int) -> Ints:
    """Tiles that are not known and may be faster than the best that is, the lowest bounds first; of
    a split of which none is known its largest. `least` are the bounds of their cycles."""
    best = least[learned.known].min(initial=UNKNOWN)
    tiles = np.flatnonzero(~learned.known & (least < best))
    tiles = tiles[np.argsort(least[tiles], kind="stable")]
    first = learned.largest[tiles]
    tiles = np.where(learned.known[first], tiles, first)
    _, first = np.unique(tiles, return_index=True)
    return tiles[np.sort(first)[:most]]
