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

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from ..schema import NoLocalReuse, Target
from . import candidates
from .blocks import Blocks
from .candidates import LARGEST
from .work import Bools, Ints, Phases, Work, ceil_div, patches


class Mapping(NamedTuple):
    """The parameters, int64 arrays: groups and taps side by side, pixels per stripe."""

    packed: Ints
    taps: Ints
    stripe: Ints


PARAMETERS = Mapping._fields

# Legality


def legal(target: Target, work: Work, params: Ints) -> Bools:
    """Whether groups and taps fit side by side, and the stripe in the accumulators: bool [...]."""
    held = [fits for fits, _ in rules(array_of(target), work, mapping_of(params))]
    return np.asarray(np.logical_and.reduce(np.broadcast_arrays(*held)))


def explain(target: Target, work: Work, params: Ints) -> str:
    """The first rule that the parameters of one tile break, or ""."""
    broken = (why for fits, why in rules(array_of(target), work, mapping_of(params)) if not fits)
    return next(broken, "")


def rules(array: NoLocalReuse, work: Work, m: Mapping) -> Iterator[tuple[Bools, str]]:
    yield work.is_valid(), "the tile is empty"
    for name, value in zip(Mapping._fields, m, strict=True):
        yield (value >= 1) & (value <= LARGEST), f"{name} is not in 1..{LARGEST}"
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


def proposals(array: NoLocalReuse, work: Work) -> Ints:
    """int64 [tiles, candidates, 3] for int64 [tiles, 1]: as many groups or taps as there is room
    for, all of these in turn; a stripe that is full, or the shortest of as few stripes."""
    room = np.clip(array.cols // work.c, 1, LARGEST)
    joined = np.minimum(room, work.r * work.s) if array.joins_taps else np.ones_like(room)
    groups = np.minimum(np.minimum(room, np.maximum(array.rows // work.k, 1)), work.g)
    packed = np.unique(np.linspace(1, int(groups.max()), 16).astype(np.int64))
    taps = np.unique(np.linspace(1, int(joined.max()), 16).astype(np.int64))
    pixels = work.n * work.p * work.q
    fewest = ceil_div(pixels, array.stripe)
    wanted = np.array(list(product(packed, taps, range(3))), np.int64)
    even = [candidates.balanced(pixels, ceil_div(pixels, fewest + more)) for more in range(2)]
    stripes = np.stack(np.broadcast_arrays(even[0], even[1], even[0] * 0 + array.stripe), axis=-1)
    stripe = np.broadcast_to(stripes[:, 0], (len(stripes), 3))[:, wanted[:, 2]]
    sizes = (np.minimum(wanted[:, 0], groups), np.minimum(wanted[:, 1], joined), stripe)
    return np.stack(np.broadcast_arrays(*sizes), axis=-1)


# Simulation


class Block(NamedTuple):
    """Weights of one block on the array, [rows, cols], where they are real, and its stripe.

    `inputs` int64 [pixels, cols] are the ifmap words of the stripe, `lanes` those columns in use;
    `group`, `filter` int64 [rows in use] say whose psums the rows make; `first`, `last`: whether
    the stripe begins, or is complete, with this block.
    """

    weights: Ints
    real: Bools
    inputs: Ints
    lanes: int
    group: Ints
    filter: Ints
    pixels: Ints
    first: bool
    last: bool


def simulate(
    target: Target, work: Work, params: Ints, ifmap: Ints, weight: Ints, psum: Ints
) -> tuple[int, dict[str, int]]:
    """Run one tile cycle by cycle in the multipliers: cycles, and counts as those of `accesses`.

    ifmap int64 [n, g, c, h, w], weight [g, k, c, r, s]; psum [n, g, k, p, q] is written.
    """
    array, (n, g, k, p, q) = array_of(target), psum.shape
    result = psum.transpose(1, 2, 0, 3, 4).reshape(g, k, n * p * q).copy()
    blocks = list(blocks_of(array, work, mapping_of(params), ifmap, weight))
    trees = Trees(array, blocks, result, bool(work.accumulate))
    trees.run(int(nest(array, work, mapping_of(params)).load))
    psum[:] = result.reshape(g, k, n, p, q).transpose(2, 0, 1, 3, 4)
    return trees.cycle, trees.counts


def blocks_of(
    array: NoLocalReuse, work: Work, m: Mapping, ifmap: Ints, weight: Ints
) -> Iterator[Block]:
    """The blocks in the order in which they run."""
    g, k, c, r, s = weight.shape
    packed, joined, stripe = (int(x) for x in m)
    words = patches(work, ifmap).reshape(g, c, r * s, -1)
    values = weight.reshape(g, k, c, r * s)
    pixels = words.shape[-1]
    starts = [range(0, g, packed), range(0, k, array.rows), range(0, pixels, stripe)]
    for g0, k0, v0 in product(*starts):
        inner = list(product(range(0, r * s, joined), range(0, c, array.cols)))
        for t0, c0 in inner:
            at = (slice(c0, c0 + array.cols), slice(t0, t0 + joined))
            part = values[g0 : g0 + packed, k0 : k0 + array.rows, at[0], at[1]]
            taken = words[g0 : g0 + packed, at[0], at[1], v0 : v0 + stripe]
            yield block_of(
                array, part, taken, (g0, k0, v0), (t0, c0) == inner[0], (t0, c0) == inner[-1]
            )


def block_of(
    array: NoLocalReuse,
    part: Ints,
    taken: Ints,
    start: tuple[int, int, int],
    first: bool,
    last: bool,
) -> Block:
    """Groups on their own rows and columns, from weights [g, k, c, t] and ifmaps [g, c, t, v]."""
    groups, filters, pixels = *part.shape[:2], taken.shape[-1]
    wide = part[0, 0].size
    weights = np.zeros((array.rows, array.cols), np.int64)
    real = np.zeros((array.rows, array.cols), np.bool_)
    for i in range(groups):
        place = slice(i * filters, (i + 1) * filters), slice(i * wide, (i + 1) * wide)
        weights[place], real[place] = part[i].reshape(filters, wide), True
    inputs = np.zeros((pixels, array.cols), np.int64)
    inputs[:, : groups * wide] = taken.reshape(groups * wide, pixels).T
    return Block(
        *(weights, real, inputs, groups * wide),
        group=np.repeat(np.arange(start[0], start[0] + groups), filters),
        filter=np.tile(np.arange(start[1], start[1] + filters), groups),
        pixels=np.arange(start[2], start[2] + pixels),
        first=first,
        last=last,
    )


class Trees:
    """The multipliers [rows, cols] and accumulators [stripe, rows]; each `step` is one cycle.

    `shadow` are weights on their way in. What has been multiplied passes through `pipeline`, one
    stage per cycle, and is added, or leaves, behind its last stage.
    """

    def __init__(
        self, array: NoLocalReuse, blocks: list[Block], result: Ints, accumulate: bool
    ) -> None:
        self.array, self.blocks, self.result, self.adds = array, blocks, result, accumulate
        shape = (array.rows, array.cols)
        self.weights, self.shadow = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.sums = np.zeros((array.stripe, array.rows), np.int64)
        self.pipeline: list[tuple[Block, int, Ints] | None] = [None] * array.pipeline_cycles
        self.cycle, self.left = 0, sum(len(b.pixels) * len(b.group) for b in blocks if b.last)
        names = [
            f"{level}_{x}" for level in ("rf", "noc", "glb") for x in ("ifmap", "weight", "psum")
        ]
        self.counts = dict.fromkeys(("mac", *names), 0)

    def run(self, load: int) -> None:
        """Until all psums are in the memory; `load` cycles are needed for each block's weights."""
        self.load(0, load)
        for number, block in enumerate(self.blocks):
            self.weights[:] = self.shadow
            more = load if number + 1 < len(self.blocks) else 0
            for tick in range(max(len(block.pixels), more)):
                if tick < more:
                    self.send_weights(number + 1, tick)
                self.step((block, tick) if tick < len(block.pixels) else None)
        while self.left:
            self.step(None)

    def load(self, number: int, cycles: int) -> None:
        for tick in range(cycles):
            self.send_weights(number, tick)
            self.cycle += 1

    def send_weights(self, number: int, tick: int) -> None:
        """The words of this cycle, in the order of the rows, to the shadow registers."""
        block, rate = self.blocks[number], self.array.weight_words_per_cycle
        rows, cols = np.nonzero(block.real)
        now = slice(tick * rate, (tick + 1) * rate)
        if tick == 0:
            self.shadow[:] = 0
        self.shadow[rows[now], cols[now]] = block.weights[rows[now], cols[now]]
        sent = len(rows[now])
        self.counts["glb_weight"] += sent
        self.counts["noc_weight"] += sent
        self.counts["rf_weight"] += sent * (self.array.stripe > 1)

    def step(self, operation: tuple[Block, int] | None) -> None:
        """One cycle: an atomic operation on a pixel of a block, if any, and the pipeline moves."""
        self.pipeline.append(self.multiply(*operation) if operation else None)
        done = self.pipeline.pop(0)
        if done:
            self.add(*done)
        self.cycle += 1

    def multiply(self, block: Block, pixel: int) -> tuple[Block, int, Ints]:
        """Products of a pixel's ifmap words, and their sums in the rows' adder trees."""
        products = self.weights * block.inputs[pixel]
        real = int(block.real.sum())
        self.counts["mac"] += real
        self.counts["noc_ifmap"] += real
        self.counts["glb_ifmap"] += block.lanes
        self.counts["rf_weight"] += real * (self.array.stripe > 1)
        self.counts["noc_psum"] += real - len(block.group)
        return block, pixel, products.sum(axis=1)

    def add(self, block: Block, pixel: int, sums: Ints) -> None:
        total = sums + (0 if block.first else self.sums[pixel])
        rows = len(block.group)
        self.counts["rf_psum"] += rows * (not block.first) + rows * (not block.last)
        self.sums[pixel] = total
        if not block.last:
            return
        at = block.group, block.filter, block.pixels[pixel]
        self.result[at] = total[:rows] + (self.result[at] if self.adds else 0)
        self.counts["glb_psum"] += rows * (2 if self.adds else 1)
        self.left -= rows


def array_of(target: Target) -> NoLocalReuse:
    assert isinstance(target.array, NoLocalReuse)
    return target.array


def mapping_of(params: Ints) -> Mapping:
    return Mapping(*(params[..., i] for i in range(len(PARAMETERS))))
