"""What each node of a graph takes at least on a target, however it is tiled, ordered and buffered.

* Array: the fewest cycles that the dataflow needs over all tilings and parameters, were memory
  infinite and as fast as wished. Tiles come back to back, so that one fills the array while the one
  before drains. Splitting pixels only repeats work: only channels and groups are split.
* DRAM: constants once, by the first node that reads them; the model's inputs and outputs, and what
  the host makes or takes, once; and feature maps that cannot stay on chip, as they are made in one
  scratchpad and read from another, are written once and read once. Others may stay, whole or in
  strips.
* A cascade takes what its layers take; the maps that it keeps on chip are in no sum.
* Layer by layer, what of a feature map no scratchpad can hold is also written once and read once.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from dnncc.isa.image import Floor
from dnncc.targets import Memory, Target
from dnncc.targets.floor import link, links

from ..ir.graph import Graph, Node
from ..memory.lifetimes import storage
from ..ops.cascade import split
from .array import array_parts
from .asking import Asking, Known, alone, together
from .cost import Problem
from .given import ANY, Given
from .lanes import fewest_vector_cycles
from .lowering import workload
from .space import tilings
from .workload import Access, Workload, scratchpad_dtype

PIXELS = ("n", "p", "q")


def floors(graph: Graph, target: Target, known: Known | None = None) -> list[Floor]:
    """One per node of the graph, in its order; nothing for nodes that are no group. `known` is what
    the array's model has said of tiles."""
    groups = [node for node in graph.nodes if node.op == "group"]
    layers = {n.outputs[0]: workload(n, graph, target) for g in groups for n in layers_of(g)}
    keys = {name: Problem(load, graph, target, {}).key for name, load in layers.items()}
    fewest = fewest_of({key: layers[name] for name, key in keys.items()}, target, known)
    whole = layers | {g.outputs[0]: workload(g, graph, target) for g in groups if is_cascade(g)}
    traffic, found = Traffic(graph, target, [whole[g.outputs[0]] for g in groups]), list[Floor]()
    for node in graph.nodes:
        names = [n.outputs[0] for n in layers_of(node)] if node.op == "group" else []
        array = sum(fewest[keys[name]] for name in names)
        vector = sum(fewest_vector_cycles(layers[name], target) for name in names)
        moved = traffic.of(whole[node.outputs[0]]) if names else ()
        found.append(Floor(array, vector, *moved) if names else Floor())
    return found


def layers_of(node: Node) -> Iterator[Node]:
    """The group, or the layers of a cascade, each as a group."""
    if not is_cascade(node):
        yield replace(node, attrs={})
        return
    (*first, last), epilogue = split(node.body)
    for body in (*((conv,) for conv in first), (last, *epilogue)):
        yield replace(node, outputs=body[-1].outputs, body=body, attrs={})


def is_cascade(node: Node) -> bool:
    return "cascade" in node.attrs


# Engines


def fewest_of(
    layers: Mapping[tuple[Any, ...], Workload], target: Target, known: Known | None
) -> dict[tuple[Any, ...], int]:
    """`fewest_cycles` of layers by what they depend on. Each is found once: networks repeat their
    blocks, and more than one pass asks."""
    known = {} if known is None else known
    fresh = [key for key in layers if key not in known]
    cycles = together((asked_fewest_cycles(layers[key]) for key in fresh), target, known)
    known.update((key, [least]) for key, least in zip(fresh, cycles, strict=True))
    return {key: known[key][0] for key in layers}


def fewest_cycles(load: Workload, target: Target, given: Given | None = None) -> int:
    return alone(asked_fewest_cycles(load, given), target)


def asked_fewest_cycles(load: Workload, given: Given | None = None) -> Asking[int]:
    """Cycles of the array from a layer's first weight to its last psum, by the best mapping.

    `given` fixes tile sizes; without it all pixels are in one tile. 0 without a step on the array.
    """
    steps = tilings(load, whole_pixels(load) if given is None else given)
    total = np.zeros((), np.int64)
    for part in array_parts(load, steps):
        phases = yield part.work
        total = total + phases.repeated(part.tiles)
    return int(total.min())


def whole_pixels(load: Workload) -> Given:
    """Tiles of all pixels, or as many of them as an instruction can take."""
    dims = {v: load.dims[v] for v in PIXELS if v in load.dims}
    pieces = {v: -(-extent // load.most(v)) for v, extent in dims.items()}
    return replace(ANY, steps={v: -(-extent // pieces[v]) for v, extent in dims.items()})


# DRAM


class Traffic(Struct):
    """The bytes that must cross each DRAM link, group by group in the graph's order; `seen` are the
    storages that a memory has been given, where each is on chip, or counted, from then on. What is
    `outside` comes from DRAM or goes there; what is `apart` is read from a memory that it is not
    made in."""

    graph: Graph
    target: Target
    loads: list[Workload]
    seen: set[tuple[str, str]] = field(default_factory=set)
    outside: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        graph = self.graph
        names = [*graph.inputs, *graph.outputs]
        for node in graph.nodes:
            if node.op == "host":
                names += [n for n in (*node.inputs, *node.outputs) if n]
        self.outside = frozenset(storage(graph, n) for n in names if n not in graph.constants)
        read = (a for load in self.loads for a in load.inputs if not self.made_there(a))
        self.apart = frozenset(self.root(a) for a in read)

    def of(self, load: Workload) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Bytes per link that one group must move; and those that it also moves layer by layer."""
        moved, spilled = [0] * links(self.target), [0] * links(self.target)
        for access in self.fresh(load):
            if self.must_move(load, access):
                moved[self.link(load, access)] += self.bytes(access)
            else:
                spilled[self.link(load, access)] += self.too_much(access)
        return tuple(moved), tuple(spilled)

    def must_move(self, load: Workload, access: Access) -> bool:
        if access.tensor in self.graph.constants or self.root(access) in self.outside:
            return True
        needed = access is load.result or not self.made_there(access)
        return needed and self.root(access) in self.apart

    def fresh(self, load: Workload) -> Iterator[Access]:
        """The result, and operands that no group has read before from the same memory."""
        yield load.result
        for access in load.inputs:
            name = access.tensor if access.tensor in self.graph.constants else self.root(access)
            place = name, self.memory(access).name
            if place not in self.seen:
                self.seen.add(place)
                yield access

    def root(self, access: Access) -> str:
        return storage(self.graph, access.tensor)

    def bytes(self, access: Access) -> int:
        tensor = self.graph.tensors[access.tensor]
        return tensor.size * tensor.dtype.itemsize

    def memory(self, access: Access) -> Memory:
        kind: Any = access.kind
        return self.target.memory_for(kind)

    def made_there(self, access: Access) -> bool:
        """Whether it is read from the memory that results are made in."""
        return self.memory(access) == self.target.memory_for("ofmap")

    def too_much(self, access: Access) -> int:
        """Bytes of a map for which the scratchpad that results are made in has no room."""
        tensor = self.graph.tensors[self.root(access)]
        itemsize = scratchpad_dtype(tensor.dtype, self.target).itemsize
        room = self.target.memory_for("ofmap").bytes // itemsize
        return max(self.bytes(access) - room * tensor.dtype.itemsize, 0)

    def link(self, load: Workload, access: Access) -> int:
        target, stores = self.target, access is load.result
        kind: Any = access.kind
        engine = target.store_engine(kind) if stores else target.load_engine(kind)
        return link(target, target.channel_of(engine.name), stores)
