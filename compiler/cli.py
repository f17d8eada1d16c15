"""dnncc: compile an ONNX model to the binary of an accelerator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnncc.isa.command import BUG, finish

from .debug.flags import add_flags, listed, print_times, with_values
from .levels import DEFAULT_LEVEL, GOALS, OMITTED, PRECISIONS

if TYPE_CHECKING:  # all else is imported when it is needed: --help has to be quick
    from .accuracy import Trial
    from .diagnostics import Remarks
    from .driver import Artifact
    from .mapping.asking import Known
    from .options import Options
    from .passes.pipeline import Program

EMITTED = ("elf", "asm", "tile", "graph", "mapping", "dot", "onnx")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dnncc", description=(__doc__ or "").partition(": ")[2])
    add = p.add_argument
    add("model", nargs="?", help="an ONNX model")
    add("-o", "--output", metavar="FILE", help="default: MODEL.TARGET.elf; - is stdout")
    add("--emit", choices=EMITTED, default="elf", help="what to write (%(default)s)")
    add("--save-mapping", metavar="FILE", type=Path, help="write all mappings, for --mapping")
    add("--list-targets", action="store_true", help="print the targets, and stop")
    add("--list-passes", action="store_true", help="print the passes, and stop")
    add("--list-ops", action="store_true", help="print what runs where on the target, and stop")
    add("--json", action="store_true", help="with --list-ops: as JSON")
    add("--accuracy", metavar="DATA", help="compare the simulated outputs with the float model's")
    add("--repro", metavar="DIR", type=Path, help="repeat a failure that was written to a folder")
    add("-q", "--quiet", action="store_true", help="print nothing but errors")
    add("-v", "--verbose", action="store_true", help="a line per pass, and tracebacks of errors")
    add("--version", action="store_true", help="print the version")
    add_compile_options(p)
    add = p.add_argument_group("parts of the way").add_argument
    add("--stop-after", metavar="P", help="write the program as it is after pass P")
    add("--start-from", metavar=("P", "FILE"), nargs=2, help="begin with pass P, on a dump")
    add_flags(p)
    return p


def add_compile_options(p: argparse.ArgumentParser) -> None:
    """What all that compile take: the fields of Options."""
    add = p.add_argument_group("how to compile").add_argument
    add("--target", default="eyeriss-like", help="a name, or a TOML file (%(default)s)")
    add("--shape", action="append", default=[], metavar="NAME=1x3x224x224",
        help="fix the shape of a dynamic input")  # fmt: skip
    add("--strict", action="store_true", help="refuse models that need the host")
    add("-O", dest="level", type=int, choices=range(len(OMITTED)), default=DEFAULT_LEVEL,
        help="effort: 0 is quick and plain, 3 searches longest (%(default)s)")  # fmt: skip
    add("--opt-for", choices=GOALS, default=GOALS[0], help="what to make small (%(default)s)")
    add("--calibrate", metavar="DATA", help="sample inputs, .npz or a folder, for a float model")
    add("--precision", choices=PRECISIONS, default=PRECISIONS[0],
        help="of a float model (%(default)s: int16 on 16-bit targets, else int8)")  # fmt: skip
    add("--mapping", metavar="FILE", type=Path, help="what is given of the mappings of nodes")
    add("--mapping-node", metavar="'NODE: steps.k=64'", action="append", default=[],
        help="the same for one node; goes before --mapping")  # fmt: skip
    add("--no-cache", action="store_true", help="neither use nor keep mappings of earlier runs")
    add("--budget", type=seconds, default=float("inf"), metavar="SECONDS", help="then give up")
    add(
        "--disable-pass",
        metavar="P",
        action="append",
        default=[],
        help="leave out an optional pass",
    )
    add("--opt-bisect-limit", metavar="N", type=int, help="run the first N optional passes only")


def seconds(text: str) -> float:
    """A number that is not negative. Raises ValueError."""
    if not float(text) >= 0:
        raise ValueError
    return float(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(with_values(given))
    return finish(lambda: run(options), told, options.verbose)


def run(options: argparse.Namespace) -> int:
    if options.version:
        from . import __version__

        print(f"dnncc {__version__}")
    elif options.list_targets:
        list_targets()
    elif options.list_passes:
        list_passes()
    elif options.list_ops:
        list_ops(options.target, options.json)
    elif options.repro:
        return repeat(options.repro)
    elif options.save_mapping and options.stop_after:
        parser().error("--save-mapping needs all passes: leave out --stop-after")
    elif options.model is None and not options.start_from:
        parser().error("the ONNX model is missing")
    elif options.model is not None and options.start_from:
        parser().error("--start-from goes on from a dump: leave out the model")
    elif options.accuracy and (options.start_from or options.stop_after or options.emit == "onnx"):
        parser().error("--accuracy needs a model and its binary")
    else:
        compile_file(options)
    return 0


def told(error: Exception) -> list[str]:
    """What the user can mend."""
    from .diagnostics import CompileError

    if isinstance(error, CompileError):  # without an import that the budget's end may have cut off
        return [str(error)]
    from dnncc.targets import TargetError

    return [str(error)] if isinstance(error, TargetError) else []


def repeat(folder: Path) -> int:
    """--repro: whether what the folder holds still fails, in the same way."""
    from .debug.reproducer import replay
    from .passes.pipeline import PIPELINE

    record, trial = replay(folder, PIPELINE)
    if trial.failure is None:
        print(f"{folder}: does not fail (any more?): {record.kind}: {record.message}")
        return 0
    how = "as before" if record.failure.is_like(trial.failure) else "in another way"
    failure = trial.failure
    print(f"internal error: {failure.kind}: {failure.message}; fails {how}", file=sys.stderr)
    return BUG


def list_targets() -> None:
    from dnncc import targets

    for name in targets.names():
        print(f"{name:20} {targets.load(name).description}")


def list_passes() -> None:
    """Optional ones, which --disable-pass takes, have a star."""
    from .passes.pipeline import PIPELINE

    for step in PIPELINE:
        print(f"{step.level:6} {' *'[step.instead is not None]} {step.name:16} {step.truth}")


def list_ops(target: str, as_json: bool) -> None:
    """Where each ONNX operator runs, and why not on the accelerator."""
    import json

    from .operators import lines, records, supported

    found = supported(target)
    for line in [json.dumps(records(found), indent=1)] if as_json else lines(found):
        print(line, flush=True)


def shape_of(text: str) -> tuple[str, tuple[int, ...]]:
    """NAME=1x3x224x224. Raises CompileError."""
    from .diagnostics import CompileError

    name, _, sizes = text.rpartition("=")
    if not name or not all(s.isascii() and s.isdigit() and int(s) > 0 for s in sizes.split("x")):
        raise CompileError(f"--shape {text}: not a shape", hint="write NAME=1x3x224x224")
    return name, tuple(int(s) for s in sizes.split("x"))


def options_of(options: argparse.Namespace) -> Options:
    """Those that the compilation knows. Verifying is the observers' part."""
    from .mapping.files import from_command
    from .options import Options

    return Options(
        target=options.target,
        shapes=dict(map(shape_of, options.shape)),
        strict=options.strict,
        verify=False,
        level=options.level,
        goal=options.opt_for,
        disabled=tuple(listed(options.disable_pass)),
        bisect_limit=options.opt_bisect_limit,
        budget=options.budget,
        calibrate=options.calibrate,
        precision=options.precision,
        mapping=from_command(options.mapping, options.mapping_node),
        cache=not options.no_cache,
    )


def compile_file(options: argparse.Namespace) -> None:
    """Compile; an error of ours gets a note that says where its reproducer is."""
    from .deadline import limited
    from .diagnostics import CompileError

    try:
        with limited(options.budget):
            compile_and_write(options)
    except CompileError:
        raise
    except Exception as error:
        from .debug.failure import is_internal

        if is_internal(error):
            report_internal(error, options)
        raise


def report_internal(error: Exception, options: argparse.Namespace) -> None:
    from .debug.reproducer import report_failure
    from .debug.resumed import report_resumed
    from .passes.pipeline import PIPELINE

    how = options_of(options), options.check_each_pass, PIPELINE
    if options.start_from:
        report_resumed(error, tuple(options.start_from), *how)
    else:
        report_failure(error, options.model, *how)


def compile_and_write(options: argparse.Namespace) -> None:
    from dnncc import targets

    from .codegen.stream import Stream
    from .debug.flags import observers_of
    from .debug.timing import Stopwatch
    from .diagnostics import Remarks
    from .driver import finish, lower, naming

    asked, watch, notes = options_of(options), Stopwatch(), Remarks()
    if options.emit == "onnx" and options.model:
        write_model(options, asked)
        return
    observers = observers_of(options, targets.load(options.target), watch)
    trial = trial_of(options, asked)
    with naming(options.model or options.start_from[1]):
        program, steps = steps_of(options, asked, notes)
        known: Known = {}
        made = lower(program, steps, asked, observers, known)
    watch.close_level()
    if options.stop_after or not isinstance(made, Stream):
        write_program(made, options)
    else:
        with watch.span("image"):
            artifact = finish(made, asked, notes, known)
        write(artifact, options)
        if options.save_mapping:
            artifact.save_mapping(options.save_mapping)
        report(artifact, options)
        if trial is not None:
            print(*trial.measure(artifact), sep="\n")
    for summary_line in filter(None, (o.summary() for o in observers if not options.quiet)):
        print(summary_line, file=sys.stderr)
    print_times(options, watch)


def write_model(options: argparse.Namespace, asked: Options) -> None:
    """The ONNX model as it is compiled: a float one is quantised."""
    from dnncc.isa import elf

    from .diagnostics import Remarks
    from .driver import quantised_model

    notes = Remarks()
    data = quantised_model(options.model, asked, notes).SerializeToString(deterministic=True)
    print(*notes.warnings, sep="\n", end="\n" * bool(notes.warnings), file=sys.stderr)
    if options.output in (None, "-"):
        sys.stdout.buffer.write(data)
    else:
        elf.replace_file(Path(options.output), data)


def trial_of(options: argparse.Namespace, asked: Options) -> Trial | None:
    """The data of --accuracy, which is read before anything is written. Raises CompileError."""
    if not options.accuracy:
        return None
    from .accuracy import Trial

    return Trial.of(options.model, options.accuracy, asked.shapes)


def steps_of(options: argparse.Namespace, asked: Options, notes: Remarks) -> Any:
    """What to begin with, and the passes to run. Raises CompileError."""
    from .driver import importing, starting, until
    from .passes.pipeline import PIPELINE

    program: Program | None = None
    if options.start_from:
        from .debug.dumps import load_program

        name, file = options.start_from
        program = load_program(Path(file))
        steps = starting(name, program)
    else:
        steps = (importing(options.model, asked, notes), *PIPELINE)
    return program, until(options.stop_after, steps) if options.stop_after else steps


def write_program(program: Program, options: argparse.Namespace) -> None:
    """The text of a program that is not finished; to a file, with its constants beside."""
    from dnncc import targets

    from .debug.dumps import save_program, whole_text

    target = targets.load(options.target)
    if options.output in (None, "-"):
        sys.stdout.write(whole_text(program, target))
    else:
        save_program(Path(options.output), program, target)


def write(artifact: Artifact, options: argparse.Namespace) -> None:
    """To a file, whole or not at all, or to stdout."""
    if options.emit == "elf" and options.output != "-":
        artifact.save(output_path(artifact, options))
        return
    if options.emit in ("tile", "graph"):
        program = artifact.tile if options.emit == "tile" else artifact.graph
        write_program(program, options)
        return
    data = content(artifact, options.emit)
    if options.output in (None, "-"):
        sys.stdout.buffer.write(data)
        return
    from dnncc.isa import elf

    elf.replace_file(Path(options.output), data)


def output_path(artifact: Artifact, options: argparse.Namespace) -> Path:
    if options.output:
        return Path(options.output)
    source = options.model or options.start_from[1]
    return Path(f"{Path(source).stem}.{artifact.target.name}.elf")


def content(artifact: Artifact, kind: str) -> bytes:
    if kind == "asm":
        return artifact.asm().encode()
    if kind == "mapping":
        return artifact.mapping_text().encode()
    if kind == "dot":
        from .ir.dot import print_dot

        return print_dot(artifact.graph).encode()
    from dnncc.isa import elf

    return elf.write(artifact.image)


def report(artifact: Artifact, options: argparse.Namespace) -> None:
    """Notes, what the host has to do, and one line of sizes; all on stderr. Warnings always."""
    for warning in artifact.warnings:
        print(warning, file=sys.stderr)
    if options.quiet:
        return
    for note in artifact.notes:
        print(f"note: {note}", file=sys.stderr)
    for part in artifact.image.host:
        for node, reason in part.reasons:
            print(f"note: on the host: '{node}': {reason}", file=sys.stderr)
    print(summary(artifact), file=sys.stderr)


def summary(artifact: Artifact) -> str:
    image: Any = artifact.image
    share = f", {len(image.text) / len(image.rodata):.1%} of the weights" if image.rodata else ""
    return (
        f"{artifact.target.name}: {artifact.program.count} instructions, "
        f"{len(image.text)} bytes of code{share}; {len(image.rodata)} bytes of constants"
    )


if __name__ == "__main__":
    sys.exit(main())
