"""How compilation, runs and memory grow with depth, resolution and batch, each in a fresh process.

    python -m benchmarks.growth --target tpu-like

Exponents are slopes in double logarithms: 1 is linear. Memory is in multiples of the model's file,
interpreter and imports not counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import resnets

DEPTHS, SIDES, BATCHES = (18, 34, 50, 101, 152), (64, 128, 224, 320), (1, 4, 16)
SMALL = 18
"""The depth for the other two."""


class Point(NamedTuple):
    """A model, and what it takes: CPU seconds, and bytes in multiples of its file."""

    size: int
    instructions: int
    compile: float
    first: float
    run: float
    timing: float
    compile_memory: float
    run_memory: float


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.growth", description="How the cost of models grows.")
    p.add_argument("--target", default="tpu-like", help="a name, or a TOML file (%(default)s)")
    p.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dnncc-networks")
    return p


def main() -> None:
    options = parser().parse_args()
    for line in lines(options.target, options.cache):
        print(line, flush=True)


def lines(target: str, cache: Path) -> Iterator[str]:
    for what, sizes in (("depth", DEPTHS), ("side", SIDES), ("batch", BATCHES)):
        points = []
        yield f"\nResNets on {target}, by {what}\n\n{heading(what)}"
        for size in sizes:
            points.append(measured(what, size, target, cache))
            yield line(points[-1])
        yield exponents(points)


def measured(what: str, size: int, target: str, cache: Path) -> Point:
    depth = size if what == "depth" else SMALL
    path = resnets.saved(cache, depth, size if what == "side" else 224)
    held = path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        binary = str(Path(folder) / "model.elf")
        made = once("compile", str(path), target, binary)
        run = once("run", binary, str(size if what == "batch" else 1))
    return Point(
        size, made["instructions"], made["seconds"], run["first"], run["seconds"], run["timing"],
        made["bytes"] / held, run["bytes"] / held,
    )  # fmt: skip


def once(*arguments: str) -> Any:
    command = [sys.executable, "-m", "benchmarks.once", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def heading(what: str) -> str:
    columns = ("compile s", "first s", "run s", "timing s", "compile mem", "run mem")
    return f"{what:>8}{'instr':>9}" + "".join(f"{name:>13}" for name in columns)


def line(point: Point) -> str:
    return f"{point.size:>8}{point.instructions:>9}" + "".join(f"{v:>13.2f}" for v in point[2:])


def exponents(points: list[Point]) -> str:
    """Slopes of all columns over the first one."""
    table = np.log([[max(value, 1e-6) for value in point] for point in points])
    slopes = np.polyfit(table[:, 0], table[:, 1:], 1)[0]
    return f"{'exponent':>8}{slopes[0]:>9.2f}" + "".join(f"{s:>13.2f}" for s in slopes[1:])


if __name__ == "__main__":
    main()
