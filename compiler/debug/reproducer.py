"""A failure in a folder: the model, cut down; inputs, target, options; how to repeat it."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from onnx import ModelProto

from dnncc import targets

from ..codegen.stream import Stream
from ..diagnostics import CompileError, Remarks
from ..driver import quantised_model, starting
from ..frontend.calibration import inputs_of, read_samples
from ..frontend.importer import import_model, node_name
from ..frontend.loading import load_model
from ..ir.graph import Array
from ..ir.interpret import interpret
from ..mapping.given import Given
from ..options import Options
from ..passes.pipeline import Pass
from .compare import random_feeds
from .cut import Values, cut, feeds_of
from .dumps import append_arrays, load_arrays, load_program, save_program
from .failure import Failure, Trial, attempt, attempt_from
from .record import (
    INPUTS,
    MODEL,
    PROGRAM,
    RECORD,
    SAMPLES,
    Record,
    read_record,
    record_of,
    write_record,
)
from .reduce import Fails, Search


class Case(Struct, frozen=True):
    """A model that fails with these options; `source` are the inputs of the checks, if any."""

    model: ModelProto
    options: Options
    source: str | None
    pipeline: Sequence[Pass]


def case_of(model: str, options: Options, source: str | None, pipeline: Sequence[Pass]) -> Case:
    """Of a float model, what quantisation makes of it, if that is not what fails.

    Raises CompileError, OSError.
    """
    whole, notes = load_whole(model), Remarks()
    try:
        made = quantised_model(whole, options, notes)
    except (CompileError, OSError):
        raise
    except Exception:  # then that is what the reproducer is about
        return Case(whole, with_samples(whole, options), source, pipeline)
    if not notes.quantisation:
        return Case(whole, options, source, pipeline)
    settled = replace(options, shapes={}, calibrate=None, precision="float")
    return Case(made, settled, source, pipeline)


def with_samples(model: ModelProto, options: Options) -> Options:
    """The calibration data as arrays, which can be written into a folder."""
    if options.calibrate is None:
        return options
    samples = read_samples(options.calibrate, inputs_of(model))
    arrays = {name: np.stack([s[name] for s in samples]) for name in samples[0]}
    return replace(options, calibrate=arrays)


def write_reproducer(case: Case, trial: Trial, folder: Path, seconds: float) -> Record:
    """Cut the model down for so many seconds, and write it all; the folder may exist."""
    assert trial.failure is not None
    model, values = smallest(case, trial, seconds)
    feeds = feeds_of(model, values)
    again = attempt_cut(case, model, feeds)
    if again is None or not trial.failure.is_like(again.failure):
        again = trial
    assert again.failure is not None
    folder.mkdir(parents=True, exist_ok=True)
    target = targets.load(case.options.target)
    (folder / MODEL).write_bytes(model.SerializeToString(deterministic=True))
    write_samples(folder, case, model, feeds)
    if again.before is not None and not isinstance(again.before, Stream):
        save_program(folder / PROGRAM, again.before, target)
    record = model_record(case, again.failure, model)
    write_record(folder, record, case.options.target, feeds)
    return record


def write_samples(folder: Path, case: Case, model: ModelProto, feeds: Mapping[str, Array]) -> None:
    """What a float model is calibrated with: a part of one with its own inputs."""
    (folder / SAMPLES).unlink(missing_ok=True)
    if isinstance(case.options.calibrate, Mapping):
        held = case.options.calibrate if model is case.model else feeds
        append_arrays(folder / SAMPLES, held)


def model_record(case: Case, failure: Failure, model: ModelProto) -> Record:
    options, inputs = case.options, {v.name for v in model.graph.input}
    return record_of(
        failure,
        options,
        case.source,
        nodes=len(model.graph.node),
        precision=options.precision,
        samples=options.calibrate is not None,
        mapping={k: v.table() for k, v in given_for(model, options).items()},
        shapes={k: tuple(v) for k, v in options.shapes.items() if k in inputs},
    )


def given_for(model: ModelProto, options: Options) -> dict[str, Given]:
    """What is given of the mappings of nodes that the model has."""
    names = {node_name(n, i) for i, n in enumerate(model.graph.node)}
    return {k: v for k, v in options.mapping.items() if k.partition("#")[0] in names}


def smallest(case: Case, trial: Trial, seconds: float) -> tuple[ModelProto, Values]:
    """The part of the model that still fails so, and all values of the whole."""
    values = reference_values(case, trial)
    if not values:
        return case.model, values
    search = Search(case.model, values, like(case, trial.failure), time.monotonic() + seconds)
    found = search.smallest(nodes_of(case.model, trial))
    part = cut(case.model, found, values)
    if part is None or not search.tried.get(tuple(found)):
        return case.model, values
    return part, values


def like(case: Case, failure: Failure | None) -> Fails:
    """Whether a part fails as the whole did."""

    def fails(part: ModelProto, feeds: dict[str, Array]) -> bool:
        trial = attempt_cut(case, part, feeds)
        return trial is not None and failure is not None and failure.is_like(trial.failure)

    return fails


def attempt_cut(case: Case, part: ModelProto, feeds: Mapping[str, Array]) -> Trial | None:
    """None where the part is no model that can be compiled."""
    source = None if case.source is None else feeds
    shapes = case.options.shapes if part is case.model else {}
    try:
        given = given_for(part, case.options)
        samples = case.options.calibrate if part is case.model or not feeds else feeds
        samples = samples if case.options.calibrate is not None else None
        options = replace(case.options, shapes=shapes, calibrate=samples, mapping=given)
        return attempt(part, options, source, case.pipeline)
    except CompileError:
        return None


def reference_values(case: Case, trial: Trial) -> Values:
    """Every value of the imported model; nothing where it cannot be run."""
    if trial.checking is not None and trial.checking.imported:
        return trial.checking.imported
    try:
        graph = import_model(case.model, case.options.shapes)
        feeds = random_feeds(graph, 0)
        return feeds | interpret(graph, feeds)
    except Exception:  # without values the model stays whole
        return {}


def nodes_of(model: ModelProto, trial: Trial) -> Sequence[str]:
    """The ONNX nodes that the failure names."""
    message = trial.failure.message if trial.failure else ""
    names = [node_name(n, i) for i, n in enumerate(model.graph.node)]
    return [name for name in names if name in message]


SECONDS = 20.0
"""For cutting down a model after an internal error: the user waits."""


def report_failure(
    error: Exception, model: str, options: Options, source: str | None, pipeline: Sequence[Pass]
) -> None:
    """Write a reproducer of an internal error, and note on it where that is."""

    def write(folder: Path) -> bool:
        case = case_of(model, options, source, pipeline)
        trial = attempt(case.model, case.options, source, pipeline)
        if trial.failure is not None:
            write_reproducer(case, trial, folder, SECONDS)
        return trial.failure is not None

    note_folder(error, write)


def note_folder(error: Exception, write: Callable[[Path], bool]) -> None:
    """Note on an error where `write` put what repeats it; it says whether it did."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="dnncc-repro-"))
        if not write(folder):
            folder.rmdir()
            error.add_note("no reproducer: it did not fail again")
            return
    except Exception as second:  # the error itself must be told, whatever comes of this
        error.add_note(f"no reproducer: {' '.join(str(second).split())}")
        return
    error.add_note(f"dnncc --repro {folder} repeats it; please report it with that folder")


def replay(folder: Path, pipeline: Sequence[Pass]) -> tuple[Record, Trial]:
    """Compile again what the folder holds. Raises CompileError, OSError."""
    folder = folder.parent if folder.name == RECORD else folder
    record = read_record(folder / RECORD)
    options = record.options(folder)
    feeds = load_arrays(folder / INPUTS) if record.inputs is not None else None
    if not record.start:
        return record, attempt(str(folder / MODEL), options, feeds, pipeline)
    program = load_program(folder / PROGRAM)
    steps = starting(record.start, program, pipeline)
    return record, attempt_from(program, steps, options, feeds)


def load_whole(path: str) -> ModelProto:
    """The model with its external data. Raises CompileError."""
    model: ModelProto = load_model(Path(path))
    return model
