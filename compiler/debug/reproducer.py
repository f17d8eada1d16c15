"""A failure in a folder: the model, cut down; inputs, target, options; how to repeat it."""

import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
from onnx import ModelProto

from dnncc import targets

from .. import __version__
from ..codegen.stream import Stream
from ..diagnostics import CompileError
from ..frontend.importer import import_model, node_name
from ..frontend.loading import load_model
from ..ir.graph import Array
from ..ir.interpret import interpret
from ..mapping.files import from_tables
from ..mapping.given import Given
from ..options import PRECISIONS, Options
from ..passes.pipeline import Pass
from .compare import random_feeds
from .cut import Values, cut, feeds_of
from .dumps import append_arrays, load_arrays, save_program
from .failure import Failure, Trial, attempt
from .reduce import Fails, Search

RECORD, MODEL, INPUTS, TARGET = "repro.json", "model.onnx", "inputs.npz", "target.toml"
RECORD_LIMIT = 1 << 20


@dataclass(frozen=True)
class Record:
    """repro.json. `inputs` says where the inputs came from; None where no pass was checked."""

    kind: str
    step: str
    message: str
    inputs: str | None
    nodes: int
    level: int = 2
    goal: str = "latency"
    strict: bool = False
    disabled: tuple[str, ...] = ()
    bisect_limit: int | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    precision: str = PRECISIONS[0]
    mapping: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def failure(self) -> Failure:
        return Failure(self.kind, self.step, self.message)


@dataclass(frozen=True)
class Case:
    """A model that fails with these options; `source` are the inputs of the checks, if any."""

    model: ModelProto
    options: Options
    source: str | None
    pipeline: Sequence[Pass]


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
    (folder / TARGET).write_text(target.dumps(), encoding="utf-8")
    (folder / INPUTS).unlink(missing_ok=True)
    append_arrays(folder / INPUTS, feeds)
    if again.before is not None and not isinstance(again.before, Stream):
        save_program(folder / "before.mlir", again.before, target)
    record = record_of(case, again.failure, model)
    (folder / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))
    return record


def record_of(case: Case, failure: Failure, model: ModelProto) -> Record:
    options, inputs = case.options, {v.name for v in model.graph.input}
    return Record(
        kind=failure.kind,
        step=failure.step,
        message=failure.message,
        inputs=case.source,
        nodes=len(model.graph.node),
        level=options.level,
        goal=options.goal,
        strict=options.strict,
        disabled=options.disabled,
        bisect_limit=options.bisect_limit,
        precision=options.precision,
        mapping={k: v.table() for k, v in given_for(model, options).items()},
        shapes={k: tuple(v) for k, v in options.shapes.items() if k in inputs},
        versions=versions(),
    )


def given_for(model: ModelProto, options: Options) -> dict[str, Given]:
    """What is given of the mappings of nodes that the model has."""
    names = {node_name(n, i) for i, n in enumerate(model.graph.node)}
    return {k: v for k, v in options.mapping.items() if k.partition("#")[0] in names}


def versions() -> dict[str, str]:
    found = {"dnncc": __version__, "python": platform.python_version()}
    for name in ("numpy", "onnx", "lark"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


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
        options = replace(case.options, shapes=shapes, calibrate=None, mapping=given)
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
    try:
        case = Case(load_whole(model), options, source, pipeline)
        trial = attempt(case.model, options, source, pipeline)
        if trial.failure is None:
            return
        folder = Path(tempfile.mkdtemp(prefix="dnncc-repro-"))
        write_reproducer(case, trial, folder, SECONDS)
    except Exception as second:  # the error itself must be told, whatever comes of this
        error.add_note(f"no reproducer: {' '.join(str(second).split())}")
        return
    error.add_note(f"dnncc --repro {folder} repeats it; please report it with that folder")


def replay(folder: Path, pipeline: Sequence[Pass]) -> tuple[Record, Trial]:
    """Compile again what the folder holds. Raises CompileError, OSError."""
    folder = folder.parent if folder.name == RECORD else folder
    record = read_record(folder / RECORD)
    options = Options(
        target=str(folder / TARGET),
        shapes=record.shapes,
        precision=record.precision,
        mapping=from_tables(record.mapping, RECORD),
        strict=record.strict,
        level=record.level,
        goal=record.goal,
        disabled=record.disabled,
        bisect_limit=record.bisect_limit,
        cache=False,
    )
    feeds = load_arrays(folder / INPUTS) if record.inputs is not None else None
    return record, attempt(str(folder / MODEL), options, feeds, pipeline)


def read_record(path: Path) -> Record:
    data = path.read_bytes()
    try:
        if len(data) > RECORD_LIMIT:
            raise ValueError("too long")
        return msgspec.json.decode(data, type=Record)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CompileError(f"not a reproducer: {error}", file=str(path)) from None


def load_whole(path: str) -> ModelProto:
    """The model with its external data. Raises CompileError."""
    model: ModelProto = load_model(Path(path))
    return model
