"""Targets that differ in one thing, to see what it would give."""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from dnncc.targets import Target


def variants(target: Target) -> Iterator[tuple[str, Target]]:
    """What is changed, in words, and the target with it; nothing of it has been checked."""
    array = target.array
    yield (
        "DRAM bandwidth x2",
        channels(target, lambda c: {"bytes_per_cycle": 2 * c.bytes_per_cycle}),
    )
    yield "DRAM latency / 2", channels(target, lambda c: {"latency_cycles": c.latency_cycles // 2})
    yield "scratchpads x2", with_memories(target)
    yield "array rows x2", with_array(target, rows=2 * array.rows)
    yield "array columns x2", with_array(target, cols=2 * array.cols)
    lanes = replace(target.vector, lanes=2 * target.vector.lanes)
    yield "vector lanes x2", replace(target, vector=lanes)


def channels(target: Target, change: Callable[[Any], dict[str, Any]]) -> Target:
    """With other fields of every DRAM channel."""
    changed = tuple(replace(c, **change(c)) for c in target.dram.channels)
    return replace(target, dram=replace(target.dram, channels=changed))


def with_array(target: Target, **sides: int) -> Target:
    """With other sides of the array, and memories whose ports are as much wider."""
    wider = (replace(m, bytes_per_cycle=2 * m.bytes_per_cycle) for m in target.memories)
    return replace(target, array=replace(target.array, **sides), memories=tuple(wider))


def with_memories(target: Target) -> Target:
    """With scratchpads of twice the bytes and banks."""
    doubled = (replace(m, bytes=2 * m.bytes, banks=2 * m.banks) for m in target.memories)
    return replace(target, memories=tuple(doubled))
