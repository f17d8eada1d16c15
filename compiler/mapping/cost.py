"""What candidate tilings cost: bytes per scratchpad, DMA, array and vector cycles; all vectorised.

The array is priced by the target's dataflow and the rest by targets/cost.py, as in the simulator.
"""

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.targets import Channel, Engine, Target, cost, dataflow
from dnncc.targets.floor import link as link_of

from ..ir.graph import Graph, Tensor
from .array import macs
from .given import ANY, Given
from .space import Fill, Loops, once, product_of, trips
from .workload import Access, StepSpec, Workload

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Steps = Mapping[str, Ints]


class Route(Struct, frozen=True):
    """How an operand goes between DRAM and its scratchpad: by an engine, over a channel, which is
    the `link` of that number; `port` bytes a cycle in the scratchpad. A `constant` may come before
    the group begins."""

    access: Access
    engine: Engine
    channel: Channel
    link: int
    port: float
    stores: bool
    constant: bool

    @property
    def latency(self) -> int:
        """Cycles to its first byte."""
        return cost.first_byte(self.channel, self.stores)


class Problem(Struct, frozen=True, dict=True):
    """A workload on a target, with the scratchpad bytes that are free for its tiles, and what is
    given of its mapping."""

    load: Workload
    graph: Graph
    target: Target
    free: Mapping[str, int]
    given: Given = ANY

    def moves(self, access: Access) -> bool:
        """Whether tiles of it go through DMA; a psum, or a resident tensor, stays where it is."""
        tensor = "" if access.within else access.tensor
        return bool(tensor) and self.graph.tensors[tensor].memory == "dram"

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """Of all operands that are moved."""
        return tuple(route(self, a) for a in self.load.accesses() if self.moves(a))

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """All that the choice of a mapping depends on, beside the target."""
        tensors = (self.graph.tensors[a.tensor] if a.tensor else None for a in self.load.accesses())
        fixed = self.graph.constants.keys()
        places = tuple(
            (t.memory, t.dtype.str, layout(t), t.name in fixed) if t else () for t in tensors
        )
        shapes = tuple(
            (a.role, a.kind, a.box, a.dtype.str, a.apart, a.within, a.ring)
            for a in self.load.accesses()
        )
        numbers = tuple(
            (s.op, s.apart, *(s.attrs.get(name) for name in PRICED_BY)) for s in self.load.steps()
        )
        load = self.load
        dims, limits = tuple(load.dims.items()), tuple(load.limits.items())
        loops = (dims, limits, load.reduction, load.single, load.orders)
        return (loops, shapes, places, numbers, tuple(self.free.items()), self.first, self.alone)

    @cached_property
    def first(self) -> bool:
        """Whether no group comes before it, beside which its constants could be loaded."""
        group = next((n for n in self.graph.nodes if n.op == "group"), None)
        return group is None or self.load.result.tensor in group.outputs

    @cached_property
    def at_work(self) -> int:
        """Cycles of the array, were every PE always busy."""
        return macs(self.load) // self.target.pes

    @cached_property
    def alone(self) -> bool:
        """Whether no other group overlaps with its ends."""
        return sum(n.op == "group" for n in self.graph.nodes) == 1

    @cached_property
    def tight(self) -> bool:
        return is_tight(self.target)

    @property
    def fill(self) -> Fill:
        """What fills the array."""
        model, array = dataflow.model(self.target), self.target.array
        block = array.rows if self.tight and self.load.inner else 0
        return Fill(array.rows if model.TAPS_ON_ROWS else 0, block)

    def buffered(self, access: Access) -> bool:
        """Whether it has a tile buffer of its own."""
        if access.within or access is self.load.result and self.in_place:
            return False
        return not access.tensor or self.moves(access)

    @cached_property
    def buffers(self) -> tuple[tuple[Access, str], ...]:
        """The operands that have one, and the scratchpads that these are in."""
        kinds: Any = [(a, a.kind) for a in self.load.accesses() if self.buffered(a)]
        return tuple((access, self.target.memory_for(kind).name) for access, kind in kinds)

    @cached_property
    def psums_apart(self) -> bool:
        """Whether there are psums, and nothing else is in their memory."""
        return self.load.psum is not None and self.target.memory_for("psum").holds == ("psum",)

    @cached_property
    def in_place(self) -> bool:
        """Results take the place of their psums: as narrow or narrower, and in the same order, no
        result is written where a psum is still to be read."""
        psum, result = self.load.psum, self.load.result
        if psum is None or not self.moves(result):
            return False
        memories = {self.target.memory_for(k).name for k in ("psum", "ofmap")}
        return len(memories) == 1 and [d.terms for d in psum.box] == [d.terms for d in result.box]


def route(problem: Problem, access: Access) -> Route:
    target, stores = problem.target, access is problem.load.result
    kind: Any = access.kind
    engine = target.store_engine(kind) if stores else target.load_engine(kind)
    channel, port = target.channel_of(engine.name), target.memory_for(kind).bytes_per_cycle
    constant = not stores and access.tensor in problem.graph.constants
    number = link_of(target, channel, stores)
    return Route(access, engine, channel, number, port, stores, constant)


def is_tight(target: Target) -> bool:
    """Whether the memory of ifmaps is less than what DRAM sends in its latency."""
    link = target.channel_of(target.load_engine("ifmap").name)
    return link.latency_cycles * link.bytes_per_cycle > target.memory_for("ifmap").bytes


PRICED_BY = ("op", "r", "s", "stride_y", "stride_x", "dilation_y", "dilation_x", "ifmap_axes")
"""What a step's cost depends on beside the tile's size."""


def layout(tensor: Tensor) -> tuple[int, ...]:
    """The strides of a tensor in DRAM, in elements: its view's, or row-major."""
    if tensor.view is not None:
        return tensor.view.strides
    return tuple(math.prod(tensor.shape[i + 1 :]) for i in range(len(tensor.shape)))


def storage_order(strides: tuple[int, ...]) -> tuple[int, ...]:
    """Dimensions from the outermost in storage to the innermost."""
    return tuple(sorted(range(len(strides)), key=lambda i: (-strides[i], i)))


def repetitions(access: Access, choice: Loops, count: Steps) -> Ints:
    """How often its tiles are loaded: once per iteration of the loops down to its innermost own."""
    whole = access.role in choice.resident
    key = "repetitions", access.role, choice.order, whole
    return once(count, key, lambda: repeated(access, choice.order, whole, count))


def repeated(access: Access, order: tuple[str, ...], whole: bool, count: Steps) -> Ints:
    own = frozenset() if whole else access.variables()
    total: Any = 1
    begun: Any = False
    for var in reversed(order):
        if var in access.apart:
            continue
        if var in own:
            begun = begun | (count[var] > 1)
        if begun is not False:
            total = total * np.where(begun, count[var], 1)
    return np.asarray(total, np.int64)


def held(access: Access, whole: bool, steps: Steps) -> tuple[Any, ...]:
    """What one load of it brings: its largest tile, or all of a resident operand."""
    if whole:
        return tuple(d.bound for d in access.box)
    return access.held_shape(steps)


def elements(shape: tuple[Any, ...]) -> Ints:
    total: Any = np.int64(1)
    for size in shape:
        total = total * np.asarray(size, np.int64)
    return np.asarray(total)


def times(apart: tuple[str, ...], choice: Loops, count: Steps) -> Ints:
    """How often goes on what is in all loops but these."""
    key = "times", apart, choice.order
    return once(count, key, lambda: product_of(count, set(choice.order).difference(apart)))


def runs(load: Workload, spec: StepSpec, choice: Loops, count: Steps) -> Ints:
    """How often a step is done."""
    made = load.prepared(spec)
    return repetitions(made, choice, count) if made else times(spec.apart, choice, count)


def stored(problem: Problem, choice: Loops, count: Steps) -> Ints:
    return times(problem.load.reduction, choice, count)


def filled(load: Workload, steps: Steps, variables: Iterable[str]) -> npt.NDArray[np.float64]:
    """How full tiles are on average: the last one along a loop may be smaller."""
    own = frozenset(variables).intersection(steps)
    return once(steps, ("filled", own), lambda: part_of(load, steps, own))


def part_of(load: Workload, steps: Steps, own: frozenset[str]) -> npt.NDArray[np.float64]:
    full = product_of(steps, own) * product_of(trips(load, steps), own)
    return np.asarray(math.prod(load.dims[v] for v in own) / full)
