"""Output stationary, tap by tap: what `output_stationary.py` has in closed form.

All PEs are NumPy arrays; it is a file of its own because the two together would be too long.
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from ..schema import OutputStationary, Target
from .output_stationary import Mapping, array_of, mapping_of, takes_groups, unshared
from .work import Bools, Ints, Work


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
