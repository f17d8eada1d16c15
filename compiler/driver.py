"""From a model to an Artifact: the passes of a pipeline, one after the other."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from msgspec import Struct
from onnx import ModelProto

from dnncc import targets
from dnncc.isa import elf
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.targets import Target

from . import __version__
from .codegen.image import image
from .codegen.stream import Stream
from .debug.observer import Observer
from .debug.selection import Selection
from .debug.verifying import Verifying
from .diagnostics import CompileError, Remarks
from .frontend.floats import Wish, quantizer
from .frontend.importer import import_model, static_model
from .ir.graph import Graph
from .ir.tile import TileProgram
from .mapping import files
from .mapping.asking import Known
from .mapping.cache import folder
from .options import Options
from .passes.choose_mapping import Misfit, choose_mapping
from .passes.context import Budget, Context
from .passes.legalize import legalize
from .passes.pipeline import (
    IMPORT,
    PIPELINE,
    Level,
    Pass,
    Program,
    Run,
    check_optional,
    find,
    level_of,
)

Model = str | os.PathLike[str] | ModelProto


class Artifact(Struct, frozen=True, dict=True):
    """A compiled model: the binary's contents, and the last Graph and Tile programs before it.

    `notes` are one-line remarks on what was assumed of the model, `warnings` what must be known.
    """

    image: images.Image
    graph: Graph
    tile: TileProgram
    target: Target
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ELF file, whole or not at all."""
        elf.save(self.image, Path(path))

    def asm(self) -> str:
        """The whole binary as assembly text, which `dnncc-as` takes back."""
        from dnncc.isa import asm  # here, as the assembler's grammar takes its time

        return asm.disassemble(self.program, self.image)

    def mapping_text(self) -> str:
        """How every node is mapped, as annotated loop nests."""
        from .debug.loop_nests import mapping_text

        return mapping_text(self.tile, self.target)

    def save_mapping(self, path: str | os.PathLike[str]) -> None:
        """Write a mapping file that gives every node the mapping that it has."""
        elf.replace_file(Path(path), files.text_of(self.graph).encode())

    @cached_property
    def program(self) -> programs.Program:
        return programs.Program.decode(self.image.text)


def compile_model(
    model: Model,
    options: Options,
    observers: Sequence[Observer] = (),
    pipeline: Sequence[Pass] = PIPELINE,
) -> Artifact:
    """Raises CompileError or TargetError, one line."""
    notes = Remarks()
    steps = (importing(model, options, notes), *pipeline)
    with naming(model):
        known: Known = {}
        stream = lower(None, steps, options, observers, known)
    assert isinstance(stream, Stream), "the pipeline ends in instructions"
    return finish(stream, options, notes, known)


@contextmanager
def naming(model: Model) -> Iterator[None]:
    """Errors name the model's file, if it is one."""
    try:
        yield
    except CompileError as error:
        error.file = error.file or (None if isinstance(model, ModelProto) else str(model))
        raise


def importing(model: Model, options: Options, notes: Remarks) -> Pass:
    """The step before the first pass; remarks are added to `notes`."""
    source = model if isinstance(model, ModelProto) else Path(model)

    def run(program: None, ctx: Context) -> Graph:
        wish = Wish(options.precision, options.calibrate)
        return import_model(source, options.shapes, notes, quantizer(wish, ctx.target, notes))

    return Pass(IMPORT, run, Level.GRAPH, None, needed="there would be no program")


def quantised_model(model: Model, options: Options, notes: Remarks) -> ModelProto:
    """The ONNX model that is compiled: of static shapes, and quantised if it was float."""
    source = model if isinstance(model, ModelProto) else Path(model)
    wish = Wish(options.precision, options.calibrate)
    quantise = quantizer(wish, targets.load(options.target), notes)
    return static_model(source, options.shapes, notes, quantise)


def lower(
    program: Program | None,
    steps: Sequence[Pass],
    options: Options,
    observers: Sequence[Observer] = (),
    known: Known | None = None,
) -> Program:
    """What the steps make of `program`.

    The observers see it before each step in the order given, and after it in reverse. What is asked
    of the array's model is added to `known`.
    """
    check_optional(options.disabled, [s for s in steps if s.name != IMPORT])
    if options.mapping and choose_mapping.__name__ not in [s.name for s in steps]:
        raise CompileError("mappings are given, but choose_mapping does not run")
    target = wide_enough(targets.load(options.target))
    kept = folder(os.environ) if options.cache else None
    wishes = options.mapping, kept, options.goal
    known = {} if known is None else known
    ctx = Context(target, options.level, Budget.of(options.budget), *wishes, known=known)
    watching = (*standing(options, target, ctx.budget), *observers)
    trail = Trail(ctx)
    for step in steps:
        for observer in watching:
            observer.before(step, program)
        program = trail.run(step, chosen(step, watching), program)
        for observer in reversed(watching):
            observer.after(step, program)
    assert program is not None, "there is at least one step"
    return program


class Trail:
    """The way from `legalize` to a pass that finds that some nodes fit the target in no tiling. It
    is gone again, unobserved, without these nodes, which are the host's then."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.start: Program | None = None
        self.runs: list[Run] = []

    def run(self, step: Pass, run: Run, program: Program | None) -> Program:
        """Raises CompileError."""
        if step.name == legalize.__name__:
            self.start, self.runs = program, []
        while True:
            try:
                made: Program = run(program, self.ctx)
            except Misfit as misfit:
                program = self.without(misfit)
            else:
                self.runs.append(run)
                return made

    def without(self, misfit: Misfit) -> Program:
        if self.start is None or misfit.reasons.keys() <= self.ctx.refused.keys():
            raise misfit
        self.ctx.refused.update(misfit.reasons)
        program = self.start
        for run in self.runs:
            program = run(program, self.ctx)
        return program


def wide_enough(target: Target) -> Target:
    """The target, if its psums are those of Tensor instructions. Raises CompileError."""
    bits = target.datapath.accumulator_bits
    if bits < 32:
        message = f"target '{target.name}' has psums of {bits} bits, too narrow for exact int8 sums"
        raise CompileError(message, hint="take a target with accumulator_bits = 32")
    return target


def standing(options: Options, target: Target, budget: Budget) -> tuple[Observer, ...]:
    """What the options ask for."""
    selection = Selection(options.omitted, options.bisect_limit)
    strict = (Strict(),) if options.strict else ()
    verifying = (Verifying(target),) if options.verify else ()
    return Deadline(budget), selection, *strict, *verifying


def chosen(step: Pass, observers: Iterable[Observer]) -> Run:
    """What runs as `step`: itself, or what stands in for it."""
    if step.instead is None or all([o.should_run(step) for o in observers]):
        return step.run
    return step.instead


class Deadline(Observer):
    """No pass begins after the budget is used up."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def before(self, step: Pass, program: Program | None) -> None:
        self.budget.check(f"what comes before {step.name}")


class Strict(Observer):
    """--strict: no part of the model runs on the host."""

    def after(self, step: Pass, program: Program) -> None:
        host = [n for n in program.nodes if n.op == "host"] if isinstance(program, Graph) else []
        if host:
            pairs = zip(host[0].attrs["refused"], host[0].attrs["reason"], strict=True)
            reason = "; ".join(f"'{name}': {why}" for name, why in pairs)
            hint = "leave out --strict to let it"
            raise CompileError(f"runs on the host: {reason}", hint=hint)


def finish(
    stream: Stream, options: Options, notes: Remarks | None = None, known: Known | None = None
) -> Artifact:
    """The binary of the instructions; `known` as `lower` has left it."""
    notes = Remarks() if notes is None else notes
    target = targets.load(options.target)
    record = options.record()
    if notes.quantisation:
        record["quantisation"] = notes.quantisation
    made = image(stream, target, f"dnncc {__version__}", record, known)
    said = tuple(notes), tuple(notes.warnings)
    return Artifact(made, stream.tile.graph, stream.tile, target, *said)


def until(name: str, steps: Sequence[Pass]) -> tuple[Pass, ...]:
    """The steps up to the pass `name`. Raises CompileError."""
    last = find(name, steps)
    return tuple(steps[: list(steps).index(last) + 1])


def starting(name: str, program: Program, pipeline: Sequence[Pass] = PIPELINE) -> tuple[Pass, ...]:
    """The passes from `name` on, which must take such a program. Raises CompileError."""
    first = find(name, pipeline)
    level = level_of(program)
    if first.takes != level:
        raise CompileError(f"pass '{name}' takes a {first.takes} program, and this is a {level}")
    return tuple(pipeline[list(pipeline).index(first) :])
