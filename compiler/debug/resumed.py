"""A failure of a compilation that began with a dump, in a folder that repeats it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from dnncc import targets

from ..check import feeds_from
from ..codegen.stream import Stream
from ..driver import starting
from ..ir.graph import Array, Graph
from ..ir.tile import TileProgram
from ..options import Options
from ..passes.pipeline import Pass
from .dumps import load_program, save_program
from .failure import Trial, attempt_from
from .record import PROGRAM, record_of, write_record
from .reproducer import note_folder
from .text import graph_of


class Resumed(Struct, frozen=True):
    """A program on which pass `start` and all after it run; `source` are the inputs of checks."""

    program: Graph | TileProgram
    start: str
    options: Options
    source: str | None
    pipeline: Sequence[Pass]

    @property
    def feeds(self) -> Mapping[str, Array] | None:
        """Raises CompileError, OSError."""
        return None if self.source is None else feeds_from(self.source, graph_of(self.program))

    def attempt(self) -> Trial:
        steps = starting(self.start, self.program, self.pipeline)
        return attempt_from(self.program, steps, self.options, self.feeds)


def report_resumed(
    error: Exception,
    begun: tuple[str, str],
    options: Options,
    source: str | None,
    pipeline: Sequence[Pass],
) -> None:
    """Write a reproducer of an internal error, and note on it where that is; `begun` are the first
    pass and the file of the dump."""
    start, file = begun

    def write(folder: Path) -> bool:
        program = load_program(Path(file))
        return write_resumed(Resumed(program, start, options, source, pipeline), folder)

    note_folder(error, write)


def write_resumed(case: Resumed, folder: Path) -> bool:
    """The program before the pass that fails, if it fails there alone; whether it failed."""
    trial = case.attempt()
    if trial.failure is None:
        return False
    last = latest(case, trial)
    save_program(folder / PROGRAM, last.program, targets.load(case.options.target))
    nodes = len(graph_of(last.program).nodes)
    record = record_of(trial.failure, case.options, case.source, nodes=nodes, start=last.start)
    write_record(folder, record, case.options.target, last.feeds or {})
    return True


def latest(case: Resumed, trial: Trial) -> Resumed:
    """Begun as late as it still fails so."""
    assert trial.failure is not None
    if trial.before is None or isinstance(trial.before, Stream):
        return case
    late = replace(case, program=trial.before, start=trial.failure.step)
    return late if trial.failure.is_like(late.attempt().failure) else case
