"""Row stationary: Eyeriss (Chen et al., ISCA 2016 and JSSC 52(1), 2017).

A PE convolves a row of a filter (s taps) with a row of the ifmap. A *set* of r x set_rows PEs makes
`set_rows` rows of the ofmap: PE (i, j) holds filter row i, takes ifmap row j*stride + i*dilation,
and adds its row of psums to that of the PE below. A set that is wider than the array is cut into
segments, stacked; a smaller one is replicated, `sets_c` times on other input channels, one above
the other, so that psums go through all of them, and `sets_k` times on other filters.

A filter taller than the array, or wider than a PE's scratchpads, is folded (ours; the chip refuses
it): its parts are like further input channels. When all k filters of a group fit in a PE, the
`sets_k` sets work on different groups instead of filters (ours; what depthwise convolutions need);
then no two of them share ifmaps. Groups otherwise come one after another.

One *pass* does `images` images, channels * sets_c channels, filters * sets_k filters (or sets_k
groups), `set_rows` ofmap rows, and all ofmap columns. All passes of a tile come one after another:

    fill    = filter words of the pass over the filter bus, before anything else
    column  = max(s * (filters of a PE) * (channels of a PE),      one MAC per PE and cycle
                  psums of an ofmap column over the psum bus)      in and out at once
    A(x)    = ifmap words of the columns 0..x over the ifmap bus, each sent once to all its PEs
    run     = max over x of A(x) + (images * q - x) * column
    drain   = (PEs on top of each other)
              + max(filters of a PE, psums of an ofmap column over the psum bus)
    pass    = fill + ramp_cycles + run + drain

A column starts when the one before is done and the words under its window are there; the bus runs
ahead, into FIFOs at the PEs' inputs that are deep enough (ours; for AlexNet on the chip, words of
two columns are). A(0) is a whole window, which is most of the ramp-up that JSSC 2017 speaks of. In
the drain the last column's psums go up, one per PE and cycle, and out.
`row_stationary_sim.py` is the same PE by PE: these forms are its cycles. With `ramp_cycles` = 0
they are within 7 % of each layer of the chip's AlexNet, and 0.4 % in sum.

Psums are read and written in every pass, also the first, as in the chip. At the edges, channels and
filters are spread evenly over as many sets as there are of them. Padding takes the time that ifmaps
take, also where no words are sent for it.
"""

from collections.abc import Callable, Iterator

import numpy as np
from msgspec import Struct

from ..schema import RowStationary, Target
from . import candidates
from .blocks import Blocks, Shape, shapes
from .legality import Rules, all_kept, first_broken, sound
from .loops import ArrayLoop, kept, nest, passed, spread
from .row_stationary_proposals import (
    Mapping,
    array_of,
    floor,
    folded_filter,
    mapping_of,
    proposals,
    sets_side_by_side,
    takes_groups,
)
from .work import Bools, Ints, Phases, Work, ceil_div, distinct, flat

PARAMETERS = Mapping._fields
CHANNELS_INNERMOST = False
TAPS_ON_ROWS = False


class Pass(Struct, frozen=True):
    """What one pass really works on: sizes, and the sets and channels that are in use; arrays."""

    n: Ints
    g: Ints
    k: Ints
    c: Ints
    p: Ints
    q: Ints
    r: Ints
    s: Ints
    ifmap_rows: Ints
    ifmap_cols: Ints
    image_cols: Ints  # as ifmap_cols, with the padding that is not in the memory
    fresh: Ints  # the first columns of an ofmap row, which share no ifmap columns
    sets_k: Ints
    sets_c: Ints

    @property
    def filters(self) -> Ints:
        """Filters of the busiest PE."""
        return ceil_div(self.k, self.sets_k)

    @property
    def channels(self) -> Ints:
        """Channels of the busiest PE."""
        return ceil_div(self.c, self.sets_c)

    @property
    def ifmap_words(self) -> Ints:
        return self.n * self.g * self.c * self.ifmap_rows * self.ifmap_cols

    @property
    def weight_words(self) -> Ints:
        return self.g * self.k * self.c * self.r * self.s

    @property
    def psums(self) -> Ints:
        """Psums of the pass, each of which comes in and goes out."""
        return self.n * self.g * self.k * self.p * self.q

    @property
    def height(self) -> Ints:
        """PEs that a psum goes through."""
        return self.r * self.sets_c


Measure = Callable[[Pass], dict[str, Ints]]

# Legality


def legal(target: Target, work: Work, params: Ints) -> Bools:
    """Whether the sets fit on the array and their words in the scratchpads: bool [...]."""
    return all_kept(rules(array_of(target), work, mapping_of(params)))


def explain(target: Target, work: Work, params: Ints) -> str:
    """The first rule that the parameters of one tile break, or ""."""
    return first_broken(rules(array_of(target), work, mapping_of(params)))


def rules(array: RowStationary, work: Work, m: Mapping) -> Rules:
    yield from sound(work, Mapping._fields, m)
    taps_y, taps_x = folded_filter(array, work)
    room = sets_side_by_side(array, taps_y, m.set_rows, m.sets_c)
    yield m.sets_k <= room, f"the sets do not fit on {array.rows} x {array.cols} PEs"
    yield m.channels * taps_x <= array.ifmap_words, f"ifmaps need over {array.ifmap_words} words"
    words = m.filters * m.channels * taps_x
    yield words <= array.filter_words, f"filters need more than {array.filter_words} words"
    yield m.filters <= array.psum_words, f"psums need more than {array.psum_words} words"


# Cost


def cycles(target: Target, work: Work, params: Ints) -> Ints:
    """Cycles of all passes of a tile, int64 [...]."""
    return totals(target, work, params, lambda one: {"": pass_cycles(target, one)})[""]


def phases(target: Target, work: Work, params: Ints) -> Phases:
    """All of it is body: the chip fills filters and drains psums between passes."""
    body = cycles(target, work, params)
    nothing = np.zeros_like(body)
    return Phases(nothing, body, nothing, nothing)


def accesses(target: Target, work: Work, params: Ints) -> dict[str, Ints]:
    """Per MAC a PE reads an ifmap, a weight and a psum and writes a psum.

    Filling the scratchpads counts as the network's. A word that goes to many PEs counts at each; a
    psum counts once for each step down from PE to PE.
    """
    counts = totals(target, work, params, counts_of)
    macs = np.broadcast_to(work.macs(), counts["glb_psum"].shape).copy()
    return {"mac": macs, "rf_ifmap": macs, "rf_weight": macs, "rf_psum": 2 * macs} | counts


def totals(target: Target, work: Work, params: Ints, measure: Measure) -> dict[str, Ints]:
    """Sums over all passes of what `measure` says of one, int64 [...] each."""
    tiles, mapped, shape = flat(work, params)
    sums: dict[str, Ints] = {}
    for where, times, one in passes(array_of(target), tiles, mapping_of(mapped)):
        for name, value in measure(one).items():
            total = sums.setdefault(name, np.zeros(len(mapped), np.int64))
            total[where] += times * value
    return {name: total.reshape(shape) for name, total in sums.items()}


def counts_of(one: Pass) -> dict[str, Ints]:
    """Accesses of one pass, but for those of the PEs' own storage."""
    return {
        "noc_ifmap": one.n * one.c * one.ifmap_cols * one.r * one.p * one.sets_k * one.g,
        "noc_weight": one.weight_words * one.p,
        "noc_psum": one.psums * (one.height - 1),
        "glb_ifmap": one.ifmap_words,
        "glb_weight": one.weight_words,
        "glb_psum": 2 * one.psums,
    }


def pass_cycles(target: Target, one: Pass) -> Ints:
    array, data = array_of(target), target.datapath
    fill = ceil_div(one.weight_words * data.operand_bits, array.filter_bus_bits)
    psums = one.g * one.k * one.p * data.accumulator_bits
    column_psums = ceil_div(psums, array.psum_bus_bits)
    filters = one.filters
    column = np.maximum(one.s * filters * one.channels, column_psums)
    drain = one.height + np.maximum(filters, column_psums)
    return np.asarray(fill + array.ramp_cycles + run_cycles(target, one, column) + drain)


def run_cycles(target: Target, one: Pass, column: Ints) -> Ints:
    """From the first ifmap word to the last MAC; the module's `run`.

    What a column needs grows evenly over the fresh columns, and evenly but slower over the rest, so
    the maximum is at the first or the last of either, in the first or the last image.
    """
    bits = one.g * one.c * one.ifmap_rows * target.datapath.operand_bits
    images, longest = one.n * one.q, np.zeros_like(column)
    for image in (0, one.n - 1) if one.n.max() > 1 else (0,):
        for x, cols in (
            (0, one.s),
            (one.fresh - 1, one.fresh * one.s),
            (one.q - 1, one.image_cols),
        ):
            sent = ceil_div((image * one.image_cols + cols) * bits, array_of(target).ifmap_bus_bits)
            longest = np.maximum(longest, sent + (images - image * one.q - x) * column)
    return np.asarray(longest)


def active_pes(target: Target, work: Work, params: Ints) -> Ints:
    """PEs in use in a pass that is not at an edge, int64 [...]."""
    m = mapping_of(params)
    taps_y, _ = folded_filter(array_of(target), work)
    sets_k = np.minimum(m.sets_k, np.where(takes_groups(work, m), work.g, work.k))
    return np.minimum(m.set_rows, work.p) * taps_y * np.minimum(m.sets_c, work.c) * sets_k


# Passes


def passes(array: RowStationary, work: Work, m: Mapping) -> Iterator[tuple[Ints, Ints, Pass]]:
    """(which tiles, how often, the pass) for passes that are alike; tiles are 1-D."""
    taps_y, taps_x = folded_filter(array, work)
    groups = np.broadcast_to(takes_groups(work, m), work.g.shape)
    nest = (
        Blocks.of(work.n, m.images),
        Blocks.of(work.g, np.where(groups, m.sets_k, 1)),
        Blocks.of(work.k, np.where(groups, work.k, m.filters * m.sets_k)),
        Blocks.of(work.c, m.channels * m.sets_c),
        Blocks.of(work.p, m.set_rows),
        Blocks.of(work.r, taps_y),
        Blocks.of(work.s, taps_x),
    )
    for alike in shapes(nest):
        yield alike.where, alike.times, pass_of(work, m, groups, alike)


def pass_of(work: Work, m: Mapping, groups: Bools, alike: Shape) -> Pass:
    at = alike.where
    n, g, k, c, p, r, s = alike.sizes
    rows = distinct(p, work.stride_y[at], r, work.dilation_y[at])
    cols = distinct(work.q[at], work.stride_x[at], s, work.dilation_x[at])
    return Pass(
        *(n, g, k, c, p, work.q[at], r, s),
        ifmap_rows=np.minimum(rows, work.h[at]),
        ifmap_cols=np.minimum(cols, work.w[at]),
        image_cols=cols,
        fresh=np.minimum(steps_to_share(work.stride_x[at], work.dilation_x[at]), work.q[at]),
        sets_k=np.where(groups[at], 1, np.minimum(m.sets_k[at], k)),
        sets_c=np.minimum(m.sets_c[at], c),
    )


def steps_to_share(stride: Ints, dilation: Ints) -> Ints:
    """From an ofmap column to the next one with ifmap columns in common, if filters are wide."""
    return np.asarray(dilation // np.gcd(stride, dilation))


def loops(target: Target, work: Work, params: Ints) -> tuple[ArrayLoop, ...]:
    """Passes; sets on the array; and what a PE does with the rows in its scratchpads."""
    m, groups = mapping_of(params), bool(takes_groups(work, mapping_of(params)))
    taps_y, taps_x = folded_filter(array_of(target), work)
    sets_k, sets_c = np.minimum(m.sets_k, work.k), np.minimum(m.sets_c, work.c)
    filters = work.k if groups else np.minimum(m.filters * sets_k, work.k)
    channels = np.minimum(m.channels * sets_c, work.c)
    rows, each_c = np.minimum(m.set_rows, work.p), ceil_div(channels, sets_c)
    each_k = filters if groups else ceil_div(filters, sets_k)
    together = np.minimum(m.sets_k, work.g) if groups else 1
    return nest(
        passed("n", work.n, m.images),
        passed("g", work.g, together),
        passed("k", work.k, filters),
        passed("c", work.c, channels),
        passed("p", work.p, rows),
        passed("r", work.r, taps_y),
        passed("s", work.s, taps_x),
        spread("g", together, 1, "sets"),
        spread("k", filters, each_k, "sets"),
        spread("c", channels, each_c, "sets on top"),
        spread("p", rows, 1, "cols" if rows <= array_of(target).cols else "cols, segments"),
        spread("r", taps_y, 1, "rows"),
        kept("n", np.minimum(m.images, work.n)),
        kept("q", work.q),
        kept("c", each_c),
        kept("s", taps_x),
        kept("k", each_k),
    )


# Choice


def choose(target: Target, work: Work, fixed: Ints | None = None) -> Ints:
    """The parameters of least cycles, then of least words from the memories: int64 [..., 6]."""
    array = array_of(target)

    def price(tiles: Work, params: Ints) -> tuple[Ints, Ints]:
        sums = totals(target, tiles, params, lambda one: price_of(target, one))
        return sums["cycles"], sums["bits"]

    return candidates.choose(
        work,
        lambda tiles: proposals(array, tiles),
        lambda tiles, params: all_kept(rules(array, tiles, Mapping(*params))),
        price,
        fixed,
        lambda tiles, params: floor(target, tiles, Mapping(*params)),
    )


def price_of(target: Target, one: Pass) -> dict[str, Ints]:
    data = target.datapath
    operands = (one.ifmap_words + one.weight_words) * data.operand_bits
    bits = operands + 2 * one.psums * data.accumulator_bits
    return {"cycles": pass_cycles(target, one), "bits": bits}
