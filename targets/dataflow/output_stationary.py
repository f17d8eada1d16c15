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
from .legality import Rules, all_kept, first_broken, sound
from .loops import ArrayLoop, kept, nest, passed, spread
from .work import Bools, Ints, Phases, Work, ceil_div, flat


class Mapping(NamedTuple):
    """The parameters, int64 arrays: ofmap rows and columns of a set, and sets."""

    rows: Ints
    cols: Ints
    sets: Ints


PARAMETERS = Mapping._fields
CHANNELS_INNERMOST = False
TAPS_ON_ROWS = False


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
    return all_kept(rules(array_of(target), work, mapping_of(params)))


def explain(target: Target, work: Work, params: Ints) -> str:
    """The first rule that the parameters of one tile break, or ""."""
    return first_broken(rules(array_of(target), work, mapping_of(params)))


def rules(array: OutputStationary, work: Work, m: Mapping) -> Rules:
    yield from sound(work, Mapping._fields, m)
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


def loops(target: Target, work: Work, params: Ints) -> tuple[ArrayLoop, ...]:
    """Blocks of pixels and filters; a psum per PE; and the taps that come one after another."""
    m, groups = mapping_of(params), bool(takes_groups(work))
    sets_g = np.minimum(m.sets, work.g) if groups else 1
    sets_k = 1 if groups else np.minimum(m.sets, work.k)
    rows, cols = np.minimum(m.rows, work.p), np.minimum(m.cols, work.q)
    return nest(
        passed("n", work.n, 1),
        passed("g", work.g, sets_g),
        passed("k", work.k, sets_k),
        passed("p", work.p, rows),
        passed("q", work.q, cols),
        spread("g", sets_g, 1, "sets"),
        spread("k", sets_k, 1, "sets"),
        spread("p", rows, 1, "rows"),
        spread("q", cols, 1, "cols"),
        kept("c", work.c),
        kept("r", work.r),
        kept("s", work.s),
    )


# Choice


def choose(target: Target, work: Work, fixed: Ints | None = None) -> Ints:
    """The parameters of least cycles, then of least words from the memories: int64 [..., 3]."""
    array = array_of(target)

    def price(tiles: Work, params: Ints) -> tuple[Ints, Ints]:
        counts = accesses(target, tiles, params)
        return cycles(target, tiles, params), counts["glb_ifmap"] + counts["glb_weight"]

    return candidates.choose(
        work,
        lambda tiles: mapping_of(proposals(array, tiles)),
        lambda tiles, params: all_kept(rules(array, tiles, Mapping(*params))),
        price,
        fixed,
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
