"""Output stationary: ShiDianNao (Du et al., ISCA 2015).

A PE keeps the psum of one pixel of the ofmap, a *set* of rows x cols PEs those of a block of
pixels. Taps of the filter come one after another, channel by channel; the tap's weight goes to all
PEs of the set, and each PE needs the ifmap word under the tap. What a neighbour had some taps ago
it hands on: the PE below `stride` rows of taps ago, or the PE to the right `stride` taps ago, out
of FIFOs (as deep as that takes, ours). The rest comes from the memory: everything for the first
taps, only the last row's and column's later. With a dilation that does not divide the stride, no
two neighbours ever need the same words, and all come from the memory.

Blocks smaller than the array are replicated, `sets` times for other filters, which share the
ifmaps, or where groups have one filter, for other groups. ShiDianNao has one set for convolutions
and one per PE for fully connected layers; those in between are ours.

    tap    = max(1, ifmap words from the memory / ifmap_words_per_cycle,
                 sets / weight_words_per_cycle)                                     rounded up
    block  = c * (sum of the taps) + psums of the block / psums_per_cycle           rounded up

All of the reduction is done in the PEs; a block's psums leave at its end (the chip's way out is
8 cycles for 64 PEs), and are added to what the memory has if they are to be.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from ..schema import OutputStationary, Target
from . import candidates
from .blocks import Blocks, shapes
from .candidates import LARGEST, balanced, quotients
from .work import Bools, Ints, Phases, Work, ceil_div, flat


class Mapping(NamedTuple):
    """The parameters, int64 arrays: ofmap rows and columns of a set, and sets."""

    rows: Ints
    cols: Ints
    sets: Ints


PARAMETERS = Mapping._fields


class Block(NamedTuple):
    """One block: groups, filters, ofmap rows and columns; the taps of rows and columns of the
    filter whose words come from the memory for all PEs, and from neighbours for most; arrays."""

    g: Ints
    k: Ints
    p: Ints
    q: Ints
    first_r: Ints
    more_r: Ints
    first_s: Ints
    more_s: Ints

    @property
    def psums(self) -> Ints:
        return self.g * self.k * self.p * self.q

    def taps(self) -> list[tuple[Ints, Ints]]:
        """(number of taps, ifmap words from the memory in each) for taps that are alike."""
        one = np.ones_like(self.g)
        rows = (self.first_r, self.p), (self.more_r, one)
        cols = (self.first_s, self.q), (self.more_s, one)
        return [(r * s, self.g * high * wide) for (r, high), (s, wide) in product(rows, cols)]


# Legality


def legal(target: Target, work: Work, params: Ints) -> Bools:
    """Whether the sets fit on the array: bool [...]."""
    held = [fits for fits, _ in rules(array_of(target), work, mapping_of(params))]
    return np.asarray(np.logical_and.reduce(np.broadcast_arrays(*held)))


def explain(target: Target, work: Work, params: Ints) -> str:
    """The first rule that the parameters of one tile break, or ""."""
    broken = (why for fits, why in rules(array_of(target), work, mapping_of(params)) if not fits)
    return next(broken, "")


def rules(array: OutputStationary, work: Work, m: Mapping) -> Iterator[tuple[Bools, str]]:
    yield work.is_valid(), "the tile is empty"
    for name, value in zip(Mapping._fields, m, strict=True):
        yield (value >= 1) & (value <= LARGEST), f"{name} is not in 1..{LARGEST}"
    room = room_for(array, m.rows, m.cols)
    yield m.sets <= room, f"the sets do not fit on {array.rows} x {array.cols} PEs"


def room_for(array: OutputStationary, rows: Ints, cols: Ints) -> Ints:
    """Sets of this size that fit on the array."""
    room = (array.rows // np.maximum(rows, 1)) * (array.cols // np.maximum(cols, 1))
    return np.asarray(room)


# Cost


def cycles(target: Target, work: Work, params: Ints) -> Ints:
    """Cycles of all blocks of a tile, int64 [...]."""
    array = array_of(target)
    tiles, mapped, shape = flat(work, params)
    total = np.zeros(len(mapped), np.int64)
    for where, times, one in blocks(tiles, mapping_of(mapped)):
        total[where] += times * block_cycles(array, tiles.c[where], one)
    return total.reshape(shape)


def block_cycles(array: OutputStationary, channels: Ints, one: Block) -> Ints:
    weights = ceil_div(one.g * one.k, array.weight_words_per_cycle)
    total = np.zeros_like(channels)
    for number, words in one.taps():
        ifmaps = ceil_div(words, array.ifmap_words_per_cycle)
        total += channels * number * np.maximum(ifmaps, weights)
    return total + ceil_div(one.psums, array.psums_per_cycle)


def phases(target: Target, work: Work, params: Ints) -> Phases:
    """All of it is body: PEs do not multiply while psums leave."""
    body = cycles(target, work, params)
    nothing = np.zeros_like(body)
    return Phases(nothing, body, nothing, nothing)


def active_pes(target: Target, work: Work, params: Ints) -> Ints:
    """PEs with a pixel, in a block that is not an edge."""
    m = mapping_of(params)
    sets = np.minimum(m.sets, np.where(takes_groups(work), work.g, work.k))
    return np.asarray(np.minimum(m.rows, work.p) * np.minimum(m.cols, work.q) * sets)


def accesses(target: Target, work: Work, params: Ints) -> dict[str, Ints]:
    """A PE's own storage: the psum, read and written per MAC, the first time only written, and read
    at the end; the FIFOs, written with each word that comes, and read for each that is handed on.

    The network brings a PE an ifmap and a weight per MAC, and takes its psum out; the memories are
    read once for all PEs that get the word in the same cycle.
    """
    tiles, mapped, shape = flat(work, params)
    names = ("glb_ifmap", "glb_weight", "rf_ifmap")
    sums = {name: np.zeros(len(mapped), np.int64) for name in names}
    for where, times, one in blocks(tiles, mapping_of(mapped)):
        times = times * tiles.c[where]
        from_memory = sum(number * words for number, words in one.taps())
        taps = sum(number for number, _ in one.taps())
        sums["glb_ifmap"][where] += times * from_memory
        sums["glb_weight"][where] += times * taps * one.g * one.k
        sums["rf_ifmap"][where] += times * (2 * taps * one.psums - from_memory * one.k)
    counts = {name: total.reshape(shape) for name, total in sums.items()}
    macs, psums = (np.broadcast_to(x, shape).copy() for x in (work.macs(), work.words()["psum"]))
    return counts | {
        "mac": macs,
        "rf_weight": np.zeros_like(macs),
        "rf_psum": 2 * macs,
        "noc_ifmap": macs,
        "noc_weight": macs,
        "noc_psum": psums,
        "glb_psum": psums * (1 + (work.accumulate != 0)),
    }


# Blocks


def blocks(work: Work, m: Mapping) -> Iterator[tuple[Ints, Ints, Block]]:
    """(which tiles, how often, the block) for blocks that are alike; tiles are 1-D."""
    groups = takes_groups(work)
    nest = (
        Blocks.of(work.n, np.ones_like(work.n)),
        Blocks.of(work.g, np.where(groups, m.sets, 1)),
        Blocks.of(work.k, np.where(groups, 1, m.sets)),
        Blocks.of(work.p, m.rows),
        Blocks.of(work.q, m.cols),
    )
    first_r = unshared(work.r, work.stride_y, work.dilation_y)
    first_s = unshared(work.s, work.stride_x, work.dilation_x)
    for at, times, (_, g, k, p, q) in shapes(nest):
        taps = first_r, work.r - first_r, first_s, work.s - first_s
        yield at, times, Block(g, k, p, q, *(t[at] for t in taps))


def takes_groups(work: Work) -> Bools:
    """Whether sets work on different groups, not filters."""
    return np.asarray((work.g > 1) & (work.k == 1))


def unshared(taps: Ints, stride: Ints, dilation: Ints) -> Ints:
    """Taps before a neighbour has what is needed: stride / dilation, or all where that is none."""
    return np.where(stride % dilation == 0, np.minimum(taps, stride // dilation), taps)


# Choice


def choose(target: Target, work: Work) -> Ints:
    """The parameters of least cycles, then of least words from the memories: int64 [..., 3]."""
    array = array_of(target)

    def price(tiles: Work, params: Ints) -> tuple[Ints, Ints]:
        counts = accesses(target, tiles, params)
        return cycles(target, tiles, params), counts["glb_ifmap"] + counts["glb_weight"]

    return candidates.choose(
        work,
        lambda tiles: proposals(array, tiles),
        lambda tiles, params: legal(target, tiles, params),
        price,
    )


def proposals(array: OutputStationary, work: Work) -> Ints:
    """int64 [tiles, candidates, 3] for int64 [tiles, 1]: blocks of which a whole number fits on the
    array, cut to the tile and evened out, with as many sets as there is room for."""
    sides = product(quotients(min(array.rows, LARGEST)), quotients(min(array.cols, LARGEST)))
    wanted = np.array(list(sides), np.int64)
    rows, cols = balanced(work.p, wanted[:, 0]), balanced(work.q, wanted[:, 1])
    room = np.minimum(room_for(array, rows, cols), LARGEST)
    sets = balanced(np.where(takes_groups(work), work.g, work.k), room)
    return np.stack(np.broadcast_arrays(rows, cols, sets), axis=-1)


def array_of(target: Target) -> OutputStationary:
    assert isinstance(target.array, OutputStationary)
    return target.array


def mapping_of(params: Ints) -> Mapping:
    return Mapping(*(params[..., i] for i in range(len(PARAMETERS))))


# Simulation


class Place(NamedTuple):
    """Indices of a block in the tile: image, groups, filters, ofmap rows and columns."""

    n: int
    g: Ints
    k: Ints
    p: Ints
    q: Ints


def simulate(
    target: Target, work: Work, params: Ints, ifmap: Ints, weight: Ints, psum: Ints
) -> tuple[int, dict[str, int]]:
    """Run one tile cycle by cycle in the PEs: cycles, and counts as those of `accesses`.

    ifmap int64 [n, g, c, h, w], weight [g, k, c, r, s]; psum [n, g, k, p, q] is written.
    """
    names = [f"{level}_{x}" for level in ("rf", "noc", "glb") for x in ("ifmap", "weight", "psum")]
    counts = dict.fromkeys(("mac", *names), 0)
    m = mapping_of(params)
    sets_g, sets_k = (m.sets, 1) if takes_groups(work) else (1, m.sets)
    steps = {"n": 1, "g": sets_g, "k": sets_k, "p": m.rows, "q": m.cols}
    cut = [parts(int(getattr(work, name)), int(size)) for name, size in steps.items()]
    total = 0
    for n, g, k, p, q in product(*cut):
        pes = Pes(array_of(target), work, m, Place(int(n[0]), g, k, p, q), counts)
        total += pes.run(ifmap, weight, psum)
    return total, counts


def parts(extent: int, size: int) -> list[Ints]:
    return [np.arange(i, min(i + size, extent)) for i in range(0, extent, size)]


class Pes:
    """The PEs, all [rows, cols], in one block; its sets lie side by side, row by row.

    `used` ones have ofmap pixel (p, q) of the block, in set `number`. The last words that a PE had
    are its FIFOs, [rows, cols, taps], the latest at the end: one for both directions.
    """

    def __init__(
        self, array: OutputStationary, work: Work, m: Mapping, place: Place, counts: dict[str, int]
    ) -> None:
        self.array, self.work, self.place, self.counts = array, work, place, counts
        self.sets = len(place.g) * len(place.k)
        y, x = np.indices((array.rows, array.cols))
        across = array.cols // int(m.cols)
        self.p, self.q = y % int(m.rows), x % int(m.cols)
        self.number = y // int(m.rows) * across + x // int(m.cols)
        fits = (x // int(m.cols) < across) & (self.number < self.sets)
        self.used = fits & (self.p < len(place.p)) & (self.q < len(place.q))
        self.g = self.number * (len(place.g) > 1)
        self.k = self.number * (len(place.g) == 1)
        self.psum = np.zeros(self.used.shape, np.int64)
        self.cycle = 0

    def run(self, ifmap: Ints, weight: Ints, psum: Ints) -> int:
        """Cycles of the block; `psum` is written."""
        depth = int(self.work.r * self.work.s)
        for c in range(int(self.work.c)):
            self.fifo = np.zeros((*self.used.shape, depth), np.int64)
            for r, s in np.ndindex(int(self.work.r), int(self.work.s)):
                self.tap(ifmap[self.place.n, :, c], weight[:, :, c, r, s], r, s)
        self.drain(psum)
        return self.cycle

    def tap(self, ifmap: Ints, weight: Ints, r: int, s: int) -> None:
        """The cycles of one tap: words come in, and with the last one all PEs multiply."""
        word = self.passed_on(r, s)
        waiting, weights = self.missing(r, s), list(range(self.sets))
        while True:
            self.cycle += 1
            self.bring(ifmap, word, waiting, r, s)
            del weights[: self.array.weight_words_per_cycle]
            if not waiting and not weights:
                break
        self.multiply(word, weight)
        self.counts["glb_weight"] += self.sets

    def sources(self, r: int, s: int) -> tuple[Bools, Bools]:
        """The PEs that get their word from the one below, and from the one to the right."""
        work, place = self.work, self.place
        first_r = int(unshared(work.r, work.stride_y, work.dilation_y))
        first_s = int(unshared(work.s, work.stride_x, work.dilation_x))
        below = self.used & (r >= first_r) & (self.p < len(place.p) - 1)
        right = self.used & ~below & (s >= first_s) & (self.q < len(place.q) - 1)
        return below, right

    def passed_on(self, r: int, s: int) -> Ints:
        """[rows, cols]: what neighbours' FIFOs give, elsewhere 0; counted."""
        work = self.work
        below, right = self.sources(r, s)
        word = np.zeros(self.used.shape, np.int64)
        rows, cols = np.nonzero(below)
        ago = int(work.stride_y // work.dilation_y * work.s)
        word[rows, cols] = self.fifo[rows + 1, cols, -ago] if len(rows) else 0
        rows, cols = np.nonzero(right)
        ago = int(work.stride_x // work.dilation_x)
        word[rows, cols] = self.fifo[rows, cols + 1, -ago] if len(rows) else 0
        self.counts["rf_ifmap"] += int((below | right).sum())
        return word

    def missing(self, r: int, s: int) -> list[tuple[int, int, int]]:
        """(group, ofmap row, ofmap column) of the words to be read: one for all sets on filters."""
        below, right = self.sources(r, s)
        asks = self.used & ~below & ~right
        return sorted(set(zip(*(x[asks].tolist() for x in (self.g, self.p, self.q)), strict=True)))

    def bring(
        self, ifmap: Ints, word: Ints, waiting: list[tuple[int, int, int]], r: int, s: int
    ) -> None:
        """What the memory gives in a cycle goes to its pixel's PEs, in all sets of the group."""
        work, place = self.work, self.place
        now = waiting[: self.array.ifmap_words_per_cycle]
        del waiting[: self.array.ifmap_words_per_cycle]
        for g, p, q in now:
            y = place.p[p] * work.stride_y + r * work.dilation_y
            x = place.q[q] * work.stride_x + s * work.dilation_x
            to = self.used & (self.g == g) & (self.p == p) & (self.q == q)
            word[to] = ifmap[place.g[g], y, x]
        self.counts["glb_ifmap"] += len(now)

    def multiply(self, word: Ints, weight: Ints) -> None:
        """A MAC in each PE, with its set's weight; the word goes into the FIFO."""
        place, number = self.place, int(self.used.sum())
        own = weight[np.ix_(place.g, place.k)][self.g * self.used, self.k * self.used]
        self.psum += np.where(self.used, word * own, 0)
        self.fifo = np.concatenate((self.fifo[..., 1:], word[..., None]), axis=-1)
        for name in ("mac", "rf_ifmap", "noc_ifmap", "noc_weight"):
            self.counts[name] += number
        self.counts["rf_psum"] += 2 * number

    def drain(self, psum: Ints) -> None:
        """The psums leave, some per cycle; with `accumulate`, onto those in the memory."""
        place, adds = self.place, bool(self.work.accumulate)
        waiting = list(zip(*np.nonzero(self.used), strict=True))
        while waiting:
            self.cycle += 1
            for pe in waiting[: self.array.psums_per_cycle]:
                g, k = place.g[self.g[pe]], place.k[self.k[pe]]
                at = place.n, g, k, place.p[self.p[pe]], place.q[self.q[pe]]
                psum[at] = self.psum[pe] + (psum[at] if adds else 0)
                self.counts["glb_psum"] += 2 if adds else 1
                self.counts["noc_psum"] += 1
            del waiting[: self.array.psums_per_cycle]
