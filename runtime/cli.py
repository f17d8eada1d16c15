"""dnncc-run: run a binary on inputs; print and save its outputs and what they cost."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnncc.isa.command import finish

from .threads import before_numpy

if TYPE_CHECKING:  # all else is imported when it is needed: --help has to be quick
    from .machine import Array
    from .session import InferenceSession

MOST_CLASSES = 5


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dnncc-run", description=(__doc__ or "").partition(": ")[2])
    p.add_argument("model", help="a binary that dnncc made")
    p.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="FILE.npz|NAME=FILE.npy",
        help="inputs, by their ONNX names; a first dimension of B times the model's is a batch",
    )
    p.add_argument("--random", type=int, metavar="SEED", help="random values for other inputs")
    p.add_argument("--output", type=Path, metavar="FILE.npz", help="where outputs go")
    p.add_argument("--report", type=Path, metavar="FILE.json", help="where the report goes")
    p.add_argument("--target", help="refuse a binary that was not compiled for this target")
    p.add_argument(
        "--schedule", default="serial", help="order of execution: serial (default), random:SEED"
    )
    p.add_argument("--threads", type=int, metavar="N", help="of matrix products (default: 1)")
    p.add_argument(
        "--no-grouping", action="store_true", help="execute one instruction after the other"
    )
    p.add_argument(
        "--host",
        default="auto",
        choices=("auto", "tvm", "reference"),
        help="what runs host parts; auto: TVM for heavy ones that do not round (default)",
    )
    add_inspection(p)
    p.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    p.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="print stalls, gaps, and tracebacks",
    )
    p.add_argument("--version", action="store_true", help="print the version")
    return p


def add_inspection(p: argparse.ArgumentParser) -> None:
    add = p.add_argument
    add("--sanitize", action="store_true", help="find races, unwritten and stray bytes, and more")
    add("--count-zeros", action="store_true", help="what zeros among the values save")
    add("--trace", type=Path, metavar="FILE.json", help="a timeline for Perfetto or Chrome")
    add("--dump-tensors", type=Path, metavar="DIR", help="every tensor inside, when it is complete")
    add(
        "--watch",
        action="append",
        default=[],
        metavar="NAME[0,3,5,5]",
        help="which instructions read and write an element, when, and its value",
    )
    add("--until", type=int, metavar="N", help="execute N instructions only")
    add("--debug", action="store_true", help="execute step by step; commands come from stdin")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--version" in arguments:
        print_version("dnncc-run")
        return 0
    options = parser().parse_args(arguments)
    before_numpy(options.threads)
    return finish(lambda: run(options), told, options.verbose)


def print_version(command: str) -> None:
    from importlib.metadata import version

    print(f"{command} {version('dnncc')}")


def told(error: Exception) -> list[str]:
    """What the user can mend."""
    from dnncc.targets import TargetError

    from .errors import RunError, SanitizerError
    from .findings import shown

    if isinstance(error, SanitizerError):
        return [f"{error.source}: {line}" for line in shown(error.findings)]
    return [str(error)] if isinstance(error, (RunError, TargetError)) else []


def run(options: argparse.Namespace) -> None:
    from .files import write_json, write_npz
    from .session import load, named

    session = load(options.model, options.target, options.host)
    feeds = inputs(session, options.input, options.random)
    with named(options.model):
        if options.debug:
            from .inspection import debug

            debug(session, feeds)
            return
        values = executed(session, feeds, options)
        report = session.report_with_zeros() if options.count_zeros else session.profile.report
        report = session.with_host_time(report)
    outputs = dict(zip((t.name for t in session.get_outputs()), values, strict=True))
    if not options.quiet and options.until is None:
        show(outputs, report, options.verbose)
    if options.output:
        write_npz(options.output, outputs)
    if options.report:
        write_json(options.report, report)


def executed(
    session: "InferenceSession", feeds: "dict[str, Array]", options: argparse.Namespace
) -> "list[Array]":
    """The outputs; also what else the options want to see."""
    wanted = (options.trace, options.dump_tensors, options.watch, options.until is not None)
    how: dict[str, Any] = {"count_zeros": options.count_zeros, "threads": options.threads}
    if options.no_grouping:
        how["grouped"] = False
    if not any(wanted):
        return session.run(None, feeds, options.schedule, options.sanitize, **how)
    from .inspection import Inspection

    seen = Inspection(session, options)
    order = (options.schedule, options.sanitize, options.until)
    values = session.run(None, feeds, *order, observers=seen.observers, **how)
    seen.finish()
    return values


def inputs(
    session: "InferenceSession", sources: Sequence[str], seed: int | None
) -> "dict[str, Array]":
    """Feeds from files, and random ones for the inputs that no file has."""
    from .errors import RunError
    from .files import random_inputs, read_inputs

    feeds = read_inputs(sources, session.get_inputs())
    if seed is not None and seed < 0:
        raise RunError("--random: the seed must not be negative")
    if seed is not None:
        return random_inputs(session.get_inputs(), seed) | feeds
    for tensor in session.get_inputs():
        if tensor.name not in feeds:
            what = f"input {tensor.name!r}, {tensor.type} {tensor.shape}, is missing"
            raise RunError(f"{session.source}: {what}; give --input or --random SEED")
    return feeds


def show(outputs: "dict[str, Array]", report: dict[str, Any], verbose: bool) -> None:
    from .table import gap_table, printable, stalls, summary, table

    for name, value in outputs.items():
        print(printable(f"output       {name}: {described(value)}"))
    print(summary(report))
    print()
    print(table(report))
    if verbose:
        print()
        print(stalls(report))
        print()
        print(gap_table(report))


def described(value: "Array") -> str:
    """Type, shape and range; of class scores also the best classes of the first input."""
    text = f"{value.dtype}{list(value.shape)}"
    if value.size == 0:
        return text
    text += f" in {value.min():g}..{value.max():g}"
    if value.ndim == 2 and value.shape[1] > 1:
        best = (-value[0].astype(float)).argsort(kind="stable")[:MOST_CLASSES]
        text += f", best classes {', '.join(map(str, best))}"
    return text


if __name__ == "__main__":
    sys.exit(main())
