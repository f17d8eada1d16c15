"""The passes, in order."""

import sys
from collections.abc import Callable
from typing import Any

from ..codegen.stream import Stream
from ..ir.graph import Graph
from ..ir.tile import TileProgram
from .allocate import allocate
from .assign_layout import assign_layout
from .canonicalize import canonicalize
from .choose_mapping import choose_mapping
from .context import Context
from .fold_constants import fold_constants
from .fuse import fuse
from .legalize import legalize
from .pack_parameters import pack_parameters
from .partition import partition
from .place_buffers import place_buffers
from .reorder_ops import reorder_ops
from .synchronize import synchronize

GRAPH_PASSES: tuple[Callable[[Graph, Context], Graph], ...] = (
    fold_constants,
    canonicalize,
    legalize,
    fuse,
    partition,
    assign_layout,
    pack_parameters,
    reorder_ops,
    place_buffers,
    choose_mapping,
)
TILE_PASSES: tuple[Callable[[TileProgram, Context], TileProgram], ...] = (allocate,)
STREAM_PASSES: tuple[Callable[[Stream, Context], Stream], ...] = (synchronize,)
"""Between the levels: `tile_loops` makes the Tile program, `emit` the instruction stream."""


def passes() -> list[tuple[str, str]]:
    """(name, first line of what is true after it) of every pass, in order."""
    from .emit import emit
    from .tile_loops import tile_loops

    order = (*GRAPH_PASSES, tile_loops, *TILE_PASSES, emit, *STREAM_PASSES)
    return [(p.__name__, summary_of(p)) for p in order]


def summary_of(run_pass: Any) -> str:
    """The first sentence of the pass's module."""
    text = " ".join((sys.modules[run_pass.__module__].__doc__ or "").split())
    return text.partition(". ")[0].rstrip(".")
