"""What each instruction of a program costs, vectorised over all instructions of a class.

Everything is counted from the decoded records by the functions of `targets`, which the compiler
uses too. Nothing here depends on values or on when an instruction runs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa import core, dma, elementwise, pool, tensor, vector
from dnncc.isa import program as programs
from dnncc.isa.distinct import distinct
from dnncc.isa.parts import Part
from dnncc.targets import Channel, Engine, Target, cost, dataflow
from dnncc.targets.energy import level_sums, words

Ints = npt.NDArray[np.int64]
LOADED, STORED = 0, 1
PIPELINE = ("head", "tail", "hide")


class Price:
    """A column of Prices, made when it is asked for: int64[count]."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, prices: "Prices", owner: type) -> Ints:
        return np.asarray(prices.by_form[self.name][prices.form])


class Prices(Struct, frozen=True):
    """Of each instruction the time in the issue unit, `fetch`, and its form, of which the rest is
    known: tiles are alike, and a program has many instructions of few forms.

    `cycles` is its engine's time alone; `head`, `tail`, `hide` how a tensor instruction overlaps
    with its neighbours; `channel` the DRAM link of a DMA (-1: none), `held` the cycles that it is
    taken for, `latency` those until its first byte; `read`, `written` the DRAM bytes asked for,
    `bus` those moved in whole bursts, `spad` the bytes in and out of on-chip memories; `macs`; and
    per level of LEVELS the accesses, in operand words.
    """

    fetch: Ints
    form: npt.NDArray[Any]
    by_form: Mapping[str, Ints]

    cycles, head, tail, hide = Price(), Price(), Price(), Price()
    channel, held, latency = Price(), Price(), Price()
    read, written, bus, spad, macs = Price(), Price(), Price(), Price(), Price()
    mac, rf, noc, glb, dram = Price(), Price(), Price(), Price(), Price()

    @classmethod
    def of(cls, fetch: Ints, **columns: Ints) -> "Prices":
        """Of columns that are whole; those that are not given are 0."""
        zero = np.zeros_like(fetch)
        return cls(fetch, np.arange(len(fetch)), dict.fromkeys(PRICES, zero) | columns)

    def having(self, **columns: Ints) -> "Prices":
        """With other columns."""
        return self.of(self.fetch, **{name: getattr(self, name) for name in PRICES} | columns)

    def accesses(self, level: str) -> Ints:
        """Operand words at a level, per instruction."""
        found: Ints = getattr(self, level)
        return found


PRICES = tuple(name for name, column in vars(Prices).items() if isinstance(column, Price))


def prices(program: programs.Program, target: Target) -> Prices:
    """The prices of all instructions of a program on a target."""
    form, before = np.zeros(program.count, np.int32), 0
    for part in program.parts:
        form[part.indices] = before + part.forms.form
        before += len(part.forms.first)
    tables = [prices_of_forms(part, target) for part in program.parts]
    by_form = {name: np.concatenate([table[name] for table in tables]) for name in PRICES}
    return Prices(issue_cycles(program, target), form, by_form)


def prices_of_forms(part: Part, target: Target) -> dict[str, Ints]:
    """What instructions of each form cost, wherever in their memories they act."""
    count = len(part.forms.first)
    table = {name: np.zeros(count, np.int64) for name in PRICES} | {"channel": np.full(count, -1)}
    for name, values in durations(part, target).items():
        table[name][:] = values
    return table


def issue_cycles(program: programs.Program, target: Target) -> Ints:
    """The first instruction comes after what is done before it."""
    unit = target.issue
    cycles: Ints = cost.issue_cycles(
        program.sizes, unit.bytes_per_cycle, unit.cycles_per_instruction
    )
    cycles[:1] += unit.start_cycles
    return cycles


def durations(part: Part, target: Target) -> dict[str, Any]:
    """The columns of Prices, but `fetch`, by form of a class; arrays or one number."""
    cls, item = part.cls, part.kinds
    if cls is dma.Load or cls is dma.Store:
        return price_dma(item, target)
    if cls is tensor.Tensor:
        return price_tensor(item, target)
    return price_vector(item, target) if cls.engine == "vector" else {}


# DMA


def price_dma(item: dma.Load | dma.Store, target: Target) -> dict[str, Any]:
    """Each queue has its own DRAM channel, so its records are priced together."""
    queue = np.asarray(item.queue)
    columns: dict[str, Any] = {}
    for number in distinct(queue):
        chosen = queue == number
        engine = target.engine(f"{item.engine}{number}")
        for name, values in transfers(item, target, engine).items():
            columns.setdefault(name, np.zeros(len(queue), np.int64))[chosen] = values[chosen]
    return columns


def transfers(item: dma.Load | dma.Store, target: Target, engine: Engine) -> dict[str, Ints]:
    """Columns for all of `item`, as if `engine` moved it all.

    A load of nothing, which only fills its frame, does not ask DRAM.
    """
    channel = target.channel_of(engine.name)
    burst, element = channel.burst_bytes, core.dtype_size(item.dram_dtype)
    runs, run_bytes = cost.contiguous_runs(item.sizes(), item.dram_strides(), element, burst)
    asked = product(item.sizes()) * element
    bus = cost.dma_bus_bytes(runs, run_bytes, burst)
    inside = item.framed() if isinstance(item, dma.Load) else item.sizes()
    spad = product(inside) * core.dtype_size(item.spad_dtype)
    port = port_rates(target)[core.split_address(item.spad)[0]]
    direction = LOADED if isinstance(item, dma.Load) else STORED
    number = channel_number(target, channel, direction)
    return {
        "cycles": cost.transfer_cycles(bus, spad, channel, port, engine.requests),
        "held": cost.dma_cycles(bus, spad, channel.bytes_per_cycle, port),
        "latency": np.where(bus > 0, cost.first_byte(channel, direction == STORED), 0),
        "channel": np.where(bus > 0, number, -1),
        "read" if isinstance(item, dma.Load) else "written": asked,
        "bus": bus,
        "spad": spad,
        "glb": words(spad, target),
        "dram": words(bus, target),
    }


def port_rates(target: Target) -> npt.NDArray[np.float64]:
    """Bytes per cycle of each memory's port, by the memory's number."""
    return np.array([np.inf, *(m.bytes_per_cycle for m in target.memories)])


def channel_number(target: Target, channel: Channel, direction: int) -> int:
    """The link that a transfer holds: a channel, or one direction of a full-duplex one."""
    return 2 * target.dram.channels.index(channel) + direction * (channel.duplex == "full")


def product(sizes: tuple[Any, ...]) -> Any:
    return np.prod(np.broadcast_arrays(*sizes), axis=0, dtype=np.int64)


# The array


def price_tensor(item: tensor.Tensor, target: Target) -> dict[str, Any]:
    """Time and counts of the target's dataflow; the record's fields are the work's."""
    flow, work = dataflow.model(target), array_work(item)
    params = array_params(item, flow)
    phases, counted = flow.phases(target, work, params), flow.accesses(target, work, params)
    levels = level_sums(counted, target)
    return {
        **{name: getattr(phases, name) for name in PIPELINE},
        **levels,
        "cycles": flow.cycles(target, work, params),
        "macs": product((item.n, item.g, item.k, item.c, item.p, item.q, item.r, item.s)),
        "spad": levels["glb"] * target.datapath.operand_bytes,
    }


def array_work(item: tensor.Tensor) -> dataflow.Work:
    """The nest of Tensor instructions, as the dataflow's formulas take it."""
    return dataflow.Work(**{name: getattr(item, name) for name in dataflow.Work.__struct_fields__})


def array_params(item: tensor.Tensor, flow: dataflow.Dataflow) -> Ints:
    """How the records map their tiles onto the array, int64[..., parameters]."""
    columns = [getattr(item, f"map{i}") for i in range(len(flow.PARAMETERS))]
    return np.stack(columns, axis=-1) if columns else np.zeros((*np.shape(item.k), 0), np.int64)


# The SIMD lanes


def price_vector(item: Any, target: Target) -> dict[str, Any]:
    size = vector_bytes(item, target)
    return lane_cycles(item, target) | {"spad": size, "glb": words(size, target)}


def lane_cycles(item: Any, target: Target) -> dict[str, Any]:
    """`cycles`, and those that overlap with a neighbour's: a pool's with what makes its tile."""
    if isinstance(item, pool.Pool):
        made = pools(item)
        return {"cycles": made.cycles(target), "head": made.head(target)}
    unit = target.vector
    latency = stages(item) * unit.latency_cycles
    cycles = cost.vector_cycles(item.elements(), unit.lanes, latency)
    if isinstance(item, pool.Reduce):
        return {"cycles": cycles}
    return {"cycles": cycles, "hide": cost.handed_on(cycles, latency, target)}


def pools(item: pool.Pool) -> cost.Pool:
    return cost.Pool(
        x=product((item.n, item.c, item.h, item.w)),
        results=product((item.n, item.c, item.p, item.q)),
        taps=product((item.r, item.s)),
        side=np.maximum(item.r, item.s),
        dilation=np.maximum(item.dilation_y, item.dilation_x),
        op=item.op,
        element=core.dtype_size(item.x_dtype),
    )


def stages(item: Any) -> Any:
    """Pipelines that elements go through, one behind the other."""
    if not isinstance(item, vector.Requantize | vector.Residual):
        return 1
    return 1 + isinstance(item, vector.Residual) + (np.asarray(item.table) != 0)


def vector_bytes(item: Any, target: Target) -> Any:
    """Bytes that a vector instruction moves in and out of on-chip memories."""
    if isinstance(item, vector.Requantize | vector.Residual):
        side = core.dtype_size(item.side_dtype) if isinstance(item, vector.Residual) else 0
        written = core.dtype_size(item.out_dtype) * np.where(item.table != 0, 2, 1)
        return item.elements() * (4 + side + written) + item.k * vector.param_bytes(item.mode)
    if isinstance(item, elementwise.Elementwise):
        codes = (item.a_dtype, item.b_dtype, item.out_dtype)
        return item.elements() * sum(core.dtype_size(code) for code in codes)
    element = core.dtype_size(item.out_dtype)
    if isinstance(item, pool.Pool):
        made = pools(item)
        return made.elements(target) * made.element + made.results * element
    inputs = item.elements() * core.dtype_size(item.x_dtype)
    if isinstance(item, elementwise.Map):
        return inputs + item.elements() * element * np.where(item.op == elementwise.TABLE, 2, 1)
    if isinstance(item, pool.Reduce):
        return inputs + item.d0 * element
    return sum(r.stop - r.start for r in (*item.reads(), *item.writes()))
