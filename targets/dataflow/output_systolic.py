"""Output stationary, systolic: Gemmini's second mode (Genc et al., DAC 2021).

PE (i, j) keeps the psum of pixel i and filter j. The elements of a pixel's patch, one per cycle and
i cycles late, enter row i at the left and move a column per cycle; the weights of filter j enter
column j at the top, j cycles late, and move a row per cycle: element e of both meets in PE (i, j)
at cycle e + i + j after the *fold's* start. A fold is at most rows pixels by cols filters, and all
of the reduction c*r*s. When its last element is through, a PE copies its psum to a second register
and goes on with the next fold. These registers shift down, through another one between two PEs, so
that what a PE hands on comes after its own psum; psums leave at the bottom, one per column and
cycle, and are added to what the memory has if they are to be.

Convolutions with few filters per group put `packed` groups side by side: their elements one after
another, and zeros for the weights of other groups (ours). For folds 1..F of depth D(f), which is
c*r*s times their groups, the psums leave a fold's PEs at

    over(1)     = D(1)
    over(f + 1) = over(f) + max(D(f + 1), rows)
    cycles      = max over f of over(f) + 2*(rows - 1) + (columns of f)

because the shift takes `rows` cycles. One fold that fills the array takes 2*rows + cols + D - 2
cycles, as in SCALE-Sim (Samajdar et al., ISPASS 2020). Back to back, psums leave while the next
instruction's elements enter.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from ..schema import OutputSystolic, Target
from . import candidates
from .blocks import Blocks, shapes
from .candidates import LARGEST
from .legality import Rules, all_kept, first_broken, sound
from .loops import ArrayLoop, kept, nest, passed, spread
from .work import Bools, Ints, Phases, Work, flat, patches

PARAMETERS = ("packed",)
CHANNELS_INNERMOST = True
TAPS_ON_ROWS = False


class Folds(NamedTuple):
    """How a tile is cut: groups, filters, pixels; and the reduction c*r*s of a group."""

    groups: Blocks
    columns: Blocks
    pixels: Blocks
    depth: Ints


# Legality


def legal(target: Target, work: Work, params: Ints) -> Bools:
    """Whether the filters of the packed groups fit on the array side by side: bool [...]."""
    return all_kept(rules(array_of(target), work, params[..., 0]))


def explain(target: Target, work: Work, params: Ints) -> str:
    """Why the parameters of one tile are not legal, or ""."""
    why = first_broken(rules(array_of(target), work, params[..., 0]))
    return why.format(packed=params[..., 0].item())


def rules(array: OutputSystolic, work: Work, packed: Ints) -> Rules:
    yield from sound(work, PARAMETERS, (packed,))
    why = f"{{packed}} groups do not fit on {array.cols} columns"
    yield (packed == 1) | (packed * work.k <= array.cols), why


# Cost


def cycles(target: Target, work: Work, params: Ints) -> Ints:
    """Cycles from the first element to the last psum, int64 [...]."""
    return phases(target, work, params).cycles


def phases(target: Target, work: Work, params: Ints) -> Phases:
    """Body: until the first PE may copy another psum; tail: the rest of the last psum's way.

    The copy of a shallow first fold comes sooner, but the shift after it takes as long as any.
    """
    array = array_of(target)
    folds, shape = cut(array, work, params)
    body = np.zeros_like(folds.depth)
    sooner = np.maximum(array.rows - folds.groups.first * folds.depth, 0)
    for where, times, (groups, _, _) in shapes(folds[:3]):
        body[where] += times * np.maximum(groups * folds.depth[where], array.rows)
    tail = 2 * (array.rows - 1) + last_column(array, folds) - sooner
    nothing = np.zeros_like(body)
    return Phases(*(part.reshape(shape) for part in (nothing, body, tail, nothing)))


def last_column(array: OutputSystolic, folds: Folds) -> Ints:
    """Columns of the last fold, or those of the last wide one less the cycles that it was before.

    A wide fold is followed by the narrow ones of the last filters, one per block of pixels.
    """
    step = np.maximum(folds.groups.last * folds.depth, array.rows)
    wide = folds.groups.first * folds.columns.first
    since = folds.pixels.number * step
    return np.asarray(np.maximum(folds.groups.last * folds.columns.last, wide - since))


def active_pes(target: Target, work: Work, params: Ints) -> Ints:
    """PEs with a psum, in a fold that is not an edge."""
    array = array_of(target)
    cols = np.minimum(work.k, array.cols) * np.minimum(params[..., 0], work.g)
    return np.asarray(np.minimum(work.n * work.p * work.q, array.rows) * cols)


def accesses(target: Target, work: Work, params: Ints) -> dict[str, Ints]:
    """A PE's own storage is its psum: read and written per MAC, the first time only written, and
    read when it leaves. The network counts every step into a PE, zeros included, and psums' steps
    down and out; the memories give each element once per fold that it goes to.
    """
    folds, shape = cut(array_of(target), work, params)
    names = ("noc_ifmap", "noc_weight", "noc_psum", "glb_ifmap", "glb_weight")
    sums = {name: np.zeros_like(folds.depth) for name in names}
    rows = array_of(target).rows
    for where, times, (groups, filters, pixels) in shapes(folds[:3]):
        cols, depth = groups * filters, groups * folds.depth[where]
        sums["noc_ifmap"][where] += times * depth * pixels * cols
        sums["noc_weight"][where] += times * depth * pixels * cols
        sums["noc_psum"][where] += times * cols * (pixels * rows - pixels * (pixels - 1) // 2)
        sums["glb_ifmap"][where] += times * depth * pixels
        sums["glb_weight"][where] += times * folds.depth[where] * cols
    counts = {name: total.reshape(shape) for name, total in sums.items()}
    macs = np.broadcast_to(work.macs(), shape).copy()
    zero = np.zeros_like(macs)
    psums = work.words()["psum"] * (1 + (work.accumulate != 0))
    own = {"mac": macs, "rf_ifmap": zero, "rf_weight": zero, "rf_psum": 2 * macs}
    return own | counts | {"glb_psum": np.broadcast_to(psums, shape).astype(np.int64)}


def cut(array: OutputSystolic, work: Work, params: Ints) -> tuple[Folds, tuple[int, ...]]:
    """The folds of the tiles, as 1-D arrays, and the shape that these had."""
    tiles, mapped, shape = flat(work, params)
    packed = mapped[:, 0]
    full = np.full_like(packed, array.rows)
    folds = Folds(
        groups=Blocks.of(tiles.g, packed),
        columns=Blocks.of(tiles.k, np.where(packed > 1, tiles.k, array.cols)),
        pixels=Blocks.of(tiles.n * tiles.p * tiles.q, full),
        depth=tiles.c * tiles.r * tiles.s,
    )
    return folds, shape


def loops(target: Target, work: Work, params: Ints) -> tuple[ArrayLoop, ...]:
    """Folds of pixels and filters; a psum per PE; and the elements that are summed in it."""
    array, packed = array_of(target), params[..., 0]
    pixels, groups = work.n * work.p * work.q, np.minimum(packed, work.g)
    rows, cols = np.minimum(array.rows, pixels), np.minimum(array.cols, work.k)
    return nest(
        passed("g", work.g, packed),
        passed("k", work.k, cols),
        passed("n*p*q", pixels, rows),
        spread("g", groups, 1, "cols"),
        spread("k", cols, 1, "cols"),
        spread("n*p*q", rows, 1, "rows"),
        kept("g", groups),
        kept("c*r*s", work.c * work.r * work.s),
    )


# Choice


def choose(target: Target, work: Work, fixed: Ints | None = None) -> Ints:
    """The parameters of least cycles, then of least ifmaps: int64 [..., 1]."""
    array = array_of(target)

    def proposals(tiles: Work) -> tuple[Ints]:
        room = np.minimum(array.cols // tiles.k, tiles.g)
        most = int(np.clip(room.max(), 1, LARGEST))
        return (np.arange(1, most + 1)[None],)

    def price(tiles: Work, params: Ints) -> tuple[Ints, Ints]:
        counts = accesses(target, tiles, params)
        return cycles(target, tiles, params), counts["glb_ifmap"] + counts["glb_weight"]

    return candidates.choose(
        work, proposals, lambda tiles, params: all_kept(rules(array, tiles, *params)), price, fixed
    )


# Simulation


class Fold(NamedTuple):
    """One fold with its data: V pixels, m columns, D elements."""

    pixels: Ints  # [V, D]
    weights: Ints  # [D, m]
    real: Bools  # [D, m], False for the zeros of other groups
    group: Ints  # [m], to which group and
    filter: Ints  # [m], to which filter of it a column belongs
    pixel: Ints  # [V], which pixels the rows are


def simulate(
    target: Target, work: Work, params: Ints, ifmap: Ints, weight: Ints, psum: Ints
) -> tuple[int, dict[str, int]]:
    """Run one tile cycle by cycle in the PEs: cycles, and counts as those of `accesses`.

    ifmap int64 [n, g, c, h, w], weight [g, k, c, r, s]; psum [n, g, k, p, q] is written.
    """
    array, (n, g, k, p, q) = array_of(target), psum.shape
    result = psum.transpose(1, 2, 0, 3, 4).reshape(g, k, n * p * q).copy()
    folds = list(folds_of(array, work, int(params[0]), ifmap, weight))
    grid = Grid(array, folds, result, bool(work.accumulate))
    while grid.left:
        grid.step()
    psum[:] = result.reshape(g, k, n, p, q).transpose(2, 0, 1, 3, 4)
    return grid.cycle, grid.counts


def folds_of(
    array: OutputSystolic, work: Work, packed: int, ifmap: Ints, weight: Ints
) -> Iterator[Fold]:
    """The folds in the order in which they run."""
    g, k = weight.shape[:2]
    elements = patches(work, ifmap)
    depth, pixels = elements.shape[1:]
    matrix = weight.reshape(g, k, depth).transpose(0, 2, 1)
    wide = k if packed > 1 else array.cols
    starts = range(0, g, packed), range(0, k, wide), range(0, pixels, array.rows)
    for g0, k0, v0 in product(*starts):
        parts = matrix[g0 : g0 + packed, :, k0 : k0 + wide]
        count, _, m = parts.shape
        taken = elements[g0 : g0 + packed, :, v0 : v0 + array.rows]
        whole, real = np.zeros((2, count, depth, count, m), np.int64)
        whole[np.arange(count), :, np.arange(count)] = parts
        real[np.arange(count), :, np.arange(count)] = 1
        yield Fold(
            pixels=taken.reshape(count * depth, -1).T,
            weights=whole.reshape(count * depth, count * m),
            real=real.reshape(count * depth, count * m) > 0,
            group=np.repeat(np.arange(g0, g0 + count), m),
            filter=np.tile(np.arange(k0, k0 + m), count),
            pixel=np.arange(v0, v0 + taken.shape[-1]),
        )


class Grid:
    """The PEs, all [rows, cols]; each `step` is one cycle of the clock.

    Elements on the move carry the number of their fold (-1: none) and whether they are its last.
    `entered` are the (fold, element) that began at row and column 0, one per cycle: what enters
    further on comes from as many cycles ago. Psums are `held` to be added to, then they shift down
    as (value, row where they were made, fold), `out` of a PE and into a register `between` two.
    """

    def __init__(
        self, array: OutputSystolic, folds: list[Fold], result: Ints, accumulate: bool
    ) -> None:
        shape = (array.rows, array.cols)
        self.array, self.folds, self.result, self.adds = array, folds, result, accumulate
        self.ifmap, self.weight = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.ifmap_fold, self.weight_fold = np.full(shape, -1), np.full(shape, -1)
        self.real, self.ends = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        self.held = np.zeros(shape, np.int64)
        self.out, self.between = np.full((2, 3, *shape), -1)
        self.entered: list[tuple[int, int]] = []
        self.fold, self.element, self.cycle, self.over = 0, 0, 0, -array.rows
        self.left = sum(len(f.pixels) * f.weights.shape[1] for f in folds)
        names = [
            f"{level}_{x}" for level in ("rf", "noc", "glb") for x in ("ifmap", "weight", "psum")
        ]
        self.counts = dict.fromkeys(("mac", *names), 0)

    def step(self) -> None:
        self.control()
        self.shift_out()
        self.move_ifmaps()
        self.move_weights()
        self.multiply()
        self.cycle += 1

    def control(self) -> None:
        """The element that enters first: not so early that psums overtake those before them."""
        ready = self.fold < len(self.folds)
        if ready and self.element == 0:
            ready = self.cycle + len(self.folds[self.fold].weights) >= self.over + self.array.rows
        self.entered.append((self.fold, self.element) if ready else (-1, 0))
        if not ready:
            return
        self.element += 1
        if self.element == len(self.folds[self.fold].weights):
            self.fold, self.element, self.over = self.fold + 1, 0, self.cycle + 1

    def entering(self, late: int) -> tuple[int, int]:
        return self.entered[-1 - late] if late < len(self.entered) else (-1, 0)

    def move_ifmaps(self) -> None:
        for moved in (self.ifmap, self.ifmap_fold, self.ends):
            moved[:, 1:] = moved[:, :-1].copy()
        self.ifmap_fold[:, 0] = -1
        for row in range(self.array.rows):
            fold, element = self.entering(row)
            if fold >= 0 and row < len(self.folds[fold].pixels):
                self.ifmap[row, 0] = self.folds[fold].pixels[row, element]
                self.ifmap_fold[row, 0] = fold
                self.ends[row, 0] = element == self.folds[fold].pixels.shape[1] - 1
                self.counts["glb_ifmap"] += 1
        widths = np.array([f.weights.shape[1] for f in self.folds] + [0])
        self.ifmap_fold[np.arange(self.array.cols) >= widths[self.ifmap_fold]] = -1
        self.counts["noc_ifmap"] += int((self.ifmap_fold >= 0).sum())

    def move_weights(self) -> None:
        for moved in (self.weight, self.weight_fold, self.real):
            moved[1:] = moved[:-1].copy()
        self.weight_fold[0] = -1
        for col in range(self.array.cols):
            fold, element = self.entering(col)
            if fold >= 0 and col < self.folds[fold].weights.shape[1]:
                self.weight[0, col] = self.folds[fold].weights[element, col]
                self.real[0, col] = self.folds[fold].real[element, col]
                self.weight_fold[0, col] = fold
                self.counts["glb_weight"] += int(self.real[0, col])
        heights = np.array([len(f.pixels) for f in self.folds] + [0])
        self.weight_fold[np.arange(self.array.rows)[:, None] >= heights[self.weight_fold]] = -1
        self.counts["noc_weight"] += int((self.weight_fold >= 0).sum())

    def multiply(self) -> None:
        """MACs; a PE whose fold is over hands its psum to the registers that shift, and clears."""
        here = self.ifmap_fold >= 0
        assert np.array_equal(here, self.weight_fold >= 0), "operands that do not meet"
        self.held += np.where(here, self.ifmap * self.weight, 0)
        self.counts["mac"] += int((here & self.real).sum())
        self.counts["rf_psum"] += 2 * int((here & self.real).sum())
        rows, cols = np.nonzero(here & self.ends)
        assert (self.out[2, rows, cols] < 0).all(), "a psum overtaken by another one"
        self.out[:, rows, cols] = self.held[rows, cols], rows, self.ifmap_fold[rows, cols]
        self.held[rows, cols] = 0

    def shift_out(self) -> None:
        """Down a row, and out at the bottom into the memory."""
        self.counts["noc_psum"] += int((self.out[2] >= 0).sum())
        for col in np.flatnonzero(self.out[2, -1] >= 0):
            fold = self.folds[self.out[2, -1, col]]
            at = fold.group[col], fold.filter[col], fold.pixel[self.out[1, -1, col]]
            self.result[at] = self.out[0, -1, col] + (self.result[at] if self.adds else 0)
            self.counts["glb_psum"] += 2 if self.adds else 1
            self.left -= 1
        for out, between in zip(self.out, self.between, strict=True):
            sent = out.copy()
            out[:] = between
            between[1:] = sent[:-1]
        self.between[2, 0] = -1


def array_of(target: Target) -> OutputSystolic:
    assert isinstance(target.array, OutputSystolic)
    return target.array
