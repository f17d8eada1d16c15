"""What a binary holds, apart from how ELF lays it out (elf.py)."""

from collections.abc import Iterator
from math import isfinite, prod
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field
from msgspec.structs import replace

from .core import DRAM, MEMORY_SHIFT, WORD_BYTES, IsaError
from .types import ALL_NAMES, element_type

ISA_VERSION = 1
DRAM_ALIGN = 64
MOST_DRAM = 1 << 32
MOST_MEMORIES = 16
"""DRAM and the on-chip memories that an address can name."""

MOST_LINKS, MOST_COUNTED = 8, 1 << 53
"""Links to DRAM; and cycles or bytes that a node can ask for."""

KINDS = ("input", "output", "tensor")


class Head(Struct, frozen=True):
    """Where the first `count` indices of dimension `axis` of a tensor are, if not with the others:
    at byte `address` of `memory`, as `dtype`, at the strides of the tensor."""

    memory: int
    address: int
    dtype: str
    axis: int
    count: int


class Symbol(Struct, frozen=True):
    """A tensor of the model at its place: byte `address` of `memory` (0 is DRAM).

    `kind` is "input", "output" or "tensor"; `dtype` is NumPy's name; `strides` are in elements;
    scale and zero are those of its quantisation, scale 0 where it has none. Constants lie in
    .rodata, which DRAM starts with. What is in the `head` of a tensor is not where the symbol says.
    An input or output that is `real` is float32 to the caller: who copies it to memory quantises
    it by scale and zero, as ONNX QuantizeLinear, and who copies it from there dequantises it.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    memory: int
    address: int
    scale: float = 0.0
    zero: int = 0
    head: Head | None = None
    real: bool = False

    @property
    def element_bytes(self) -> int:
        return self.type.itemsize

    @property
    def type(self) -> np.dtype[Any]:
        return element_type(self.dtype)

    @property
    def stop(self) -> int:
        """The byte behind the last element."""
        if not all(self.shape):
            return self.address
        last = sum((d - 1) * s for d, s in zip(self.shape, self.strides, strict=True))
        return self.address + (last + 1) * self.element_bytes

    @property
    def bytes(self) -> int:
        """What the elements take when dense."""
        return prod(self.shape) * self.element_bytes

    def parts(self) -> "tuple[Symbol, ...]":
        """The tensor, or its head and what comes behind that, each in one place."""
        if self.head is None:
            return (self,)
        return self.first(), self.rest()

    def first(self) -> "Symbol":
        """What is in its head."""
        head = self.head
        assert head is not None
        place = replace(self, memory=head.memory, address=head.address, dtype=head.dtype, head=None)
        return replace(place, shape=with_size(self.shape, head.axis, head.count))

    def rest(self) -> "Symbol":
        """What is not in its head."""
        head = self.head
        assert head is not None
        behind = head.count * self.strides[head.axis] * self.element_bytes
        shape = with_size(self.shape, head.axis, self.shape[head.axis] - head.count)
        return replace(self, address=self.address + behind, shape=shape, head=None)


def with_size(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


class HostPart(Struct, frozen=True):
    """What `Host part=N` runs: a whole ONNX model, its inputs and outputs named as the symbols.

    Its own constants are its initializers. `reasons` says, per ONNX node, why it is not on the
    accelerator.
    """

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reasons: tuple[tuple[str, str], ...] = ()


class Unit(Struct, frozen=True):
    """Bytes [start, stop) of a memory that instructions first..last have for one thing: a slot of a
    tile buffer, or the storage of `tensors`, by the names of their symbols."""

    name: str
    memory: int
    start: int
    stop: int
    first: int
    last: int
    tensors: tuple[str, ...] = ()


class Floor(Struct, frozen=True):
    """What a node asks of any program.

    `array`, `vector`: cycles of these engines, were there nothing else. `moved`: bytes over each
    DRAM link, by its number, if feature maps stay on chip; `spilled`: what comes on top when nodes
    run one after the other, of maps that no scratchpad holds. An empty tuple is all zeros.
    """

    array: int = 0
    vector: int = 0
    moved: tuple[int, ...] = ()
    spilled: tuple[int, ...] = ()


class Debug(Struct, frozen=True, eq=False):
    """Per instruction, indices into `nodes` (ONNX node names, and the group they are fused in) and
    `steps` (tile steps, as text); int32[instructions], -1 for none.

    `units`, where there are any, are all that instructions may touch but constants. `floors` are
    those of `nodes`, or none are known.
    """

    nodes: tuple[str, ...]
    steps: tuple[str, ...]
    node_of: npt.NDArray[np.int32]
    step_of: npt.NDArray[np.int32]
    units: tuple[Unit, ...] = ()
    floors: tuple[Floor, ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Debug):
            return NotImplemented
        tables = ("nodes", "steps", "units", "floors")
        return (
            all(getattr(self, name) == getattr(other, name) for name in tables)
            and np.array_equal(self.node_of, other.node_of)
            and np.array_equal(self.step_of, other.step_of)
        )

    def __ne__(self, other: object) -> bool:  # Struct's own compares identities
        return not self == other


class Image(Struct, frozen=True):
    """A program with all that it needs to run.

    `rodata` is loaded at DRAM byte 0; the rest of DRAM, up to `dram_bytes`, is private to one input
    (a batch has one copy each). `target` is the whole target file as text.
    """

    text: bytes
    rodata: bytes
    dram_bytes: int
    target: str
    symbols: tuple[Symbol, ...]
    host: tuple[HostPart, ...] = ()
    debug: Debug | None = None
    tool: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def check_image(image: Image) -> None:
    """Raise IsaError for the first thing that no program can have; .text is not decoded here."""
    if len(image.text) % WORD_BYTES:
        raise IsaError(f".text has {len(image.text)} bytes, not a multiple of {WORD_BYTES}")
    if not len(image.rodata) <= image.dram_bytes <= MOST_DRAM:
        raise IsaError(
            f"DRAM of {image.dram_bytes} bytes, not {len(image.rodata)} (.rodata)..{MOST_DRAM}"
        )
    for symbol in image.symbols:
        for message in symbol_faults(symbol, image.dram_bytes):
            raise IsaError(f"symbol {symbol.name!r}: {message}")
    check_host(image)
    if image.debug is not None:
        check_debug(image.debug)


def symbol_faults(symbol: Symbol, dram_bytes: int) -> Iterator[str]:
    """What is wrong with it, each thing in words."""
    if "\0" in symbol.name:
        yield "the name holds a null character"
    if symbol.kind not in KINDS:
        yield f"kind {symbol.kind!r} is not one of {', '.join(KINDS)}"
    if symbol.dtype not in ALL_NAMES:
        yield f"dtype {symbol.dtype!r} is not known"
    if (
        len(symbol.shape) != len(symbol.strides)
        or min(symbol.shape + symbol.strides, default=0) < 0
    ):
        yield f"shape {symbol.shape} and strides {symbol.strides} do not fit"
    if not isfinite(symbol.scale):
        yield f"scale {symbol.scale} is not finite"
    if not 0 <= symbol.memory < MOST_MEMORIES:
        yield f"memory {symbol.memory} does not exist"
    size = dram_bytes if symbol.memory == DRAM else 1 << MEMORY_SHIFT
    if not 0 <= symbol.address <= symbol.stop <= size:
        yield f"bytes {symbol.address}..{symbol.stop} are not in memory {symbol.memory}"
    if symbol.head is not None:
        yield from head_faults(symbol, symbol.head, dram_bytes)
    if symbol.real and not may_be_real(symbol):
        yield f"{symbol.dtype} of scale {symbol.scale} stands for no real numbers"


def may_be_real(symbol: Symbol) -> bool:
    return symbol.kind != "tensor" and symbol.scale > 0 and symbol.type.kind in "iu"


def head_faults(symbol: Symbol, head: Head, dram_bytes: int) -> Iterator[str]:
    """What is wrong with the head of a symbol that is right but for it."""
    if symbol.kind != "tensor":
        yield f"an {symbol.kind} lies in one place, without a head"
    elif not 0 <= head.axis < len(symbol.shape):
        yield f"head: there is no dimension {head.axis}"
    elif not 0 < head.count <= symbol.shape[head.axis]:
        yield f"head: {head.count} indices of {symbol.shape[head.axis]}"
    else:
        yield from (f"head: {fault}" for fault in symbol_faults(symbol.first(), dram_bytes))


def check_host(image: Image) -> None:
    known = {symbol.name for symbol in image.symbols}
    headed = {symbol.name for symbol in image.symbols if symbol.head is not None}
    for number, part in enumerate(image.host):
        missing = sorted({*part.inputs, *part.outputs} - known)
        if missing:
            raise IsaError(f"host part {number}: tensor {missing[0]!r} has no symbol")
        split = sorted({*part.inputs, *part.outputs} & headed)
        if split:
            raise IsaError(f"host part {number}: tensor {split[0]!r} lies in two places")


def check_debug(debug: Debug) -> None:
    columns = ((debug.node_of, debug.nodes), (debug.step_of, debug.steps))
    for numbers, names in columns:
        low, high = numbers.min(initial=-1), numbers.max(initial=-1)
        if numbers.ndim != 1 or low < -1 or high >= len(names):
            raise IsaError("the debug map numbers names that do not exist")
    if len(debug.node_of) != len(debug.step_of):
        raise IsaError("the debug map has columns of different lengths")
    for unit in debug.units:
        check_unit(unit, len(debug.node_of))
    check_floors(debug)


def check_floors(debug: Debug) -> None:
    if len(debug.floors) not in (0, len(debug.nodes)):
        raise IsaError("the debug map has floors of some nodes, but not of all")
    for node, floor in zip(debug.nodes, debug.floors, strict=False):
        numbers = (floor.array, floor.vector, *floor.moved, *floor.spilled)
        links = max(len(floor.moved), len(floor.spilled))
        if links > MOST_LINKS or not 0 <= min(numbers) <= max(numbers) < MOST_COUNTED:
            raise IsaError(f"the debug map has a floor that cannot be, of node {node!r}")


def check_unit(unit: Unit, count: int) -> None:
    """Raise IsaError unless it lies in a memory that can exist and in a program of `count`."""
    size = MOST_DRAM if unit.memory == DRAM else 1 << MEMORY_SHIFT
    placed = 0 <= unit.memory < MOST_MEMORIES and 0 <= unit.start <= unit.stop <= size
    if not placed or not 0 <= unit.first <= unit.last < count:
        raise IsaError(f"the debug map has a unit that cannot be: {unit.name!r}")
