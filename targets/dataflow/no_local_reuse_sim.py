"""No local reuse, cycle by cycle: what `no_local_reuse.py` has in closed form.

All multipliers are NumPy arrays; a file of its own, as the two together would be too long.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from ..schema import NoLocalReuse, Target
from .no_local_reuse import Mapping, array_of, mapping_of, nest
from .work import Bools, Ints, Work, patches


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
