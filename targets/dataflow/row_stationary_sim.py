"""Row stationary, PE by PE and clock by clock: what `row_stationary.py` has in closed form.

It is a file of its own because the two together would be too long to read at once.

A pass first fills the filter scratchpads: each word on the filter bus goes to all PEs of its
filter's row. Then ifmap words go over theirs, each in one cycle to all PEs on the diagonals of its
row, in the order in which ofmap columns need them. When the window of a column is complete, the
PEs at the bottom of the sets multiply: channel by channel, tap by tap, filter by filter; each row
of PEs does the same a cycle later than the row below. Meanwhile the column's psums come in over
the psum bus and wait at the bottom. With the next column, filter by filter, they go up, a PE per
cycle, each of which adds its own sum just before its first MAC of the new column replaces that.
What leaves at the top goes out over the psum bus.

PEs have their place on the physical array: a psum's next PE is the one in the next row of it.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..schema import RowStationary, Target
from .row_stationary_proposals import Mapping, array_of, folded_filter, mapping_of, takes_groups
from .work import Ints, Work

Counts = dict[str, int]

BUSES = ("ifmap", "weight", "psum")


def simulate(
    target: Target, work: Work, params: Ints, ifmap: Ints, weight: Ints, psum: Ints
) -> tuple[int, Counts]:
    """Run one tile cycle by cycle in the PEs: cycles, and counts as those of `accesses`.

    ifmap int64 [n, g, c, h, w], weight [g, k, c, r, s]; psum [n, g, k, p, q] is written.
    """
    counts = dict.fromkeys([f"{level}_{b}" for level in ("rf", "noc", "glb") for b in BUSES], 0)
    counts["mac"] = 0
    if not work.accumulate:
        psum[:] = 0
    total = 0
    for block in blocks(target, work, mapping_of(params)):
        one = Pass(target, work, mapping_of(params), block)
        total += one.run(ifmap, weight, psum, counts)
    return total, counts


Block = dict[str, Ints]


def blocks(target: Target, work: Work, m: Mapping) -> Iterator[Block]:
    """The indices of each pass, per name of a loop."""
    taps_y, taps_x = folded_filter(array_of(target), work)
    groups = takes_groups(work, m)
    sizes = {
        "n": m.images,
        "g": m.sets_k if groups else 1,
        "k": work.k if groups else m.filters * m.sets_k,
        "c": m.channels * m.sets_c,
        "p": m.set_rows,
        "r": taps_y,
        "s": taps_x,
    }
    cut = [parts(int(getattr(work, name)), int(size)) for name, size in sizes.items()]
    for indices in product(*cut):
        yield dict(zip(sizes, indices, strict=True))


def parts(extent: int, size: int) -> list[Ints]:
    return [np.arange(i, min(i + size, extent)) for i in range(0, extent, size)]


class Pes(NamedTuple):
    """What each PE is for, int64 [rows, cols]; `used` is bool, the rest means nothing without it.

    It holds row `tap` of filters first..first+filters and takes part in ofmap row `row` of channels
    from..from+channels; `up` counts the PEs below it in its stack.
    """

    used: Any
    tap: Ints
    row: Ints
    up: Ints
    group: Ints
    filter: Ints
    filters: Ints
    channel: Ints
    channels: Ints


def place(array: RowStationary, m: Mapping, block: Block, by_group: bool) -> Pes:
    """Sets side by side, then on top of each other; segments and channel sets within, stacked."""
    shape = (array.rows, array.cols)
    pes = Pes(np.zeros(shape, np.bool_), *(np.zeros(shape, np.int64) for _ in Pes._fields[1:]))
    taps, rows = len(block["r"]), len(block["p"])
    sets_c = min(int(m.sets_c), len(block["c"]))
    channels = spread(len(block["c"]), sets_c)
    number = len(block["g"]) if by_group else min(int(m.sets_k), len(block["k"]))
    filters = [(0, len(block["k"]))] * number if by_group else spread(len(block["k"]), number)
    across, segments = max(array.cols // rows, 1), -(-rows // array.cols)
    for t, j, z, i in product(range(number), range(rows), range(sets_c), range(taps)):
        up = z * taps + i
        level = t // across * segments + j // array.cols
        at = level * sets_c * taps + up, t % across * rows + j % array.cols
        assert not pes.used[at], "two PEs at one place"
        values = (True, i, j, up, t if by_group else 0, *filters[t], *channels[z])
        for table, value in zip(pes, values, strict=True):
            table[at] = value
    return pes


def spread(extent: int, sets: int) -> list[tuple[int, int]]:
    """(first, number) for each set, as even as possible."""
    return [(int(p[0]), len(p)) for p in np.array_split(np.arange(extent), sets)]


class Word(NamedTuple):
    """Where an ifmap word belongs: indices within the pass, and its row and column in the ifmap."""

    image: int
    group: int
    channel: int
    row: int
    col: int


class Pass:
    """One pass: the PEs' scratchpads, [rows, cols, ...], and what is on the buses.

    `windows` are the ifmap words that a PE has, by image, channel and column: spad and FIFO.
    `clock` int64 [height, 2] tells which column, and cycle of it, the bottom PEs are in, were in a
    cycle ago, and so on: what PEs further up are in now. Column -1 is before the first.
    """

    def __init__(self, target: Target, work: Work, m: Mapping, block: Block) -> None:
        self.array, self.data = array_of(target), target.datapath
        self.work, self.block = work, block
        self.pes = pes = place(self.array, m, block, bool(takes_groups(work, m)))
        self.height = int(pes.up[pes.used].max()) + 1
        self.filters = int(pes.filters[pes.used].max())
        self.channels = int(pes.channels[pes.used].max())
        self.images, self.taps, q = len(block["n"]), len(block["s"]), int(work.q)
        self.columns = self.images * q
        shape = pes.used.shape
        self.spad = np.zeros((*shape, self.filters, self.channels, self.taps), np.int64)
        self.windows = np.zeros((*shape, self.images, self.channels, int(work.w)), np.int64)
        self.sums = np.zeros((*shape, self.filters), np.int64)
        self.waiting = np.zeros((*shape, self.columns, self.filters), np.int64)
        self.link = np.zeros(shape, np.int64)
        self.bottom = self.bottom_psums()
        self.clock = np.full((self.height, 2), -1)
        self.leaving: list[tuple[tuple[int, ...], int]] = []
        self.cycle = 0

    # One pass

    def run(self, ifmap: Ints, weight: Ints, psum: Ints, counts: Counts) -> int:
        """Cycles of the pass; `psum` is read and written, `counts` are added to."""
        self.counts, self.psum = counts, psum
        self.fill(weight)
        self.cycle += self.array.ramp_cycles
        self.words, self.needed = self.ifmap_words()
        self.ifmap, self.sent, self.began = ifmap, 0, self.cycle
        self.moved_in, self.moved_out, self.gone = 0, 0, 0
        goal = self.columns * len(self.bottom)
        while self.gone < goal:
            self.step()
        return self.cycle

    def step(self) -> None:
        self.clock = np.concatenate(([self.next_tick()], self.clock[:-1]))
        self.send_psums_out()
        self.send_ifmaps()
        self.send_psums_in()
        self.pass_psums_up()
        self.multiply()
        self.cycle += 1

    def next_tick(self) -> tuple[int, int]:
        """The bottom PEs' column and cycle; after the last column they only hand psums up."""
        x, tick = self.clock[0].tolist()
        if x == self.columns or (x >= 0 and not self.done(x, tick + 1)):
            return x, tick + 1
        if x + 1 < self.columns and self.sent < self.needed[x + 1]:
            return x, tick + 1
        self.moved_in = 0
        return x + 1, 0

    def done(self, x: int, ticks: int) -> bool:
        """Whether column x is multiplied, after so many cycles of it, and its psums are in."""
        busy = self.taps * self.filters * self.channels
        return ticks >= busy and self.moved_in == len(self.bottom)

    # Filters

    def fill(self, weight: Ints) -> None:
        """The filter words, each to its row of PEs, which keep it: `fill` of the closed form."""
        b = self.block
        names = ("g", "k", "c", "r", "s")
        words = list(product(*(range(len(b[name])) for name in names)))
        sent = 0
        while sent < len(words):
            self.cycle += 1
            until = self.cycle * self.array.filter_bus_bits // self.data.operand_bits
            for word in words[sent:until]:
                at = tuple(b[name][i] for name, i in zip(names, word, strict=True))
                self.keep_filter(word, int(weight[at]))
            sent = until
        self.counts["glb_weight"] += len(words)

    def keep_filter(self, word: tuple[int, ...], value: int) -> None:
        group, k, c, r, s = word
        pes = self.pes
        filters = (pes.filter <= k) & (k < pes.filter + pes.filters)
        to = pes.used & (pes.tap == r) & (pes.group == group) & filters & self.takes(c)
        rows, cols = np.nonzero(to)
        self.spad[rows, cols, k - pes.filter[to], c - pes.channel[to], s] = value
        self.counts["noc_weight"] += len(rows)

    def takes(self, channel: int) -> Any:
        pes = self.pes
        return (pes.channel <= channel) & (channel < pes.channel + pes.channels)

    # Ifmaps

    def ifmap_words(self) -> tuple[list[Word], list[int]]:
        """Words in the order in which they are sent, and how many of them each column needs."""
        b, work = self.block, self.work
        rows = sorted({int(y) for y in self.rows()[self.pes.used]})
        planes = list(product(range(len(b["g"])), range(len(b["c"])), rows))
        words: list[Word] = []
        needed = []
        for n, x in product(range(self.images), range(int(work.q))):
            known = {word.col for word in words if word.image == n}
            for col in sorted({int(col) for col in self.cols(x)} - known):
                words += [Word(n, g, c, row, col) for g, c, row in planes]
            needed.append(len(words))
        return words, needed

    def rows(self) -> Ints:
        """The ifmap row that each PE takes: its diagonal."""
        rows, taps = self.block["p"][0] + self.pes.row, self.block["r"][0] + self.pes.tap
        return np.asarray(rows * self.work.stride_y + taps * self.work.dilation_y)

    def cols(self, x: int) -> Ints:
        """The ifmap columns under the window of column x of the ofmap."""
        return np.asarray(x * self.work.stride_x + self.block["s"] * self.work.dilation_x)

    def send_ifmaps(self) -> None:
        cycles = self.cycle + 1 - self.began
        until = cycles * self.array.ifmap_bus_bits // self.data.operand_bits
        for word in self.words[self.sent : until]:
            self.keep_ifmap(word)
        self.sent = min(until, len(self.words))

    def keep_ifmap(self, word: Word) -> None:
        """To all PEs that have its row on their diagonal, its channel and its group."""
        b, pes = self.block, self.pes
        to = pes.used & self.takes(word.channel) & (pes.group == word.group)
        to &= self.rows() == word.row
        at = b["n"][word.image], b["g"][word.group], b["c"][word.channel], word.row, word.col
        rows, cols = np.nonzero(to)
        self.windows[rows, cols, word.image, word.channel - pes.channel[to], word.col] = self.ifmap[
            at
        ]
        self.counts["noc_ifmap"] += len(rows)
        self.counts["glb_ifmap"] += 1

    # Psums

    def bottom_psums(self) -> list[tuple[int, int, int]]:
        """A column's psums in the order of the bus: row, col of the bottom PE, and filter of it."""
        bottom = np.argwhere(self.pes.used & (self.pes.up == 0)).tolist()
        each = product(range(self.filters), bottom)
        return [(row, col, f) for f, (row, col) in each if f < self.pes.filters[row, col]]

    def address(self, row: int, col: int, x: int, f: int) -> tuple[int, ...]:
        """Where in the memory's [n, g, k, p, q] the psum is that a PE has for its filter f."""
        pes, b = self.pes, self.block
        image, column = divmod(x, int(self.work.q))
        k, g = b["k"][pes.filter[row, col] + f], b["g"][pes.group[row, col]]
        return int(b["n"][image]), int(g), int(k), int(b["p"][pes.row[row, col]]), column

    def send_psums_in(self) -> None:
        """The column's psums come in while it is computed."""
        x, tick = self.clock[0].tolist()
        if not 0 <= x < self.columns:
            return
        until = (tick + 1) * self.array.psum_bus_bits // self.data.accumulator_bits
        words = self.bottom[self.moved_in : until]
        for row, col, f in words:
            self.waiting[row, col, x, f] = self.psum[self.address(row, col, x, f)]
        self.moved_in += len(words)
        self.counts["glb_psum"] += len(words)

    def pass_psums_up(self) -> None:
        """Each PE adds its sum of the column before to what comes from below, and hands it on."""
        x, tick = np.moveaxis(self.clock[self.pes.up], -1, 0)
        active = self.pes.used & (x >= 1) & (tick < self.pes.filters)
        rows, cols = np.nonzero(active)
        x, f, up = x[active] - 1, tick[active], self.pes.up[active]
        below = np.where(up > 0, self.link[rows - 1, cols], self.waiting[rows, cols, x, f])
        self.link[rows, cols] = below + self.sums[rows, cols, f]
        self.counts["rf_psum"] += len(rows)
        self.counts["noc_psum"] += int((up > 0).sum())
        for i in np.flatnonzero(up == self.height - 1):
            row, col = int(rows[i]), int(cols[i])
            at = self.address(row, col, int(x[i]), int(f[i]))
            self.leaving.append((at, int(self.link[row, col])))

    def send_psums_out(self) -> None:
        """The bus moves bits of what is in its queue; a psum is out with its last bit."""
        bits = self.data.accumulator_bits
        self.moved_out = min(self.moved_out + self.array.psum_bus_bits, len(self.leaving) * bits)
        for at, value in self.leaving[self.gone : self.moved_out // bits]:
            self.psum[at] = value
            self.counts["glb_psum"] += 1
        self.gone = self.moved_out // bits

    # MACs

    def multiply(self) -> None:
        x, tick = np.moveaxis(self.clock[self.pes.up], -1, 0)
        rest, f = np.divmod(tick, self.filters)
        c, s = np.divmod(rest, self.taps)
        active = self.pes.used & (x >= 0) & (x < self.columns)
        active &= (c < self.pes.channels) & (f < self.pes.filters)
        rows, cols = np.nonzero(active)
        x, c, s, f = x[active], c[active], s[active], f[active]
        image, column = np.divmod(x, int(self.work.q))
        col = column * self.work.stride_x + self.block["s"][s] * self.work.dilation_x
        product_ = self.windows[rows, cols, image, c, col] * self.spad[rows, cols, f, c, s]
        first = (c == 0) & (s == 0)
        self.sums[rows, cols, f] = product_ + np.where(first, 0, self.sums[rows, cols, f])
        self.counts["mac"] += len(rows)
        self.counts["rf_ifmap"] += len(rows)
        self.counts["rf_weight"] += len(rows)
        self.counts["rf_psum"] += int(len(rows) + (~first).sum())
