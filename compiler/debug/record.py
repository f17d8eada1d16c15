"""What a folder with a failure has: names of its files, and repro.json."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from dnncc import targets

from .. import __version__
from ..diagnostics import CompileError
from ..ir.graph import Array
from ..levels import PRECISIONS
from ..mapping.files import from_tables
from ..options import Options
from .dumps import append_arrays
from .failure import Failure

RECORD, TARGET, INPUTS = "repro.json", "target.toml", "inputs.npz"
MODEL, SAMPLES = "model.onnx", "samples.npz"
PROGRAM = "before.mlir"
RECORD_LIMIT = 1 << 20


class Record(Struct, frozen=True):
    """repro.json. `inputs` says where the inputs came from; None where no pass was checked.

    Compiling begins with pass `start` on the program in the folder, or else with the model, of
    which `samples` say whether it is a float one that is calibrated with what lies beside it.
    """

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
    samples: bool = False
    mapping: dict[str, dict[str, Any]] = field(default_factory=dict)
    start: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def failure(self) -> Failure:
        return Failure(self.kind, self.step, self.message)

    def options(self, folder: Path) -> Options:
        """Those of the compilation. Raises CompileError."""
        return Options(
            target=str(folder / TARGET),
            shapes=self.shapes,
            precision=self.precision,
            calibrate=str(folder / SAMPLES) if self.samples else None,
            mapping=from_tables(self.mapping, RECORD),
            strict=self.strict,
            level=self.level,
            goal=self.goal,
            disabled=self.disabled,
            bisect_limit=self.bisect_limit,
            cache=False,
        )


def record_of(failure: Failure, options: Options, inputs: str | None, **what: Any) -> Record:
    """`what` are the fields that depend on what is compiled."""
    return Record(
        kind=failure.kind,
        step=failure.step,
        message=failure.message,
        inputs=inputs,
        level=options.level,
        goal=options.goal,
        strict=options.strict,
        disabled=options.disabled,
        bisect_limit=options.bisect_limit,
        versions=versions(),
        **what,
    )


def versions() -> dict[str, str]:
    found = {"dnncc": __version__, "python": platform.python_version()}
    for name in ("numpy", "onnx", "lark"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def write_record(folder: Path, record: Record, target: str, inputs: Mapping[str, Array]) -> None:
    """With the target and the inputs, which every folder has."""
    text = targets.load(target).dumps()
    (folder / TARGET).write_text(text, encoding="utf-8")
    (folder / INPUTS).unlink(missing_ok=True)
    append_arrays(folder / INPUTS, inputs)
    (folder / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))


def read_record(path: Path) -> Record:
    """Raises CompileError, OSError."""
    data = path.read_bytes()
    try:
        if len(data) > RECORD_LIMIT:
            raise ValueError("too long")
        return msgspec.json.decode(data, type=Record)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CompileError(f"not a reproducer: {error}", file=str(path)) from None
