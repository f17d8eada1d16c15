"""After it, every group carries its mapping: tile sizes, loop order, residency, slots."""

from dataclasses import dataclass, field, replace
from typing import Any

from dnncc.targets import Target

from ..diagnostics import CompileError
from ..ir.graph import Graph, Node
from ..mapping.cache import Cache, open_cache
from ..mapping.cost import Problem
from ..mapping.given import ANY, Given, check
from ..mapping.lowering import workload
from ..mapping.mapping import Mapping
from ..mapping.nodes import assigned
from ..mapping.objective import search_for
from ..mapping.search import NoMapping, NoRoom
from ..memory.lifetimes import lifetimes, storage_bytes
from .context import Context, target_of

PRICED = (4, 16, 64, 512)
"""Mappings that the array's model prices, of each kind, by the effort of the context."""


def choose_mapping(graph: Graph, ctx: Context) -> Graph:
    check_dram(graph, target_of(ctx))
    given = assigned(graph, ctx.mapping)
    known = Known(open_cache(ctx.cache, target_of(ctx), ctx.effort, ctx.goal))
    nodes = tuple(
        mapped(n, graph, ctx, given.get(n.outputs[0], ANY), known) if n.op == "group" else n
        for n in graph.nodes
    )
    known.cache.save()
    return replace(graph, nodes=nodes)


def check_dram(graph: Graph, target: Target) -> None:
    """What is alive at once, with the constants, fits."""
    spans = {r: s for r, s in lifetimes(graph).items() if graph.tensors[r].memory == "dram"}
    constants = sum(value.nbytes for value in graph.constants.values())
    for index, node in enumerate(graph.nodes):
        alive = (r for r, (first, last) in spans.items() if first <= index <= last)
        total = constants + sum(storage_bytes(graph, root) for root in alive)
        if total > target.dram.bytes:
            raise CompileError(
                f"needs {total} bytes of DRAM, target '{target.name}' has {target.dram.bytes}",
                node=", ".join(node.loc),
                hint="give the target more DRAM",
            )


@dataclass(frozen=True, slots=True)
class Known:
    """What was chosen before: in this graph, as networks repeat their blocks, and by earlier
    compilations."""

    cache: Cache
    here: dict[tuple[Any, ...], Mapping] = field(default_factory=dict)

    def get(self, problem: Problem) -> Mapping | None:
        return self.here.get(problem.key()) or self.cache.find(problem)

    def add(self, problem: Problem, chosen: Mapping) -> None:
        self.cache.add(problem, chosen)
        self.here[problem.key()] = chosen


def mapped(group: Node, graph: Graph, ctx: Context, given: Given, known: Known) -> Node:
    target = target_of(ctx)
    ctx.budget.check("choose_mapping", ", ".join(group.loc))
    problem = Problem(workload(group, graph, target), graph, target, group.attrs["free"], given)
    chosen = known.get(problem) if given is ANY else forced(problem, ctx)
    if chosen is None:
        chosen = found(problem, group, ctx)
        known.add(problem, chosen)
    return replace(group, attrs={**group.attrs, "mapping": chosen.to_attr()})


def found(problem: Problem, group: Node, ctx: Context) -> Mapping:
    try:
        return search_for(ctx.goal, problem, PRICED[ctx.effort])
    except NoMapping as hindrance:
        raise CompileError(
            f"does not fit target '{problem.target.name}' in any tiling: {hindrance}",
            node=", ".join(group.loc),
            hint="give the target more scratchpad",
        ) from None


def forced(problem: Problem, ctx: Context) -> Mapping:
    """With what is given fixed, and the rest searched."""
    given, whole = problem.given, {m.name: m.bytes for m in problem.target.memories}
    check(problem)
    try:
        return search_for(ctx.goal, problem, PRICED[ctx.effort])
    except NoMapping as hindrance:
        refusal = given.refusal("", f"cannot be mapped so: {hindrance}")
        if isinstance(hindrance, NoRoom) and any(problem.free[m] < b for m, b in whole.items()):
            refusal.hint = "--disable-pass place_buffers gives tiles all of the memory"
        raise refusal from None
