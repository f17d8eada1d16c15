"""Gemmini: cycles of whole GEMMs in RTL simulation, from memory to memory."""

from math import isqrt
from typing import Any, NamedTuple

from dnncc.targets import Target, load

from .figures import Chapter, Figure, Table
from .networks import gemm, session

TARGET = "gemmini-like"
SOURCE = (
    "Verilator cycles of GemminiRocketConfig, 16x16 int8, weight stationary, as recorded in "
    f"github.com/yonseicasl/NPUsim; here int8 products compiled by dnncc for `{TARGET}`."
)
Shape = tuple[int, int, int]
CYCLES: dict[Shape, int] = {
    (64, 64, 64): 3_810,
    (256, 256, 256): 69_653,
    (512, 512, 64): 74_413,
}
"""By (rows of the left matrix, columns of the right one, the sum's length)."""
SMALLEST = (64, 64, 64)

LIBRARY = (
    "Tiles and loops are those of Gemmini's library (gemmini-rocc-tests, `tiled_matmul_auto`): "
    "half of each memory for a tile, the other half for the next one; a product begins when 64 "
    "columns of the left matrix are there, as much as one load brings. Our accumulators hold "
    "results beside psums, where the RTL scales psums on their way out, so that tiles are 80 x 80 "
    "and not 80 x 96."
)
OWN = "Tiles of the compiler's own choice."
START = (
    "Cycles begin where the RTL's do, in the library on the Rocket core, which computes its tiles: "
    "`start_cycles` in the target's file, from the instructions that it runs, not from these "
    "counts. Whether the RTL's programs had biases, and what was in the L2 cache, is not recorded: "
    "here there is no bias, and DRAM always answers after 60 cycles."
)
BLOCKS = (
    "a step here begins when all of its tiles are there, and results are scaled when all sums of "
    "it are complete; the RTL does both in blocks of 16 x 16, which counts where there is one tile."
)
KNOWN = (
    "The same with the other count of the core's instructions: where sizes are constants of its "
    "program, clang leaves 51 instructions in 5 lines before the accelerator's first loop, and not "
    "the 406 in 27 of sizes that are known at run time. Nothing published tells which the RTL ran; "
    "the target has the count whose figures are nearer."
)
FOLDED = (
    "what is then missing of the published cycles is without an explanation; the differences "
    "below, in which no start counts, are what is left to compare."
)
FOLDED_CYCLES = 51 + 5 * 60
"""As the target's `start_cycles`: a cycle for each instruction, and for each line of code a read's
latency."""
BEYOND = (
    "What takes the same time for all products, as the program on the core does, is in none of "
    "these differences."
)


class Tile(NamedTuple):
    """Rows of the left matrix, columns of the right one, and the sum's length, in blocks."""

    i: int
    j: int
    k: int


def chapter() -> Chapter:
    library = {shape: session(gemm(*shape), TARGET, mapping(shape)) for shape in CYCLES}
    found = {shape: ran.profile.cycles for shape, ran in library.items()}
    own = {shape: session(gemm(*shape), TARGET).profile.cycles for shape in CYCLES}
    larger = [shape for shape in CYCLES if shape != SMALLEST]
    beyond = tuple(
        Figure(
            f"{name(shape)} less {name(SMALLEST)}",
            found[shape] - found[SMALLEST],
            CYCLES[shape] - CYCLES[SMALLEST],
            0.10,
            0,
        )
        for shape in larger
    )
    return Chapter(
        "Gemmini, GEMM",
        SOURCE,
        (
            Table("Cycles", figures(own, BLOCKS), (OWN, START)),
            Table("Cycles with the library's tiles", figures(found, BLOCKS), (LIBRARY,)),
            Table(
                "Cycles if the library's sizes are constants",
                figures(started(own, FOLDED_CYCLES), FOLDED),
                (KNOWN,),
            ),
            Table(
                "Cycles with the library's tiles if its sizes are constants",
                figures(started(found, FOLDED_CYCLES), FOLDED),
            ),
            Table("Cycles beyond those of the smallest product", beyond, (BEYOND,)),
        ),
    )


def figures(found: dict[Shape, int], reason: str) -> tuple[Figure, ...]:
    return tuple(
        Figure(name(shape), cycles, CYCLES[shape], 0.10, 0, reason)
        for shape, cycles in found.items()
    )


def started(found: dict[Shape, int], start: int) -> dict[Shape, int]:
    """The cycles, if nothing is fetched before `start`."""
    late = load(TARGET).issue.start_cycles - start
    return {shape: cycles - late for shape, cycles in found.items()}


def name(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def mapping(shape: Shape) -> dict[str, Any]:
    """The library's tiles and loops, as a mapping."""
    target = load(TARGET)
    tile, side = library_tile(target, shape), target.array.rows
    columns = min(target.dram.channels[0].burst_bytes, shape[2])
    ahead = max(2, 2 * (tile.k * side // columns))
    return {
        "steps": {
            "q": min(tile.i * side, shape[0]),
            "k": min(tile.j * side, shape[1]),
            "c": columns,
        },
        "order": ["q", "k", "c"],
        "whole": [],
        "slots": {"ifmap": ahead, "weight": ahead, "params": 2, "psum": 2, "out": 2},
    }


def library_tile(target: Target, shape: Shape) -> Tile:
    """As large as half of the memories, grown a block at a time: columns, rows, length.

    Source: gemmini-rocc-tests, include/gemmini.h, tiled_matmul_auto.
    """
    side, word = target.array.rows, target.datapath
    block = side * side * word.operand_bytes
    room = target.memory_for("ifmap").bytes // 2 // block
    kept = target.memory_for("psum").bytes // 2 // (block + side * side * word.psum_bytes)
    most = Tile(*(-(-size // side) for size in shape))
    first = isqrt(kept)
    tile = Tile(min(most.i, first), min(most.j, first), min(most.k, room // 2 // first))
    while (wider := grown(tile, most, room, kept)) != tile:
        tile = wider
    return tile


def grown(tile: Tile, most: Tile, room: int, kept: int) -> Tile:
    """A block more in each direction in which there is room."""
    for axis in ("j", "i", "k"):
        more = tile._replace(**{axis: getattr(tile, axis) + 1})
        fits = (more.i + more.j) * more.k <= room and more.i * more.j <= kept
        if fits and getattr(more, axis) <= getattr(most, axis):
            tile = more
    return tile
