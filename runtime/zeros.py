"""What zeros among the values save in a run: gated MACs, and feature maps in DRAM that are coded.

Counted on the values that instructions read and write, by `targets/coding.py`: MACs of every tile,
where the target gates them, and the blocks of feature maps that loads and stores move, where DRAM
has them run-length coded. The model's inputs are not coded, as in Eyeriss (JSSC 2017). Levels are
as wide as elements; a block that the code makes longer goes as it is (ours). Cycles are the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from dnncc.isa import blocks, core, dma, tensor
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.isa.parts import Part
from dnncc.targets import Target, coding, cost, dataflow
from dnncc.targets.energy import level_sums, words

from .machine import Array, Machine
from .pricing import Prices, array_params, array_work
from .report import report
from .timing import Timeline

Ints = npt.NDArray[np.int64]
Row = dict[str, Any]

KEPT = ("dram_read_bytes", "dram_written_bytes", "dram_bus_bytes", "accesses", "energy")
"""Figures of a layer that zeros change."""


class ZeroCounter:
    """An Observer. Sums over all inputs, of `inputs`: zero MACs per instruction, and code bytes of
    the feature maps that it moves, -1 where it moves none."""

    def __init__(
        self, instructions: Sequence[core.Instruction], image: images.Image, target: Target
    ) -> None:
        self.instructions, self.image, self.target = instructions, image, target
        self.zero_macs = np.zeros(len(instructions), np.int64)
        self.coded = np.full(len(instructions), -1, np.int64)
        self.inputs = 0
        self.machine: Machine | None = None
        self.symbols = {s.name: s for s in image.symbols}

    def begin(self, machine: Machine) -> None:
        self.machine = machine
        self.inputs += machine.batch

    def before(self, index: int) -> None:
        assert self.machine is not None
        guard, self.machine.guard = self.machine.guard, None
        self.count(index, self.instructions[index], self.machine)
        self.machine.guard = guard

    def after(self, index: int) -> None:
        pass

    def end(self) -> None:
        pass

    def count(self, index: int, instruction: core.Instruction, machine: Machine) -> None:
        if isinstance(instruction, tensor.Tensor) and self.target.energy.gates_zeros:
            self.zero_macs[index] += zero_macs(instruction, machine)
        elif isinstance(instruction, (dma.Load, dma.Store)) and self.target.dram.run_length_coding:
            symbol = self.feature_map(index, instruction)
            if symbol is not None:
                coded = max(0, int(self.coded[index]))
                self.coded[index] = coded + code_bytes(instruction, machine, symbol.zero)

    def feature_map(self, index: int, moved: dma.Load | dma.Store) -> images.Symbol | None:
        """The tensor that is coded in DRAM, if it is one."""
        if moved.dram < len(self.image.rodata) or self.image.debug is None:
            return None
        for unit in self.image.debug.units:
            within = unit.memory == core.DRAM and unit.start <= moved.dram < unit.stop
            if within and unit.first <= index <= unit.last and unit.tensors:
                symbol = self.symbols[unit.tensors[0]]
                return None if symbol.kind == "input" else symbol
        return None


def zero_macs(instruction: tensor.Tensor, machine: Machine) -> int:
    """MACs of a tile whose ifmap is zero, over the whole batch."""
    values = instruction.ifmaps(machine)
    work = array_work(instruction)
    padding = instruction.pad_top, instruction.pad_left
    counts = [coding.zero_macs(work, one, instruction.ifmap_zero, padding) for one in values]
    return sum(counts) * (machine.batch // len(values))


def code_bytes(moved: dma.Load | dma.Store, machine: Machine, zero: int) -> int:
    """Bytes of a block in DRAM, coded where that is shorter, over the whole batch."""
    values = block(moved, machine)
    size = core.dtype_size(moved.dram_dtype)
    rows = values.reshape(len(values), -1)
    coded = coding.rlc_bytes(rows, zero, 8 * size) if rows.size else np.zeros(len(rows))
    return int(np.minimum(coded, rows.shape[1] * size).sum())


def block(moved: dma.Load | dma.Store, machine: Machine) -> Array:
    """What is about to be moved, (batch, d0, d1, d2, d3)."""
    if isinstance(moved, dma.Load):
        strides = moved.dram_strides()
        return machine.view(core.DRAM, moved.dram, moved.sizes(), strides, moved.dram_dtype)
    inside = moved.sizes(), moved.spad_strides(), moved.spad_dtype
    values: Array = blocks.view(machine, moved.spad, *inside)
    return values


# What it saves


def saved(priced: Prices, counter: ZeroCounter, program: programs.Program) -> Prices:
    """The prices of the mean input."""
    inputs = max(1, counter.inputs)
    columns = {level: priced.accesses(level).copy() for level in ("mac", "rf")}
    zeros = np.rint(counter.zero_macs / inputs).astype(np.int64)
    for part in program.parts:
        if part.cls is tensor.Tensor:
            levels = gated_levels(part, zeros, counter.target)
            for level, column in columns.items():
                column[part.indices] = levels[level]
    return priced.having(**columns, **dram_columns(priced, counter, inputs))


def gated_levels(part: Part, zeros: Ints, target: Target) -> Row:
    """Operand words per level of Tensor instructions."""
    item: Any = part.cls.from_records(part.records)
    flow = dataflow.model(target)
    counts = flow.accesses(target, array_work(item), array_params(item, flow))
    return level_sums(coding.gated(counts, zeros[part.indices]), target)


def dram_columns(priced: Prices, counter: ZeroCounter, inputs: int) -> dict[str, Ints]:
    """Bytes and words of DRAM, where feature maps are coded."""
    target = counter.target
    coded = np.rint(counter.coded / inputs).astype(np.int64)
    moved = counter.coded >= 0
    burst = max(channel.burst_bytes for channel in target.dram.channels)
    bus = np.where(moved, np.minimum(priced.bus, cost.bursts(coded, burst)), priced.bus)
    return {
        "read": np.where(moved & (priced.read > 0), coded, priced.read),
        "written": np.where(moved & (priced.written > 0), coded, priced.written),
        "bus": bus,
        "dram": np.where(moved, words(bus, target), priced.dram),
    }


def with_zeros(plain: Row, counter: ZeroCounter, image: images.Image, timeline: Timeline) -> Row:
    """The report, with a table "zeros" in total and in each layer: zero MACs that are gated, and
    the figures that they and the code change. Of a batch it is the mean."""
    program = programs.Program.decode(image.text)
    priced = saved(timeline.prices, counter, program)
    less = report(image, program, counter.target, replace(timeline, prices=priced))
    pairs = zip(plain["layers"], less["layers"], strict=True)
    layers = [a | {"zeros": zeros_of(a, b)} for a, b in pairs]
    return plain | {"layers": layers, "zeros": zeros_of(plain, less)}


def zeros_of(plain: Row, less: Row) -> Row:
    gated = plain["accesses"]["mac"] - less["accesses"]["mac"]
    return {"gated_macs": gated} | {name: less[name] for name in KEPT}
