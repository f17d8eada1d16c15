"""After it, nodes are in the order that needs the least memory for activations at its peak.

Among orders that need the same, the one that was given stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..ir.graph import Graph, Node
from ..memory.lifetimes import storage, storage_bytes
from .context import Context

BEAM = 256
"""Partial orders kept per step: with fewer ready sets than this, as in all small graphs, the result
is optimal; beyond it the least peaks go on."""


class State(NamedTuple):
    """A set of nodes that have run, in some order."""

    peak: int
    live: int
    order: tuple[int, ...]


def reorder_ops(graph: Graph, ctx: Context) -> Graph:
    problem = Lifetimes(graph)
    order = best_order(problem)
    if problem.peak(order) >= problem.peak(range(len(graph.nodes))):
        return graph
    return replace(graph, nodes=tuple(graph.nodes[i] for i in order))


class Lifetimes:
    """Who needs whom, and what each node brings to life and is the last to need.

    A storage lives from the first node that writes any view of it to the last that reads one.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        producer = {o: i for i, n in enumerate(graph.nodes) for o in n.outputs if o}
        self.needs = [
            {producer[i] for i in n.inputs if i in producer} - {k}
            for k, n in enumerate(graph.nodes)
        ]
        self.touched = [self.roots(n) for n in graph.nodes]
        self.users: dict[str, set[int]] = {}
        for index, roots in enumerate(self.touched):
            for root in roots:
                self.users.setdefault(root, set()).add(index)
        self.kept = {storage(graph, o) for o in graph.outputs}
        self.bytes = {r: storage_bytes(graph, r) for r in self.users}

    def roots(self, node: Node) -> set[str]:
        names = (*node.inputs, *node.outputs)
        return {storage(self.graph, i) for i in names if i and i not in self.graph.constants}

    def step(self, done: frozenset[int], live: int, index: int) -> tuple[int, int]:
        """(bytes while node `index` runs, bytes after it) when `done` have run before."""
        born = sum(self.bytes[r] for r in self.touched[index] if not self.users[r] & done)
        after = done | {index}
        dead = sum(
            self.bytes[r]
            for r in self.touched[index]
            if self.users[r] <= after and r not in self.kept
        )
        return live + born, live + born - dead

    def peak(self, order: Sequence[int]) -> int:
        done: frozenset[int] = frozenset()
        peak = live = 0
        for index in order:
            during, live = self.step(done, live, index)
            peak, done = max(peak, during), done | {index}
        return peak


def best_order(problem: Lifetimes) -> tuple[int, ...]:
    """Breadth first over sets of nodes that have run: for one set, only the least peak matters."""
    states: Mapping[frozenset[int], State] = {frozenset(): State(0, 0, ())}
    for _ in problem.needs:
        states = beam(expand(problem, states))
    return next(iter(states.values())).order


def expand(
    problem: Lifetimes, states: Mapping[frozenset[int], State]
) -> dict[frozenset[int], State]:
    found: dict[frozenset[int], State] = {}
    for done, state in states.items():
        for index, needs in enumerate(problem.needs):
            if index in done or not needs <= done:
                continue
            during, live = problem.step(done, state.live, index)
            new = State(max(state.peak, during), live, (*state.order, index))
            key = done | {index}
            if key not in found or new < found[key]:
                found[key] = new
    return found


def beam(states: dict[frozenset[int], State]) -> Mapping[frozenset[int], State]:
    if len(states) <= BEAM:
        return states
    return dict(sorted(states.items(), key=lambda item: item[1])[:BEAM])
