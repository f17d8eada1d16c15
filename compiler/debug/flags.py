"""The options for seeing and checking passes, which dnncc and dnncc-opt share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported when they are needed: --help has to be quick
    from dnncc.targets import Target

    from .observer import Observer
    from .timing import Stopwatch


def add_flags(parser: argparse.ArgumentParser) -> None:
    see = parser.add_argument_group("seeing what passes do (P is a pass, `import` or `all`)")
    add = see.add_argument
    add("--print-before", metavar="P", action="append", default=[], help="the program before P")
    add("--print-after", metavar="P", action="append", default=[], help="the program after P")
    add("--print-changed", action="store_true", help="a diff for each pass that changed something")
    add("--filter", metavar="NODE", default="", help="print only what came from that ONNX node")
    add("--dump-dir", metavar="D", type=Path, help="a numbered file per pass, constants beside")
    add("--time-passes", choices=("text", "json"), help="seconds and memory (=json) on stderr")
    add("--check-each-pass", metavar="X.npz", help="run it after every pass; or random[:SEED]")
    add("--no-verify", action="store_true", help="do not check after every pass")


def with_values(arguments: Sequence[str]) -> list[str]:
    """--time-passes alone is =text, and never takes the next argument for its value."""
    return ["--time-passes=text" if a == "--time-passes" else a for a in arguments]


def listed(values: Iterable[str]) -> list[str]:
    """Options may be given several times, and name several with commas."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def observers_of(
    options: argparse.Namespace, target: Target, watch: Stopwatch
) -> tuple[Observer, ...]:
    """What the flags ask for. Raises CompileError for unknown passes.

    In this order dumps and prints show what a later observer, the verifier say, finds fault with.
    """
    from ..passes.pipeline import check_names
    from .origins import Origins
    from .timing import Timed
    from .verifying import Verifying

    check_names((*listed(options.print_before), *listed(options.print_after)))
    made: list[Observer] = []
    if options.check_each_pass:
        from ..check import Checking, Proving

        made.append(Timed("check", Checking(options.check_each_pass, target), watch))
        made.append(Timed("prove", Proving(target), watch))
    if not options.no_verify:
        made += [Origins(), Timed("verify", Verifying(target), watch)]
    if options.verbose or options.print_changed or options.print_before or options.print_after:
        made += printers(options, target)
    if options.dump_dir:
        from .dumps import Dumping

        made.append(Timed("dump", Dumping(options.dump_dir, target), watch))
    return (*made, watch)


def printers(options: argparse.Namespace, target: Target) -> Iterator[Observer]:
    """Those that print programs, or how large they are."""
    from .prints import Changes, Present, Printing, Progress, Sheet

    sheet = Sheet(sys.stderr, target, options.filter)
    before, after = listed(options.print_before), listed(options.print_after)
    if options.verbose:
        yield Progress(sys.stderr)
    if options.print_changed:
        yield Changes(sheet)
    if before or after:
        yield Printing(sheet, before, after)
    if options.filter:
        yield Present(options.filter)


def print_times(options: argparse.Namespace, watch: Stopwatch) -> None:
    if options.time_passes is None:
        return
    from .timing import tree

    root = watch.finish()
    if options.time_passes == "text":
        print(tree(root), file=sys.stderr)
        return
    import json

    print(json.dumps(root.record(), indent=1), file=sys.stderr)
