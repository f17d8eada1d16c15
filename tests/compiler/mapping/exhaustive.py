"""Every mapping of a space, simulated: what the search should have found."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from msgspec.structs import replace
from onnx import ModelProto

from dnncc.diagnostics import Remarks
from dnncc.driver import importing, lower, until
from dnncc.ir.graph import Graph, Node
from dnncc.mapping.cost import Problem
from dnncc.mapping.lowering import workload
from dnncc.mapping.mapping import Mapping
from dnncc.mapping.objective import search_for
from dnncc.mapping.rounds import everything, space
from dnncc.mapping.search import Found, options_of, to_mapping
from dnncc.mapping.space import some
from dnncc.options import Options
from dnncc.passes.choose_mapping import PRICED
from dnncc.passes.pipeline import PIPELINE, find
from dnncc.runtime.timing import simulate
from dnncc.targets import Target, load


@dataclass(frozen=True)
class Candidate:
    """A mapping, and the cycles of the simulation of its program."""

    mapping: Mapping
    simulated: int


@dataclass(frozen=True)
class Space:
    """All mappings of a model of one layer that fit."""

    model: ModelProto
    target: str
    level: int = 2

    @cached_property
    def options(self) -> Options:
        return Options(target=self.target, level=self.level, verify=False, cache=False)

    @cached_property
    def machine(self) -> Target:
        return load(self.target)

    @cached_property
    def graph(self) -> Graph:
        """With the mapping that the search has chosen."""
        steps = (
            importing(self.model, self.options, Remarks()),
            *until("choose_mapping", PIPELINE),
        )
        made: Any = lower(None, steps, self.options)
        return made  # type: ignore[no-any-return]

    @cached_property
    def group(self) -> Node:
        (group,) = (n for n in self.graph.nodes if n.op == "group")
        return group

    @cached_property
    def problem(self) -> Problem:
        load = workload(self.group, self.graph, self.machine)
        return Problem(load, self.graph, self.machine, self.group.attrs["free"])

    @property
    def chosen(self) -> Mapping:
        return Mapping.from_attr(self.group.attrs["mapping"])

    def cycles(self, mapping: Mapping) -> int:
        """Of the whole program, in the simulator."""
        group = replace(self.group, attrs={**self.group.attrs, "mapping": mapping.to_attr()})
        nodes = tuple(group if n is self.group else n for n in self.graph.nodes)
        rest = PIPELINE[PIPELINE.index(find("choose_mapping")) + 1 :]
        stream: Any = lower(replace(self.graph, nodes=nodes), rest, self.options)
        return simulate(stream.decoded, self.machine).cycles

    def every(self) -> Iterator[Mapping]:
        problem = self.problem
        options = options_of(problem)
        columns = some(*space(problem, options)).steps
        for choice in options:
            for tile in everything(problem, [choice], columns).tile.tolist():
                yield to_mapping(problem, choice, {v: int(s[tile]) for v, s in columns.items()})

    def mappings(self) -> Iterator[Mapping]:
        """Each different one once."""
        seen: set[str] = set()
        for mapping in self.every():
            if repr(mapping) not in seen:
                seen.add(repr(mapping))
                yield mapping

    @property
    def found(self) -> Found:
        """The chosen mapping, and what the search takes it for."""
        return search_for("latency", self.problem, PRICED[self.options.level])

    def candidates(self) -> list[Candidate]:
        return [Candidate(m, self.cycles(m)) for m in self.mappings()]
