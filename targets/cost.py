"""What moving and vector work costs, in cycles: plain arrays in, plain arrays out.

The simulator prices decoded instructions with these functions and the compiler prices candidate
tiles with the same ones, so an estimate and a simulation cannot disagree on a single step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa.pool import STREAMED

from .schema import Channel, Target

Ints = npt.NDArray[np.int64]


def ceil_div(value: Any, divisor: Any) -> Any:
    """Whole steps of `divisor` that cover `value`; ints or arrays, `divisor` may be fractional."""
    return np.ceil(np.asarray(value) / divisor).astype(np.int64)


def floor_div(value: Any, divisor: Any) -> Any:
    """Whole steps of `divisor` in `value`, arrays of integers below 2^53."""
    return np.floor(np.true_divide(value, divisor)).astype(np.int64)


def bursts(run_bytes: Any, burst: int) -> Any:
    """Bytes on the bus for one contiguous run: whole bursts."""
    return -(-np.asarray(run_bytes) // burst) * burst


def contiguous_runs(
    sizes: tuple[Any, ...], strides: tuple[Any, ...], element: Any, burst: int
) -> tuple[Ints, Ints]:
    """How a strided block lies in DRAM: (number of runs, bytes of each).

    Sizes and strides are in elements of `element` bytes, outermost first, and are walked in that
    order. Runs that begin within the last burst of the one before them are one run: a burst is
    moved once. An empty block has no runs.
    """
    run = np.asarray(element, np.int64)
    count = np.ones_like(run)
    joined: Any = True
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        size, step = np.asarray(size, np.int64), np.asarray(stride, np.int64) * element
        joined = joined & ((step <= bursts(run, burst)) | (size <= 1))
        longer = run + np.maximum(size - 1, 0) * step
        count = np.where(joined, count * (size > 0), count * size)
        run = np.where(joined, longer, run)
    return count, run


def dma_bus_bytes(runs: Any, run_bytes: Any, burst: int) -> Any:
    """Bytes that the DRAM bus is occupied with: each run pays whole bursts."""
    return runs * bursts(run_bytes, burst)


def dma_cycles(bus_bytes: Any, spad_bytes: Any, dram_rate: float, spad_rate: float) -> Any:
    """Cycles that a transfer holds its DRAM channel: the slower of the bus and the memory's port.

    Rates are bytes per cycle. The latency of DRAM comes on top.
    """
    return np.maximum(ceil_div(bus_bytes, dram_rate), ceil_div(spad_bytes, spad_rate))


def first_byte(link: Channel, stores: bool) -> int:
    """Cycles from a DRAM request to its first byte. A store's data leave with it, and its source is
    free when they have left: PCIe posts its writes, Gemmini answers a store when its rows are read
    (Scratchpad.scala), NVDLA asks to be told of the last write of a map only (SDP_WDMA_DAT_out.v).
    """
    return 0 if stores else link.latency_cycles


def most_requests(link: Channel, requests: int) -> int:
    """Bursts that a DMA engine has under way at most; of 0, as many as hide DRAM's latency.

    A request goes out when all of the data of the one that many before it have come.
    """
    hiding = link.latency_cycles * link.bytes_per_cycle / link.burst_bytes
    return requests or int(np.ceil(hiding)) + 1


def request_cycles(bus_bytes: Any, link: Channel, requests: int) -> Any:
    """Cycles from the first byte of a transfer to its last, as its requests allow.

    The first `requests` bursts come one after the other; each round of as many that follows comes
    a latency after the round before it began to come in.
    """
    most, once = most_requests(link, requests), link.burst_bytes / link.bytes_per_cycle
    rounds, rest = np.divmod(np.maximum(np.asarray(bus_bytes) // link.burst_bytes - 1, 0), most)
    return np.ceil(rounds * (link.latency_cycles + once) + (rest + 1) * once).astype(np.int64)


def transfer_cycles(
    bus_bytes: Any, spad_bytes: Any, link: Channel, spad_rate: Any, requests: int
) -> Any:
    """Cycles that a transfer holds its engine: its link's, or more where requests are few."""
    held = dma_cycles(bus_bytes, spad_bytes, link.bytes_per_cycle, spad_rate)
    return np.where(held > 0, np.maximum(held, request_cycles(bus_bytes, link, requests)), 0)


def vector_cycles(elements: Any, lanes: int, latency: int) -> Any:
    """Cycles of a vector instruction: `lanes` elements each, and the pipeline once.

    What is requantised and then combined or looked up goes through as many pipelines, one behind
    the other, in one pass, as in NVDLA's single-point processor (nvdla.org, hardware architecture:
    sub-units X1, X2, Y with its tables) and the activation unit of TPU v1 (ISCA 2017).
    """
    return -(-np.asarray(elements) // lanes) + latency


class Pool(Struct, frozen=True):
    """Pools of tiles, ints or arrays: elements of `x` and of the results, `taps` and longer `side`
    of a window, `dilation`, the operation of isa/pool.py, and bytes of an element on chip."""

    x: Any
    results: Any
    taps: Any
    side: Any
    dilation: Any
    op: Any
    element: Any

    def streams(self, target: Target) -> Any:
        """Whether a pooling unit takes them."""
        unit = target.vector.pool
        if unit is None:
            return False
        able = np.isin(self.op, STREAMED) & (np.asarray(self.dilation) == 1)
        return able & (self.side <= unit.window) & (self.element <= target.datapath.operand_bytes)

    def elements(self, target: Target) -> Any:
        """Those that go in: each once, or each as often as there are windows with it."""
        return np.where(self.streams(target), self.x, self.results * self.taps)

    def cycles(self, target: Target) -> Any:
        """Of an instruction each."""
        unit, inside = target.vector, self.streams(target)
        in_lanes = vector_cycles(self.results * self.taps, unit.lanes, unit.latency_cycles)
        if unit.pool is None:
            return in_lanes
        longer, rate = np.maximum(self.x, self.results), unit.pool.inputs_per_cycle
        return np.where(inside, vector_cycles(longer, rate, unit.latency_cycles), in_lanes)

    def head(self, target: Target) -> Any:
        """Of its cycles, those in which the lanes may still be at what comes before: results that
        they give go through a pooling unit as they come (nvdla.org, hardware architecture: fused
        operation, in which blocks hand on by FIFOs)."""
        behind = self.cycles(target) - target.vector.latency_cycles
        return np.where(self.streams(target), behind, 0)


def handed_on(cycles: Any, latency: Any, target: Target) -> Any:
    """Of the cycles of an instruction whose results leave the lanes one after the other, those in
    which a pooling unit may be at work behind it: from the first of them on."""
    return (cycles - latency) * (target.vector.pool is not None)


def issue_cycles(code_bytes: Any, bytes_per_cycle: float, cycles: int) -> Any:
    """Cycles that the issue unit spends on an instruction: fetching it or handing it on."""
    return np.maximum(ceil_div(code_bytes, bytes_per_cycle), cycles)
