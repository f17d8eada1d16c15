"""The binary's parts: code, constants, symbols, host models, and each instruction's origin."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dnncc.isa import core
from dnncc.isa import image as isa
from dnncc.targets import Target
from dnncc.targets.floor import total

from ..ir import heads
from ..ir.graph import Array, Graph, Node, Tensor
from ..mapping.asking import Known
from ..mapping.bound import floors
from ..mapping.cost import layout
from ..mapping.workload import scratchpad_dtype
from ..memory.fifo import fifo_of
from ..memory.lifetimes import storage
from ..memory.units import Units, units_of
from .stream import Stream

Ints = npt.NDArray[np.int64]


def image(
    stream: Stream, target: Target, tool: str, options: dict[str, Any], known: Known | None = None
) -> isa.Image:
    """`known` is what the array's model has said of tiles."""
    graph = stream.tile.graph
    rodata = constants(graph)
    return isa.Image(
        text=stream.text,
        rodata=rodata,
        dram_bytes=dram_bytes(graph, len(rodata)),
        target=target.dumps(),
        symbols=tuple(symbols(graph, target)),
        host=tuple(host_part(n, graph) for n in graph.nodes if n.op == "host"),
        debug=debug(stream, target, known),
        tool=tool,
        options=options,
    )


def constants(graph: Graph) -> bytes:
    """Every constant that has an address, in the order of its view, padded to whole lines."""
    placed = {k: v for k, v in graph.constants.items() if graph.tensors[k].address >= 0}
    end = max((graph.tensors[k].address + v.nbytes for k, v in placed.items()), default=0)
    out = np.zeros(-(-end // isa.DRAM_ALIGN) * isa.DRAM_ALIGN, np.uint8)
    for name, value in placed.items():
        start = graph.tensors[name].address
        out[start : start + value.nbytes] = stored(value, graph.tensors[name])
    return out.tobytes()


def stored(value: Array, tensor: Tensor) -> Array:
    """The bytes of a constant, its elements in the order in which they are stored."""
    order = sorted(range(value.ndim), key=lambda i: (-layout(tensor)[i], i))
    return np.ascontiguousarray(value.transpose(order)).reshape(-1).view(np.uint8)


def dram_bytes(graph: Graph, start: int) -> int:
    ends = [
        t.address + t.size * t.dtype.itemsize
        for n, t in graph.tensors.items()
        if t.address >= 0 and t.memory == "dram" and is_root(n, t)
    ]
    return -(-max([start, *ends]) // isa.DRAM_ALIGN) * isa.DRAM_ALIGN


def is_root(name: str, tensor: Tensor) -> bool:
    return tensor.view is None or tensor.view.root == name


def symbols(graph: Graph, target: Target) -> list[isa.Symbol]:
    """Inputs and outputs in the model's order, then every other value that lies in a memory."""
    others = [n for n in graph.tensors if n not in graph.inputs and n not in graph.outputs]
    kinds = [("input", n) for n in graph.inputs] + [("output", n) for n in graph.outputs]
    kinds += [("tensor", n) for n in others if has_place(graph, n)]
    return [symbol(graph.tensors[name], kind, target) for kind, name in kinds]


def has_place(graph: Graph, name: str) -> bool:
    tensor = graph.tensors[name]
    return tensor.address >= 0 and tensor.view is not None and name not in graph.constants


def symbol(tensor: Tensor, kind: str, target: Target) -> isa.Symbol:
    memory = next((m.id for m in target.memories if m.name == tensor.memory), 0)
    first = tensor.view.offset if tensor.view else 0
    quant = tensor.quant
    dtype = scratchpad_dtype(tensor.dtype, target) if memory else tensor.dtype
    return isa.Symbol(
        tensor.name,
        kind,
        dtype.name,
        tensor.shape,
        layout(tensor),
        memory,
        tensor.address + first * dtype.itemsize,
        float(quant.scale[0]) if quant else 0.0,
        int(quant.zero[0]) if quant else 0,
        head(tensor, first, target),
        tensor.real,
    )


def head(tensor: Tensor, first: int, target: Target) -> isa.Head | None:
    """What of a tensor, whose view begins `first` elements behind its storage, is on chip."""
    if tensor.head is None or not (count := heads.leading(tensor, tensor.head.elements)):
        return None
    memory = next(m.id for m in target.memories if m.name == tensor.head.memory)
    dtype = scratchpad_dtype(tensor.dtype, target)
    address = tensor.head.address + first * dtype.itemsize
    return isa.Head(memory, address, dtype.name, heads.outermost(tensor), count)


def host_part(node: Node, graph: Graph) -> isa.HostPart:
    from ..host.export import export_host  # most networks need no host

    inputs = tuple(i for i in node.inputs if i and i not in graph.constants)
    reasons = tuple(zip(node.attrs["refused"], node.attrs["reason"], strict=True))
    return isa.HostPart(export_host(node, graph), inputs, node.outputs, reasons)


def debug(stream: Stream, target: Target, known: Known | None) -> isa.Debug:
    nodes = [" + ".join(n.loc) for n in stream.tile.nests]
    steps = list(dict.fromkeys(p.step for p in stream.pieces))
    node_of = np.zeros(stream.count, np.int32)
    step_of = np.zeros(stream.count, np.int32)
    for piece in stream.pieces:
        node_of[piece.order] = piece.nest
        step_of[piece.order] = steps.index(piece.step)
    tables = tuple(units(stream, target)), tuple(nest_floors(stream, target, known))
    return isa.Debug(tuple(nodes), tuple(steps), node_of, step_of, *tables)


def nest_floors(stream: Stream, target: Target, known: Known | None) -> Iterator[isa.Floor]:
    """Of each nest of loops the least that its nodes take, in the first nest that has them."""
    graph = stream.tile.graph
    least = floors(graph, target, known)
    left = list(zip((frozenset(n.loc) for n in graph.nodes), least, strict=True))
    for nest in stream.tile.nests:
        names = frozenset(nest.loc)
        yield total(floor for own, floor in left if own <= names)
        left = [(own, floor) for own, floor in left if not own <= names]


def units(stream: Stream, target: Target) -> Iterator[isa.Unit]:
    """What each byte is for, and when; the model's inputs and outputs are kept throughout."""
    table, graph, held = units_of(stream, target), stream.tile.graph, tensors_of(stream.tile.graph)
    pinned = {root for root, names in held.items() if {*graph.inputs, *graph.outputs} & {*names}}
    begin, end = nest_spans(stream)
    columns = (table.memory, table.start, table.stop, table.first, table.last)
    queue = next((m.id for m in target.memories if m.name == fifo_of(target)), None)
    used = None if queue is None else spans_of(stream, table, queue)
    for number, name in enumerate(table.names):
        memory, start, stop, *nests = (int(column[number]) for column in columns)
        alive = slice(nests[0], nests[1] + 1)
        ends = int(begin[alive].min()), int(end[alive].max())
        if used and memory == queue:
            ends = int(used[0][number]), int(used[1][number])
        ends = (0, stream.count - 1) if name in pinned else ends
        if ends[0] <= ends[1]:
            yield isa.Unit(name, memory, start, stop, *ends, held.get(name, ()))


def spans_of(stream: Stream, table: Units, memory: int) -> tuple[Ints, Ints]:
    """The first and the last instruction that touch each unit of a memory of weights, int64[units];
    none of what nothing touches."""
    first = np.full(len(table.names), stream.count)
    last = np.full(len(table.names), -1)
    for piece in stream.pieces:
        fields = piece.records.dtype.names
        field = "weight" if "weight" in fields else "spad"
        if field in fields:
            where, start = core.split_address(piece.records[field].astype(np.int64))
            unit = table.find_in(piece.nest, where, start)
            known = (where == memory) & (unit >= 0)
            np.minimum.at(first, unit[known], piece.order[known])
            np.maximum.at(last, unit[known], piece.order[known])
    return first, last


def nest_spans(stream: Stream) -> tuple[Ints, Ints]:
    """The first and the last instruction of each nest, int64[nests]: it begins behind the one
    before, though some of its constants may have been loaded earlier."""
    end = np.full(len(stream.tile.nests), -1, np.int64)
    np.maximum.at(end, stream.nest_of, np.arange(stream.count))
    return np.append(0, np.maximum.accumulate(end)[:-1] + 1), end


def tensors_of(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Per storage the tensors that are views of it and have a symbol."""
    held: dict[str, tuple[str, ...]] = {}
    for name in graph.tensors:
        if has_place(graph, name):
            root = storage(graph, name)
            held[root] = (*held.get(root, ()), name)
    return held
