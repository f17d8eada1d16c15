"""Which instruction of a nest wrote what another one reads, for all of its accesses at once."""

from typing import NamedTuple

import numpy as np

from dnncc.isa.distinct import distinct

from .operands import Bools, Ints, Operand, require

OUTSIDE = -1
MOST_PAIRS = 1 << 23
MEMORY_SHIFT = 40


class Touched(NamedTuple):
    """Ranges of bytes of on-chip memories, memory in the upper bits; `time` orders them."""

    start: Ints
    stop: Ints
    time: Ints


def touched(operand: Operand, time: Ints) -> Touched:
    memory = operand.memory << MEMORY_SHIFT
    return Touched(memory + operand.start, memory + operand.stop, time)


def joined(parts: list[Touched]) -> Touched:
    if not parts:
        empty = np.zeros(0, np.int64)
        return Touched(empty, empty, empty)
    return Touched(*(np.concatenate(c) for c in zip(*parts, strict=True)))


def last_writers(reads: Touched, writes: Touched) -> Ints:
    """Per read the number of the write that made all its bytes; OUTSIDE if none made any.

    Raises Ungrouped where a read's bytes are of several writers. Memory is cut where a write
    begins or ends: what lies between has one writer at a time.
    """
    found = np.full(len(reads.start), OUTSIDE, np.int64)
    rows = np.flatnonzero(overlapping(reads, writes))
    kept = np.flatnonzero(overlapping(writes, reads))
    if not len(rows):
        return found
    reads, writes = Touched(*(c[rows] for c in reads)), Touched(*(c[kept] for c in writes))
    bounds = distinct(np.concatenate((writes.start, writes.stop)))
    first = np.searchsorted(bounds, reads.start, side="right") - 1
    last = np.searchsorted(bounds, reads.stop)
    stray = (first < 0) | (last == len(bounds)) & (reads.stop > bounds[-1])
    low, high = scan(
        spread(np.maximum(first, 0), np.minimum(last, len(bounds)), reads.time),
        spread(np.searchsorted(bounds, writes.start), np.searchsorted(bounds, writes.stop),
               writes.time),
        len(reads.start),
    )  # fmt: skip
    require((low == high) & ~(stray & (high >= 0)), "bytes of several writers")
    found[rows] = np.where(high >= 0, kept[high], OUTSIDE)
    return found


def overlapping(some: Touched, others: Touched) -> Bools:
    """Which of them share a byte with one of the others."""
    order = np.argsort(others.start, kind="stable")
    before = np.searchsorted(others.start[order], some.stop)
    farthest = np.maximum.accumulate(np.concatenate(([-1], others.stop[order])))
    return np.asarray(farthest[before] > some.start)


def spread(first: Ints, last: Ints, time: Ints) -> tuple[Ints, Ints, Ints]:
    """(segment, time, number) of each segment that each range covers."""
    count = last - first
    ends = np.cumsum(count)
    require(len(ends) == 0 or ends[-1] <= MOST_PAIRS, "too many tiles of one buffer")
    number = np.repeat(np.arange(len(first)), count)
    segment = np.arange(len(number)) - (ends - count)[number] + first[number]
    return segment, time[number], number


def scan(
    reads: tuple[Ints, Ints, Ints], writes: tuple[Ints, Ints, Ints], count: int
) -> tuple[Ints, Ints]:
    """Lowest and highest number of the last writers of each read's segments."""
    segment, time, number = (np.concatenate(c) for c in zip(reads, writes, strict=True))
    is_write = np.arange(len(segment)) >= len(reads[0])
    order = np.lexsort((time, segment))
    segment, number, is_write = segment[order], number[order], is_write[order]
    at = np.maximum.accumulate(np.where(is_write, np.arange(len(order)), -1))
    fresh = (at >= 0) & (segment[at] == segment)
    writer = np.where(fresh, number[at], OUTSIDE)[~is_write]
    low, high = np.full(count, np.iinfo(np.int64).max), np.full(count, OUTSIDE)
    np.minimum.at(low, number[~is_write], writer)
    np.maximum.at(high, number[~is_write], writer)
    return low, high
