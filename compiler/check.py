"""--check-each-pass: the program is run after every pass, and its values must stay the same.

The reference is the imported model, node by node through onnx.reference. `legalize` changes the
arithmetic, from floats between quantisations to integers: each of its operators is given the
reference's inputs, and may be off by one unit where the reference rounds from the middle of two
integers, and in a few more elements. From then on the values of the legalized graph are the
reference, and all that comes later must equal them.

This is where the compiler meets the runtime: instructions are run by the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dnncc.isa import core, program
from dnncc.targets import Target

from .codegen.image import image
from .codegen.stream import Stream
from .debug.compare import (
    Mismatch,
    Reference,
    Tally,
    first_mismatch,
    first_step_mismatch,
    given_feeds,
    random_feeds,
)
from .debug.dumps import load_arrays
from .debug.observer import Observer
from .debug.origins import Origins
from .debug.text import graph_of
from .debug.verifying import BrokenProgram, Verifying
from .ir.graph import Array, Graph
from .ir.interpret import computed, held, with_real_outputs
from .ir.storage import through_storage
from .ir.tile import TileProgram
from .ir.tile_interpret import interpret_tile
from .passes.pipeline import Pass, Program

ROUNDING = ("canonicalize", "legalize", "lower_floats")
"""Passes that change the arithmetic: normalisation into weights, floats to integers or steps."""

RANDOM = "random"
SCHEDULE = "random:1"
"""The order in which synchronised instructions run, beside program order."""


WASTE = ("dead store", "leak")
"""Findings that are not wrong: of what a model computes, it may use a slice."""


class WrongValue(Exception):
    """A pass changed what the program computes: an error of ours."""

    def __init__(self, step: str, mismatch: Mismatch) -> None:
        super().__init__(f"pass {step} changed the values: {mismatch}")
        self.step, self.mismatch = step, mismatch


class Checking(Observer):
    """Runs the program after each step on `source`: an .npz, `random[:SEED]`, or the arrays.

    `tallies` has what was compared after each step, `imported` the values of the program that it
    began with, and `reference` what is expected of the next one; `mismatch` is what was found.
    """

    def __init__(self, source: str | Mapping[str, Array], target: Target) -> None:
        self.source, self.target = source, target
        self.reference: Reference | None = None
        self.imported: dict[str, Array] = {}
        self.tallies: dict[str, Tally] = {}
        self.mismatch: Mismatch | None = None

    def before(self, step: Pass, program: Program | None) -> None:
        if program is not None and self.reference is None:
            self.begin(program)

    def begin(self, program: Program) -> None:
        graph = graph_of(program)
        feeds = feeds_from(self.source, graph)
        self.reference = Reference.of(graph, feeds, run(program, feeds, self.target))
        self.imported = dict(self.reference.values)

    def after(self, step: Pass, program: Program) -> None:
        if self.reference is None:
            self.begin(program)
            return
        tally = self.tallies[step.name] = Tally()
        try:
            found = self.compare(step, program, self.reference, tally)
        except MemoryError:
            raise
        except Exception as error:  # whatever fails, it is the program that cannot be run
            raise BrokenProgram(step.name, f"it cannot be run: {error}") from error
        self.mismatch = found
        if found is not None:
            raise WrongValue(step.name, found)

    def compare(
        self, step: Pass, program: Program, reference: Reference, tally: Tally
    ) -> Mismatch | None:
        """What is wrong with the program's values, which are expected of the next one's."""
        found: Mismatch | None = None
        rounding = isinstance(program, Graph) and step.name in ROUNDING
        if isinstance(program, Graph) and rounding:
            found = first_step_mismatch(program, reference, tally)
        values = run(program, reference.feeds, self.target)
        if not rounding:
            found = first_mismatch(graph_of(program), values, reference.values, tally)
        reference.values |= values
        return found

    def summary(self) -> str:
        """One line of what was compared."""
        tensors = sum(t.tensors for t in self.tallies.values())
        elements = sum(t.elements for t in self.tallies.values())
        rounded = sum(t.rounded for t in self.tallies.values())
        return (
            f"checked {len(self.tallies)} passes: {tensors} tensors with {elements} elements are "
            f"as before, but for {rounded} that differ by one unit where floats became integers"
        )


class Proving(Observer):
    """What dnncc-verify says of the instructions, once they have their waits."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def after(self, step: Pass, program: Program) -> None:
        if not isinstance(program, Stream) or not has_waits(program):
            return
        from dnncc.runtime.verification import verify

        for finding in verify(image(program, self.target, "", {})):
            if finding.check not in WASTE:
                raise BrokenProgram(step.name, str(finding))


def feeds_from(source: str | Mapping[str, Array], graph: Graph) -> dict[str, Array]:
    """Raises CompileError, OSError."""
    if not isinstance(source, str):
        return given_feeds(graph, "the inputs", source)
    kind, _, seed = source.partition(":")
    if kind == RANDOM and (not seed or seed.isdecimal()):
        return random_feeds(graph, int(seed or 0))
    return given_feeds(graph, source, load_arrays(Path(source)))


def run(made: Program, feeds: Mapping[str, Array], target: Target) -> dict[str, Array]:
    """The value of every tensor that the program has, by name."""
    if isinstance(made, Graph):
        values = computed(made, feeds)
        values |= through_storage(made, values) if has_layout(made) else {}
        return with_real_outputs(made, values)
    if isinstance(made, TileProgram):
        return interpret_tile(made, feeds)
    return run_stream(made, feeds, target)


def has_layout(graph: Graph) -> bool:
    return any(graph.tensors[name].view for name in graph.inputs)


def run_stream(stream: Stream, feeds: Mapping[str, Array], target: Target) -> dict[str, Array]:
    """The tensors as they are in memory when the part that makes them has ended: later others may
    lie there. Where there are waits, outputs are also taken from another legal order."""
    from dnncc.runtime import load

    session = load(image(stream, target, "", {}), host="reference")
    machine = session.machine(1)
    machine.poison()
    graph, values = stream.tile.graph, dict[str, Array]()
    for name in graph.inputs:
        machine.symbol(session.symbols[name])[...] = held(graph, name, feeds)
    ends = last_instructions(stream)
    parts = [n.outputs for n in graph.nodes if n.op in ("group", "host")]
    for index in range(stream.count):
        session.step(index, machine)
        for name in parts[ends[index]] if index in ends else ():
            if name in session.symbols:
                value = machine.symbol(session.symbols[name])[0]
                values[name] = value.astype(graph.tensors[name].dtype)
    if has_waits(stream):
        outputs = session.run(list(graph.outputs), feeds, SCHEDULE)
        values |= zip(graph.outputs, outputs, strict=True)
    return values


def has_waits(stream: Stream) -> bool:
    records = [piece.records for piece in stream.pieces]
    return any((r[name] != core.NO_WAIT).any() for r in records for name in program.WAIT_NAMES)


def last_instructions(stream: Stream) -> dict[int, int]:
    """Where each part of the program ends: instruction -> part."""
    ends = {int(nest): index for index, nest in enumerate(stream.nest_of[:-1])}
    return {index: nest for nest, index in ends.items()}


def watchers(source: str | Mapping[str, Array], target: Target) -> tuple[Observer, ...]:
    """All that --check-each-pass looks at. The last is the first to see what a pass made: a legal
    program, of known origin, whose instructions are in order, and that computes what it should."""
    return Checking(source, target), Proving(target), Origins(), Verifying(target)
