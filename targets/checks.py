"""Combinations of valid fields that no machine can have; each is one named check.

A check yields (key, reason) pairs; a target without any is valid.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from .schema import (
    KINDS,
    Datapath,
    Kind,
    NoLocalReuse,
    OutputStationary,
    OutputSystolic,
    RowStationary,
    Target,
    WeightStationary,
)

Problems = Iterator[tuple[str, str]]
Check = Callable[[Target], Problems]

_checks: list[Check] = []


def problems(target: Target) -> Problems:
    """All (key, reason) pairs of all checks, in the order of this file."""
    for check in _checks:
        yield from check(target)


def impossible(check: Check) -> Check:
    """Count the decorated function among the checks."""
    _checks.append(check)
    return check


def repeated(names: Iterator[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


@impossible
def names_twice(target: Target) -> Problems:
    for key, rows in (
        ("memory", target.memories),
        ("dram.channel", target.dram.channels),
        ("engine", target.engines),
    ):
        for name in repeated(row.name for row in rows):
            yield f"{key}.{name}", "is there twice"


@impossible
def memory_ids_out_of_order(target: Target) -> Problems:
    for position, memory in enumerate(target.memories, 1):
        if memory.id != position:
            yield f"memory.{memory.name}.id", f"must be {position}, its place in the file"


@impossible
def memory_called_dram(target: Target) -> Problems:
    if any(m.name == "dram" for m in target.memories):
        yield "memory.dram", "dram is the name of the memory outside the chip"


@impossible
def kind_not_in_one_memory(target: Target) -> Problems:
    for kind in KINDS:
        holders = [m.name for m in target.memories if kind in m.holds]
        if len(holders) != 1:
            yield "memory", f"{kind} must be held by one memory, not by {listed(holders)}"


@impossible
def banks_of_unequal_size(target: Target) -> Problems:
    for memory in target.memories:
        if memory.bytes % memory.banks:
            reason = f"{memory.banks} banks do not divide {memory.bytes} bytes"
            yield f"memory.{memory.name}.banks", reason


@impossible
def engine_without_channel(target: Target) -> Problems:
    channels = {c.name for c in target.dram.channels}
    for engine in target.engines:
        if engine.channel not in channels:
            yield f"engine.{engine.name}.channel", f"there is no channel {engine.channel!r}"


@impossible
def channel_without_engine(target: Target) -> Problems:
    used = {e.channel for e in target.engines}
    for channel in target.dram.channels:
        if channel.name not in used:
            yield f"dram.channel.{channel.name}", "no engine uses it"


@impossible
def kind_not_served_once(target: Target) -> Problems:
    for direction in ("load", "store"):
        engines = [e for e in target.engines if e.kind == direction]
        for kind in KINDS:
            servers = [e.name for e in engines if kind in e.serves]
            if len(servers) != 1:
                reason = f"{kind} must be served by one {direction} engine, not by "
                yield "engine", reason + listed(servers)


@impossible
def burst_not_a_power_of_two(target: Target) -> Problems:
    for channel in target.dram.channels:
        if channel.burst_bytes.bit_count() != 1:
            yield f"dram.channel.{channel.name}.burst_bytes", "must be a power of two"


@impossible
def operand_wider_than_its_word(target: Target) -> Problems:
    if "int16" in target.datapath.operands and target.datapath.operand_bytes < 2:
        yield "datapath.operand_bytes", "must be 2 to hold int16 operands"


@impossible
def memory_too_slow_for_the_array(target: Target) -> Problems:
    """Arrays that take operands in every cycle cannot wait for a memory that is slower.

    Eyeriss is not among them: its buses are slower than its memory's banks.
    """
    if isinstance(target.array, RowStationary):
        return
    reads = reads_per_cycle(target.array, target.datapath)
    for memory in target.memories:
        need = sum(size for kind, size in reads.items() if kind in memory.holds)
        if memory.bytes_per_cycle < need:
            reason = f"must be >= {need}, which the array reads per cycle"
            yield f"memory.{memory.name}.bytes_per_cycle", reason


Streaming = WeightStationary | OutputStationary | OutputSystolic | NoLocalReuse


def reads_per_cycle(array: Streaming, data: Datapath) -> dict[Kind, int]:
    """The most bytes of each kind that the array takes from a memory in a cycle."""
    match array:
        case WeightStationary():
            words = (array.rows, array.cols * array.weight_rows_per_cycle, array.cols)
        case OutputSystolic():
            words = (array.rows, array.cols, array.cols)
        case OutputStationary():
            words = (
                array.ifmap_words_per_cycle,
                array.weight_words_per_cycle,
                array.psums_per_cycle,
            )
        case NoLocalReuse():
            words = (array.cols, array.weight_words_per_cycle, array.rows)
    ifmap, weight, psum = words
    word = data.operand_bytes
    return {"ifmap": ifmap * word, "weight": weight * word, "psum": psum * data.psum_bytes}


def listed(names: Sequence[str]) -> str:
    return " and ".join(names) or "none"
