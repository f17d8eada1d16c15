"""dnncc-compare: one model on several accelerators, in a table: cycles, energy, traffic, values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dnncc.isa.command import FAILED, finish

from .cli import shape_of, told

if TYPE_CHECKING:  # all else is imported when it is needed: --help has to be quick
    from dnncc.runtime import InferenceSession
    from dnncc.targets import Target

Row = dict[str, Any]

PSUM_BITS = 32
SAME = ("the first", "the same")

LEVELS = ("mac", "rf", "noc", "glb", "dram")
ROWS = (
    "dataflow", "PEs", "clock, MHz", "cycles", "time, us", "utilisation", "DRAM read, B",
    "DRAM written, B", "code, B", "energy", *(f"  {level}" for level in LEVELS), "on the host",
    "outputs",
)  # fmt: skip
"""What the table has of each target."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dnncc-compare", description=(__doc__ or "").partition(": ")[2])
    add = p.add_argument
    add("model", help="an ONNX model")
    add("--targets", metavar="A,B,C", help="names or TOML files (all that are shipped)")
    add("--input", action="append", default=[], metavar="FILE.npz|NAME=FILE.npy",
        help="inputs, by their ONNX names")  # fmt: skip
    add("--random", type=int, default=0, metavar="SEED",
        help="random values for other inputs (seed %(default)s)")  # fmt: skip
    add("--shape", action="append", default=[], metavar="NAME=1x3x224x224",
        help="fix the shape of a dynamic input")  # fmt: skip
    add("--precision", default="int8", choices=("int8", "int16", "float", "auto"),
        help="of a float model (%(default)s, so that all targets compute the same)")  # fmt: skip
    add("--calibrate", metavar="DATA", help="sample inputs, .npz or a folder, for a float model")
    add("--report", type=Path, metavar="FILE.json", help="where the reports go, by target")
    add("-v", "--verbose", action="store_true", help="tracebacks of errors")
    add("--version", action="store_true", help="print the version")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 1 also where outputs differ."""
    options = parser().parse_args(arguments)
    return finish(lambda: run(options), told_of_both, options.verbose)


def told_of_both(error: Exception) -> list[str]:
    """Errors of compiling and of running."""
    from dnncc.runtime import RunError

    return [str(error)] if isinstance(error, RunError) else told(error)


def run(options: argparse.Namespace) -> int:
    if options.version:
        from . import __version__

        print(f"dnncc-compare {__version__}")
        return 0
    from dnncc.runtime import files

    sessions = compiled(options, listed_targets(options.targets))
    inputs = next(iter(sessions.values())).get_inputs()
    feeds = files.random_inputs(inputs, options.random) | files.read_inputs(options.input, inputs)
    values = {name: session.run(None, feeds) for name, session in sessions.items()}
    reports = {name: session.profile.report for name, session in sessions.items()}
    same = agreement(values)
    print(table({name: column(reports[name], same[name]) for name in sessions}))
    if options.report:
        files.write_json(options.report, reports)
    return 0 if all(word in SAME for word in same.values()) else FAILED


def listed_targets(text: str | None) -> list[str]:
    """As the command line has them, or all shipped ones that programs can be compiled for."""
    from dnncc import targets

    if text is not None:
        return list(dict.fromkeys(filter(None, text.split(","))))
    return [name for name in targets.names() if wide(targets.load(name))]


def wide(target: Target) -> bool:
    return target.datapath.accumulator_bits >= PSUM_BITS


def compiled(options: argparse.Namespace, names: Sequence[str]) -> dict[str, InferenceSession]:
    """By target. Raises CompileError."""
    from dnncc.runtime import load

    from .diagnostics import CompileError
    from .driver import compile_model
    from .options import Options

    if not names:
        raise CompileError("--targets: names no target")
    asked = Options(
        shapes=dict(map(shape_of, options.shape)),
        calibrate=options.calibrate,
        precision=options.precision,
    )
    made = {name: replace(asked, target=name) for name in names}
    return {name: load(compile_model(options.model, o).image) for name, o in made.items()}


def agreement(values: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Whether each target's outputs are those of the first one, every element."""
    import numpy as np

    first, *others = values
    words = {first: SAME[0]}
    for name in others:
        pairs = list(zip(values[first], values[name], strict=True))
        wrong = sum(int(np.count_nonzero(differs(*pair))) for pair in pairs)
        words[name] = SAME[1] if not wrong else f"{wrong} differ"
    return words


def differs(a: Any, b: Any) -> Any:
    """Where two arrays do; a NaN is like another one."""
    return (a != b) & ((a == a) | (b == b)) if a.shape == b.shape else True


def column(report: Row, same: str) -> list[str]:
    """What ROWS name, of one target."""
    target, energy = report["target"], report["energy"]
    levels = [f"{energy['by_level'][level]:,.4g}" for level in LEVELS]
    host = sum(len(part["nodes"]) for part in report["host_parts"])
    return [
        target["dataflow"].replace("_", " "),
        f"{target['peak_macs_per_cycle']:,}",
        f"{target['clock_mhz']:g}",
        f"{report['cycles']:,}",
        f"{report['time_us']:,.1f}",
        f"{report['utilisation']:.1%}",
        f"{report['dram_read_bytes']:,}",
        f"{report['dram_written_bytes']:,}",
        f"{report['code_bytes']:,}",
        f"{energy['total']:,.4g} {energy['unit']}",
        *levels,
        f"{host} node{'s' * (host > 1)}" if host else "-",
        same,
    ]


def table(columns: Mapping[str, Sequence[str]]) -> str:
    """A column per target; energies are comparable where their units are the same."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False)
    for name in ("", *columns):
        grid.add_column(name, justify="right" if name else "left", no_wrap=True)
    for cells in zip(ROWS, *columns.values(), strict=True):
        grid.add_row(*cells)
    width = 18 + sum(4 + max(len(name), *map(len, cells)) for name, cells in columns.items())
    console = Console(width=width, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(grid)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


if __name__ == "__main__":
    sys.exit(main())
