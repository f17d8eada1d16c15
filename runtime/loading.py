"""From an image to a program that is safe to run: what could go out of bounds is refused here."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dnncc.isa import control, core, elf, tensor
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.targets import Target, TargetError, dataflow, diff, loads

from .errors import RunError
from .machine import private_rows
from .pricing import array_params, array_work

LARGEST_FILE = 1 << 31
LARGEST_ARENA = 1 << 31
"""Bytes of a binary, and of its memories for one input, that this simulator takes."""

MOST_DIMENSIONS = 32


def read(path: Path) -> images.Image:
    """The image in an ELF file. Raises RunError or IsaError, OSError if it cannot be read."""
    if path.stat().st_size > LARGEST_FILE:
        raise RunError(f"larger than {LARGEST_FILE} bytes")
    return elf.read(path.read_bytes())


def target_of(image: images.Image) -> Target:
    """The target that an image was compiled for, which it holds as text."""
    try:
        return loads(image.target, "the target in the binary")
    except TargetError as error:
        raise RunError(str(error)) from None


def check_target(own: Target, wanted: Target) -> None:
    """Refuse, with what differs, a binary for another target than the one that is wanted."""
    differences = diff(own, wanted)
    if differences:
        lines = "".join(f"\n  {line}" for line in differences)
        raise RunError(
            f"compiled for target {own.name!r}, not for {wanted.name!r}: compile it again "
            f"with --target {wanted.name}, or run it without --target; they differ in{lines}"
        )


def decode(image: images.Image, target: Target) -> programs.Program:
    """The image's program, checked against its memories, its constants and its target.

    Raises RunError or IsaError for the first thing that is not legal.
    """
    images.check_image(image)
    if image.dram_bytes > target.dram.bytes:
        raise RunError(
            f"needs {image.dram_bytes} bytes of DRAM, of which {target.name} has "
            f"{target.dram.bytes}"
        )
    program = programs.Program.decode(image.text)
    programs.check_bounds(program, [image.dram_bytes, *(m.bytes for m in target.memories)])
    for problem in problems(program, program.regions, image, target):
        raise RunError(problem)
    return program


def extents(found: programs.Regions, image: images.Image, target: Target) -> list[int]:
    """Bytes of each memory that a program, which touches so much, or a symbol reaches; of DRAM all.

    Raises RunError where that is more than one input may take.
    """
    sizes = np.zeros(1 + len(target.memories), np.int64)
    np.maximum.at(sizes, found.memory, found.stop)
    for symbol in image.symbols:
        sizes[symbol.memory] = max(int(sizes[symbol.memory]), symbol.stop)
    reached = [image.dram_bytes, *sizes[1:].tolist()]
    total = sum(private_rows(image.rodata, reached))
    if total > LARGEST_ARENA:
        raise RunError(f"needs {total} bytes of memory for one input; at most {LARGEST_ARENA}")
    return reached


def problems(
    program: programs.Program, touched: programs.Regions, image: images.Image, target: Target
) -> Iterator[str]:
    """What else makes a program unfit for its image or its target, one line each; `touched` is all
    that it reads and writes."""
    yield from constant_problems(touched, len(image.rodata))
    yield from engine_problems(program, target)
    yield from mapping_problems(program, target)
    yield from host_problems(program, len(image.host))
    yield from debug_problems(image, program.count)
    yield from symbol_problems(image, [image.dram_bytes, *(m.bytes for m in target.memories)])


def constant_problems(found: programs.Regions, constants: int) -> Iterator[str]:
    inside = (found.memory == 0) & (found.start < constants)
    bad = np.flatnonzero(inside & (found.is_write | (found.stop > constants)))
    for row in bad[:1]:
        what = "writes to" if found.is_write[row] else "reads across the end of"
        yield f"instruction {found.instruction[row]} {what} the constants"


def engine_problems(program: programs.Program, target: Target) -> Iterator[str]:
    known = {e.name for e in target.engines} | {"tensor", "vector"}
    for e in np.flatnonzero(np.bincount(program.engine_of + 1)[1:]).tolist():
        if core.ENGINES[e] not in known:
            first = int(np.argmax(program.engine_of == e))
            name = core.ENGINES[e]
            yield f"instruction {first} runs on {name}, which {target.name} does not have"


def mapping_problems(program: programs.Program, target: Target) -> Iterator[str]:
    flow = dataflow.model(target)
    for part in (part for part in program.parts if part.cls is tensor.Tensor):
        works, params = array_work(part.kinds), array_params(part.kinds, flow)
        for row in np.sort(part.forms.first[~flow.legal(target, works, params)])[:1]:
            one = part.take(slice(row, row + 1)).kinds
            reason = flow.explain(target, array_work(one), array_params(one, flow))
            yield f"instruction {part.indices[row]}: the array cannot run this tile: {reason}"


def host_problems(program: programs.Program, parts: int) -> Iterator[str]:
    for part in (part for part in program.parts if part.cls is control.Host):
        missing = np.flatnonzero(part.column("part") >= parts)
        for row in missing[:1]:
            number = part.column("part")[row]
            yield f"instruction {part.indices[row]}: there is no host part {number}"


def symbol_problems(image: images.Image, memory_bytes: list[int]) -> Iterator[str]:
    names = [(s.name, s.kind) for s in image.symbols]
    if len(set(names)) < len(names):
        yield f"symbol {max(names, key=names.count)[0]!r} is there twice"
    for symbol in image.symbols:
        size = memory_bytes[symbol.memory] if symbol.memory < len(memory_bytes) else 0
        if max(symbol.stop, symbol.bytes) > size or len(symbol.shape) > MOST_DIMENSIONS:
            yield f"symbol {symbol.name!r} does not lie in memory {symbol.memory}"
        if symbol.kind == "input" and symbol.memory == 0 and symbol.address < len(image.rodata):
            yield f"input {symbol.name!r} lies in the constants"


def debug_problems(image: images.Image, count: int) -> Iterator[str]:
    if image.debug is not None and len(image.debug.node_of) != count:
        yield f"the debug map is of {len(image.debug.node_of)} instructions, there are {count}"
