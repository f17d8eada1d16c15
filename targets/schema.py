"""What a target file may say: one struct per table, each field with its unit and its range.

A `Target` that exists is valid: every field is in range and every named check of `checks.py` has
passed (`files.py` decodes and checks). Counts are cycles of the core clock, sizes are bytes, unless
the name says otherwise.
"""

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from .text import Document, to_toml

Kind = Literal["ifmap", "weight", "psum", "ofmap", "params"]
KINDS: tuple[Kind, ...] = ("ifmap", "weight", "psum", "ofmap", "params")
"""What a memory can hold; `params` are biases, scales, zero points and look-up tables."""

EngineName = Literal["load0", "load1", "store0", "store1"]

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Text = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=400)]
Count = Annotated[int, Meta(ge=1, le=1 << 20)]
Size = Annotated[int, Meta(ge=1, le=1 << 28)]
Cycles = Annotated[int, Meta(ge=0, le=1 << 20)]
Rate = Annotated[float, Meta(gt=0, le=1e6)]
Side = Annotated[int, Meta(ge=1, le=1024)]
Energies = Annotated[float, Meta(ge=0, le=1e9)]


class Table(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: immutable, and a key that is not declared is an error."""


class RowStationary(Table, frozen=True, tag="row_stationary", tag_field="dataflow"):
    """Eyeriss: a PE keeps filter rows, slides over ifmap rows, psums go up the columns.

    The scratchpads (`*_words`) are per PE, in operands (`psum_words` in psums). The buses join the
    on-chip memory and the array; psums have one for each direction. `ramp_cycles` pass between the
    start of a pass and its first full cycle.
    """

    rows: Side
    cols: Side
    ifmap_words: Count
    filter_words: Count
    psum_words: Count
    ifmap_bus_bits: Count
    filter_bus_bits: Count
    psum_bus_bits: Count
    ramp_cycles: Cycles


class WeightStationary(Table, frozen=True, tag="weight_stationary", tag_field="dataflow"):
    """A systolic array: a PE keeps one weight, ifmaps move along rows, psums down the columns.

    `weight_buffers` = 2 is a shadow register per PE that is filled while the other one computes.
    """

    rows: Side
    cols: Side
    weight_buffers: Literal[1, 2]
    weight_rows_per_cycle: Count


class OutputStationary(Table, frozen=True, tag="output_stationary", tag_field="dataflow"):
    """ShiDianNao: a PE keeps a psum, neighbours pass ifmaps on, weights are broadcast.

    `ifmap_words_per_cycle` and `weight_words_per_cycle` come from the memories, in operands;
    `psums_per_cycle` go back.
    """

    rows: Side
    cols: Side
    ifmap_words_per_cycle: Count
    weight_words_per_cycle: Count
    psums_per_cycle: Count


class OutputSystolic(Table, frozen=True, tag="output_systolic", tag_field="dataflow"):
    """A systolic array: a PE keeps a psum, ifmaps move along rows, weights down the columns."""

    rows: Side
    cols: Side


class NoLocalReuse(Table, frozen=True, tag="no_local_reuse", tag_field="dataflow"):
    """DianNao, NVDLA: `rows` adder trees over `cols` multipliers each, which share the ifmaps.

    Weights stay for up to `stripe` psums per row, which are as many accumulators, while
    `weight_words_per_cycle` of the next ones come in. `pipeline_cycles` after its operands a psum
    is in the memory. `joins_taps`: taps of a filter with few channels are multiplied side by side.
    """

    rows: Side
    cols: Side
    stripe: Annotated[int, Meta(ge=1, le=255)]
    weight_words_per_cycle: Count
    pipeline_cycles: Cycles
    joins_taps: bool


Array = RowStationary | WeightStationary | OutputStationary | OutputSystolic | NoLocalReuse


class Datapath(Table, frozen=True):
    """Number formats. An operand takes `operand_bytes` on chip, whatever it takes in DRAM."""

    operands: Annotated[tuple[Literal["int8", "uint8", "int16"], ...], Meta(min_length=1)]
    operand_bytes: Literal[1, 2]
    accumulator_bits: Literal[16, 32]
    requantize: Annotated[tuple[Literal["fp32", "fixed"], ...], Meta(min_length=1)]

    @property
    def operand_bits(self) -> int:
        return 8 * self.operand_bytes

    @property
    def psum_bytes(self) -> int:
        return self.accumulator_bits // 8


class Memory(Table, frozen=True):
    """An on-chip scratchpad. One engine reads, and writes, `bytes_per_cycle` in a cycle.

    `id` is its number in addresses: 1, 2, ... in the order of the file (0 is DRAM).
    """

    id: Annotated[int, Meta(ge=1, le=15)]
    name: Name
    bytes: Size
    banks: Count
    bytes_per_cycle: Count
    holds: tuple[Kind, ...]


class Channel(Table, frozen=True):
    """A link to DRAM, at `bytes_per_cycle` of the core clock; data move in whole bursts.

    On a `half` duplex link loads and stores share the rate, on a `full` one each has it.
    """

    name: Name
    bytes_per_cycle: Rate
    latency_cycles: Cycles
    burst_bytes: Count
    duplex: Literal["half", "full"]


class Dram(Table, frozen=True):
    """The memory outside, seen through one or more channels.

    `run_length_coding`: feature maps lie in it in the code of `coding.py`.
    """

    bytes: Annotated[int, Meta(ge=1, le=1 << 40)]
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=4)] = field(
        name="channel"
    )
    run_length_coding: bool = False


class Engine(Table, frozen=True):
    """A DMA engine, by its name in the ISA; it moves the kinds of data that it `serves`.

    Up to `requests` of a burst each are under way to DRAM, of one instruction or of several, and
    data come back in order; 0 is as many as hide the channel's latency.
    """

    name: EngineName
    channel: Name
    serves: tuple[Kind, ...] = KINDS
    requests: Annotated[int, Meta(ge=0, le=1 << 20)] = 0

    @property
    def kind(self) -> str:
        return self.name.rstrip("01")


class Pooling(Table, frozen=True):
    """A unit for maxima and means of operands over windows of up to `window` rows and columns,
    without dilation. Each element of a tile goes in once, `inputs_per_cycle` at a time, whatever
    windows it is in, as their results so far stay in a line buffer; as many results come out. It
    is at work behind the lanes, on what they give: a pool overlaps with the instruction before.
    """

    inputs_per_cycle: Count
    window: Annotated[int, Meta(ge=1, le=255)]


class Vector(Table, frozen=True, omit_defaults=True):
    """The SIMD unit: elements per cycle, and cycles from the first element in to it out.

    What no `pool` unit takes, the lanes pool: an element for each tap of each window.
    """

    lanes: Count
    latency_cycles: Cycles
    pool: Pooling | None = None


class Issue(Table, frozen=True):
    """Instruction fetch and dispatch: `queue_depth` instructions may wait before each engine.

    `start_cycles` go by before the first one is fetched: what the processor that drives the
    accelerator has to do first, where the time of a run counts that.
    """

    bytes_per_cycle: Rate
    queue_depth: Count
    cycles_per_instruction: Count
    start_cycles: Cycles = 0


class Energy(Table, frozen=True):
    """Cost of a MAC, and of one access to one operand word at each level.

    A psum counts as `accumulator_bits / operand_bits` words. `unit`: "mac" is normalised to a MAC.
    `gates_zeros`: a MAC with a zero ifmap costs neither itself nor its weight (`coding.gated`).
    """

    unit: Literal["mac", "pJ"]
    mac: Energies
    rf: Energies
    noc: Energies
    glb: Energies
    dram: Energies
    gates_zeros: bool = False


class Target(Table, frozen=True):
    """An accelerator: everything that the compiler, the simulator and the reports know of it."""

    name: Name
    description: Text
    clock_mhz: Rate
    array: Array
    datapath: Datapath
    memories: Annotated[tuple[Memory, ...], Meta(min_length=1, max_length=15)] = field(
        name="memory"
    )
    dram: Dram
    engines: Annotated[tuple[Engine, ...], Meta(min_length=1)] = field(name="engine")
    vector: Vector
    issue: Issue
    energy: Energy

    @property
    def dataflow(self) -> str:
        """The dataflow's name, which is also the name of its module in `dataflow/`."""
        return str(self.array.__struct_config__.tag)

    @property
    def pes(self) -> int:
        """Processing elements, that is, the most MACs in a cycle."""
        return self.array.rows * self.array.cols

    def memory_for(self, kind: Kind) -> Memory:
        """The one memory that holds `kind`."""
        return next(m for m in self.memories if kind in m.holds)

    def load_engine(self, kind: Kind) -> Engine:
        """The one load engine that brings `kind` in."""
        return self._engine("load", kind)

    def store_engine(self, kind: Kind) -> Engine:
        """The one store engine that takes `kind` out."""
        return self._engine("store", kind)

    def channel_of(self, engine: str) -> Channel:
        """The DRAM channel of a load or store engine, by the engine's name; KeyError otherwise."""
        name = self.engine(engine).channel
        return next(c for c in self.dram.channels if c.name == name)

    def engine(self, name: str) -> Engine:
        """The DMA engine of that name; KeyError if there is none."""
        engines: dict[str, Engine] = {e.name: e for e in self.engines}
        return engines[name]

    def dumps(self) -> str:
        """The canonical text: fully resolved, equal for equal targets; `loads` reads it back."""
        return to_toml(self.document())

    def document(self) -> Document:
        """The target as nested dicts, lists, strings and numbers, with the keys of the file."""
        document: Document = msgspec.json.decode(msgspec.json.encode(self))
        return document

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the canonical text."""
        return hashlib.sha256(self.dumps().encode()).hexdigest()

    def seconds(self, cycles: float) -> float:
        return cycles / (self.clock_mhz * 1e6)

    def _engine(self, direction: str, kind: Kind) -> Engine:
        return next(e for e in self.engines if e.kind == direction and kind in e.serves)
