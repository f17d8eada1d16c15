"""Whose each cycle is: all cycles of a run go to one instruction each, and so to an ONNX node."""

import numpy as np
import numpy.typing as npt

from dnncc.isa import core
from dnncc.isa import image as images
from dnncc.isa.distinct import distinct

from .timing import Timeline

Ints = npt.NDArray[np.int64]

PRECEDENCE = ("tensor", "vector", "store0", "store1", "load0", "load1")
"""Of the instructions that are busy in a cycle, the one on the first of these engines has it."""


def owners(timeline: Timeline) -> Ints:
    """Cycles int64[count] that belong to each instruction; they sum to `timeline.cycles`.

    A cycle in which no engine is busy belongs to the next instruction to be, and at the end to the
    last one.
    """
    edges = distinct(np.concatenate([timeline.start, timeline.end, [0, timeline.cycles]]))
    cycles = np.zeros(len(timeline.end), np.int64)
    np.add.at(cycles, owners_at(timeline, edges[:-1]), np.diff(edges))
    return cycles


def owners_at(timeline: Timeline, at: Ints) -> Ints:
    """The instruction that each of these cycles belongs to."""
    owner = upcoming(timeline, at)
    for name in reversed(PRECEDENCE):
        queue = np.flatnonzero(timeline.engine == core.ENGINES.index(name))
        if len(queue):
            owner = np.where(active(timeline, queue, at), current(timeline, queue, at), owner)
    return owner


def upcoming(timeline: Timeline, at: Ints) -> Ints:
    """The instruction on an engine that is the first to start at or after each time."""
    engine = np.flatnonzero(timeline.engine >= 0)
    if len(engine) == 0:
        return np.zeros(len(at), np.int64) + len(timeline.end) - 1
    ordered = engine[np.argsort(timeline.start[engine], kind="stable")]
    last = engine[np.argmax(timeline.end[engine])]
    position = np.searchsorted(timeline.start[ordered], at)
    return np.asarray(np.append(ordered, last)[position])


def current(timeline: Timeline, queue: Ints, at: Ints) -> Ints:
    """The last instruction of an engine that has started by each time, or else its first one."""
    position = np.searchsorted(timeline.start[queue], at, side="right") - 1
    return np.asarray(queue[np.maximum(position, 0)])


def active(timeline: Timeline, queue: Ints, at: Ints) -> npt.NDArray[np.bool_]:
    """Whether the engine is busy at each time."""
    found = current(timeline, queue, at)
    return np.asarray((timeline.start[found] <= at) & (at < timeline.end[found]))


def node_index(debug: images.Debug | None, count: int) -> tuple[Ints, list[str]]:
    """Per instruction the row of a per-node table int64[count], and the rows' labels.

    The last row is for instructions that have no node. Labels are what the debug map calls nodes,
    each once.
    """
    if debug is None:
        return np.zeros(count, np.int64), [""]
    labels = list(dict.fromkeys(debug.nodes))
    position = {label: row for row, label in enumerate(labels)}
    table = np.array([*(position[label] for label in debug.nodes), len(labels)], np.int64)
    return table[np.asarray(debug.node_of, np.int64)], [*labels, ""]


def per_node(rows: Ints, values: Ints, nodes: int) -> Ints:
    """Sums int64[nodes] of values of instructions."""
    sums = np.zeros(nodes, np.int64)
    np.add.at(sums, rows, values)
    return sums
