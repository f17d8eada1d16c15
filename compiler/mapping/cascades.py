"""What neighbouring groups cost one by one, and as a cascade.

One by one with what would stay on chip; as a cascade with all scratchpads for its tiles. Of each
size of slices and strips a first guess is made, and the best of these are searched as other groups
are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from dnncc.targets import Target

from ..ir.graph import Graph, Node
from ..ops.cascade import Chain, chain_of, hidden_channels, merged, repeated_rows
from .asking import Asking, Known, together
from .cost import Problem
from .lowering import workload
from .objective import searching_for
from .pool import CYCLE_SLACK
from .rounds import ROUNDS
from .search import Found, footprint_of
from .smallest import NoMapping

LARGEST_SLICE = 128
SLICES, STRIPS = 4, 3
"""Sizes of which a first guess is made."""

TRIED = 2
"""Of the guesses, those that are searched; they must not be worse than the layers one by one by
more than GUESSED."""

GUESSED = 1.1
GUESSES = 4
"""Kinds of tilings that the array's model prices for a guess."""


class Option(Struct, frozen=True):
    """Neighbouring groups as one node, or one as it is, and what that costs."""

    node: Node
    found: Found


class Prices(Struct, frozen=True):
    """Of groups of a graph: alone, as it is `placed`, and together, as it is `open`, where nothing
    stays on chip. `searched` are mappings of the problems met so far, at the given `limit`, `known`
    what the array's model has said."""

    graph: Graph
    placed: Graph
    open: Graph
    target: Target
    goal: str
    limit: int
    searched: dict[Any, Found]
    known: Known
    guesses: dict[Any, Found] = field(default_factory=dict)

    def alone(self, run: Sequence[int]) -> list[Option]:
        """Those of them that have a mapping."""
        problems = [self.problem(self.placed.nodes[place], self.placed) for place in run]
        pairs = zip(run, self.search(problems), strict=True)
        return [Option(self.graph.nodes[place], found) for place, found in pairs if found]

    def together(self, singles: Sequence[Option]) -> Option | None:
        """The best cascade of these neighbours; None where they had better be none."""
        nodes = [single.node for single in singles]
        chain = chain_of([node.body[0] for node in nodes], self.open.tensors)
        if chain is None:
            return None
        wholes = [merged(nodes, sizes) for sizes in self.sizes(chain, singles)]
        guesses = self.options(wholes, singles, GUESSED)[:TRIED]
        options = self.options([option.node for option in guesses], singles, CYCLE_SLACK)
        return options[0] if options else None

    def options(
        self, nodes: Sequence[Node], singles: Sequence[Option], slack: float
    ) -> list[Option]:
        """The cascades that are better than these one by one, but for the slack; the best first."""
        problems = [self.problem(node, self.open) for node in nodes]
        found = self.search(problems, rough=slack == GUESSED)
        able = [
            mapped(node, problem, one)
            for node, problem, one in zip(nodes, problems, found, strict=True)
            if one and self.pays(one, singles, slack)
        ]
        return sorted(able, key=lambda option: self.cost(option.found, singles))

    def sizes(self, chain: Chain, singles: Sequence[Option]) -> Iterator[dict[str, int]]:
        """Slices and strips that divide the hidden channels, and the rows. For latency, none where
        halo rows alone would keep the array for longer than the layers take."""
        tensors = self.open.tensors
        slices = divisors(hidden_channels(chain, tensors), LARGEST_SLICE)[:SLICES]
        if chain.expand is None:
            yield from ({"slice": size} for size in slices)
            return
        array, cycles = (total(singles, of) for of in ("array", "cycles"))
        rows = tensors[chain.spatial.outputs[0]].shape[2]
        for size, strip in product(slices, divisors(rows, rows)[:STRIPS]):
            slowed = array * repeated_rows(chain, tensors, strip)
            if self.goal != "latency" or slowed <= CYCLE_SLACK * cycles:
                yield {"slice": size, "strip": strip}

    def problem(self, node: Node, graph: Graph) -> Problem:
        load = workload(node, graph, self.target)
        room = {memory.name: memory.bytes for memory in self.target.memories}
        return Problem(load, graph, self.target, node.attrs.get("free", room))

    def search(self, problems: Sequence[Problem], rough: bool = False) -> list[Found | None]:
        """The best mappings, or first guesses of them; None where there is none."""
        met = self.guesses if rough else self.searched
        limit, rounds = (GUESSES, 1) if rough else (self.limit, ROUNDS)
        keys = [problem.key for problem in problems]
        fresh = {k: p for k, p in zip(keys, problems, strict=True) if k not in met}
        asked = (or_none(searching_for(self.goal, p, limit, rounds)) for p in fresh.values())
        made = dict(zip(fresh, together(asked, self.target, self.known), strict=True))
        met.update((key, found) for key, found in made.items() if found)
        return [met.get(key) for key in keys]

    def cost(self, found: Found, singles: Sequence[Option]) -> float:
        """What is to be small: cycles, energy, or the shares of both of what the singles take."""
        if self.goal != "edp":
            return float(found.cycles if self.goal == "latency" else found.energy)
        energy, cycles = (total(singles, of) for of in ("energy", "cycles"))
        return found.energy / energy + found.cycles / cycles

    def pays(self, found: Found, singles: Sequence[Option], slack: float = CYCLE_SLACK) -> bool:
        """Whether it is better than these one by one, but for the slack; for latency also with
        fewer bytes."""
        if self.goal == "latency" and found.bytes >= total(singles, "bytes"):
            return False
        alone = {"latency": "cycles", "energy": "energy"}
        worst = total(singles, alone[self.goal]) if self.goal in alone else 2.0
        return self.cost(found, singles) <= slack * worst


def or_none(asking: Asking[Found]) -> Asking[Found | None]:
    try:
        return (yield from asking)
    except NoMapping:
        return None


def mapped(node: Node, problem: Problem, found: Found) -> Option:
    """A cascade with its mapping, and the room that this needs."""
    needs = footprint_of(problem, found.mapping)
    attrs = {"cascade": node.attrs["cascade"], "needs": needs, "mapping": found.mapping.to_attr()}
    return Option(replace(node, attrs=attrs), found)


def total(options: Sequence[Option], of: str) -> float:
    return float(sum(getattr(option.found, of) for option in options))


def divisors(number: int, most: int) -> list[int]:
    """Some that are at most `most`, from the largest on, each at most two thirds of the last."""
    found: list[int] = []
    for size in range(min(number, most), 0, -1):
        if number % size == 0 and (not found or 3 * size <= 2 * found[-1]):
            found.append(size)
    return found
