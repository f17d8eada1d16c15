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

from typing import NamedTuple

import numpy as np

from ..schema import Target, WeightStationary
from . import candidates
from .blocks import Blocks, shapes
from .candidates import LARGEST
from .legality import Rules, all_kept, first_broken, sound
from .loops import ArrayLoop, kept, nest, passed, spread
from .work import Bools, Ints, Phases, Work, ceil_div, flat

PARAMETERS = ("packed",)
CHANNELS_INNERMOST = True
TAPS_ON_ROWS = True


class Folds(NamedTuple):
    """How a tile's weights are cut: groups, the reduction c*r*s, the columns k; V vectors each."""

    groups: Blocks
    depth: Blocks
    columns: Blocks
    vectors: Ints


# Legality


def legal(target: Target, work: Work, params: Ints) -> Bools:
    """Whether the packed groups fit on the array side by side: bool [...]."""
    return all_kept(rules(array_of(target), work, params[..., 0]))


def explain(target: Target, work: Work, params: Ints) -> str:
    """Why the parameters of one tile are not legal, or ""."""
    why = first_broken(rules(array_of(target), work, params[..., 0]))
    return why.format(packed=params[..., 0].item())


def rules(array: WeightStationary, work: Work, packed: Ints) -> Rules:
    yield from sound(work, PARAMETERS, (packed,))
    fits = (packed * depth(work) <= array.rows) & (packed * work.k <= array.cols)
    why = f"{{packed}} groups do not fit on {array.rows} x {array.cols} PEs"
    yield (packed == 1) | fits, why


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


def loops(target: Target, work: Work, params: Ints) -> tuple[ArrayLoop, ...]:
    """Folds of the matrix of weights; a weight per PE; and the vectors that stream by."""
    array, packed = array_of(target), params[..., 0]
    rows, cols = np.minimum(array.rows, depth(work)), np.minimum(array.cols, work.k)
    return nest(
        passed("g", work.g, packed),
        passed("k", work.k, cols),
        passed("c*r*s", depth(work), rows),
        spread("g", np.minimum(packed, work.g), 1, "diagonal"),
        spread("k", cols, 1, "cols"),
        spread("c*r*s", rows, 1, "rows"),
        kept("n*p*q", work.n * work.p * work.q),
    )


# Choice


def choose(target: Target, work: Work, fixed: Ints | None = None) -> Ints:
    """The parameters of least cycles: int64 [..., 1]."""
    array = array_of(target)

    def proposals(tiles: Work) -> tuple[Ints]:
        room = np.minimum(array.rows // depth(tiles), array.cols // tiles.k)
        most = int(np.clip(np.minimum(room, tiles.g).max(), 1, LARGEST))
        return (np.arange(1, most + 1)[None],)

    def price(tiles: Work, params: Ints) -> tuple[Ints, Ints]:
        total = cycles(target, tiles, params)
        return total, np.zeros_like(total)

    return candidates.choose(
        work, proposals, lambda tiles, params: all_kept(rules(array, tiles, *params)), price, fixed
    )


def array_of(target: Target) -> WeightStationary:
    assert isinstance(target.array, WeightStationary)
    return target.array
