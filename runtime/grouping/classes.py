"""Nests whose tiles are of several classes: of a map that is kept in part, those that lie on chip,
and those that come from DRAM, or go there. Each class is merged by itself.

A tile is all that comes to one end: what the array sums, the lanes make of it, and a store takes
away. Tiles are of one class if the same steps make them, of operands that come from the same.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from dnncc.isa import dma, tensor
from dnncc.isa.distinct import distinct

from .nests import Read, Step, is_ring, traced
from .operands import Bools, Ints, require
from .writers import Touched, joined, overlapping, touched

MOST = 62
"""Kinds of instructions in a nest of several classes: a bit of a number each."""


def classes(steps: list[Step]) -> list[list[Step]]:
    """The steps of each class, with all loads; none if there are too many kinds. A step from the
    sums of several others is one for each."""
    reads = [read for read in traced(steps) if not is_ring(read.step, read.name)]
    begins = np.cumsum([0, *(len(s) for s in steps)])
    at = {step: int(first) for step, first in zip(steps, begins, strict=False)}
    kind = kinds(steps, reads, at)
    if kind.max() >= MOST:
        return []
    end = ends(steps, reads, at)
    seen = np.zeros(len(kind), np.int64)
    np.bitwise_or.at(seen, end, np.where(kind < 0, 0, 1 << np.maximum(kind, 0)))
    seen = seen[end]
    found = []
    for one in distinct(seen[kind >= 0]):
        cut = ((s, np.arange(at[s], at[s] + len(s))) for s in steps)
        found.append([p for s, rows in cut for p in parts(s, kind[rows], seen[rows] == one)])
    return found


def parts(step: Step, kind: Ints, taken: Bools) -> Iterator[Step]:
    """Of a step the rows taken, by kind; all of a load, and what the array does as one."""
    if step.cls is dma.Load:
        taken = np.ones_like(taken)
    if step.cls in (dma.Load, tensor.Tensor):
        kind = np.zeros_like(kind)
    for one in distinct(kind[taken]):
        yield step.some(np.flatnonzero(taken & (kind == one)))


def kinds(steps: list[Step], reads: list[Read], at: dict[Step, int]) -> Ints:
    """A number for each row, -1 for loads: its step, and what its operands come from, but for what
    the array adds to."""
    kind = np.repeat(np.arange(len(steps)), [len(s) for s in steps])
    for read in reads:
        if read.step.cls is not tensor.Tensor or read.name != "psum":
            source = np.full(len(kind), -2)
            source[at[read.step] + read.rows] = read.source
            kind = np.unique(kind * (len(steps) + 2) + source + 2, return_inverse=True)[1]
    loads = np.concatenate([np.full(len(s), s.cls is dma.Load) for s in steps])
    kind[~loads] = np.unique(kind[~loads], return_inverse=True)[1]
    return np.where(loads, -1, kind)


def ends(steps: list[Step], reads: list[Read], at: dict[Step, int]) -> Ints:
    """For each row the least one of its tile."""
    pairs = [np.zeros((2, 0), np.int64)]
    for read in reads:
        for number in distinct(read.source[read.source >= 0]):
            made = steps[int(number)]
            if made.cls is not dma.Load:
                rows = np.flatnonzero(read.source == number)
                sides = at[read.step] + read.rows[rows], at[made] + read.made[rows]
                pairs.append(np.stack(sides))
    after, before = np.concatenate(pairs, axis=1)
    least, known = np.arange(sum(map(len, steps))), None
    while known is None or not np.array_equal(known, least):
        known = least.copy()
        found = np.minimum(least[after], least[before])
        np.minimum.at(least, after, found)
        np.minimum.at(least, before, found)
        least = least[least]
    return least


def staying(steps: list[Step], every: Sequence[Step]) -> set[Step]:
    """Those whose results are stored, and are still where they were made when `every` step of the
    nest is done; of what is not stored that is required."""
    made = [s for s in steps if "out" in s.operands]
    left = (s for s in made if not s.readers)
    require(all(lasts(step, every) for step in left), "results that are written over")
    read = (s for s in made if s.readers and not s.apart)
    stored = (s for s in read if all(r.step.cls is dma.Store for r in s.readers))
    return {step for step in stored if lasts(step, every)}


def lasts(step: Step, every: Sequence[Step]) -> bool:
    """Whether nothing else is written there later; the step's own results are then in a box."""
    made = touched(step.operands["out"], step.indices)
    if len(distinct(made.start)) < len(step):
        return False
    writing = [s for s in every if s.cls is not dma.Store]
    others = joined([touched(s.operands[s.result], s.indices) for s in writing])
    later = (others.time > made.time.min()) & ~np.isin(others.time, made.time)
    return not overlapping(made, Touched(*(c[later] for c in others))).any()
