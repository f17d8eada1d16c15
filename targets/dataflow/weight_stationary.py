"""Weight stationary, systolic: the first TPU (Jouppi et al., ISCA 2017).

The c*r*s x k matrix of weights is cut into *folds* of at most rows x cols; PE (i, j) keeps weight
(i, j). A vector of ifmaps enters at the left, its element i at row i and i cycles late, and moves a
column per cycle; psums start at the top and move a row per cycle, so vector v is multiplied in
PE (i, j) at cycle v + i + j after the fold's start. There are V = n*p*q vectors in a fold, and
psums leave at the bottom of the array, below rows that the fold may not need. Folds of a group go
over the reduction c*r*s first, and psums are summed in the memory behind the array.

Convolutions with few channels per group put `packed` groups on the array at once, along the
diagonal; PEs off the diagonal hold zeros (ours).

Weights enter from the top, `weight_rows_per_cycle` rows at once, a column later from column to
column, so that a fold of u rows takes

    load = ceil(u / weight_rows_per_cycle)

cycles until its first vector may enter, and the first new weight arrives at PE (i, j), as the
vectors do, i + j cycles after the load began. With two buffers, the load of the next fold begins
with the first vector of a fold, the cycle in which PE (0, 0) takes its weight out of the shadow
register; the next fold starts when this one's vectors are in and its own weights too. With one
buffer the load begins after the last vector. For folds 1..F:

    start(1)     = load(1)
    start(f + 1) = start(f) + max(V, load(f + 1))            two buffers
                 = start(f) + V + load(f + 1)                one buffer
    cycles       = max over f of start(f) + (V - 1) + (rows - 1) + (columns of f - 1) + 1

the last line because the last vector enters V - 1 cycles after the start, is at the last row of the
first column rows - 1 cycles later and at the fold's last column after that; with few vectors the
psums of a wide fold may leave after those of a narrow one that comes later. One fold that fills the
array takes 2*rows + cols + V - 2 cycles, as in SCALE-Sim (Samajdar et al., ISPASS 2020). Back to
back, an instruction loads its weights while the last fold of the one before streams, and psums of
that leave while its own vectors enter.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from ..schema import Target, WeightStationary
from . import candidates
from .blocks import Blocks, shapes
from .candidates import LARGEST
from .work import Bools, Ints, Phases, Work, ceil_div, flat, patches

PARAMETERS = ("packed",)


class Folds(NamedTuple):
    """How a tile's weights are cut: groups, the reduction c*r*s, the columns k; V vectors each."""

    groups: Blocks
    depth: Blocks
    columns: Blocks
    vectors: Ints


# Legality


def legal(target: Target, work: Work, params: Ints) -> Bools:
    """Whether the packed groups fit on the array side by side: bool [...]."""
    array, packed = array_of(target), params[..., 0]
    fits = (packed * depth(work) <= array.rows) & (packed * work.k <= array.cols)
    in_range = (packed >= 1) & (packed <= LARGEST)
    return np.asarray(work.is_valid() & in_range & ((packed == 1) | fits))


def explain(target: Target, work: Work, params: Ints) -> str:
    """Why the parameters of one tile are not legal, or ""."""
    array, packed = array_of(target), params[..., 0].item()
    if not work.is_valid():
        return "the tile is empty"
    if not 1 <= packed <= LARGEST:
        return f"packed is not in 1..{LARGEST}"
    if bool(legal(target, work, params)):
        return ""
    return f"{packed} groups do not fit on {array.rows} x {array.cols} PEs"


def depth(work: Work) -> Ints:
    """Rows of a group's matrix of weights."""
    return work.c * work.r * work.s


# Cost


def cycles(target: Target, work: Work, params: Ints) -> Ints:
    """Cycles from the first weight to the last psum, int64 [...]."""
    return phases(target, work, params).cycles


def phases(target: Target, work: Work, params: Ints) -> Phases:
    """Head: the first fold's load; tail: the last vector's way out; see the module's formulas."""
    array = array_of(target)
    folds, shape = cut(array, work, params)
    double = array.weight_buffers == 2
    steps = np.zeros_like(folds.vectors)
    for where, times, (groups, rows, _) in shapes(folds[:3]):
        steps[where] += times * step_cycles(array, folds.vectors[where], groups * rows)
    first = folds.groups.first * folds.depth.first
    head = ceil_div(first, array.weight_rows_per_cycle)
    body = steps - step_cycles(array, folds.vectors, first) + folds.vectors
    tail = array.rows + last_column(array, folds) - 2
    hide = folds.vectors if double else np.zeros_like(folds.vectors)
    return Phases(*(part.reshape(shape) for part in (head, body, tail, hide)))


def active_pes(target: Target, work: Work, params: Ints) -> Ints:
    """PEs with a weight other than the zeros beside the diagonal, in a fold that is not an edge."""
    array = array_of(target)
    groups = np.minimum(params[..., 0], work.g)
    rows, cols = np.minimum(depth(work), array.rows), np.minimum(work.k, array.cols)
    return np.asarray(groups * rows * cols)


def step_cycles(array: WeightStationary, vectors: Ints, rows: Ints) -> Ints:
    """From the start of a fold to the start of the next one, which has that many rows."""
    load = ceil_div(rows, array.weight_rows_per_cycle)
    double = array.weight_buffers == 2
    return np.asarray(np.maximum(vectors, load) if double else vectors + load)


def last_column(array: WeightStationary, folds: Folds) -> Ints:
    """Columns of the last fold, or those of the last wide one less the cycles that it was before.

    A wide fold is followed by the narrow ones of the last columns, one per block of the reduction.
    """
    since = np.zeros_like(folds.vectors)
    for rows, times in folds.depth.kinds():
        since += times * step_cycles(array, folds.vectors, folds.groups.last * rows)
    wide = folds.groups.first * folds.columns.first
    return np.asarray(np.maximum(folds.groups.last * folds.columns.last, wide - since))


def accesses(target: Target, work: Work, params: Ints) -> dict[str, Ints]:
    """A PE's own storage is its weight: written once per fold, read per MAC.

    The network counts every step into a PE, and psums' step out of the last row: ifmaps step
    through the columns in use, psums through all rows, weights down to their row, zeros included.
    The memory gives each ifmap vector once per fold, each weight once; a psum is written per fold
    over the reduction, and read but by the first one.
    """
    array = array_of(target)
    folds, shape = cut(array, work, params)
    names = ("rf_weight", "noc_ifmap", "noc_weight", "noc_psum", "glb_ifmap")
    sums = {name: np.zeros_like(folds.vectors) for name in names}
    for where, times, (groups, depth_, columns) in shapes(folds[:3]):
        rows, cols, vectors = groups * depth_, groups * columns, folds.vectors[where]
        sums["rf_weight"][where] += times * rows * cols
        sums["noc_ifmap"][where] += times * vectors * rows * cols
        sums["noc_weight"][where] += times * cols * (rows * (rows + 1) // 2)
        sums["noc_psum"][where] += times * vectors * cols * array.rows
        sums["glb_ifmap"][where] += times * vectors * rows
    counts = {name: total.reshape(shape) for name, total in sums.items()}
    macs, words = (np.broadcast_to(x, shape).copy() for x in (work.macs(), work.words()["weight"]))
    rounds = 2 * folds.depth.number.reshape(shape) - 1 + (work.accumulate != 0)
    counts["rf_weight"] += macs
    zero = np.zeros_like(macs)
    own = {"mac": macs, "rf_ifmap": zero, "rf_psum": zero, "glb_weight": words}
    return own | counts | {"glb_psum": work.words()["psum"] * rounds}


def cut(array: WeightStationary, work: Work, params: Ints) -> tuple[Folds, tuple[int, ...]]:
    """The folds of the tiles, as 1-D arrays, and the shape that these had."""
    tiles, mapped, shape = flat(work, params)
    packed = mapped[:, 0]
    whole = packed > 1
    rows = depth(tiles)
    folds = Folds(
        groups=Blocks.of(tiles.g, packed),
        depth=Blocks.of(rows, np.where(whole, rows, array.rows)),
        columns=Blocks.of(tiles.k, np.where(whole, tiles.k, array.cols)),
        vectors=tiles.n * tiles.p * tiles.q,
    )
    return folds, shape


# Choice


def choose(target: Target, work: Work) -> Ints:
    """The parameters of least cycles: int64 [..., 1]."""
    array = array_of(target)

    def proposals(tiles: Work) -> Ints:
        room = np.minimum(array.rows // depth(tiles), array.cols // tiles.k)
        most = int(np.clip(np.minimum(room, tiles.g).max(), 1, LARGEST))
        shape = (tiles.table().shape[0], most, 1)
        return np.broadcast_to(np.arange(1, most + 1)[:, None], shape)

    def price(tiles: Work, params: Ints) -> tuple[Ints, Ints]:
        total = cycles(target, tiles, params)
        return total, np.zeros_like(total)

    return candidates.choose(
        work, proposals, lambda tiles, params: legal(target, tiles, params), price
    )


# Simulation


class Fold(NamedTuple):
    """One fold with its data: u rows, m columns, V vectors."""

    weights: Ints  # [u, m]
    real: Bools  # [u, m], False for the zeros beside the diagonal
    vectors: Ints  # [V, u]
    group: Ints  # [m], to which group and
    filter: Ints  # [m], to which filter of it a column belongs
    adds: bool  # psums are added to those in the memory


def simulate(
    target: Target, work: Work, params: Ints, ifmap: Ints, weight: Ints, psum: Ints
) -> tuple[int, dict[str, int]]:
    """Run one tile cycle by cycle in the PEs: cycles, and counts as those of `accesses`.

    ifmap int64 [n, g, c, h, w], weight [g, k, c, r, s]; psum [n, g, k, p, q] is written.
    """
    array, (n, g, k, p, q) = array_of(target), psum.shape
    result = psum.transpose(1, 2, 0, 3, 4).reshape(g, k, n * p * q).copy()
    grid = Grid(array, list(folds_of(array, work, int(params[0]), ifmap, weight)), result)
    while grid.left:
        grid.step()
    psum[:] = result.reshape(g, k, n, p, q).transpose(2, 0, 1, 3, 4)
    grid.counts["mac"] = int(work.macs())
    return grid.cycle, grid.counts


def folds_of(
    array: WeightStationary, work: Work, packed: int, ifmap: Ints, weight: Ints
) -> Iterator[Fold]:
    """The folds in the order in which they run."""
    groups, filters = weight.shape[:2]
    columns = patches(work, ifmap)
    rows = columns.shape[1]
    matrix = weight.reshape(groups, filters, rows).transpose(0, 2, 1)
    deep, wide = (rows, filters) if packed > 1 else (array.rows, array.cols)
    blocks = product(range(0, groups, packed), range(0, filters, wide), range(0, rows, deep))
    for g, k, d in blocks:
        parts = matrix[g : g + packed, d : d + deep, k : k + wide]
        count, u, m = parts.shape
        yield Fold(
            weights=diagonal(parts),
            real=diagonal(np.ones_like(parts)) > 0,
            vectors=columns[g : g + packed, d : d + deep].reshape(count * u, -1).T,
            group=np.repeat(np.arange(g, g + count), m),
            filter=np.tile(np.arange(k, k + m), count),
            adds=d > 0 or bool(work.accumulate),
        )


def diagonal(parts: Ints) -> Ints:
    """[count, u, m] as blocks along the diagonal of [count*u, count*m]."""
    count, u, m = parts.shape
    whole = np.zeros((count, u, count, m), np.int64)
    whole[np.arange(count), :, np.arange(count)] = parts
    return whole.reshape(count * u, count * m)


class Grid:
    """The PEs, all [rows, cols]; each `step` is one cycle of the clock.

    ifmaps and psums carry the number of their fold (-1: none) and vector; weights on their way down
    carry the row where they stay. What enters at a row or column later than at the first one comes
    from what entered that many cycles ago: `streamed` and `loaded` are these delay lines. `left`
    psums are still to leave.
    """

    def __init__(self, array: WeightStationary, folds: list[Fold], result: Ints) -> None:
        shape, lanes = (array.rows, array.cols), array.weight_rows_per_cycle
        self.array, self.folds, self.result, self.cycle = array, folds, result, 0
        self.ifmap, self.ifmap_fold = np.zeros(shape, np.int64), np.full(shape, -1)
        self.ifmap_first = np.zeros(shape, np.bool_)
        self.psum, self.psum_fold = np.zeros(shape, np.int64), np.full(shape, -1)
        self.psum_vector = np.zeros(shape, np.int64)
        self.weight, self.real = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        self.shadow, self.shadow_real = self.weight.copy(), self.real.copy()
        self.moving = np.zeros((lanes, *shape), np.int64)
        self.moving_real = np.zeros((lanes, *shape), np.bool_)
        self.moving_to = np.full((lanes, *shape), -1)
        self.streamed: list[tuple[int, int]] = []
        self.loaded: list[tuple[int, int]] = []
        self.streaming, self.vector = 0, 0
        self.loading, self.row = 0, 0
        self.left: int = sum(f.vectors.shape[0] * f.weights.shape[1] for f in folds)
        names = ("glb_ifmap", "glb_weight", "glb_psum", "noc_ifmap", "noc_weight", "noc_psum")
        self.counts = dict.fromkeys((*names, "rf_ifmap", "rf_weight", "rf_psum"), 0)

    def step(self) -> None:
        self.control()
        self.move_ifmaps()
        self.move_psums()
        self.multiply()
        self.move_weights()
        self.leave()
        self.cycle += 1

    def control(self) -> None:
        """What enters the first row and column: a vector whose weights are in, a row of weights."""
        ready = self.streaming < min(self.loading, len(self.folds))
        self.streamed.append((self.streaming, self.vector) if ready else (-1, 0))
        if ready:
            self.vector += 1
            if self.vector == len(self.folds[self.streaming].vectors):
                self.streaming, self.vector = self.streaming + 1, 0
        free = self.loading == 0 or self.may_load()
        row = self.row if free and self.loading < len(self.folds) else -1
        self.loaded.append((self.loading, row))
        if row >= 0:
            self.row += self.array.weight_rows_per_cycle
            if self.row >= len(self.folds[self.loading].weights):
                self.loading, self.row = self.loading + 1, 0

    def may_load(self) -> bool:
        """Whether the registers that the next fold's weights go to are free from this cycle on."""
        fold = self.loading - 1
        done = self.streaming > fold
        if self.array.weight_buffers == 2:
            return done or (self.streaming == fold and self.vector > 0)
        return done and self.streamed[-1][0] != fold

    def move_ifmaps(self) -> None:
        for moved in (self.ifmap, self.ifmap_fold, self.ifmap_first):
            moved[:, 1:] = moved[:, :-1].copy()
        self.ifmap_fold[:, 0] = -1
        for row in range(min(self.array.rows, len(self.streamed))):
            fold, vector = self.streamed[-1 - row]
            if fold >= 0 and row < len(self.folds[fold].weights):
                self.ifmap[row, 0] = self.folds[fold].vectors[vector, row]
                self.ifmap_fold[row, 0], self.ifmap_first[row, 0] = fold, vector == 0
                self.counts["glb_ifmap"] += 1
        widths = np.array([f.weights.shape[1] for f in self.folds] + [0])
        self.ifmap_fold[np.arange(self.array.cols) >= widths[self.ifmap_fold]] = -1
        self.counts["noc_ifmap"] += int((self.ifmap_fold >= 0).sum())

    def move_psums(self) -> None:
        for moved in (self.psum, self.psum_fold, self.psum_vector):
            moved[1:] = moved[:-1].copy()
        self.psum[0], self.psum_fold[0] = 0, -1
        for col in range(min(self.array.cols, len(self.streamed))):
            fold, vector = self.streamed[-1 - col]
            if fold >= 0 and col < self.folds[fold].weights.shape[1]:
                self.psum_fold[0, col], self.psum_vector[0, col] = fold, vector
        self.counts["noc_psum"] += int((self.psum_fold >= 0).sum())

    def multiply(self) -> None:
        here = self.ifmap_fold >= 0
        if self.array.weight_buffers == 2:
            swap = here & self.ifmap_first
            self.weight[swap], self.real[swap] = self.shadow[swap], self.shadow_real[swap]
        self.psum += np.where(here, self.ifmap * self.weight, 0)
        self.counts["rf_weight"] += int((here & self.real).sum())

    def move_weights(self) -> None:
        for moved in (self.moving, self.moving_real, self.moving_to):
            moved[:, 1:] = moved[:, :-1].copy()
        self.moving_to[:, 0] = -1
        for col in range(min(self.array.cols, len(self.loaded))):
            self.enter_weights(col, *self.loaded[-1 - col])
        self.counts["noc_weight"] += int((self.moving_to >= 0).sum())
        there = np.nonzero(self.moving_to == np.arange(self.array.rows)[:, None])
        double = self.array.weight_buffers == 2
        into, flags = (self.shadow, self.shadow_real) if double else (self.weight, self.real)
        into[there[1:]], flags[there[1:]] = self.moving[there], self.moving_real[there]
        self.moving_to[there] = -1
        self.counts["rf_weight"] += len(there[0])

    def enter_weights(self, col: int, number: int, row: int) -> None:
        if row < 0 or col >= self.folds[number].weights.shape[1]:
            return
        fold = self.folds[number]
        rows = np.arange(row, min(row + self.array.weight_rows_per_cycle, len(fold.weights)))
        self.moving[: len(rows), 0, col] = fold.weights[rows, col]
        self.moving_real[: len(rows), 0, col] = fold.real[rows, col]
        self.moving_to[: len(rows), 0, col] = rows
        self.counts["glb_weight"] += int(fold.real[rows, col].sum())

    def leave(self) -> None:
        """Psums below the last row go to the memory, added to what is there if they are to be."""
        for col in np.flatnonzero(self.psum_fold[-1] >= 0):
            fold = self.folds[self.psum_fold[-1, col]]
            at = fold.group[col], fold.filter[col], self.psum_vector[-1, col]
            self.result[at] = self.psum[-1, col] + (self.result[at] if fold.adds else 0)
            self.counts["glb_psum"] += 2 if fold.adds else 1
            self.left -= 1


def array_of(target: Target) -> WeightStationary:
    assert isinstance(target.array, WeightStationary)
    return target.array
