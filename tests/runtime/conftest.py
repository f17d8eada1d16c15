"""A target with round numbers, and images from lists of instructions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from dnncc.isa import control, core, dma, elementwise, tensor
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.targets import Target, loads

TINY = """
name = "tiny"
description = "Round numbers, for counting by hand"
clock_mhz = 100.0

[array]
dataflow = "weight_stationary"
rows = 4
cols = 4
weight_buffers = 2
weight_rows_per_cycle = 1

[datapath]
operands = ["int8", "uint8"]
operand_bytes = 1
accumulator_bits = 32
requantize = ["fp32", "fixed"]

[[memory]]
name = "spad"
bytes = 4096
banks = 1
bytes_per_cycle = 32
holds = ["ifmap", "weight", "psum", "ofmap", "params"]

[dram]
bytes = 1048576

[[dram.channel]]
name = "link"
bytes_per_cycle = 4.0
latency_cycles = 10
burst_bytes = 8
duplex = "half"

[[engine]]
name = "load0"
channel = "link"

[[engine]]
name = "store0"
channel = "link"

[vector]
lanes = 4
latency_cycles = 2

[issue]
bytes_per_cycle = 1000.0
queue_depth = 2
cycles_per_instruction = 1

[energy]
unit = "mac"
mac = 1.0
rf = 1.0
noc = 2.0
glb = 6.0
dram = 200.0
"""

Records = Any


class Builder:
    """Instructions of one row each, by short names; `waits` are those of the header."""

    def load(self, dram: int, spad: int, count: int, **more: int) -> Records:
        return dma.Load.records(1, dram=dram, spad=core.address(1, spad), d3=count, **more)

    def store(self, spad: int, dram: int, count: int, **more: int) -> Records:
        return dma.Store.records(1, dram=dram, spad=core.address(1, spad), d3=count, **more)

    def copy(self, source: int, target: int, count: int, **more: int) -> Records:
        """int8 elements on the vector engine."""
        where = {"x": core.address(1, source), "out": core.address(1, target)}
        return elementwise.Map.records(1, **where, op=elementwise.COPY, d3=count, **more)

    def add(self, a: int, b: int, out: int, count: int, **more: int) -> Records:
        """int32 elements on the vector engine."""
        where = {"a": core.address(1, a), "b": core.address(1, b), "out": core.address(1, out)}
        codes = {"a_dtype": 4, "b_dtype": 4, "out_dtype": 4}
        return elementwise.Elementwise.records(1, **where, **codes, op=2, d3=count, **more)

    def matmul(
        self, ifmap: int, weight: int, psum: int, mck: tuple[int, int, int], **more: int
    ) -> Records:
        """[m, c] x [c, k] of int8, the ifmap as c rows of m, the weights as k rows of c."""
        m, c, k = mck
        where = {
            n: core.address(1, v) for n, v in (("ifmap", ifmap), ("weight", weight), ("psum", psum))
        }
        sizes = {"q": m, "w": m, "c": c, "k": k, "map0": 1}
        strides = {"ifmap_sc": m, "ifmap_sh": m, "weight_sk": c, "weight_sc": 1}
        return tensor.Tensor.records(1, **where, **sizes, **strides, **more)

    def host(self, part: int, **waits: int) -> Records:
        return control.Host.records(1, part=part, **waits)

    def fence(self, **waits: int) -> Records:
        return control.Fence.records(1, **waits)

    def text(self, rows: Sequence[Records]) -> bytes:
        """The program of these instructions and a halt."""
        rows = [*rows, control.Halt.records(1)]
        return programs.Program.encode((np.array([i]), row) for i, row in enumerate(rows))

    def program(self, rows: Sequence[Records]) -> programs.Program:
        return programs.Program.decode(self.text(rows))

    def image(
        self, rows: Sequence[Records], symbols: Sequence[images.Symbol], **more: Any
    ) -> images.Image:
        values: dict[str, Any] = {"rodata": b"", "dram_bytes": 4096, "target": TINY} | more
        return images.Image(text=self.text(rows), symbols=tuple(symbols), **values)


@pytest.fixture(scope="session")
def build() -> Builder:
    return Builder()


@pytest.fixture(scope="session")
def tiny() -> Target:
    return loads(TINY)


@pytest.fixture(scope="session")
def symbol() -> Callable[..., images.Symbol]:
    """A dense tensor in DRAM: symbol(name, kind, dtype, shape, address)."""

    def make(
        name: str, kind: str, dtype: str, shape: tuple[int, ...], address: int
    ) -> images.Symbol:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
        return images.Symbol(name, kind, dtype, shape, strides, 0, address)

    return make
