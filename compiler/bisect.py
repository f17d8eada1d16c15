"""dnncc-bisect: find the pass and the ONNX node that break a model, and cut the model down."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dnncc.isa.command import BUG, finish

from .cli import add_compile_options, options_of, told

if TYPE_CHECKING:
    from .debug.record import Record
    from .debug.reproducer import Case


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dnncc-bisect", description=(__doc__ or "").partition(": ")[2])
    add_cutting_options(p, "bisect", 120.0)
    return p


def add_cutting_options(p: argparse.ArgumentParser, suffix: str, seconds: float) -> None:
    """What all take that cut a model down into a folder MODEL.`suffix`."""
    add = p.add_argument
    add("model", help="an ONNX model")
    add("--input", metavar="X.npz|random[:SEED]", default="random:0", help="default: %(default)s")
    add("-o", "--output", metavar="DIR", type=Path, help=f"default: MODEL.{suffix}")
    add("--seconds", type=float, default=seconds,
        help="for cutting down, then the best so far (%(default)g)")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="tracebacks of errors, too")
    add_compile_options(p)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if no pass changes a value, 70 if one does or fails, 1 if the model is at fault."""
    options = parser().parse_args(arguments)
    return finish(lambda: run(options), told, options.verbose)


def run(options: argparse.Namespace) -> int:
    folder = output_folder(options, "bisect")
    case, record = checked(options, folder)
    if record is None:
        print(f"{options.model}: no pass changes a value")
        return 0
    count = sum(node.op_type != "Constant" for node in case.model.graph.node)
    print(f"{options.model}: {record.message}")
    print(f"{folder}: cut down to {record.nodes} of {count} nodes; again: dnncc --repro {folder}")
    return BUG


def output_folder(options: argparse.Namespace, suffix: str) -> Path:
    return options.output or Path(f"{Path(options.model).stem}.{suffix}")


def checked(options: argparse.Namespace, folder: Path) -> tuple[Case, Record | None]:
    """What was compiled, and how it failed if it did. Raises CompileError, OSError."""
    from .debug.reproducer import case_of
    from .passes.pipeline import PIPELINE

    case = case_of(options.model, options_of(options), options.input, PIPELINE)
    return case, find(case, folder, options.seconds)


def find(case: Case, folder: Path, seconds: float) -> Record | None:
    """Check every pass; write what fails into the folder. Raises CompileError, OSError."""
    from .debug.failure import attempt
    from .debug.reproducer import write_reproducer

    trial = attempt(case.model, case.options, case.source, case.pipeline)
    if trial.failure is None:
        return None
    return write_reproducer(case, trial, folder, seconds)


if __name__ == "__main__":
    sys.exit(main())
