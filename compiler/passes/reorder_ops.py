"""After it, nodes are in the order that needs the least memory for activations at its peak.

Among orders that need the same, the one that was given stays.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from ..ir.graph import Graph, Node
from ..memory.lifetimes import storage, storage_bytes
from .context import Context

BEAM = 256
"""Partial orders kept per step; beyond it the least peaks go on."""

PROVED = 20
"""Nodes up to which the result is optimal, in all graphs; in larger ones it is where there never
are more partial orders than are kept."""


class State(NamedTuple):
    """A set of nodes that have run, in some order."""

    peak: int
    live: int
    order: tuple[int, ...]


States = dict[frozenset[int], State]


def reorder_ops(graph: Graph, ctx: Context) -> Graph:
    problem = Lifetimes(graph)
    given = problem.peak(range(len(graph.nodes)))
    if given <= problem.least:
        return graph
    order = best_order(problem)
    if problem.peak(order) >= given:
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
        self.least = max((sum(self.bytes[r] for r in t) for t in self.touched), default=0)

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
    order = optimal(problem)
    if order is not None:
        return order
    order = likely(problem)
    return order if len(problem.needs) > PROVED else proved(problem, order)


def optimal(problem: Lifetimes) -> tuple[int, ...] | None:
    """None where there are more partial orders than are kept."""
    states: States = {frozenset(): State(0, 0, ())}
    for _ in problem.needs:
        states = expand(problem, states)
        if len(states) > BEAM:
            return None
    return next(iter(states.values())).order


def likely(problem: Lifetimes) -> tuple[int, ...]:
    """Harmless nodes go first, or many that could run at any time would fill what is kept."""
    states: States = {frozenset(): State(0, 0, ())}
    for _ in problem.needs:
        states = beam(expand(problem, states, eager=True))
    return next(iter(states.values())).order


def proved(problem: Lifetimes, order: tuple[int, ...]) -> tuple[int, ...]:
    """The order, or one of a lower peak if there is any: no partial order is left out that could
    become one."""
    most = problem.peak(order)
    states: States = {frozenset(): State(0, 0, ())}
    for _ in problem.needs:
        if most <= problem.least:
            return order
        reached = expand(problem, states, eager=True)
        states = {done: state for done, state in reached.items() if state.peak < most}
    return next((state.order for state in states.values()), order)


def expand(problem: Lifetimes, states: States, eager: bool = False) -> States:
    """All sets with one node more; with `eager`, of a state that has one only a harmless node."""
    found: States = {}
    for done, state in states.items():
        for new in steps(problem, done, state, eager):
            key = done | {new.order[-1]}
            if key not in found or new < found[key]:
                found[key] = new
    return found


def steps(problem: Lifetimes, done: frozenset[int], state: State, eager: bool) -> list[State]:
    """A state for each node that can run next.

    A node that raises neither the peak nor what lives after it is harmless: it does so at no later
    time either, when as much is born and no less dies, so that no order is worse for it now.
    """
    found = []
    for index, needs in enumerate(problem.needs):
        if index in done or not needs <= done:
            continue
        during, live = problem.step(done, state.live, index)
        new = State(max(state.peak, during), live, (*state.order, index))
        if eager and during <= state.peak and live <= state.live:
            return [new]
        found.append(new)
    return found


def beam(states: States) -> States:
    if len(states) <= BEAM:
        return states
    return dict(sorted(states.items(), key=lambda item: item[1])[:BEAM])
