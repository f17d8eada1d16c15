"""A decoded program: its instructions by class, and where each of them stands."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from . import short
from .core import CONTROL, ENGINES, WORD_BYTES, Array, Field, Instruction, IsaError, instruction_set
from .parts import Part
from .places import ordered, places
from .starts import ProgramError, find_starts

HALT = "halt"
MOST = 1 << 40
WAIT_NAMES = tuple(f"after_{engine}" for engine in ENGINES)

Int64 = npt.NDArray[np.int64]


class Regions(NamedTuple):
    """Bytes that instructions touch, as columns in program order; empty ranges are left out."""

    instruction: Int64
    is_write: npt.NDArray[np.bool_]
    memory: Int64
    start: Int64
    stop: Int64

    def at(self, rows: Int64) -> "Regions":
        """Some of them."""
        columns = (self.memory[rows], self.start[rows], self.stop[rows])
        return Regions(self.instruction[rows], self.is_write[rows], *columns)


class Program(Struct, frozen=True, eq=False, dict=True):
    """What `.text` holds, decoded.

    Of `count` instructions: `offsets` int64[n] in bytes, `opcodes` uint8[n], `engine_of` int8[n]
    (index into ENGINES; CONTROL for the issue unit's own), `waits` int32[n, engines]: how many
    instructions each engine must have retired, counted from the program's start, 0 for none.
    """

    offsets: Int64
    opcodes: npt.NDArray[np.uint8]
    engine_of: npt.NDArray[np.int8]
    waits: npt.NDArray[np.int32]
    parts: tuple[Part, ...]

    @property
    def count(self) -> int:
        return len(self.offsets)

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """Read a whole program. Raises IsaError, naming the byte, at whatever is not legal."""
        offsets, opcodes = find_starts(text)
        parts = tuple(gather(text, offsets, opcodes))
        check_parts(parts, offsets)
        check_halt(opcodes, offsets)
        check_forms(parts, offsets, opcodes)
        engine_of = find_engines(parts, len(offsets))
        waits = absolute_waits(parts, engine_of, offsets)
        return cls(offsets, opcodes & ~np.uint8(short.SHORT), engine_of, waits, parts)

    @property
    def sizes(self) -> Int64:
        """Bytes that each instruction takes in .text, int64[n]; the last is a halt."""
        return np.diff(self.offsets, append=self.offsets[-1] + WORD_BYTES)

    @staticmethod
    def encode(parts: Iterable[tuple[npt.ArrayLike, Array]]) -> bytes:
        """Lay out records: each array with the numbers of its instructions in the program.

        The numbers of all parts together are 0..n-1. Raises IsaError if they are not.
        """
        return lay_out([(np.asarray(indices), records) for indices, records in parts])

    def instruction(self, index: int) -> Instruction:
        """One instruction, its fields Python numbers."""
        part = next(p for p in self.parts if p.cls.opcode == self.opcodes[index])
        row = part.records[np.searchsorted(part.indices, index)].tolist()
        return part.cls(**dict(zip(part.cls.field_names(), row[1:], strict=False)))

    @cached_property
    def regions(self) -> Regions:
        """What all instructions read and write. Host parts' tensors are not in it."""
        tables = [place for part in self.parts for place in places(part)]
        total = sum(len(table.indices) for table in tables)
        is_write, columns = np.zeros(total, np.bool_), np.zeros((4, total), np.int64)
        orders = ordered(self.count, [table.indices for table in tables])
        for table, at in zip(tables, orders, strict=True):
            is_write[at], start = table.is_write, table.start
            stop = start + table.bytes[table.form]
            held = (table.indices, table.memory[table.form], start, stop)
            for column, values in zip(columns, held, strict=True):
                column[at] = values
        return Regions(columns[0], is_write, *columns[1:])


def gather(text: bytes, offsets: Int64, opcodes: npt.NDArray[np.uint8]) -> Iterator[Part]:
    """Per class, all its instructions, read in one indexing step for each form."""
    words = np.frombuffer(text, np.uint64)
    for opcode, cls in instruction_set().items():
        indices = np.flatnonzero(opcodes & ~np.uint8(short.SHORT) == opcode)
        if len(indices):
            yield gathered(words, offsets[indices], opcodes[indices] != opcode, cls, indices)


def gathered(
    words: npt.NDArray[np.uint64], offsets: Int64, is_short: Array, cls: Any, indices: Int64
) -> Part:
    """The instructions of one class, which begin at `offsets`."""
    brief = read_rows(words, offsets, short.short_dtype(cls))  # a full form is longer
    full = read_rows(words, offsets[~is_short], cls.record)
    number = full["queue"] >> 1
    brief["template"][~is_short] = number
    template = short.templates(is_short, brief["template"])
    if template.min() < 0:
        missing = offsets[np.argmax(template < 0)]
        raise ProgramError(missing, f"{cls.mnemonic}: its template is missing")
    full["queue"] &= 1
    brief[~is_short] = short.shorten(cls, full, number)
    return Part(cls, indices, full, template, brief)


def read_rows(words: npt.NDArray[np.uint64], offsets: Int64, dtype: np.dtype[Any]) -> Array:
    length = np.arange(dtype.itemsize // WORD_BYTES)
    rows = words[(offsets // WORD_BYTES)[:, None] + length]
    return np.ascontiguousarray(rows).view(dtype)[:, 0]


def check_parts(parts: Sequence[Part], offsets: Int64) -> None:
    """Raise IsaError for the first instruction with an illegal field or combination of fields."""
    errors = [
        (int(offsets[part.indices[row]]), f"{part.cls.mnemonic}: {message}")
        for part in parts
        for row, message in part_errors(part)
    ]
    if errors:
        offset, message = min(errors, key=lambda error: error[0])
        raise ProgramError(offset, message)


def part_errors(part: Part) -> Iterator[tuple[int, str]]:
    """Row and message of the first instruction that breaks each rule."""
    bounded = (field for field in part.cls.layout if not field.kind.holds_all)
    found = [error for field in bounded for error in field_errors(field, part)]
    if "reserved" in (part.cls.record.names or ()):
        odd = np.any(part.full["reserved"], axis=1)
        found += first(odd[part.template], "a reserved byte is not zero")
    if found:  # `faults` is only for fields that are in their ranges
        yield from found
        return
    for condition, message in part.kinds.faults():
        bad = np.broadcast_to(condition, part.forms.first.shape)
        yield from ((int(part.forms.first[bad].min()), message) for _ in first(bad, message))


def field_errors(field: Field, part: Part) -> Iterator[tuple[int, str]]:
    moves = field.name in part.cls.moving
    values = part.brief[field.name] if moves else part.full[field.name]
    bad = field.kind.illegal(values)
    for at, _ in first(bad, "") if bad is not False else ():
        row = at if moves else int(np.argmax(part.template == at))
        yield row, f"{field.name}={values[at]} is not in {field.kind.limits()}"


def first(bad: Any, message: str) -> Iterator[tuple[int, str]]:
    if bad.any():
        yield int(np.argmax(bad)), message


def check_forms(parts: Sequence[Part], offsets: Int64, opcodes: npt.NDArray[np.uint8]) -> None:
    """Raise IsaError where a program is not encoded in the one way that it can be (short.py)."""
    wrong = [
        int(offsets[part.indices[row]])
        for part in parts
        for row in uncanonical(part, opcodes[part.indices] != part.cls.opcode)
    ]
    if wrong:
        text = "the instruction is not in the form, short or full, that it must have"
        raise ProgramError(min(wrong), text)


def uncanonical(part: Part, is_short: npt.NDArray[np.bool_]) -> Iterator[int]:
    """The first row, if there is one, that is in a form or with a template that is not its own, and
    the first that is short and has bytes behind its fields."""
    rows = np.flatnonzero(~is_short)
    template, brief = short.forms(part.cls, part.full)
    wrong = brief | (template != part.brief["template"][rows])
    yield from rows[wrong][:1].tolist()
    if "reserved" in (part.brief.dtype.names or ()):
        yield from np.flatnonzero(part.brief["reserved"].any(axis=1))[:1].tolist()


def check_halt(opcodes: npt.NDArray[np.uint8], offsets: Int64) -> None:
    halt = next(op for op, cls in instruction_set().items() if cls.mnemonic == HALT)
    halts = np.flatnonzero(opcodes == halt)
    if len(halts) == 0 or opcodes[-1] != halt:
        raise ProgramError(offsets[-1], "the program does not end with halt")
    if len(halts) > 1:
        raise ProgramError(offsets[halts[0]], "halt before the end of the program")


def find_engines(parts: Sequence[Part], count: int) -> npt.NDArray[np.int8]:
    engine_of = np.full(count, CONTROL, np.int8)
    for part in parts:
        engine_of[part.indices] = engine_numbers(part)
    return engine_of


def engine_numbers(part: Part) -> Any:
    """Index into ENGINES of each instruction's queue."""
    cls = part.cls
    if cls.engine in ENGINES:
        return ENGINES.index(cls.engine)
    if f"{cls.engine}0" in ENGINES:
        return ENGINES.index(f"{cls.engine}0") + part.column("queue").astype(np.int8)
    return CONTROL


def absolute_waits(
    parts: Sequence[Part], engine_of: npt.NDArray[np.int8], offsets: Int64
) -> npt.NDArray[np.int32]:
    """int32[n, engines] from the headers, which count backwards from the instruction."""
    waits = np.zeros((len(ENGINES), len(offsets)), np.int32)
    for engine, name in enumerate(WAIT_NAMES):
        column, mine = waits[engine], engine_of == engine
        for part in parts:
            column[part.indices] = part.brief[name]
        rows = np.flatnonzero(column)
        column[rows] = (np.cumsum(mine, dtype=np.int32) - mine)[rows] - column[rows] + 1
    if waits.min() < 0:
        row, first = np.argwhere(waits.T < 0)[0]
        had = np.count_nonzero(engine_of[:row] == first)
        message = f"waits {had - waits[first, row]} back on {ENGINES[first]}, "
        raise ProgramError(offsets[row], f"{message}which was issued only {had}")
    return waits.T


def lay_out(parts: Sequence[tuple[Array, Array]]) -> bytes:
    """See Program.encode."""
    count = sum(len(indices) for indices, _ in parts)
    sizes = np.zeros(count, np.int64)
    pieces: list[tuple[Array, Array]] = []
    for indices, records in by_class(parts):
        check_numbers(indices, records, count)
        pieces += encoded(indices, records)
    for indices, records in pieces:
        sizes[indices] = records.dtype.itemsize // WORD_BYTES
    if not sizes.all():
        raise IsaError(f"instruction {int(np.argmin(sizes))} is not in any part")
    ends = np.cumsum(sizes)
    words = np.zeros(int(sizes.sum()), np.uint64)
    for indices, records in pieces:
        length = np.arange(records.dtype.itemsize // WORD_BYTES)
        rows = np.ascontiguousarray(records).view(np.uint64).reshape(len(records), -1)
        words[(ends - sizes)[indices][:, None] + length] = rows
    return words.tobytes()


def by_class(parts: Sequence[tuple[Array, Array]]) -> Iterator[tuple[Array, Array]]:
    """All records of a class together, in program order."""
    for cls in instruction_set().values():
        mine = [p for p in parts if len(p[1]) and p[1]["opcode"][0] == cls.opcode]
        if mine:
            for numbers, records in mine:
                check_numbers(numbers, records, MOST)
            data = b"".join([records.tobytes() for _, records in mine])
            numbers = np.concatenate([numbers for numbers, _ in mine])
            yield in_order(numbers, np.frombuffer(data, cls.record))


def in_order(indices: Array, records: Array) -> tuple[Array, Array]:
    """Sorted by index; records are large, so only if they are not so yet."""
    if np.all(indices[1:] > indices[:-1]):
        return indices, records
    order = np.argsort(indices, kind="stable")
    return indices[order], short.rows(records, order)


def encoded(indices: Array, records: Array) -> list[tuple[Array, Array]]:
    """The records of a class, those that can be in short form, with their places."""
    cls = instruction_set()[int(records["opcode"][0])]
    template, brief = short.forms(cls, records)
    whole, rest = np.flatnonzero(~brief), np.flatnonzero(brief)
    full = short.number(short.rows(records, whole), template[whole])
    pieces = [(indices[whole], full)]
    if len(rest):
        some = short.rows(records, rest)
        pieces.append((indices[rest], short.shorten(cls, some, template[rest])))
    return pieces


def check_numbers(indices: Array, records: Array, count: int) -> None:
    if len(indices) != len(records):
        raise IsaError(f"{len(indices)} instruction numbers for {len(records)} records")
    if len(indices) and not 0 <= indices.min() <= indices.max() < count:
        raise IsaError(f"instruction numbers are not 0..{count - 1}")


def check_bounds(program: Program, memory_bytes: Sequence[int]) -> None:
    """Raise IsaError for the first access outside a memory; memory_bytes[0] is DRAM's size."""
    found = program.regions
    sizes = np.array(memory_bytes, np.int64)
    known = found.memory < len(sizes)
    limit = np.where(known, sizes[np.where(known, found.memory, 0)], 0)
    outside = np.flatnonzero((found.stop > limit) | (found.start < 0))
    if len(outside) == 0:
        return
    row = outside[0]
    index, memory = int(found.instruction[row]), int(found.memory[row])
    name = next(p.cls.mnemonic for p in program.parts if p.cls.opcode == program.opcodes[index])
    verb = "writes" if found.is_write[row] else "reads"
    where = f"bytes {found.start[row]:#x}..{found.stop[row]:#x} of memory {memory}"
    size = f"has {limit[row]}" if known[row] else "does not exist"
    raise ProgramError(program.offsets[index], f"{name} {index} {verb} {where}, which {size}")
