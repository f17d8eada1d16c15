"""Parameters of a row stationary array that are worth pricing, and what they take at least."""

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from ..schema import RowStationary, Target
from .blocks import Blocks
from .candidates import LARGEST, balanced, quotients
from .work import Bools, Ints, Work, ceil_div, distinct


class Mapping(NamedTuple):
    """The parameters, int64 arrays. JSSC 2017, Table II, has them as e, p, q, r, t, n."""

    set_rows: Ints
    filters: Ints
    channels: Ints
    sets_c: Ints
    sets_k: Ints
    images: Ints


def folded_filter(array: RowStationary, work: Work) -> tuple[Ints, Ints]:
    """Rows and columns of the parts that filters are cut into: as few and as equal as possible."""
    words = min(array.ifmap_words, array.filter_words)
    return balanced(np.maximum(work.r, 1), array.rows), balanced(np.maximum(work.s, 1), words)


def sets_side_by_side(array: RowStationary, taps_y: Ints, set_rows: Ints, sets_c: Ints) -> Ints:
    """The most sets on different filters, when each is `sets_c` sets on top of each other."""
    segments = ceil_div(set_rows, array.cols)
    across = np.maximum(array.cols // np.maximum(set_rows, 1), 1)
    height = np.maximum(segments * sets_c, 1) * taps_y
    return np.asarray(across * (array.rows // height))


def takes_groups(work: Work, m: Mapping) -> Bools:
    """Whether the `sets_k` sets work on different groups; one False for all of tiles of one."""
    several = np.asarray(work.g > 1)
    return np.asarray(several & (work.k <= m.filters)) if several.any() else np.zeros((), np.bool_)


def where_groups(groups: Bools, taken: Ints | int, otherwise: Ints | int) -> Ints:
    """As np.where, which takes its time for nothing where no tile has several groups."""
    return np.where(groups, taken, otherwise) if groups.any() else np.asarray(otherwise)


# Candidates


def proposals(array: RowStationary, work: Work) -> Mapping:
    """For tiles int64 [tiles, 1], sizes that fill the array or a scratchpad.

    Each is cut to the tile and evened out: no smaller one needs the same number of passes. Rows of
    a set, channels, and whether sets take groups are axes of a mesh, each without wishes that come
    out alike.
    """
    tiles = Work.from_table(work.table()[:, :, None, None])
    taps_y, taps_x = folded_filter(array, tiles)
    deepest = np.maximum(array.ifmap_words // taps_x, 1)
    wanted = (np.array(w, np.int64) for w in wishes(array, work, taps_y, deepest))
    tall, uneven, on_top, deep, by_group = wanted
    set_rows = different(strips(tiles, tall[:, None], uneven))[..., None, None]
    depths = different(packed_depths(tiles, on_top[:, None], np.minimum(deep, deepest)))
    channels, sets_c = np.divmod(depths[:, None, :, None], LARGEST + 1)
    room = np.clip(sets_side_by_side(array, taps_y, set_rows, sets_c), 1, LARGEST)
    spad = np.clip(array.filter_words // (channels * taps_x), 1, min(array.psum_words, LARGEST))
    most = np.minimum(room, tiles.k)
    filters = ceil_div(tiles.k, most * ceil_div(tiles.k, most * spad))
    sets_k = ceil_div(tiles.k, filters * ceil_div(tiles.k, filters * most))
    if len(by_group) > 1:
        filters = np.where(by_group, np.minimum(tiles.k, spad), filters)
        sets_k = np.where(by_group, balanced(tiles.g, room), sets_k)
    images = balanced(tiles.n, LARGEST)
    return Mapping(set_rows, filters, channels, sets_c, sets_k, images)


def strips(work: Work, tall: Ints, uneven: Ints) -> Ints:
    """Rows of a set: as many as wished, or as few as need no more strips."""
    return np.where(uneven, np.minimum(tall, work.p), balanced(work.p, tall))


def packed_depths(work: Work, on_top: Ints, deep: Ints) -> Ints:
    """Channels of a PE and sets on top of each other, as one number."""
    channels = balanced(ceil_div(work.c, on_top), deep)
    sets_c = ceil_div(work.c, channels * ceil_div(work.c, channels * on_top))
    return np.asarray(channels * (LARGEST + 1) + sets_c)


def different(values: Ints) -> Ints:
    """int64 [tiles, m] of int64 [tiles, 1, ...]: the different values of each tile, the last one
    again where other tiles have more."""
    ordered = np.sort(values.reshape(len(values), -1), axis=1)
    again = np.zeros(ordered.shape, np.bool_)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    most = int((~again).sum(axis=1).max())
    return np.sort(np.where(again, ordered[:, -1:], ordered), axis=1)[:, :most]


def wishes(
    array: RowStationary, work: Work, taps_y: Ints, deepest: Ints
) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """Values to try for these tiles: set_rows, whether strips may be uneven, sets_c, channels,
    and whether sets take groups."""
    heights = quotients(array.rows // int(taps_y.min()))
    widths = quotients(array.cols) + [array.cols * height for height in heights]
    tallest = min(int(work.p.max()), LARGEST)
    set_rows = sorted({min(width, tallest) for width in widths})
    sets_c = [height for height in heights if height <= LARGEST]
    most = min(int(deepest.max()), LARGEST)
    channels = sorted({*quotients(most), *range(1, min(most, 6))})
    uneven = [0, 1] if work.r.max() > 1 else [0]
    return set_rows, uneven, sets_c, channels, [0, 1] if work.g.max() > 1 else [0]


# Floor


class Extent(Struct, frozen=True):
    """Of all passes: the number of blocks along each loop, and sums over the blocks of some."""

    n: Ints
    g: Ints
    k: Ints
    c: Ints
    p: Ints
    r: Ints
    s: Ints
    filters: Ints  # of the busiest PE, over the blocks of filters
    channels: Ints  # of the busiest PE, over the blocks of channels
    sets_c: Ints  # over the blocks of channels
    ifmap_rows: Ints  # over those of ofmap rows and filter rows; at most, if filters are folded
    ifmap_cols: Ints  # over those of filter columns, likewise

    @property
    def images(self) -> Ints:
        """Passes over one block of images."""
        return self.k * (self.g * self.c * self.p * self.r * self.s)


def floor(target: Target, work: Work, m: Mapping) -> Ints:
    """Cycles that all passes of a tile take at least, int64 [...]: a fraction of the work of
    pricing each kind of pass, as sums are taken along the loops one by one.

    A sum of maxima is no less than the maximum of sums, and whole cycles of each pass no fewer than
    those of all their words.
    """
    array, data = array_of(target), target.datapath
    of = extent_of(array, work, m)
    weights = of.n * of.p * work.g * work.k * work.c * work.r * work.s
    psums = work.g * work.k * work.p * of.c * of.r * of.s
    fill = ceil_div(weights * data.operand_bits, array.filter_bus_bits)
    column_psums = ceil_div(psums * data.accumulator_bits, array.psum_bus_bits)
    height = of.k * (of.g * of.p * of.s * work.r * of.sets_c)
    last = np.maximum(of.filters * (of.g * of.c * of.p * of.r * of.s), column_psums)
    drain = of.n * (of.images * array.ramp_cycles + height + last)
    column = np.maximum(of.filters * (of.g * of.channels * of.p * of.r * work.s), column_psums)
    rows = of.k * (work.g * work.c * of.ifmap_rows * data.operand_bits)
    window = ceil_div(rows * (of.n * work.s), array.ifmap_bus_bits) + work.n * work.q * column
    whole = ceil_div(rows * (work.n * of.ifmap_cols), array.ifmap_bus_bits) + of.n * column
    return np.asarray(fill + np.maximum(window, whole) + drain)


def extent_of(array: RowStationary, work: Work, m: Mapping) -> Extent:
    groups, (taps_y, taps_x) = takes_groups(work, m), folded_filter(array, work)
    r, s = ceil_div(work.r, taps_y), ceil_div(work.s, taps_x)
    k = Blocks.of(work.k, where_groups(groups, work.k, m.filters * m.sets_k))
    c, p = Blocks.of(work.c, m.channels * m.sets_c), Blocks.of(work.p, m.set_rows)
    last_y, last_x = work.r - (r - 1) * taps_y, work.s - (s - 1) * taps_x
    full, rest = (
        np.minimum(distinct(rows, work.stride_y, last_y, work.dilation_y), work.h)
        for rows in (p.size, p.rest)
    )
    return Extent(
        *(ceil_div(work.n, m.images), ceil_div(work.g, where_groups(groups, m.sets_k, 1))),
        *(k.number, c.number, p.number, r, s),
        filters=where_groups(groups, work.k, k.full * m.filters + ceil_div(k.rest, m.sets_k)),
        channels=c.full * m.channels + ceil_div(c.rest, m.sets_c),
        sets_c=c.full * m.sets_c + np.minimum(c.rest, m.sets_c),
        ifmap_rows=r * (p.full * full + rest),
        ifmap_cols=s * distinct(work.q, work.stride_x, last_x, work.dilation_x),
    )


def array_of(target: Target) -> RowStationary:
    assert isinstance(target.array, RowStationary)
    return target.array


def mapping_of(params: Ints) -> Mapping:
    return Mapping(*(params[..., i] for i in range(len(Mapping._fields))))
