"""dnncc-reduce: cut an ONNX model down to the smallest that still fails a check."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dnncc.isa.command import FAILED, finish

from .bisect import add_cutting_options, checked, output_folder
from .cli import shape_of, told

if TYPE_CHECKING:
    from onnx import ModelProto

    from .debug.cut import Values
    from .debug.reduce import Fails
    from .ir.graph import Array

MODEL, INPUTS = "{model}", "{inputs}"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dnncc-reduce", description=(__doc__ or "").partition(": ")[2])
    add = p.add_argument
    add("--failing", metavar="COMMAND", help="fails if it exits with the status that it has on the "
        "whole model; {model} and {inputs} are paths. Default: a check of every pass")  # fmt: skip
    add("--timeout", type=float, default=60.0, help="seconds for one COMMAND (%(default)g)")
    add_cutting_options(p, "reduced", 600.0)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return finish(lambda: run(options), told, options.verbose)


def run(options: argparse.Namespace) -> int:
    options.output = output_folder(options, "reduced")
    return by_command(options) if options.failing else by_check(options)


def by_check(options: argparse.Namespace) -> int:
    _, record = checked(options, options.output)
    if record is None:
        print(f"error: {options.model}: no pass changes a value", file=sys.stderr)
        return FAILED
    print(f"{options.output}: {record.nodes} nodes; again: dnncc --repro {options.output}")
    return 0


def by_command(options: argparse.Namespace) -> int:
    """Write the smallest model on which the command ends as on the whole one."""
    import time

    from .check import feeds_from
    from .debug.cut import cut, feeds_of
    from .debug.reduce import Search
    from .debug.reproducer import load_whole
    from .frontend.importer import import_model
    from .ir.interpret import interpret

    model = load_whole(options.model)
    graph = import_model(model, dict(map(shape_of, options.shape)))
    feeds = feeds_from(options.input, graph)
    values: Values = feeds | interpret(graph, feeds)
    command = Command(shlex.split(options.failing), options.timeout)
    status = command.status(model, feeds)
    if not status:
        print(f"error: {options.model}: the command does not fail", file=sys.stderr)
        return FAILED
    deadline = time.monotonic() + options.seconds
    search = Search(model, values, command.ends_with(status), deadline)
    part = cut(model, search.smallest(), values)
    found = part or model
    write(options.output, found, feeds_of(found, values), command)
    print(f"{options.output}: {len(found.graph.node)} nodes; again: sh {options.output}/repeat.sh")
    return 0


class Command:
    """A command line, run on a model and inputs in files of a folder for each run."""

    def __init__(self, words: Sequence[str], timeout: float) -> None:
        self.words, self.timeout = words, timeout

    def line(self, folder: Path) -> list[str]:
        paths = {MODEL: str(folder / "model.onnx"), INPUTS: str(folder / "inputs.npz")}
        words = self.words if any(MODEL in word for word in self.words) else [*self.words, MODEL]
        for mark, path in paths.items():
            words = [word.replace(mark, path) for word in words]
        return list(words)

    def status(self, model: ModelProto, feeds: dict[str, Array]) -> int:
        """Its exit status; -1 if it does not end."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_files(folder, model, feeds)
            try:
                done = subprocess.run(
                    self.line(folder), timeout=self.timeout, capture_output=True, check=False
                )
            except subprocess.TimeoutExpired:
                return -1
            return done.returncode

    def ends_with(self, status: int) -> Fails:
        return lambda model, feeds: self.status(model, feeds) == status


def write_files(folder: Path, model: ModelProto, feeds: dict[str, Array]) -> None:
    from .debug.dumps import append_arrays

    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / "inputs.npz").unlink(missing_ok=True)
    append_arrays(folder / "inputs.npz", feeds)


def write(folder: Path, model: ModelProto, feeds: dict[str, Array], command: Command) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_files(folder, model, feeds)
    line = shlex.join(command.line(Path()))
    (folder / "repeat.sh").write_text(f'cd "$(dirname "$0")" && {line}\n', encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
