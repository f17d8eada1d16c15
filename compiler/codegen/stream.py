"""The Tile program as instruction records, each with its place in program order and its origin."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from dnncc.isa import control, program
from dnncc.targets import Target

from ..ir.tile import Compute, HostCall, Load, Step, Store, TileProgram, Unrolled, size_of
from . import dma, tensor, vector
from .ahead import brought_forward, in_order
from .interleave import beside
from .locate import Site
from .queue import Queue

Emit = Callable[[Site, Any, Any], Any]

COMPUTE: Mapping[str, Emit] = {
    "tensor": tensor.emit,
    "requantize": vector.requantize,
    "residual": vector.residual,
    "elementwise": vector.elementwise,
    "map": vector.map_,
    "pool": vector.pool,
    "reduce": vector.reduce,
}


class Piece(Struct, frozen=True):
    """Records of one class: their places in program order, int64[n], the nest and the step."""

    records: Any
    order: Any
    nest: int
    step: str


def emit_step(site: Site, step: Step, env: Any) -> Any:
    if isinstance(step, Load):
        return dma.load(site, step, env)
    if isinstance(step, Store):
        return dma.store(site, step, env)
    if isinstance(step, HostCall):
        return control.Host.records(1, part=step.part)
    return COMPUTE[step.op](site, step, env)


def describe(step: Step) -> str:
    if isinstance(step, Load):
        return f"load {step.out.buffer} <- {step.out.tensor}"
    if isinstance(step, Store):
        tensor, buffer = step.source.tensor, step.source.buffer
        return f"store {tensor} <- {buffer}" if buffer else f"store {tensor}"
    return step.op if isinstance(step, Compute) else "host"


def pieces(tile: TileProgram, target: Target) -> list[Piece]:
    """All instructions of the program but the closing Halt, without waits; places are 0, 1, ..."""
    made: list[Piece] = []
    on_array: list[tuple[Compute, Any]] = []
    starts = [0, *accumulate(size_of(nest.body) for nest in tile.nests)]
    items: list[Unrolled] = []
    queue = Queue.of(target)
    for number, nest in enumerate(tile.nests):
        site = Site(tile.graph, target, nest, {b.name: b for b in nest.buffers})
        before, items = items, list(in_order(nest, target))
        if nest.beside:
            items = list(beside(items, before, tile.graph))
        early = brought_forward(items, site.buffers, starts[: number + 2 - nest.beside])
        for item in queue.brought_forward(early, nest, starts[number], tile.graph):
            made += emitted(site, item, number)
            if isinstance(item.step, Compute) and item.step.op == "tensor":
                on_array.append((item.step, made[-1].records))
    tensor.map_tiles(target, on_array)
    return renumbered([p for p in made if len(p.order)])


def emitted(site: Site, item: Unrolled, number: int) -> Iterator[Piece]:
    """Of one step; a load into a ring is up to two instructions, one behind the other."""
    step, origin = item.step, (number, describe(item.step))
    if isinstance(step, Load) and site.buffers[step.out.buffer].ring:
        for records, kept in dma.rolled(site, step, item.env):
            yield Piece(records, item.order[kept], *origin)
    else:
        yield Piece(emit_step(site, step, item.env), item.order, *origin)


def renumbered(made: list[Piece]) -> list[Piece]:
    """The same order, without the gaps that left-out iterations leave."""
    order = np.concatenate([p.order for p in made]) if made else np.zeros(0, np.int64)
    rank = np.empty(len(order), np.int64)
    rank[np.argsort(order, kind="stable")] = np.arange(len(order))
    ends = np.cumsum([len(p.order) for p in made])
    return [
        replace(p, order=rank[end - len(p.order) : end]) for p, end in zip(made, ends, strict=True)
    ]


class Stream(Struct, frozen=True, dict=True):
    """The whole program as records, the closing Halt included, and what its tiles lie in.

    `tile` is the Tile program it came from; `nest_of` says for each instruction its nest, int64[n].
    """

    tile: TileProgram
    pieces: tuple[Piece, ...]

    @property
    def count(self) -> int:
        return sum(len(p.order) for p in self.pieces)

    @cached_property
    def nest_of(self) -> npt.NDArray[np.int64]:
        out = np.zeros(self.count, np.int64)
        for item in self.pieces:
            out[item.order] = item.nest
        return out

    @cached_property
    def text(self) -> bytes:
        """The instructions, encoded."""
        return program.Program.encode([(p.order, p.records) for p in self.pieces])

    @cached_property
    def decoded(self) -> program.Program:
        """What a decoder makes of them. Raises IsaError where that is not legal."""
        return program.Program.decode(self.text)


def stream(tile: TileProgram, target: Target) -> Stream:
    made = pieces(tile, target)
    end = sum(len(p.order) for p in made)
    halt = Piece(control.Halt.records(1), np.array([end]), len(tile.nests) - 1, "halt")
    return Stream(tile, (*made, halt))
