"""Loads that were brought forward, back with their nest: then each nest is a run of instructions.

Constants may be loaded while an earlier nest works. Executed later, such a load leaves the same if
nothing between touches what it writes, or writes what it reads, and the host does not run; that is
looked up in the decoded records, and where it is not so, the order stays. What is of no node stays
behind what it is behind.
"""

import numpy as np
from msgspec.structs import replace

from dnncc.isa.core import CONTROL
from dnncc.isa.distinct import distinct
from dnncc.isa.program import Program, Regions

from .operands import Bools, Ints
from .writers import MEMORY_SHIFT, Touched, overlapping, spread


def by_nests(program: Program, node_of: Ints) -> Ints:
    """An order of the instructions that leaves the same, each node's in one run: int64[n]."""
    node_of = np.where(node_of < 0, np.maximum.accumulate(node_of), node_of)
    later = np.minimum.accumulate(node_of[::-1])[::-1]
    early = node_of > later
    if not early.any() or touched_between(program, node_of, np.where(early, later, -1)):
        return np.arange(len(node_of))
    return np.argsort(node_of, kind="stable")


def touched_between(program: Program, node_of: Ints, among: Ints) -> bool:
    """Whether an instruction that stands `among` an earlier node's, if that is not -1, cannot be
    moved to its own."""
    regions = program.regions
    control = np.flatnonzero(program.engine_of == CONTROL)
    owner, there = node_of[regions.instruction], among[regions.instruction]
    moved = np.flatnonzero(there >= 0)
    pair = owner[moved] * (len(node_of) + 1) + there[moved]
    for one in distinct(pair):
        mine = moved[pair == one]
        first, node = regions.instruction[mine[0]], owner[mine[0]]
        if (node_of[control[control > first]] < node).any():
            return True
        passed = mine[0] + np.flatnonzero(owner[mine[0] :] < node)
        if clash(regions, mine, passed):
            return True
    return False


def clash(regions: Regions, some: Ints, others: Ints) -> bool:
    """Whether one of these shares a byte with one of the others that comes later, which one of both
    writes."""
    memory = regions.memory.astype(np.int64) << MEMORY_SHIFT
    start, stop = memory + regions.start, memory + regions.stop
    every = Touched(start, stop, regions.instruction)
    read, written, passed, changed = (
        Touched(*(column[rows] for column in every))
        for rows in (some, some[regions.is_write[some]], others, others[regions.is_write[others]])
    )
    return bool(overtaken(read, changed).any() or overtaken(written, passed).any())


def overtaken(some: Touched, others: Touched) -> Bools:
    """Which of them share a byte with one of the others that comes later."""
    near = overlapping(some, others)
    some, kept = Touched(*(column[near] for column in some)), overlapping(others, some)
    others = Touched(*(column[kept] for column in others))
    found = near.copy()
    found[near] = last_among(some, others) > some.time
    return found


def last_among(some: Touched, others: Touched) -> Ints:
    """For each of them the time of the last of the others that it shares a byte with, -1 if there
    is none."""
    last = np.full(len(some.start), -1, np.int64)
    if not len(some.start):
        return last
    bounds = distinct(np.concatenate((others.start, others.stop)))
    low, high = (np.searchsorted(bounds, column) for column in (others.start, others.stop))
    segment, time, _ = spread(low, high, others.time)
    latest = np.full(len(bounds), -1, np.int64)
    np.maximum.at(latest, segment, time)
    first = np.maximum(np.searchsorted(bounds, some.start, side="right") - 1, 0)
    segment, _, number = spread(first, np.searchsorted(bounds, some.stop), some.time)
    np.maximum.at(last, number, latest[segment])
    return last


def reordered(program: Program, order: Ints) -> Program:
    """The program with its instructions in that order; waits are as they were counted."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    parts = []
    for part in program.parts:
        numbers = rank[part.indices]
        parts.append(replace(part.take(np.argsort(numbers)), indices=np.sort(numbers)))
    offsets, opcodes = program.offsets[order], program.opcodes[order]
    return Program(offsets, opcodes, program.engine_of[order], program.waits[order], tuple(parts))
