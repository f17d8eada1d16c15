"""From a model to an Artifact: the levels and their passes, in order."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from onnx import ModelProto

from dnncc import targets
from dnncc.isa import asm, elf
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.targets import Target

from . import __version__
from .codegen.image import image
from .diagnostics import CompileError
from .frontend.importer import import_model
from .ir.graph import Graph
from .ir.tile import TileProgram
from .ir.verify import verify
from .options import Options
from .passes.context import Context
from .passes.emit import emit
from .passes.pipeline import GRAPH_PASSES, STREAM_PASSES, TILE_PASSES
from .passes.tile_loops import tile_loops


@dataclass(frozen=True)
class Artifact:
    """A compiled model: the binary's contents, and the last Graph and Tile programs before it.

    `notes` are one-line remarks on what was assumed of the model.
    """

    image: images.Image
    graph: Graph
    tile: TileProgram
    target: Target
    notes: tuple[str, ...]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ELF file, whole or not at all."""
        elf.save(self.image, Path(path))

    def asm(self) -> str:
        """The whole binary as assembly text, which `dnncc-as` takes back."""
        return asm.disassemble(self.program, self.image)

    @cached_property
    def program(self) -> programs.Program:
        return programs.Program.decode(self.image.text)


def compile_model(model: str | os.PathLike[str] | ModelProto, options: Options) -> Artifact:
    """Raises CompileError or TargetError, one line."""
    notes: list[str] = []
    target = targets.load(options.target)
    ctx = Context(target)
    source = model if isinstance(model, ModelProto) else Path(model)
    graph = import_model(source, options.shapes, notes)
    try:
        graph = lower_graph(graph, ctx, options)
        check_strict(graph, options)
        tile = tile_loops(graph, ctx)
        for tile_pass in TILE_PASSES:
            tile = tile_pass(tile, ctx)
        stream = emit(tile, ctx)
        for stream_pass in STREAM_PASSES:
            stream = stream_pass(stream, ctx)
    except CompileError as error:
        error.file = error.file or (None if isinstance(source, ModelProto) else str(source))
        raise
    made = image(stream, target, f"dnncc {__version__}", options.record())
    return Artifact(made, tile.graph, tile, target, tuple(notes))


def lower_graph(graph: Graph, ctx: Context, options: Options) -> Graph:
    for graph_pass in GRAPH_PASSES:
        graph = graph_pass(graph, ctx)
        if options.verify:
            checked(graph, graph_pass)
    return graph


def checked(graph: Graph, made_by: Callable[..., Graph]) -> None:
    """A Graph that is not valid is the fault of the pass that made it, not of the user."""
    try:
        verify(graph)
    except CompileError as error:
        raise AssertionError(f"pass {made_by.__name__} broke the graph: {error}") from error


def check_strict(graph: Graph, options: Options) -> None:
    host = [n for n in graph.nodes if n.op == "host"]
    if options.strict and host:
        reason = "; ".join(host[0].attrs["reason"])
        raise CompileError(f"runs on the host: {reason}", hint="leave out --strict to let it")
