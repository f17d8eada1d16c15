"""A program of any level as text, and what must lie beside the text to read it back."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from dnncc.isa import asm
from dnncc.isa import program as programs
from dnncc.targets import Target

from ..codegen.image import image
from ..codegen.stream import Stream
from ..ir.graph import Array, Graph
from ..ir.mlir import Operation, print_operation
from ..ir.text import Printer, print_graph, resources
from ..ir.tile import TileProgram
from ..ir.tile_text import nest_operation, print_tile
from ..passes.pipeline import Program

DATA = re.compile(r"^\.(rodata|model) .*\n", re.MULTILINE)
HEAD = re.compile(r"^\.(?!loc).*\n", re.MULTILINE)


def text_of(program: Program, target: Target) -> str:
    """All of it; of instructions without the constants."""
    if isinstance(program, Graph):
        return print_graph(program)
    if isinstance(program, TileProgram):
        return print_tile(program)
    return DATA.sub("", assembly(program, target))


def assembly(stream: Stream, target: Target) -> str:
    """The whole binary that the instructions would be."""
    made = image(stream, target, "", {})
    return asm.disassemble(programs.Program.decode(made.text), made)


def graph_of(program: Program) -> Graph:
    if isinstance(program, Graph):
        return program
    return program.graph if isinstance(program, TileProgram) else program.tile.graph


def constants_of(program: Program) -> dict[str, Array]:
    """By the names under which the text has them."""
    return {} if isinstance(program, Stream) else resources(graph_of(program))


def suffix_of(program: Program) -> str:
    return ".s" if isinstance(program, Stream) else ".mlir"


def comment(program: Program, line: str) -> str:
    """A line that readers of the program's text skip."""
    return f"; {line}" if isinstance(program, Stream) else f"// {line}"


def part_of(program: Program, target: Target, node: str) -> str:
    """What came from ONNX nodes of that name, in which * stands for anything."""
    if isinstance(program, Stream):
        return "".join(instructions_of(program, target, node))
    return "".join(print_operation(o) for o in operations(program) if is_from(o.loc, node))


def operations(program: Graph | TileProgram) -> Iterator[Operation]:
    """Its nodes, or its nests."""
    if isinstance(program, TileProgram):
        yield from map(nest_operation, program.nests)
        return
    top = Printer(program).graph_operation()
    yield from top.body.operations if top.body else ()


def instructions_of(stream: Stream, target: Target, node: str) -> Iterator[str]:
    wanted = [is_from(nest.loc, node) for nest in stream.tile.nests]
    lines = [
        line
        for line in HEAD.sub("", assembly(stream, target)).splitlines(keepends=True)
        if not line.startswith(".")
    ]
    for nest, line in zip(stream.nest_of.tolist(), lines, strict=True):
        if wanted[nest]:
            yield line


def is_from(loc: tuple[str, ...], node: str) -> bool:
    return any(name == node or fnmatchcase(name, node) for name in loc)
