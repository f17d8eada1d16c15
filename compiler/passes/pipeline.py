"""The passes, in order: a list that the driver walks."""

import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from ..codegen.stream import Stream
from ..diagnostics import CompileError
from ..ir.graph import Graph
from ..ir.tile import TileProgram
from .allocate import allocate
from .assign_layout import assign_layout
from .attach_lanes import attach_lanes
from .canonicalize import canonicalize
from .cascade import cascade
from .choose_mapping import choose_mapping
from .context import Context
from .copy_shuffles import copy_shuffles
from .emit import emit
from .fold_constants import fold_constants
from .form_regions import form_regions
from .fuse import fuse, singletons
from .interleave_shuffles import interleave_shuffles
from .keep_parts import keep_parts
from .legalize import legalize
from .lower_floats import lower_floats
from .overlap_lanes import overlap_lanes
from .overlap_siblings import overlap_siblings
from .pack_parameters import pack_parameters
from .part_pools import part_pools
from .partition import partition
from .place_buffers import nothing_resident, place_buffers
from .prefetch import prefetch
from .quantize_outside import quantize_outside
from .recenter import recenter
from .reorder_ops import reorder_ops
from .synchronize import one_by_one, synchronize
from .tile_loops import tile_loops

Program = Graph | TileProgram | Stream
Run = Callable[[Any, Context], Any]


class Level(StrEnum):
    """What a program is: nodes on tensors, loops over tiles, instructions."""

    GRAPH = "graph"
    TILE = "tile"
    STREAM = "stream"


LEVELS: dict[type, Level] = {
    Graph: Level.GRAPH,
    TileProgram: Level.TILE,
    Stream: Level.STREAM,
}


class Pass(Struct, frozen=True):
    """`run` takes a program of level `takes`, and makes one of `level`.

    `instead` runs where the pass is left out, so that the program stays legal; where there is no
    such thing, `needed` is the reason.
    """

    name: str
    run: Run
    level: Level
    takes: Level | None
    instead: Run | None = None
    needed: str = ""

    @property
    def truth(self) -> str:
        """What is true after it: the first sentence of its module."""
        text = " ".join((sys.modules[self.run.__module__].__doc__ or "").split())
        return text.partition(". ")[0].rstrip(".")


def unchanged(program: Any, ctx: Context) -> Any:
    return program


def within(level: Level, run: Run, instead: Run | None = None, needed: str = "") -> Pass:
    """A pass from a level to the same, named as its function."""
    return Pass(run.__name__, run, level, level, instead, needed)


PIPELINE: tuple[Pass, ...] = (
    within(Level.GRAPH, fold_constants, unchanged),
    within(Level.GRAPH, recenter, unchanged),
    within(Level.GRAPH, canonicalize, unchanged),
    within(Level.GRAPH, legalize, unchanged),
    within(Level.GRAPH, lower_floats, unchanged),
    within(Level.GRAPH, quantize_outside, unchanged),
    within(Level.GRAPH, form_regions, unchanged),
    within(Level.GRAPH, fuse, singletons),
    within(Level.GRAPH, partition, needed="ONNX nodes would be left that nothing runs"),
    within(Level.GRAPH, interleave_shuffles, unchanged),
    within(Level.GRAPH, assign_layout, needed="values would have no place in memory"),
    within(Level.GRAPH, pack_parameters, needed="the engines read biases and scales as tables"),
    within(Level.GRAPH, copy_shuffles, unchanged),
    within(Level.GRAPH, reorder_ops, unchanged),
    within(Level.GRAPH, cascade, unchanged),
    within(Level.GRAPH, part_pools, unchanged),
    within(Level.GRAPH, attach_lanes, unchanged),
    within(Level.GRAPH, place_buffers, nothing_resident),
    within(Level.GRAPH, overlap_lanes, unchanged),
    within(Level.GRAPH, overlap_siblings, unchanged),
    within(Level.GRAPH, choose_mapping, needed="loops are tiled as the mapping says"),
    Pass("tile_loops", tile_loops, Level.TILE, Level.GRAPH, needed="what follows works on loops"),
    within(Level.TILE, prefetch, unchanged),
    within(Level.TILE, allocate, needed="instructions address memory"),
    within(Level.TILE, keep_parts, unchanged),
    Pass("emit", emit, Level.STREAM, Level.TILE, needed="a binary holds instructions"),
    within(Level.STREAM, synchronize, one_by_one),
)

IMPORT = "import"
"""The name of the step before the first pass: the model becomes a Graph."""


def find(name: str, steps: Sequence[Pass] = PIPELINE) -> Pass:
    """The pass of that name. Raises CompileError, which lists them."""
    for step in steps:
        if step.name == name:
            return step
    known = ", ".join(step.name for step in steps)
    raise CompileError(f"there is no pass '{name}'", hint=f"the passes are {known}")


def check_names(names: Iterable[str], steps: Sequence[Pass] = PIPELINE) -> None:
    """Raises CompileError for a name that is neither a pass, `import` nor `all`."""
    for name in names:
        if name not in (IMPORT, "all"):
            find(name, steps)


def check_optional(names: Iterable[str], steps: Sequence[Pass] = PIPELINE) -> None:
    """Raises CompileError for a pass that cannot be left out, with the reason."""
    for step in [find(name, steps) for name in names]:
        if step.instead is None:
            raise CompileError(f"pass '{step.name}' cannot be left out: {step.needed}")


def level_of(program: Program) -> Level:
    return LEVELS[type(program)]
