"""How a compilation fails: in which pass, and with what."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from onnx import ModelProto

from dnncc import targets
from dnncc.targets import TargetError

from ..check import Checking, watchers
from ..diagnostics import CompileError
from ..driver import compile_model, lower
from ..ir.graph import Array
from ..options import Options
from ..passes.pipeline import Pass, Program
from .observer import Observer
from .origins import Origins
from .verifying import Verifying


class Failure(Struct, frozen=True):
    """`kind` is the class of the error, `step` the pass, `message` one line."""

    kind: str
    step: str
    message: str

    def is_like(self, other: "Failure | None") -> bool:
        """The same fault, maybe of another node."""
        return other is not None and (self.kind, self.step) == (other.kind, other.step)

    @classmethod
    def of(cls, error: Exception, step: str) -> "Failure":
        """`step` is the last that began; an error that names its pass knows better."""
        message = " ".join(str(error).split())
        return cls(type(error).__name__, getattr(error, "step", step), message)


class LastSeen(Observer):
    """The step that began last, and the program that it was given."""

    def __init__(self) -> None:
        self.step = "import"
        self.program: Program | None = None

    def before(self, step: Pass, program: Program | None) -> None:
        self.step, self.program = step.name, program


class Trial(Struct, frozen=True):
    """One compilation, watched: how it failed, if it did, and what was seen until then."""

    failure: Failure | None
    before: Program | None
    checking: Checking | None = None


def attempt(
    model: ModelProto | str,
    options: Options,
    source: str | Mapping[str, Array] | None,
    pipeline: Sequence[Pass],
) -> Trial:
    """Compile; with a `source` of inputs every pass is checked. Raises only what users can mend."""
    return watched(lambda seen: compile_model(model, options, seen, pipeline), options, source)


def attempt_from(
    program: Program,
    steps: Sequence[Pass],
    options: Options,
    source: str | Mapping[str, Array] | None,
) -> Trial:
    """The same, for what the steps make of a program."""
    return watched(lambda seen: lower(program, steps, options, seen), options, source)


def watched(
    run: Callable[[Sequence[Observer]], object],
    options: Options,
    source: str | Mapping[str, Array] | None,
) -> Trial:
    target, seen = targets.load(options.target), LastSeen()
    legal = Origins(), Verifying(target)
    watching = legal if source is None else watchers(source, target)
    checking = next((w for w in watching if isinstance(w, Checking)), None)
    try:
        run((*watching, seen))
    except (CompileError, TargetError, OSError):
        raise
    except Exception as error:
        return Trial(Failure.of(error, seen.step), seen.program, checking)
    return Trial(None, None, checking)


def is_internal(error: Exception) -> bool:
    """A fault of ours, not of the model, the target or the files."""
    return not isinstance(error, (CompileError, TargetError, OSError))
