"""After it, every group carries its mapping: tile sizes, loop order, residency, slots."""

from dataclasses import replace
from typing import Any

from dnncc.targets import Target

from ..diagnostics import CompileError
from ..ir.graph import Graph, Node
from ..mapping.cost import Problem
from ..mapping.lowering import workload
from ..mapping.mapping import Mapping
from ..mapping.search import NoMapping, search
from ..memory.lifetimes import lifetimes, storage_bytes
from .context import Context, target_of

PRICED = (4, 16, 64, 512)
"""Mappings that the array's model prices, of each kind, by the effort of the context."""


def choose_mapping(graph: Graph, ctx: Context) -> Graph:
    check_dram(graph, target_of(ctx))
    known: dict[tuple[Any, ...], Mapping] = {}
    nodes = tuple(mapped(n, graph, ctx, known) if n.op == "group" else n for n in graph.nodes)
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


def mapped(group: Node, graph: Graph, ctx: Context, known: dict[tuple[Any, ...], Mapping]) -> Node:
    """`known` holds what was chosen before, as networks repeat their blocks."""
    target = target_of(ctx)
    ctx.budget.check("choose_mapping", ", ".join(group.loc))
    problem = Problem(workload(group, graph, target), graph, target, group.attrs["free"])
    key = problem.key()
    try:
        if key not in known:
            known[key] = search(problem, PRICED[ctx.effort])
    except NoMapping as shortage:
        raise CompileError(
            f"does not fit target '{target.name}' in any tiling: {shortage}",
            node=", ".join(group.loc),
            hint="give the target more scratchpad",
        ) from None
    return replace(group, attrs={**group.attrs, "mapping": known[key].to_attr()})
