"""From a Graph after assign_layout to the levels below it."""

from functools import cache
from pathlib import Path

from dnncc import targets
from dnncc.codegen.image import image
from dnncc.codegen.stream import Stream
from dnncc.frontend.importer import import_model
from dnncc.ir.graph import Graph
from dnncc.ir.tile import TileProgram
from dnncc.isa.image import Image
from dnncc.passes.allocate import allocate
from dnncc.passes.assign_layout import assign_layout
from dnncc.passes.canonicalize import canonicalize
from dnncc.passes.choose_mapping import choose_mapping
from dnncc.passes.context import Context
from dnncc.passes.emit import emit
from dnncc.passes.fold_constants import fold_constants
from dnncc.passes.fuse import fuse
from dnncc.passes.legalize import legalize
from dnncc.passes.pack_parameters import pack_parameters
from dnncc.passes.partition import partition
from dnncc.passes.place_buffers import place_buffers
from dnncc.passes.reorder_ops import reorder_ops
from dnncc.passes.synchronize import synchronize
from dnncc.passes.tile_loops import tile_loops
from dnncc.targets import Target
from tests.models import find_model

ODD = str(Path(__file__).parents[1] / "targets" / "odd-13x7.toml")
TARGETS = {"eyeriss-like": "eyeriss-like", "tpu-like": "tpu-like", "odd-13x7": ODD}

FRONT = (fold_constants, canonicalize, legalize, fuse, partition, assign_layout)
MAPPED = (pack_parameters, reorder_ops, place_buffers, choose_mapping)


def target(name: str) -> Target:
    return targets.load(TARGETS[name])


@cache
def front(model: str) -> Graph:
    """A model after assign_layout; skips the test where there is no such model."""
    graph = import_model(find_model(model))
    for run_pass in FRONT:
        graph = run_pass(graph, Context())
    return graph


def tiled(graph: Graph, target: Target) -> TileProgram:
    """After tile_loops: nothing has an address yet but what is resident."""
    ctx = Context(target)
    for run_pass in MAPPED:
        graph = run_pass(graph, ctx)
    return tile_loops(graph, ctx)


@cache
def tiled_model(model: str, name: str) -> TileProgram:
    return tiled(front(model), target(name))


def emitted(graph: Graph, target: Target) -> Stream:
    """Instructions without waits."""
    ctx = Context(target)
    return emit(allocate(tiled(graph, target), ctx), ctx)


def compiled(graph: Graph, target: Target) -> Image:
    stream = synchronize(emitted(graph, target), Context(target))
    return image(stream, target, "test", {})
