"""Programs as files: numbered dumps, and reading one back."""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np

from dnncc.targets import Target

from ..codegen.stream import Stream
from ..diagnostics import CompileError
from ..ir.graph import Array, Graph
from ..ir.text import parse_graph
from ..ir.tile import TileProgram
from ..ir.tile_text import parse_tile
from ..passes.pipeline import Pass, Program
from .observer import Observer
from .text import assembly, constants_of, suffix_of, text_of

CONSTANTS = "constants.npz"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of all members, so that the same constants make the same bytes."""


class Dumping(Observer):
    """A file per step, `007-tile_loops.mlir`, and all their constants in constants.npz."""

    def __init__(self, folder: Path, target: Target) -> None:
        self.folder, self.target = folder, target
        self.number = 0
        self.saved: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONSTANTS).unlink(missing_ok=True)

    def after(self, step: Pass, program: Program) -> None:
        name = f"{self.number:03}-{step.name}{suffix_of(program)}"
        self.number += 1
        (self.folder / name).write_text(whole_text(program, self.target), encoding="utf-8")
        fresh = {k: v for k, v in constants_of(program).items() if k not in self.saved}
        append_arrays(self.folder / CONSTANTS, fresh)
        self.saved.update(fresh)


def whole_text(program: Program, target: Target) -> str:
    """With all constants where it is assembly, so that dnncc-as makes the binary of it."""
    return assembly(program, target) if isinstance(program, Stream) else text_of(program, target)


def append_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Add to an .npz, which is whole after every step, whatever comes after it."""
    with zipfile.ZipFile(path, "a") as archive:
        for name, value in arrays.items():
            data = BytesIO()
            np.lib.format.write_array(data, np.asarray(value), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", EPOCH), data.getvalue())


def save_program(path: Path, program: Program, target: Target) -> None:
    """The text, and its constants in an .npz of the same name beside it."""
    path.write_text(whole_text(program, target), encoding="utf-8")
    arrays = constants_of(program)
    beside = path.with_suffix(".npz")
    if arrays:
        beside.unlink(missing_ok=True)
        append_arrays(beside, arrays)


def load_program(path: Path, constants: Path | None = None) -> Graph | TileProgram:
    """What a dump or `save_program` wrote; its constants are in `constants`, or beside it.

    Raises CompileError, OSError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CompileError("not text", file=str(path), hint="give a dump in .mlir") from None
    beside = (path.with_name(CONSTANTS), path.with_suffix(".npz"))
    found = [constants] if constants else [p for p in beside if p.is_file()]
    return read_program(text, str(path), *found)


def read_program(text: str, file: str, *constants: Path | None) -> Graph | TileProgram:
    """The program in `text`, with the constants of all these files. Raises as load_program."""
    arrays: dict[str, Array] = {}
    for source in filter(None, constants):
        arrays |= load_arrays(source)
    return parse_program(text, arrays, file)


def parse_program(text: str, constants: Mapping[str, Array], file: str) -> Graph | TileProgram:
    """A Tile program has its Graph inside; assembly is not for passes."""
    if '"dnncc.program"' in text:
        return parse_tile(text, constants, file)
    if '"dnncc.graph"' in text:
        return parse_graph(text, constants, file)
    hint = "give a dump in .mlir; dnncc-as takes assembly"
    raise CompileError("not a graph or tile program", file=file, hint=hint)


def load_arrays(path: Path) -> dict[str, Array]:
    """All arrays of an .npz, which must not hold objects. Raises CompileError, OSError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise CompileError(f"not an .npz of plain arrays: {error}", file=str(path)) from None
