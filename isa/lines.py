"""One instruction as a line of assembly, to and from its record, exactly.

    load dram=0x40 spad=1:0x200 d2=3 d3=16 dram_s2=16 spad_s2=16 @tensor-1   ; a comment

A mnemonic; the fields that differ from their default, `name=value`; then the waits: `@tensor` until
all tensor instructions issued before are retired, `@tensor-1` until all but the last one are.
On-chip addresses are memory:offset. Grammar: assembly.lark; whole texts: asm.py.
"""

from typing import Any

import numpy as np

from .core import (
    ENGINES,
    FARTHEST_WAIT,
    MEMORY_SHIFT,
    Array,
    Field,
    Instruction,
    IsaError,
    Kind,
    address,
    split_address,
)
from .parts import Part
from .program import WAIT_NAMES, Program


def program_lines(program: Program) -> list[str]:
    """One line of assembly for each instruction."""
    lines = np.empty(program.count, object)
    for part in program.parts:
        lines[part.indices] = part_lines(part)
    texts: list[str] = lines.tolist()
    return texts


def part_lines(part: Part) -> list[str]:
    """Column by column: what is written for each distinct value, then put together by rows."""
    columns = [[part.cls.mnemonic] * len(part)]
    for spec in sorted(part.cls.layout, key=lambda f: f.name in WAIT_NAMES):
        column = field_column(spec, part.records[spec.name])
        if column is not None:
            columns.append(column)
    return ["".join(row) for row in zip(*columns, strict=True)]


def field_column(spec: Field, values: Array) -> list[str] | None:
    """What the field adds to each line, None if it adds nothing to any."""
    bits = values.view(np.uint32) if spec.kind.form == "float" else values
    distinct, inverse = np.unique(bits, return_inverse=True)
    texts = [field_text(spec, value) for value in distinct.view(values.dtype)]
    return [texts[i] for i in inverse.tolist()] if any(texts) else None


def field_text(spec: Field, value: Any) -> str:
    """The text of one field, with a space before it; empty at its default."""
    if spec.name in WAIT_NAMES:
        return wait_text(ENGINES[WAIT_NAMES.index(spec.name)], int(value))
    text = value_text(spec.kind, value)
    default = None if spec.default is None else value_text(spec.kind, spec.default)
    return "" if text == default else f" {spec.name}={text}"


def wait_text(engine: str, after: int) -> str:
    if after == 0:
        return ""
    return f" @{engine}" if after == 1 else f" @{engine}-{after - 1}"


def value_text(kind: Kind, value: Any) -> str:
    if kind.form == "name":
        return kind.names[int(value)]
    if kind.form == "float":
        return float_text(np.float32(value))
    if kind.form == "dram":
        return f"{value:#x}"
    if kind.form == "address":
        memory, offset = split_address(int(value))
        return f"{memory}:{offset:#x}"
    return str(value)


def float_text(value: np.float32) -> str:
    """The shortest decimal that reads back as the same float32, or else hexadecimal."""
    text = str(value)
    return text if np.float32(float(text)) == value else float(value).hex()


def parse_value(kind: Kind, text: str) -> Any:
    """The number that `text` stands for. Raises IsaError if the field cannot hold it."""
    value = number(kind, text)
    if np.any(kind.illegal(np.asarray(value))):
        raise IsaError(f"is not in {kind.limits()}")
    return value


def number(kind: Kind, text: str) -> Any:
    if kind.form == "name":
        return choice_number(kind, text)
    if kind.form == "float":
        with np.errstate(over="ignore"):
            return np.float32(float.fromhex(text) if "0x" in text else float(text))
    if kind.form == "address" and ":" in text:
        return address_number(text)
    return int(text, 0)


def choice_number(kind: Kind, text: str) -> int:
    if text not in kind.names:
        raise IsaError(f"is not one of {', '.join(kind.names)}")
    return kind.names.index(text)


def address_number(text: str) -> int:
    memory, _, offset = text.partition(":")
    if not 0 <= int(offset, 0) < 1 << MEMORY_SHIFT:
        raise IsaError(f"has an offset that is not in 0..{(1 << MEMORY_SHIFT) - 1}")
    return int(address(int(memory, 0), int(offset, 0)))


class Reader:
    """Makes records of the instructions of one class.

    What a text stands for is remembered: programs say the same again and again.
    """

    def __init__(self, cls: type[Instruction]) -> None:
        self.cls = cls
        self.columns = {spec.name: column for column, spec in enumerate(cls.layout)}
        self.defaults = [spec.default for spec in cls.layout]
        self.required = [i for i, default in enumerate(self.defaults) if default is None]
        self.known: dict[str, tuple[int, Any]] = {}
        self.rows: list[tuple[Any, ...]] = []
        self.numbers: list[int] = []

    def add(self, number: int, words: list[str]) -> None:
        """Instruction `number` of the program, its fields and waits. Raises IsaError."""
        row = self.defaults.copy()
        columns = []
        for word in words:
            column, row[column] = self.known.get(word) or self.learn(word)
            columns.append(column)
        if len(set(columns)) < len(columns):
            raise IsaError("a field is given twice")
        for column in self.required:
            if row[column] is None:
                raise IsaError(f"field {self.cls.layout[column].name!r} is missing")
        self.rows.append(tuple(row))
        self.numbers.append(number)

    def learn(self, word: str) -> tuple[int, Any]:
        parsed = self.parse_wait(word) if word[0] == "@" else self.parse_field(word)
        self.known[word] = parsed
        return parsed

    def parse_field(self, word: str) -> tuple[int, Any]:
        name, _, text = word.partition("=")
        if name not in self.columns or name in WAIT_NAMES:
            raise IsaError(f"{self.cls.mnemonic} has no field {name!r}")
        column = self.columns[name]
        try:
            return column, parse_value(self.cls.layout[column].kind, text)
        except IsaError as error:
            raise IsaError(f"{word} {error}") from None
        except (ValueError, OverflowError):
            raise IsaError(f"{word} is not a number") from None

    def parse_wait(self, word: str) -> tuple[int, Any]:
        engine, dash, back = word[1:].partition("-")
        if engine not in ENGINES:
            raise IsaError(f"there is no engine {engine!r}; there are {', '.join(ENGINES)}")
        if dash and not (back.isdecimal() and 0 < int(back) < FARTHEST_WAIT):
            raise IsaError(f"{word} does not count back by 1..{FARTHEST_WAIT - 1}")
        return self.columns[f"after_{engine}"], int(back or 0) + 1

    def part(self) -> tuple[Array, Array]:
        """The instructions' numbers in the program, and their records."""
        records = np.zeros(len(self.rows), self.cls.record)
        records["opcode"] = self.cls.opcode
        for spec, values in zip(self.cls.layout, zip(*self.rows, strict=True), strict=True):
            records[spec.name] = values
        return np.array(self.numbers), records
