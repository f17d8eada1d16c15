"""No local reuse: DianNao (Chen et al., ASPLOS 2014), and NVDLA's convolution core (nvdla.org).

Row i of the array is an adder tree over `cols` multipliers. In one cycle, an *atomic operation*,
`cols` ifmap words go to all rows, are multiplied with each row's own weights, and each row's sum is
added to its accumulator for this pixel of the ofmap. The c channels under a tap of the filter are
cut into blocks of `cols`, the k filters into blocks of `rows`. A *stripe* of pixels is done with
the same weights, then the next block's; DianNao's stripe is one pixel, NVDLA's up to 16 or 32.
After the last block of a stripe its psums leave at once, a pixel per cycle.

Filters with few channels may have several `taps` side by side on the multipliers of a row, and
convolutions with few channels per group several `packed` groups, each on its own rows and columns;
the weights beside them are zeros. (DianNao's loops join taps; NVDLA's compiler packs groups by
writing the zeros out.)

The next block's weights, as many as a full block of the tile has, come in while a stripe is done:

    load    = ceil(weights of a full block / weight_words_per_cycle)
    cycles  = load + sum over blocks and stripes of max(pixels of the stripe, load)
              - max(last, load) + last + pipeline_cycles         last: the pixels of the last stripe

so that with one pixel and many weights (a fully connected layer) the weights set the pace.
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from ..schema import NoLocalReuse, Target
from . import candidates
from .blocks import Blocks
from .candidates import LARGEST
from .legality import Rules, all_kept, first_broken, sound
from .loops import ArrayLoop, kept, passed, spread
from .loops import nest as loop_nest
from .work import Bools, Ints, Phases, Work, ceil_div


class Mapping(NamedTuple):
    """The parameters, int64 arrays: groups and taps side by side, pixels per stripe."""

    packed: Ints
    taps: Ints
    stripe: Ints


PARAMETERS = Mapping._fields
CHANNELS_INNERMOST = True
TAPS_ON_ROWS = False

# Legality


def legal(target: Target, work: Work, params: Ints) -> Bools:
    """Whether groups and taps fit side by side, and the stripe in the accumulators: bool [...]."""
    return all_kept(rules(array_of(target), work, mapping_of(params)))


def explain(target: Target, work: Work, params: Ints) -> str:
    """The first rule that the parameters of one tile break, or ""."""
    return first_broken(rules(array_of(target), work, mapping_of(params)))


def rules(array: NoLocalReuse, work: Work, m: Mapping) -> Rules:
    yield from sound(work, Mapping._fields, m)
    yield m.stripe <= array.stripe, f"a stripe has at most {array.stripe} pixels"
    yield (m.taps == 1) | array.joins_taps, "the array does not join taps"
    across = (m.packed * m.taps == 1) | (m.packed * m.taps * work.c <= array.cols)
    yield across, f"the channels of groups and taps do not fit on {array.cols} multipliers"
    down = (m.packed == 1) | (m.packed * work.k <= array.rows)
    yield down, f"the filters of the groups do not fit on {array.rows} rows"


# Cost


class Nest(NamedTuple):
    """How often things happen in a tile, int64 arrays: blocks of groups, filters, taps, channels;
    stripes of pixels; and cycles to load a block."""

    groups: Ints
    filters: Ints
    taps: Ints
    channels: Ints
    stripes: Blocks
    load: Ints

    @property
    def blocks(self) -> Ints:
        """Blocks of weights that a stripe goes through."""
        return self.taps * self.channels

    @property
    def sweeps(self) -> Ints:
        """How often all pixels are gone through."""
        return self.groups * self.filters


def nest(array: NoLocalReuse, work: Work, m: Mapping) -> Nest:
    taps = np.minimum(m.taps, work.r * work.s)
    groups = np.minimum(m.packed, work.g)
    words = np.minimum(work.k, array.rows) * np.minimum(work.c, array.cols) * taps * groups
    return Nest(
        groups=ceil_div(work.g, m.packed),
        filters=ceil_div(work.k, array.rows),
        taps=ceil_div(work.r * work.s, m.taps),
        channels=ceil_div(work.c, array.cols),
        stripes=Blocks.of(work.n * work.p * work.q, m.stripe),
        load=ceil_div(words, array.weight_words_per_cycle),
    )


def cycles(target: Target, work: Work, params: Ints) -> Ints:
    """Cycles from the first weight to the last psum, int64 [...]."""
    return phases(target, work, params).cycles


def phases(target: Target, work: Work, params: Ints) -> Phases:
    """Head: the first load; tail: the pipeline; the next tile's load hides behind the last stripe.

    See the module's formulas.
    """
    array = array_of(target)
    one = nest(array, work, mapping_of(params))
    stripes, last = one.stripes, one.stripes.last
    sweep = stripes.full * np.maximum(stripes.size, one.load)
    sweep = sweep + (stripes.rest > 0) * np.maximum(stripes.rest, one.load)
    body = one.sweeps * one.blocks * sweep - np.maximum(last, one.load) + last
    tail = np.full_like(body, array.pipeline_cycles)
    return Phases(*(np.asarray(x) for x in np.broadcast_arrays(one.load, body, tail, last)))


def active_pes(target: Target, work: Work, params: Ints) -> Ints:
    """Multipliers with a weight other than the zeros beside groups, in a block that is no edge."""
    array, m = array_of(target), mapping_of(params)
    groups, taps = np.minimum(m.packed, work.g), np.minimum(m.taps, work.r * work.s)
    rows, cols = np.minimum(work.k, array.rows), np.minimum(work.c, array.cols)
    return np.asarray(groups * taps * rows * cols)


def accesses(target: Target, work: Work, params: Ints) -> dict[str, Ints]:
    """The memory gives each ifmap word once per block of filters, each weight once per stripe.

    The network counts a word at each multiplier that has a weight for it, and an addition of the
    trees as a psum. Where stripes are longer than a pixel, weights are written to a register per
    stripe and read per MAC; a pixel's sum is read and written but in its last atomic operation.
    """
    array = array_of(target)
    one = nest(array, work, mapping_of(params))
    macs, psums = work.macs(), work.words()["psum"]
    weights = work.words()["weight"] * one.stripes.number
    sums = psums * one.blocks
    kept = array.stripe > 1
    counts = {
        "mac": macs,
        "rf_ifmap": 0,
        "rf_weight": (macs + weights) * kept,
        "rf_psum": 2 * (sums - psums),
        "noc_ifmap": macs,
        "noc_weight": weights,
        "noc_psum": macs - sums,
        "glb_ifmap": psums // work.k * work.c * work.r * work.s * one.filters,
        "glb_weight": weights,
        "glb_psum": psums * (1 + (work.accumulate != 0)),
    }
    shape = np.broadcast_shapes(*(np.shape(x) for x in counts.values()))
    return {name: np.broadcast_to(x, shape).astype(np.int64) for name, x in counts.items()}


def loops(target: Target, work: Work, params: Ints) -> tuple[ArrayLoop, ...]:
    """Blocks of filters, stripes, blocks of taps and channels; a tree per filter; and the pixels
    of a stripe."""
    array, m = array_of(target), mapping_of(params)
    pixels, taps = work.n * work.p * work.q, np.minimum(m.taps, work.r * work.s)
    rows, cols = np.minimum(array.rows, work.k), np.minimum(array.cols, work.c)
    return loop_nest(
        passed("g", work.g, m.packed),
        passed("k", work.k, rows),
        passed("n*p*q", pixels, m.stripe),
        passed("r*s", work.r * work.s, taps),
        passed("c", work.c, cols),
        spread("g", np.minimum(m.packed, work.g), 1, "diagonal"),
        spread("k", rows, 1, "rows"),
        spread("c", cols, 1, "cols"),
        spread("r*s", taps, 1, "cols"),
        kept("n*p*q", np.minimum(m.stripe, pixels)),
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


def proposals(array: NoLocalReuse, work: Work) -> Ints:
    """int64 [tiles, candidates, 3] for int64 [tiles, 1]: as many groups or taps as there is room
    for, all of these in turn; a stripe that is full, or the shortest of as few stripes."""
    room = np.clip(array.cols // work.c, 1, LARGEST)
    joined = np.minimum(room, work.r * work.s) if array.joins_taps else np.ones_like(room)
    groups = np.minimum(np.minimum(room, np.maximum(array.rows // work.k, 1)), work.g)
    packed, taps = steps_to(groups), steps_to(joined)
    pixels = work.n * work.p * work.q
    fewest = ceil_div(pixels, array.stripe)
    axes = (range(packed.shape[1]), range(taps.shape[1]), range(3))
    wanted = np.array(list(product(*axes)), np.int64)
    even = [candidates.balanced(pixels, ceil_div(pixels, fewest + more)) for more in range(2)]
    stripes = np.stack(np.broadcast_arrays(even[0], even[1], even[0] * 0 + array.stripe), axis=-1)
    stripe = np.broadcast_to(stripes[:, 0], (len(stripes), 3))[:, wanted[:, 2]]
    return np.stack((packed[:, wanted[:, 0]], taps[:, wanted[:, 1]], stripe), axis=-1)


def steps_to(most: Ints) -> Ints:
    """int64 [tiles, n]: for each tile, int64 [tiles, 1], at most 16 numbers from 1 to `most`, all
    of them if there are no more."""
    count = min(16, int(most.max()))
    return 1 + np.arange(count) * (most - 1) // max(count - 1, 1)


def array_of(target: Target) -> NoLocalReuse:
    assert isinstance(target.array, NoLocalReuse)
    return target.array


def mapping_of(params: Ints) -> Mapping:
    return Mapping(*(params[..., i] for i in range(len(PARAMETERS))))
