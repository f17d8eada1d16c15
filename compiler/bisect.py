"""dnncc-bisect: find the pass and the ONNX node that break a model, and cut the model down."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import BUG, add_compile_options, failed, options_of

if TYPE_CHECKING:
    from .debug.record import Record
    from .debug.reproducer import Case


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dnncc-bisect", description=(__doc__ or "").partition(": ")[2])
    add = p.add_argument
    add("model", help="an ONNX model")
    add("--input", metavar="X.npz|random[:SEED]", default="random:0", help="default: %(default)s")
    add("-o", "--output", metavar="DIR", type=Path, help="default: MODEL.bisect")
    add("--seconds", type=float, default=120.0, help="for cutting the model down (%(default)g)")
    add("-v", "--verbose", action="store_true", help="tracebacks of errors, too")
    add_compile_options(p)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if no pass changes a value, 70 if one does or fails, 1 if the model is at fault."""
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except Exception as error:
        return failed(error, options.verbose)


def run(options: argparse.Namespace) -> int:
    from .debug.reproducer import case_of
    from .passes.pipeline import PIPELINE

    case = case_of(options.model, options_of(options), options.input, PIPELINE)
    folder = options.output or Path(f"{Path(options.model).stem}.bisect")
    record = find(case, folder, options.seconds)
    if record is None:
        print(f"{options.model}: no pass changes a value")
        return 0
    count = sum(node.op_type != "Constant" for node in case.model.graph.node)
    print(f"{options.model}: {record.message}")
    print(f"{folder}: cut down to {record.nodes} of {count} nodes; again: dnncc --repro {folder}")
    return BUG


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
