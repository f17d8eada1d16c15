"""After it, every group carries its mapping: tile sizes, loop order, residency, slots."""

from dataclasses import replace

from ..diagnostics import CompileError
from ..ir.graph import Graph, Node
from ..mapping.cost import Problem
from ..mapping.lowering import workload
from ..mapping.search import NoMapping, search
from .context import Context, target_of


PRICED = (4, 16, 64, 512)
"""Mappings that the array's model prices, of each kind, by the effort of the context."""


def choose_mapping(graph: Graph, ctx: Context) -> Graph:
    nodes = tuple(mapped(n, graph, ctx) if n.op == "group" else n for n in graph.nodes)
    return replace(graph, nodes=nodes)


def mapped(group: Node, graph: Graph, ctx: Context) -> Node:
    target = target_of(ctx)
    ctx.budget.check("choose_mapping", ", ".join(group.loc))
    problem = Problem(workload(group, graph, target), graph, target, group.attrs["free"])
    try:
        mapping = search(problem, PRICED[ctx.effort])
    except NoMapping as shortage:
        raise CompileError(
            f"does not fit target '{target.name}' in any tiling: {shortage}",
            node=", ".join(group.loc),
            hint="give the target more scratchpad",
        ) from None
    return replace(group, attrs={**group.attrs, "mapping": mapping.to_attr()})
