"""After it, activations that can stay on chip all their life do.

`Tensor.memory` and `address` say where, from the node that makes it to the last that reads it; and
every group knows, in its attribute `free`, how many bytes at the bottom of each scratchpad are left
for its tiles.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from dnncc.targets import Target

from ..ir.graph import Graph, Node
from ..ir.tile import SLOT_ALIGN
from ..mapping.cost import Problem
from ..mapping.given import Given, check
from ..mapping.lowering import workload
from ..mapping.nodes import assigned
from ..mapping.smallest import smallest
from ..mapping.workload import scratchpad_dtype
from ..memory.lifetimes import lifetimes, storage
from .context import Context, target_of

TILE_SHARE = 0.35
"""Of a scratchpad, what stays free for tiles while anything is resident."""


class Resident(Struct, frozen=True):
    """Storage `root` in bytes [address, address + size), alive in nodes first..last."""

    root: str
    memory: str
    address: int
    size: int
    first: int
    last: int


def place_buffers(graph: Graph, ctx: Context) -> Graph:
    """Residents give way to the tiles of mappings that are given, which may need more room."""
    target, given = target_of(ctx), assigned(graph, ctx.mapping)
    needs = [smallest_tiles(n, graph, target) for n in graph.nodes]
    while True:
        marked = mark(graph, residents(graph, needs, target), target)
        short = crowded(marked, given, target)
        if not short:
            return marked
        needs = [short.get(i, need) for i, need in enumerate(needs)]


def residents(graph: Graph, needs: list[Mapping[str, int]], target: Target) -> list[Resident]:
    """As many as leave room for what the tiles of each node need."""
    placed: list[Resident] = []
    for candidate in candidates(graph, target):
        fitted = fit(candidate, placed, needs, target)
        if fitted is not None:
            placed.append(fitted)
    return placed


def crowded(
    graph: Graph, given: Mapping[str, Given], target: Target
) -> dict[int, Mapping[str, int]]:
    """Nodes whose given mappings need more of a memory than residents leave, and what they need.

    Where it is more than the whole memory, residents are not to blame. Raises CompileError where a
    node cannot have what is given.
    """
    found: dict[int, Mapping[str, int]] = {}
    for index, node in enumerate(graph.nodes):
        if wish := given.get(node.outputs[0]):
            free = node.attrs["free"]
            problem = Problem(workload(node, graph, target), graph, target, free, wish)
            check(problem)
            need = smallest(problem)
            if any(free[m.name] < need.get(m.name, 0) <= m.bytes for m in target.memories):
                found[index] = need
    return found


def nothing_resident(graph: Graph, ctx: Context) -> Graph:
    """In place of `place_buffers`: activations are in DRAM, and groups have all scratchpads."""
    return mark(graph, [], target_of(ctx))


def smallest_tiles(node: Node, graph: Graph, target: Target) -> Mapping[str, int]:
    """Of a cascade, the tiles with which it is worth it."""
    if node.op != "group":
        return {}
    if "needs" in node.attrs:
        needs: Mapping[str, int] = node.attrs["needs"]
        return needs
    whole = {m.name: m.bytes for m in target.memories}
    return smallest(Problem(workload(node, graph, target), graph, target, whole))


def in_dram(graph: Graph, target: Target) -> set[str]:
    """Storages that must be in DRAM: the model's inputs and outputs, what the host touches, and
    weights that are computed, if those have a memory of their own."""
    names = [*graph.inputs, *graph.outputs]
    apart = target.memory_for("weight") != target.memory_for("ofmap")
    for node in graph.nodes:
        if node.op == "host":
            names += [i for i in (*node.inputs, *node.outputs) if i]
        names += [n.inputs[1] for n in node.body if apart and n.op in ("conv2d", "matmul")]
    return {storage(graph, n) for n in names}


def candidates(graph: Graph, target: Target) -> list[Resident]:
    """Storages that may be resident; the shortest lives and the largest bytes first."""
    memory = target.memory_for("ofmap").name
    if memory != target.memory_for("ifmap").name:
        return []
    barred, spans = in_dram(graph, target), lifetimes(graph)
    found = []
    for root, (first, last) in spans.items():
        tensor = graph.tensors[root]
        size = tensor.size * scratchpad_dtype(tensor.dtype, target).itemsize
        size = -(-size // SLOT_ALIGN) * SLOT_ALIGN
        if root not in barred:
            found.append(Resident(root, memory, -1, size, first, last))
    return sorted(found, key=lambda r: (r.last - r.first, -r.size, r.first))


def fit(
    new: Resident, placed: list[Resident], needs: list[Mapping[str, int]], target: Target
) -> Resident | None:
    """`new` at the highest address that is free in all its life, or None if tiles need the room."""
    memory = next(m for m in target.memories if m.name == new.memory)
    rivals = [p for p in placed if p.first <= new.last and new.first <= p.last]
    top = memory.bytes // SLOT_ALIGN * SLOT_ALIGN
    for rival in sorted(rivals, key=lambda p: -(p.address + p.size)):
        if rival.address + rival.size <= top - new.size:
            break
        top = min(top, rival.address)
    address = top - new.size
    nodes = range(new.first, new.last + 1)
    room = max((needs[i].get(new.memory, 0) for i in nodes), default=0)
    if address < max(room, TILE_SHARE * memory.bytes):
        return None
    return replace(new, address=address)


def mark(graph: Graph, placed: list[Resident], target: Target) -> Graph:
    where = {p.root: p for p in placed}
    tensors = dict(graph.tensors)
    for name, tensor in tensors.items():
        if name not in graph.constants and (home := where.get(storage(graph, name))):
            tensors[name] = replace(tensor, memory=home.memory, address=home.address)
    nodes = tuple(
        with_free(node, [p for p in placed if p.first <= i <= p.last], target)
        for i, node in enumerate(graph.nodes)
    )
    return replace(graph, tensors=tensors, nodes=nodes)


def with_free(node: Node, alive: list[Resident], target: Target) -> Node:
    if node.op != "group":
        return node
    free = {m.name: m.bytes for m in target.memories}
    for resident in alive:
        free[resident.memory] = min(free[resident.memory], resident.address)
    return replace(node, attrs={**node.attrs, "free": free})
