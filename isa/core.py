"""An instruction is one class: its fields are its encoding, its methods are its meaning.

    class Load(Instruction, opcode=0x10, engine="load"):
        '''Copy a 4-D strided block from DRAM to a scratchpad.'''
        dram: DramAddress
        ...
        def reads(self) / writes(self)     # byte ranges: bounds checks and hazards follow
        def faults(self)                   # combinations of fields that are not legal
        def execute(self, machine)         # NumPy, vectorised over the tile and the batch

Record dtype, encoder, strict decoder, assembler, disassembler, range checks and manual are derived.
A field holds an int, or an int64 array when the instance stands for many instructions at once
(`from_records`), so `reads`, `writes` and every timing model serve one instruction or a million.
"""

from collections.abc import Iterator
from functools import cache, cached_property
from inspect import get_annotations
from typing import (
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    Protocol,
    Self,
    dataclass_transform,
)

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Array = npt.NDArray[Any]

ENGINES = ("load0", "load1", "store0", "store1", "tensor", "vector")
"""The engines whose retired instructions can be waited for, in the order of the header's bytes."""

CONTROL = -1
"""The engine number of instructions that the issue unit runs itself."""

WORD_BYTES = 8
NO_WAIT = 0
FARTHEST_WAIT = 255

DTYPES = tuple(np.dtype(d) for d in ("i1", "u1", "<i2", "<u2", "<i4", "<f4", "<i8"))
"""The element types that fields called `*dtype` number; the last is of DRAM alone."""

DTYPE_NAMES = ("i8", "u8", "i16", "u16", "i32", "f32", "i64")

MEMORY_SHIFT = 28
DRAM = 0

MOST_ELEMENTS = 1 << 28
"""No instruction handles more elements: an on-chip memory cannot hold more bytes."""


class IsaError(ValueError):
    """A program, a word or a line of assembly that is not legal; the text is one line."""


class Kind(Struct, frozen=True, dict=True):
    """What a field holds: low..high; `names` number choices; `form` is how assembly writes it.

    Forms: "number", "name", "float", "dram" (a byte of DRAM) and "address" (memory:offset).
    An `optional` address may also be 0, for none.
    """

    dtype: np.dtype[Any]
    low: int
    high: int
    form: str = "number"
    names: tuple[str, ...] = ()
    optional: bool = False

    def illegal(self, values: Array) -> Any:
        """Which of `values` a field of this kind must not hold; False if it may hold all."""
        if self.form == "float":
            return ~np.isfinite(values)
        if values.dtype == self.dtype and self.holds_all or self.holds_span(values):
            return False
        bad = (values < self.low) | (values > self.high)
        return bad & (values != 0) if self.optional else bad

    def holds(self, value: Any) -> bool:
        """Whether it is plain to see that a field may hold `value`: most are single integers."""
        return type(value) is int and self.form != "float" and self.low <= value <= self.high

    def holds_span(self, values: Array) -> bool:
        """Whether it is plain to see for many values at once: from their least and greatest."""
        if not values.size:
            return True
        least, most = np.minimum.reduce(values, None), np.maximum.reduce(values, None)
        return bool(self.low <= least and most <= self.high)

    @cached_property
    def holds_all(self) -> bool:
        """Whether it may hold whatever its type can."""
        if self.form == "float":
            return False
        info = np.iinfo(self.dtype)
        return (self.low, self.high) == (info.min, info.max)

    def limits(self) -> str:
        if self.form == "float":
            return "the finite numbers"
        if self.form == "address":
            return "1:0x0..15:0xfffffff" + (" or 0" if self.optional else "")
        return f"{self.low}..{self.high}" + (" or 0" if self.optional else "")


def integer(code: str, low: int | None = None, **rest: Any) -> Kind:
    """A little-endian integer of NumPy type `code`, from `low` (its lowest value unless told)."""
    info = np.iinfo(np.dtype(code))
    return Kind(np.dtype(code), info.min if low is None else low, info.max, **rest)


def choice(*names: str) -> Kind:
    """A byte that numbers `names`."""
    return Kind(np.dtype("u1"), 0, len(names) - 1, "name", names)


U8 = Annotated[Any, integer("u1")]
U16 = Annotated[Any, integer("<u2")]
U32 = Annotated[Any, integer("<u4")]
I16 = Annotated[Any, integer("<i2")]
F32 = Annotated[Any, Kind(np.dtype("<f4"), 0, 0, "float")]
Size8 = Annotated[Any, integer("u1", 1)]
Size16 = Annotated[Any, integer("<u2", 1)]
Flag = Annotated[Any, choice("0", "1")]
Dtype = Annotated[Any, choice(*DTYPE_NAMES[:-1])]
StoredDtype = Annotated[Any, choice(*DTYPE_NAMES)]
Operand = Annotated[Any, choice(*DTYPE_NAMES[:4])]
DramAddress = Annotated[Any, integer("<u4", form="dram")]
Address = Annotated[Any, integer("<u4", 1 << MEMORY_SHIFT, form="address")]
OptionalAddress = Annotated[Any, integer("<u4", 1 << MEMORY_SHIFT, form="address", optional=True)]


class Field(Struct, frozen=True):
    """A field at its byte of the encoding; `default` is None where it must be given."""

    name: str
    kind: Kind
    offset: int
    default: Any


def dtype_code(dtype: np.dtype[Any]) -> int:
    """The number of a type; truth values are bytes, 0 or 1."""
    return DTYPES.index(np.dtype(np.uint8 if dtype == np.bool_ else dtype))


SIZES = np.array([d.itemsize for d in DTYPES])


def dtype_size(code: Any) -> Any:
    """Bytes of an element, for one code or an array of them."""
    return SIZES[code]


def address(memory: Any, offset: Any) -> Any:
    """An on-chip address: the memory's number in the top 4 bits, the byte offset below."""
    return (memory << MEMORY_SHIFT) | offset


def split_address(value: Any) -> tuple[Any, Any]:
    return value >> MEMORY_SHIFT, value & ((1 << MEMORY_SHIFT) - 1)


class Region(NamedTuple):
    """Bytes [start, stop) of a memory; memory 0 is DRAM."""

    memory: Any
    start: Any
    stop: Any


class Machine(Protocol):
    """The state that instructions act on."""

    def view(
        self, memory: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], code: int
    ) -> Array:
        """Elements of type DTYPES[code], strides in elements; shape (batch, *shape), writable."""


@dataclass_transform(kw_only_default=True)
class Instruction:
    """The header: opcode, the queue among the engine's own, and per engine what is waited for.

    `after_E` = 0 waits for nothing; n >= 1 waits until all but the last n - 1 of the instructions
    that were issued to engine E before this one are retired. A wait thus points backwards in
    program order, whatever it holds, so no program can deadlock.
    """

    opcode: ClassVar[int]
    engine: ClassVar[str]
    mnemonic: ClassVar[str]
    record: ClassVar[np.dtype[Any]]
    layout: ClassVar[tuple[Field, ...]]
    defaults: ClassVar[dict[str, Any]]
    moving: ClassVar[tuple[str, ...]] = ()
    """Fields that the short form holds (short.py)."""

    queue: U8 = 0
    after_load0: U8 = 0
    after_load1: U8 = 0
    after_store0: U8 = 0
    after_store1: U8 = 0
    after_tensor: U8 = 0
    after_vector: U8 = 0

    def __init_subclass__(cls, opcode: int, engine: str) -> None:
        cls.opcode, cls.engine, cls.mnemonic = opcode, engine, cls.__name__.lower()
        cls.layout = field_layout(cls)
        cls.defaults = {f.name: f.default for f in cls.layout if f.default is not None}
        cls.record = record_dtype(cls.layout)

    def __init__(self, **values: Any) -> None:
        """Raises TypeError for a field that there is not, or that must be given and is not."""
        held = self.defaults | values
        wrong = held.keys() ^ self.field_names()
        if wrong:
            raise TypeError(f"{self.mnemonic}: missing or unknown: {', '.join(sorted(wrong))}")
        vars(self).update(held)

    @classmethod
    def from_records(cls, records: Array) -> Self:
        """One instance that stands for all of `records`, with arrays as fields."""
        names = cls.field_names()
        return cls(**{n: widen(records[n]) for n in names})

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in cls.layout)

    @classmethod
    def records(cls, count: int, **values: Any) -> Array:
        """`count` encoded instructions; each value is a number or an array of `count` numbers.

        Fields that are not given hold their default. Raises IsaError when a value does not fit
        its field, or a field without a default is not given.
        """
        out = np.zeros(count, cls.record)
        out["opcode"] = cls.opcode
        for field in cls.layout:
            value = values.pop(field.name, field.default)
            if value is not field.default or value is None:
                check_range(cls, field, value)
            out[field.name] = value
        if values:
            raise IsaError(f"{cls.mnemonic}: there is no field {sorted(values)[0]!r}")
        return out

    def to_record(self) -> Array:
        return self.records(1, **{n: getattr(self, n) for n in self.field_names()})

    def reads(self) -> Iterator[Region]:
        return iter(())

    def writes(self) -> Iterator[Region]:
        return iter(())

    def faults(self) -> Iterator[tuple[Any, str]]:
        """Pairs of a condition that makes the instruction illegal and its name in words."""
        return iter(())

    def execute(self, machine: Machine) -> None:
        """Act on the machine; instructions that only order or count do nothing."""


def widen(values: Array) -> Array:
    return values if values.dtype.kind == "f" else values.astype(np.int64)


def check_range(cls: type[Instruction], field: Field, value: Any) -> None:
    if value is None:
        raise IsaError(f"{cls.mnemonic}: field {field.name!r} is missing")
    if field.kind.holds(value):
        return
    values = np.asarray(value)
    if field.kind.form != "float" and values.dtype.kind not in "iub":
        raise IsaError(f"{cls.mnemonic}: {field.name}={value} is not an integer")
    bad = field.kind.illegal(values)
    if bad is not False and np.any(bad):
        worst = values[np.broadcast_to(bad, values.shape)].flat[0]
        limits = field.kind.limits()
        raise IsaError(f"{cls.mnemonic}: {field.name}={worst} is not in {limits}")


def queues(engine: str) -> int:
    """How many queues an engine's instructions can name."""
    return max(1, sum(name.rstrip("01") == engine for name in ENGINES))


def field_layout(cls: type[Instruction]) -> tuple[Field, ...]:
    """The fields as declared, the header's first, packed behind the opcode byte."""
    layout: list[Field] = []
    offset = 1
    for name, kind in (*declared(Instruction), *declared(cls)):
        if name == "queue":
            kind = Kind(kind.dtype, 0, queues(cls.engine) - 1)
        layout.append(Field(name, kind, offset, getattr(cls, name, None)))
        offset += kind.dtype.itemsize
    return tuple(layout)


def declared(cls: type) -> Iterator[tuple[str, Kind]]:
    """The fields among a class's own annotations: those that are Annotated with a kind."""
    for name, hint in get_annotations(cls).items():
        for kind in getattr(hint, "__metadata__", ()):
            yield name, kind


def record_dtype(layout: tuple[Field, ...]) -> np.dtype[Any]:
    """The packed little-endian record: opcode, fields, `reserved` zeros up to a whole word."""
    columns: list[tuple[str, Any]] = [("opcode", np.dtype("u1"))]
    columns += [(f.name, f.kind.dtype) for f in layout]
    spare = -np.dtype(columns).itemsize % WORD_BYTES
    if spare:
        columns.append(("reserved", np.dtype((np.uint8, (spare,)))))
    return np.dtype(columns)


def too_many(*sizes: Any) -> Any:
    """Whether a block has more than MOST_ELEMENTS; in float64, which cannot overflow."""
    total = np.float64(1)
    for size in sizes:
        total = total * size
    return total > MOST_ELEMENTS


@cache
def instruction_set() -> dict[int, type[Instruction]]:
    """Every instruction, by opcode. Raises IsaError when two share one."""
    from . import control, dma, tensor, vector  # here, as they need this module

    del control, dma, tensor, vector  # a class that is defined is in __subclasses__
    found = sorted(Instruction.__subclasses__(), key=lambda c: c.opcode)
    table = {c.opcode: c for c in found}
    if len(table) != len(found) or len({c.mnemonic for c in found}) != len(found):
        raise IsaError("two instructions share an opcode or a mnemonic")
    return table
