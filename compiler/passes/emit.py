"""After it, the program is instruction records in program order, without waits between engines."""

from ..codegen.stream import Stream, stream
from ..ir.tile import TileProgram
from .context import Context, target_of


def emit(program: TileProgram, ctx: Context) -> Stream:
    return stream(program, target_of(ctx))
