"""What a run costs, as JSON: in total, per engine, and per layer; the layers sum to the totals."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dnncc.isa import control, core
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.isa.distinct import distinct
from dnncc.targets import Target
from dnncc.targets.energy import LEVELS

from .attribution import node_index, owners, per_node
from .energy import accesses, energies
from .gap import Gap, gaps, per_label
from .timing import CAUSES, Timeline

SCHEMA = 1

Ints = npt.NDArray[np.int64]
Row = dict[str, Any]

COUNTED = {
    "macs": "macs",
    "dram_read_bytes": "read",
    "dram_written_bytes": "written",
    "dram_bus_bytes": "bus",
    "scratchpad_bytes": "spad",
}
"""Counts of a layer, and the column of Prices that each sums."""


def report(
    image: images.Image, program: programs.Program, target: Target, timeline: Timeline
) -> Row:
    """The report of a program's run; plain dicts, lists, strings and numbers.

    `cycles` at `clock_mhz` are `time_us`. `utilisation` is MACs over cycles times PEs. DRAM bytes
    are those asked for; `dram_bus_bytes` those moved in whole bursts. Energies are in
    `energy.unit`. The engines' `busy` and `stalls` sum to `cycles`; cycles in which host parts run
    are not the accelerator's, and not in it; nor is what the runtime takes for the inputs and
    outputs that are `converted`. `gap`, by cause (gap.py), sums to `cycles` less
    `bound.cycles`, in every layer and in total; a binary without bounds has neither.
    """
    each, whole = bound_rows(image, program, target, timeline)
    layers = layer_rows(image, program, target, timeline, each)
    total = totals(layers, target)
    return {
        "schema": SCHEMA,
        "tool": image.tool,
        "target": target_row(target),
        "cycles": timeline.cycles,
        "time_us": target.seconds(timeline.cycles) * 1e6,
        "instructions": program.count,
        "code_bytes": len(image.text),
        "weight_bytes": len(image.rodata),
        **total,
        **whole,
        "engines": engine_rows(timeline, target),
        "layers": layers,
        "host_parts": host_rows(image),
        "converted": [converted_row(s) for s in image.symbols if s.real],
        **quantisation(image),
    }


def quantisation(image: images.Image) -> Row:
    """How a float model was quantised, and per tensor how far it is from it, if it was."""
    told = image.options.get("quantisation")
    return {"quantisation": told} if told else {}


def target_row(target: Target) -> Row:
    return {
        "name": target.name,
        "sha256": target.sha256,
        "dataflow": target.dataflow,
        "clock_mhz": target.clock_mhz,
        "peak_macs_per_cycle": target.pes,
    }


def bound_rows(
    image: images.Image, program: programs.Program, target: Target, timeline: Timeline
) -> tuple[list[Row], Row]:
    """What reports say of bounds: per row of `node_index`, and in total."""
    rows, labels = node_index(image.debug, program.count)
    floors = per_label(image.debug, labels) if image.debug else None
    if floors is None:
        return [{} for _ in labels], {}
    hosts = np.flatnonzero(np.asarray(program.opcodes) == control.Host.opcode)
    each, whole = gaps(timeline, hosts, rows, floors, target)
    return [bound_row(gap) for gap in each], bound_row(whole)


def bound_row(gap: Gap) -> Row:
    return {"bound": {"cycles": gap.bound, "limit": gap.limit}, "gap": gap.causes}


def layer_rows(
    image: images.Image,
    program: programs.Program,
    target: Target,
    timeline: Timeline,
    bounds: list[Row],
) -> list[Row]:
    """One row per ONNX node, or group of fused ones, that has instructions, in program order."""
    rows, labels = node_index(image.debug, program.count)
    count = len(labels)
    cycles = per_node(rows, owners(timeline), count)
    words = accesses(timeline.prices, rows, count)
    energy = energies(words, target)
    columns = {
        name: per_node(rows, getattr(timeline.prices, column), count)
        for name, column in COUNTED.items()
    }
    instructions = np.bincount(rows, minlength=count)
    steps = operations(program, rows, count)
    engines = timeline.by_row(rows, count).tolist()
    return [
        {
            "node": labels[i],
            "op": steps[i],
            "instructions": int(instructions[i]),
            "cycles": int(cycles[i]),
            **{name: int(column[i]) for name, column in columns.items()},
            "utilisation": utilisation(int(columns["macs"][i]), int(cycles[i]), target),
            "accesses": dict(zip(LEVELS, words[i].tolist(), strict=True)),
            "energy": energy_row(energy[i], target),
            **bounds[i],
            "engines": layer_engines(engines[i], target),
        }
        for i in first_seen(rows)
    ]


def first_seen(rows: Ints) -> list[int]:
    """The rows that occur, in the order in which they first do."""
    found, first = np.unique(rows, return_index=True)
    return [int(i) for i in found[np.argsort(first)]]


def operations(program: programs.Program, rows: Ints, count: int) -> list[str]:
    """Per node, the kinds of instructions that compute it, "tensor+requantize"."""
    kinds: list[list[str]] = [[] for _ in range(count)]
    for part in program.parts:
        if part.cls.engine in ("tensor", "vector") or part.cls.mnemonic == "host":
            for i in distinct(rows[part.indices]):
                kinds[i].append(part.cls.mnemonic)
    return ["+".join(names) for names in kinds]


def energy_row(levels: npt.NDArray[np.float64], target: Target) -> Row:
    by_level = dict(zip(LEVELS, levels.tolist(), strict=True))
    return {"unit": target.energy.unit, "total": sum(by_level.values()), "by_level": by_level}


def totals(layers: list[Row], target: Target) -> Row:
    """Sums over the layers, by the layers' own keys."""
    cycles = sum(row["cycles"] for row in layers)
    counts = {name: sum(row[name] for row in layers) for name in COUNTED}
    words = {level: sum(row["accesses"][level] for row in layers) for level in LEVELS}
    by_level = {level: sum(row["energy"]["by_level"][level] for row in layers) for level in LEVELS}
    total = sum(row["energy"]["total"] for row in layers)
    return {
        **counts,
        "utilisation": utilisation(counts["macs"], cycles, target),
        "accesses": words,
        "energy": {"unit": target.energy.unit, "total": total, "by_level": by_level},
    }


def utilisation(macs: int, cycles: int, target: Target) -> float:
    """MACs done of those that the array could do in the time, 0..1."""
    return macs / (cycles * target.pes) if cycles else 0.0


def engine_rows(timeline: Timeline, target: Target) -> Row:
    """Per engine that the target has: busy cycles and stalls by cause; they sum to all cycles."""
    busy, stalls = timeline.busy().tolist(), timeline.stalled().tolist()
    counts = [int(np.count_nonzero(timeline.engine == e)) for e in range(len(core.ENGINES))]
    names = engine_names(target)
    return {
        name: {
            "instructions": counts[e],
            "busy": busy[e],
            "stalls": dict(zip(CAUSES, stalls[e], strict=True)),
        }
        for e, name in enumerate(core.ENGINES)
        if name in names
    }


def layer_engines(table: list[list[int]], target: Target) -> Row:
    """Per engine a layer's busy cycles and stalls; over all layers they sum to the engines' own,
    but for what is drained."""
    return {
        name: {"busy": busy, "stalls": dict(zip(CAUSES, stalls, strict=True))}
        for name, (busy, *stalls) in zip(core.ENGINES, table, strict=True)
        if name in engine_names(target)
    }


def engine_names(target: Target) -> set[str]:
    return {e.name for e in target.engines} | {"tensor", "vector"}


def converted_row(symbol: images.Symbol) -> Row:
    """An input or output that is float32 to the caller and another type in memory."""
    elements = symbol.bytes // symbol.element_bytes
    return {"tensor": symbol.name, "kind": symbol.kind, "held": symbol.dtype, "elements": elements}


def host_rows(image: images.Image) -> list[Row]:
    """The parts that the host runs, with the reason for each ONNX node."""
    return [
        {"part": n, "nodes": [{"node": node, "reason": why} for node, why in part.reasons]}
        for n, part in enumerate(image.host)
    ]
