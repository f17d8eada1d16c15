"""Load a binary and run it: values from the machine and cycles from the timing of one program."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from dnncc.isa import control, core, elf
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.targets import Target
from dnncc.targets import load as load_target

from . import loading, worth
from .errors import RunError, SanitizerError
from .findings import Finding, Listing
from .host import HOSTS, HostRunner
from .machine import Array, Machine, private_rows
from .observe import Observer, observed
from .order import order
from .signature import Tensor, batched, described, given, listed, merged, taken
from .threads import limited
from .timing import Timeline, simulate

if TYPE_CHECKING:
    from .dump import Dump
    from .grouping import Plan
    from .verification import Verification
    from .zeros import ZeroCounter

MEMORY_LIMIT = 256 << 20
"""Bytes of machines' memories at a time: a larger batch runs in chunks."""


class Profile(Struct, frozen=True):
    """What a run costs, which no input changes."""

    cycles: int
    timeline: Timeline
    report: dict[str, Any]


class InferenceSession:
    """A binary ready to run, with the interface of onnxruntime's class of this name."""

    def __init__(self, image: images.Image, source: str = "model", host: str = "auto") -> None:
        """Check the image. Raises RunError or IsaError, one line, if it is not safe to run.

        `host` is what runs host parts: "reference", "tvm" or "auto" (native/choice.py).
        """
        self.image, self.source, self.host = image, source, host
        self.target: Target = loading.target_of(image)
        self.program: programs.Program = loading.decode(image, self.target)
        self.symbols: dict[str, images.Symbol] = {s.name: s for s in image.symbols}
        self._inputs = described(image.symbols, "input")
        self._outputs = described(image.symbols, "output")
        self._sizes = loading.extents(self.program.regions, image, self.target)
        self._machine: Machine | None = None
        self._ran = False
        self._zeros: ZeroCounter | None = None
        self._grouped: dict[str, Array] = {}
        self._work = 0.0

    def get_inputs(self) -> list[Tensor]:
        """Name, shape and type of each input."""
        return list(self._inputs)

    def get_outputs(self) -> list[Tensor]:
        """Name, shape and type of each output."""
        return list(self._outputs)

    def run(
        self,
        output_names: Sequence[str] | None,
        feeds: Mapping[str, Any],
        schedule: str = "serial",
        sanitize: bool = False,
        until: int | None = None,
        observers: Sequence[Observer] = (),
        grouped: bool | None = None,
        threads: int | None = None,
        count_zeros: bool = False,
    ) -> list[Array]:
        """The outputs of that name, all if None; names of inner tensors that have a symbol do too,
        and give what is there right after their last writer.

        Feeds whose first dimension is B times the model's are a batch of B inputs, independent of
        each other. `schedule` "random:SEED" executes in another legal order, which must not change
        anything. `sanitize` proves the program in order and watches it run (sanitizer.py); it
        raises SanitizerError. Only the first `until` instructions of the schedule are executed.
        `count_zeros`: what zeros among the values save is in `report_with_zeros` afterwards.
        Where none of these asks for one by one and it leaves the same, a layer's instructions are
        executed at once (grouping/): always if `grouped`, never if it is False, and if it is None
        from the run on at which it pays. `threads` are those of matrix products (threads.py).
        Raises RunError for feeds that do not fit.
        """
        names = [t.name for t in self._outputs] if output_names is None else list(output_names)
        for name in names:
            self.symbol(name)
        batch, arrays = batched(self._inputs, feeds)
        if sanitize:
            observers = (*observers, self.sanitizer())
        if count_zeros:
            from .zeros import ZeroCounter

            self._zeros = ZeroCounter(self.instructions, self.image, self.target)
            observers = (*observers, self._zeros)
        inner = self.inner(names)
        observers = (*observers, inner) if inner else observers
        plain = schedule != "serial" or until is not None or bool(observers)
        plain = plain or not self.pays(batch, grouped) or not self.groups(names)
        if plain:
            sequence = list(order(self.program, schedule, self.listing.instruction))[:until]
            run = partial(self.execute, names=names, sequence=sequence, observers=observers)
        else:
            run = partial(self.execute_groups, names=names)
        one = self.bytes_of_one(plain)
        with limited(threads):
            parts = [run(part) for part in self.chunks(batch, arrays, one)]
        values = [merged(np.concatenate(chunks)) for chunks in zip(*parts, strict=True)]
        kept = inner.arrays() if inner else {}
        return [kept.get(name, value) for name, value in zip(names, values, strict=True)]

    def pays(self, batch: int, grouped: bool | None) -> bool:
        """Whether what has run so far would have paid for finding out what can be grouped."""
        if grouped is not None or "plan" in self.__dict__:
            return grouped is not False
        self._work += batch * worth.one_by_one(self.program)
        return self._work > worth.planning(self.image)

    def groups(self, names: Sequence[str]) -> bool:
        """Whether the program can be executed in groups, which leave those symbols as they are."""
        return self.plan is not None and self.plan.stale.isdisjoint(names)

    def inner(self, names: Sequence[str]) -> "Dump | None":
        """What keeps those of the tensors that are not outputs before they are overwritten."""
        symbols = [self.symbols[name] for name in names if self.symbols[name].kind == "tensor"]
        if not symbols:
            return None
        from .dump import Dump

        return Dump(self.verification, symbols)

    def tensor(self, name: str) -> Array:
        """A tensor as its memory is after the last run (of a batch, the last chunk).

        What is dead by then may have been overwritten. Raises RunError if it has no symbol or
        nothing has run.
        """
        symbol = self.symbol(name)
        if self._machine is None or not self._ran:
            raise RunError(f"tensor {name!r}: run the model first")
        if self._grouped and not self.groups([name]):
            self.execute(self._grouped, [], list(range(self.program.count)))
        return merged(taken(symbol, self._machine.symbol(symbol)))

    @cached_property
    def profile(self) -> Profile:
        """Cycles, timeline and report; computed once."""
        from .report import report

        timeline = simulate(self.program, self.target, self.listing.instruction)
        return Profile(
            timeline.cycles, timeline, report(self.image, self.program, self.target, timeline)
        )

    def report_with_zeros(self) -> dict[str, Any]:
        """The report with what zeros saved in the last run that counted them. Raises RunError."""
        from .zeros import with_zeros

        if self._zeros is None:
            raise RunError("zeros are not counted: run with count_zeros=True")
        return with_zeros(self.profile.report, self._zeros, self.image, self.profile.timeline)

    def with_host_time(self, report: dict[str, Any]) -> dict[str, Any]:
        """The report with what ran each host part, why, and its wall clock in all runs so far."""
        ran: list[HostRunner] = self.__dict__.get("hosts", [])
        parts = report["host_parts"]
        timed = [row | part.told() for row, part in zip(parts, ran, strict=True)] if ran else parts
        return report | {"host_parts": timed, "host_seconds": sum(part.seconds for part in ran)}

    def symbol(self, name: str) -> images.Symbol:
        if name not in self.symbols:
            known = listed([t.name for t in self._outputs])
            raise RunError(f"output {name!r}: the binary has no such tensor; outputs are {known}")
        return self.symbols[name]

    def bytes_of_one(self, plain: bool) -> int:
        """Memory that one input takes."""
        if plain or self.plan is None:
            return sum(private_rows(self.image.rodata, self._sizes))
        return self.plan.bytes(len(self.image.rodata))

    def chunks(self, batch: int, arrays: dict[str, Array], one: int) -> Iterator[dict[str, Array]]:
        """The feeds in pieces whose machines stay below MEMORY_LIMIT, of `one` byte an input."""
        size = min(max(1, MEMORY_LIMIT // max(1, one)), batch)
        for first in range(0, batch, size):
            yield {name: array[first : first + size] for name, array in arrays.items()}

    def execute(
        self,
        feeds: dict[str, Array],
        names: list[str],
        sequence: list[int],
        observers: Sequence[Observer] = (),
    ) -> list[Array]:
        """Run one chunk; (B, *shape) per name."""
        machine, self._grouped = self.ready(feeds), {}
        if observers:
            observed(sequence, lambda index: self.step(index, machine), machine, observers)
        else:
            for index in sequence:
                self.step(index, machine)
        self._ran = True
        return self.taken(names, machine)

    def execute_groups(self, feeds: dict[str, Array], names: list[str]) -> list[Array]:
        """Run one chunk, a layer at a time."""
        assert self.plan is not None
        machine, self._grouped = self.ready(feeds, self.plan.touched), feeds
        for piece in self.plan.pieces:
            if not piece.merged:
                for index in self.plan.order[piece.first : piece.stop]:
                    self.step(index, machine)
            for instruction in piece.merged:
                self.perform(instruction, self.plan.order[piece.first], machine)
        self._ran = True
        return self.taken(names, machine)

    def taken(self, names: Sequence[str], machine: Machine) -> list[Array]:
        """Copies of the tensors, (B, *shape), as callers get them."""
        symbols = [self.symbols[name] for name in names]
        return [taken(symbol, machine.symbol(symbol)) for symbol in symbols]

    def ready(
        self, feeds: dict[str, Array], ranges: list[list[tuple[int, int]]] | None = None
    ) -> Machine:
        """The machine with nothing in its memories, or those ranges of them, but constants and
        inputs, (B, *shape)."""
        machine = self.machine(len(next(iter(feeds.values()), np.zeros(1))))
        self._ran = False
        machine.poison(ranges)
        for name, value in feeds.items():
            machine.symbol(self.symbols[name])[...] = given(self.symbols[name], value)
        return machine

    def step(self, index: int, machine: Machine) -> None:
        """Execute one instruction. Raises RunError that names it."""
        self.perform(self.instructions[index], index, machine)

    def perform(self, instruction: Any, index: int, machine: Machine) -> None:
        """Execute an instruction, or what stands for those from `index` on."""
        try:
            if isinstance(instruction, control.Host):
                self.hosts[instruction.part].run(machine)
            else:
                instruction.execute(machine)
        except SanitizerError:
            raise
        except (ValueError, IndexError, MemoryError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RunError(f"instruction {index} ({instruction.mnemonic}): {reason}") from error

    def machine(self, batch: int) -> Machine:
        """A machine for that many inputs; the last one is kept."""
        held, scratch = self._machine, self.scratch()
        if held is None or held.batch != batch or held.scratch != scratch:
            del held
            self._machine = None  # free the memory before taking more
            held = self._machine = Machine(self.image.rodata, self._sizes, batch, scratch)
        return held

    def scratch(self) -> tuple[int, ...]:
        """Memories that groups need beside the target's, once it is known."""
        found = self.__dict__.get("plan")
        return tuple(found.scratch) if found else ()

    @cached_property
    def plan(self) -> "Plan | None":
        """How to execute a layer at a time; made once."""
        from .grouping import plan

        return plan(self.program, self.image, self._sizes)

    @cached_property
    def listing(self) -> Listing:
        """Names of instructions, for messages."""
        return Listing(self.program, self.image)

    @cached_property
    def verification(self) -> "Verification":
        """What is known of the program before it runs."""
        from .verification import Verification

        return Verification(self.program, self.image, self.target)

    @cached_property
    def findings(self) -> list[Finding]:
        """What is wrong with the program; computed once."""
        return self.verification.findings()

    def sanitizer(self) -> Observer:
        """Raises SanitizerError if the program is wrong before it runs."""
        from .sanitizer import Sanitizer

        if self.findings:
            raise SanitizerError(self.findings)
        return Sanitizer(self.verification)

    @cached_property
    def instructions(self) -> list[core.Instruction]:
        """All instructions as objects, in program order."""
        found: list[core.Instruction | None] = [None] * self.program.count
        for part in self.program.parts:
            cls, names = part.cls, part.cls.field_names()
            for index, row in zip(part.indices.tolist(), part.records.tolist(), strict=True):
                found[index] = one = object.__new__(cls)  # all fields at once: 4 times faster
                one.__dict__.update(zip(names, row[1:], strict=False))
        return [i for i in found if i is not None]

    @cached_property
    def hosts(self) -> list[HostRunner]:
        """The host parts, ready to run."""
        return [HostRunner(n, p, self.symbols, self.host) for n, p in enumerate(self.image.host)]


def load(
    model: str | PathLike[str] | bytes | images.Image,
    target: str | Target | None = None,
    host: str = "auto",
) -> InferenceSession:
    """A session for a binary: its path, its bytes or its image.

    With `target`, a name, a file or a Target, a binary for another one is refused with the
    differences. `host` is what runs host parts: "reference", "tvm" or "auto". Raises RunError, one
    line (but for those) that names the file; OSError.
    """
    source = fspath(model) if isinstance(model, (str, PathLike)) else "model"
    if host not in HOSTS:
        raise RunError(f"host {host!r}: it is one of {', '.join(HOSTS)}")
    with named(source):
        session = InferenceSession(image_of(model), source, host)
        if target is not None:
            wanted = target if isinstance(target, Target) else load_target(target)
            loading.check_target(session.target, wanted)
    return session


def image_of(model: str | PathLike[str] | bytes | images.Image) -> images.Image:
    if isinstance(model, images.Image):
        return model
    return elf.read(model) if isinstance(model, bytes) else loading.read(Path(model))


@contextmanager
def named(source: str) -> Iterator[None]:
    """Errors about a binary name it."""
    try:
        yield
    except SanitizerError as error:
        error.source = source
        raise
    except (RunError, core.IsaError) as error:
        raise RunError(f"{source}: {error}") from None
