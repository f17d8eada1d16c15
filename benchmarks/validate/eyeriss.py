"""A convolution on the Eyeriss chip with a mapping in the terms of JSSC 2017, Table II.

Cycles, active PEs and accesses of a pass are those of the dataflow's closed forms; what surrounds
the passes is what the paper tells: ifmaps and psums lie in the memory while passes work on them,
filters stream in from DRAM for each batch of images and strip of rows, ifmaps come again for each
`m` filters, and no pass runs while ifmaps come from or ofmaps go to DRAM.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnncc.targets import Target, dataflow

from .layers import Layer

Ints = npt.NDArray[np.int64]

WORD = 2
"""Bytes of an operand, and of a psum, in the chip."""

PAIRS, CODE_BITS, LEVEL_BITS = 3, 64, 16
"""Of the code of feature maps: pairs of a run and a level in a word, its bits, a level's bits."""


class Mapping(NamedTuple):
    """m: filters whose psums lie in the memory; n: images of a pass; e: rows of a set; p, q:
    filters and channels of a PE; r, t: sets on different channels and filters."""

    m: int
    n: int
    e: int
    p: int
    q: int
    r: int
    t: int

    def params(self) -> Ints:
        return np.array([self.e, self.p, self.q, self.r, self.t, self.n], np.int64)


@dataclass(frozen=True, slots=True)
class Result:
    """Of a batch: PEs, milliseconds, decimal MB; of the memory, KiB in use."""

    macs: int
    active_pes: int
    processing_ms: float
    total_ms: float
    glb_mb: float
    dram_mb: float
    ifmap_kib: float
    psum_kib: float
    problem: str


@dataclass(frozen=True, slots=True)
class Zeros:
    """What the code makes of ifmaps and ofmaps in DRAM, as a share of their bytes."""

    ifmap: float = 1.0
    ofmap: float = 1.0


def coded(zeros: float) -> float:
    """Share of the bytes that feature maps take with so many zeros: a pair per value that is none.

    Runs of more than 31 zeros, which take pairs too, are not counted.
    """
    return min(1.0, (1 - zeros) * CODE_BITS / PAIRS / LEVEL_BITS)


def run(target: Target, layer: Layer, mapping: Mapping, zeros: Zeros) -> Result:
    """The layer's whole batch on a row-stationary target."""
    flow, work, params = dataflow.model(target), layer.work(), mapping.params()
    processing = target.seconds(float(flow.cycles(target, work, params))) * 1e3
    counts = flow.accesses(target, work, params)
    traffic = dram_bytes(layer, mapping, zeros)
    link = target.dram.channels[0].bytes_per_cycle * target.clock_mhz * 1e3
    return Result(
        macs=int(work.macs()),
        active_pes=int(flow.active_pes(target, work, params)),
        processing_ms=processing,
        total_ms=processing + (traffic["ifmap"] + traffic["ofmap"]) / link,
        glb_mb=WORD * float(counts["glb_ifmap"] + counts["glb_psum"]) / 1e6,
        dram_mb=sum(traffic.values()) / 1e6,
        ifmap_kib=ifmap_words(layer, mapping) * WORD / 1024,
        psum_kib=psum_words(layer, mapping) * WORD / 1024,
        problem=flow.explain(target, work, params),
    )


def dram_bytes(layer: Layer, mapping: Mapping, zeros: Zeros) -> dict[str, float]:
    """Bytes over the link; rows that two strips need come twice, padding never."""
    strips = -(-layer.outputs // mapping.e)
    batches = -(-layer.batch // mapping.n)
    rounds = -(-layer.filters // layer.groups // mapping.m)
    side = layer.inputs - layer.padding
    rows = ifmap_rows(layer, mapping.e) - layer.padding
    return {
        "filter": WORD * float(layer.weights * batches * strips),
        "ifmap": WORD * layer.batch * layer.channels * rows * side * rounds * zeros.ifmap,
        "ofmap": WORD * layer.ofmap * zeros.ofmap,
    }


def ifmap_rows(layer: Layer, strip: int) -> int:
    """Padded rows that all strips of `strip` ofmap rows need, together."""
    sizes = [min(strip, layer.outputs - at) for at in range(0, layer.outputs, strip)]
    return sum((size - 1) * layer.stride + layer.size for size in sizes)


def ifmap_words(layer: Layer, mapping: Mapping) -> int:
    """Words of a pass's ifmaps in the memory."""
    rows = (mapping.e - 1) * layer.stride + layer.size
    return mapping.n * mapping.q * mapping.r * rows * layer.inputs


def psum_words(layer: Layer, mapping: Mapping) -> int:
    return mapping.n * mapping.m * mapping.e * layer.outputs


def shortage(target: Target, layer: Layer, mapping: Mapping) -> str:
    """What does not fit: ifmaps and psums in the banks of the memory, each of which is one's alone;
    the filters of a pass where filters have a memory of their own."""
    memory, filters = target.memory_for("ifmap"), target.memory_for("weight")
    bank = memory.bytes // memory.banks
    words = ifmap_words(layer, mapping), psum_words(layer, mapping)
    banks = sum(-(-WORD * count // bank) for count in words)
    if banks > memory.banks:
        return f"ifmaps and psums take {banks} banks of {memory.banks}"
    size = WORD * math.prod((mapping.p, mapping.q, mapping.r, mapping.t, layer.size**2))
    if filters is not memory and size > filters.bytes:
        return f"the filters of a pass take {size} bytes of {filters.bytes}"
    return ""
