"""After it, every tile buffer has an address in its scratchpad, and every storage one in DRAM."""

from dataclasses import replace

from dnncc.targets import Target

from ..ir.graph import Graph
from ..ir.tile import Buffer, Nest, TileProgram
from ..memory.arena import Block, pack
from ..memory.lifetimes import lifetimes, storage, storage_bytes
from .context import Context, target_of

DRAM_ALIGN = 64


def allocate(program: TileProgram, ctx: Context) -> TileProgram:
    free = [n.attrs["free"] if n.op == "group" else {} for n in program.graph.nodes
            if n.op in ("group", "host")]  # fmt: skip
    nests = tuple(
        replace(nest, buffers=from_the_top(nest, room) if i % 2 else from_the_bottom(nest))
        for i, (nest, room) in enumerate(zip(program.nests, free, strict=True))
    )
    return TileProgram(place_in_dram(program.graph, target_of(ctx)), nests)


def from_the_bottom(nest: Nest) -> tuple[Buffer, ...]:
    """Buffers of neighbouring nests start from opposite ends, so that the next can fill its own."""
    used: dict[str, int] = {}
    placed = []
    for buffer in nest.buffers:
        address = used.get(buffer.memory, 0)
        placed.append(replace(buffer, address=address))
        used[buffer.memory] = address + buffer.bytes
    return tuple(placed)


def from_the_top(nest: Nest, free: dict[str, int]) -> tuple[Buffer, ...]:
    left = {m: b // DRAM_ALIGN * DRAM_ALIGN for m, b in free.items()}
    total: dict[str, int] = {}
    for buffer in nest.buffers:
        total[buffer.memory] = total.get(buffer.memory, 0) + buffer.bytes
    if any(total[m] > left[m] for m in total):
        return from_the_bottom(nest)
    placed = []
    for buffer in nest.buffers:
        left[buffer.memory] -= buffer.bytes
        placed.append(replace(buffer, address=left[buffer.memory]))
    return tuple(placed)


def loaded_constants(graph: Graph) -> list[str]:
    """Constants that groups read, in order."""
    names = [i for n in graph.nodes if n.op == "group" for i in n.inputs if i in graph.constants]
    unused = {
        b.inputs[2]
        for n in graph.nodes
        for b in n.body
        if len(b.inputs) > 2 and "params" in b.attrs
    }
    return [n for n in dict.fromkeys(names) if n not in unused]


def place_in_dram(graph: Graph, target: Target) -> Graph:
    """Constants first, then the activations, whose storage is used again when they are dead."""
    address = 0
    tensors = dict(graph.tensors)
    for name in loaded_constants(graph):
        tensors[name] = replace(tensors[name], address=address)
        address += -(-storage_bytes(graph, name) // DRAM_ALIGN) * DRAM_ALIGN
    arena = pack(activation_blocks(graph), DRAM_ALIGN)
    for name, tensor in graph.tensors.items():
        root = storage(graph, name)
        if root in arena:
            tensors[name] = replace(tensor, address=address + arena[root])
    return replace(graph, tensors=tensors)


def activation_blocks(graph: Graph) -> list[Block]:
    """Storages in DRAM with their lives; the model's inputs and outputs live throughout."""
    last = len(graph.nodes)
    pinned = {storage(graph, n) for n in (*graph.inputs, *graph.outputs)}
    spans = lifetimes(graph)
    blocks = []
    for root in dict.fromkeys((*sorted(pinned), *spans)):
        if graph.tensors[root].memory != "dram" or root in graph.constants:
            continue
        first, end = (0, last) if root in pinned else spans[root]
        blocks.append(Block(root, storage_bytes(graph, root), first, end))
    return blocks
