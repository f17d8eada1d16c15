"""After it, every group carries its mapping: tile sizes, loop order, residency, slots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from dnncc.targets import Target

from ..diagnostics import CompileError
from ..ir.graph import Graph, Node
from ..mapping.asking import Asking, together
from ..mapping.cache import Cache, open_cache
from ..mapping.cost import Problem
from ..mapping.given import ANY, check
from ..mapping.lowering import workload
from ..mapping.mapping import Mapping, Priced
from ..mapping.nodes import assigned
from ..mapping.objective import search_for, searching_for
from ..mapping.search import Found
from ..mapping.smallest import NoMapping, NoRoom
from ..memory.lifetimes import lifetimes, storage_bytes
from .context import Context, target_of

Key = tuple[Any, ...]
Problems = dict[str, tuple[Node, Problem]]
Known = dict[Key, Priced]

PRICED = (4, 16, 512, 4096)
"""Mappings that the array's model prices, of each kind, by the effort of the context."""


def choose_mapping(graph: Graph, ctx: Context) -> Graph:
    check_dram(graph, target_of(ctx))
    cache = open_cache(ctx.cache, target_of(ctx), ctx.effort, ctx.goal)
    problems = dict(problems_of(graph, ctx))
    known = chosen_for(problems.values(), ctx, cache)
    cache.save()
    made = {name: mapped(*asked, ctx, known) for name, asked in problems.items()}
    nodes = (made.get(n.outputs[0], n) if n.op == "group" else n for n in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


def problems_of(graph: Graph, ctx: Context) -> Iterator[tuple[str, tuple[Node, Problem]]]:
    """By the result of each group; a cascade has a mapping, unless another is given."""
    given, target = assigned(graph, ctx.mapping), target_of(ctx)
    for group in (n for n in graph.nodes if n.op == "group"):
        name, load = group.outputs[0], workload(group, graph, target)
        if "mapping" in group.attrs and name not in given:
            continue
        yield name, (group, Problem(load, graph, target, group.attrs["free"], given.get(name, ANY)))


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


def chosen_for(asked: Iterable[tuple[Node, Problem]], ctx: Context, cache: Cache) -> Known:
    """By the key of each problem of which nothing is given: networks repeat their blocks, and
    earlier compilations may have met them."""
    known: Known = {}
    fresh: dict[Key, tuple[Node, Problem]] = {}
    for group, problem in asked:
        key = problem.key
        if problem.given is not ANY or key in known or key in fresh:
            continue
        kept = cache.find(problem)
        if kept is None and key in ctx.searched:
            kept = Priced(ctx.searched[key].mapping, ctx.searched[key].cycles)
            cache.add(problem, kept)
        if kept is None:
            fresh[key] = group, problem
        else:
            known[key] = kept
    searches = (finding(*open_, ctx) for open_ in fresh.values())
    found = together(searches, target_of(ctx), ctx.known)
    misfits = [made for made in found if isinstance(made, Misfit)]
    if misfits:
        raise misfits[0].with_others(misfits[1:])
    for (_, problem), chosen in zip(fresh.values(), found, strict=True):
        assert not isinstance(chosen, Misfit)
        key = problem.key
        ctx.searched[key], known[key] = chosen, Priced(chosen.mapping, chosen.cycles)
        cache.add(problem, known[key])
    return known


class Misfit(CompileError):
    """No tiling of a group fits the target. `reasons` are told by ONNX node, of all such groups."""

    def __init__(self, group: Node, message: str) -> None:
        hint = "give the target more scratchpad"
        super().__init__(message, node=", ".join(group.loc), hint=hint)
        self.reasons = dict.fromkeys(group.loc, self.message)

    def with_others(self, others: Iterable[Misfit]) -> Misfit:
        for other in others:
            self.reasons |= other.reasons
        return self


def finding(group: Node, problem: Problem, ctx: Context) -> Asking[Found | Misfit]:
    ctx.budget.check("choose_mapping", ", ".join(group.loc))
    try:
        return (yield from searching_for(ctx.goal, problem, PRICED[ctx.effort]))
    except NoMapping as hindrance:
        name = problem.target.name
        return Misfit(group, f"does not fit target '{name}' in any tiling: {hindrance}")


def mapped(group: Node, problem: Problem, ctx: Context, known: Known) -> Node:
    chosen = known[problem.key].mapping if problem.given is ANY else forced(problem, ctx)
    return replace(group, attrs={**group.attrs, "mapping": chosen.to_attr()})


def forced(problem: Problem, ctx: Context) -> Mapping:
    """With what is given fixed, and the rest searched."""
    ctx.budget.check("choose_mapping")
    given, whole = problem.given, {m.name: m.bytes for m in problem.target.memories}
    check(problem)
    try:
        return search_for(ctx.goal, problem, PRICED[ctx.effort]).mapping
    except NoMapping as hindrance:
        refusal = given.refusal("", f"cannot be mapped so: {hindrance}")
        if isinstance(hindrance, NoRoom) and any(problem.free[m] < b for m, b in whole.items()):
            refusal.hint = "--disable-pass place_buffers gives tiles all of the memory"
        raise refusal from None
