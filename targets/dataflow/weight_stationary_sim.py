"""Weight stationary, cycle by cycle: what `weight_stationary.py` has in closed form.

All PEs are NumPy arrays; it is a file of its own because the two together would be too long.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from ..schema import Target, WeightStationary
from .weight_stationary import array_of
from .work import Bools, Ints, Work, patches


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
