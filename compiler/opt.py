"""dnncc-opt: run passes on the text of a program."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dnncc.isa.command import finish

from .cli import told
from .debug.flags import add_flags, listed, print_times, with_values

if TYPE_CHECKING:
    from .passes.pipeline import Pass, Program


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dnncc-opt", description=(__doc__ or "").partition(": ")[2])
    add = p.add_argument
    add("file", metavar="IN.mlir", help="a graph or tile program, as dnncc dumps them; - is stdin")
    add("--passes", default="", metavar="P,Q", help="the passes, in the order in which they run")
    add("-o", "--output", metavar="FILE", default="-", help="constants beside; - is stdout")
    add("--constants", metavar="FILE", type=Path, help="default: IN.npz or constants.npz beside IN")
    add("--target", default="eyeriss-like", help="a name, or a TOML file (%(default)s)")
    add("-v", "--verbose", action="store_true", help="tracebacks of errors, too")
    add_flags(p)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(with_values(given))
    return finish(lambda: run(options), told, options.verbose)


def run(options: argparse.Namespace) -> None:
    from dnncc import targets

    from .debug.dumps import load_program, read_program
    from .debug.flags import observers_of
    from .debug.timing import Stopwatch
    from .driver import lower
    from .options import Options

    target = targets.load(options.target)
    if options.file == "-":
        program = read_program(sys.stdin.read(), "<stdin>", options.constants)
    else:
        program = load_program(Path(options.file), options.constants)
    steps, watch = steps_of(options.passes, program), Stopwatch()
    asked = Options(target=options.target, verify=False)
    made = lower(program, steps, asked, observers_of(options, target, watch))
    write(made, options)
    print_times(options, watch)


def steps_of(names: str, program: Program) -> tuple[Pass, ...]:
    """The passes, each of which must take what the one before it makes. Raises CompileError."""
    from .diagnostics import CompileError
    from .passes.pipeline import find, level_of

    steps = tuple(find(name) for name in listed([names]))
    level = level_of(program)
    for step in steps:
        if step.takes != level:
            raise CompileError(f"pass '{step.name}' takes a {step.takes} program, not a {level}")
        level = step.level
    return steps


def write(program: Program, options: argparse.Namespace) -> None:
    from dnncc import targets

    from .debug.dumps import save_program, whole_text

    target = targets.load(options.target)
    if options.output == "-":
        sys.stdout.write(whole_text(program, target))
    else:
        save_program(Path(options.output), program, target)


if __name__ == "__main__":
    sys.exit(main())
