"""The short form: an instruction that repeats an earlier one of its class, but for where it acts.

Tiles of one layer differ in little but addresses. A class names its `moving` fields; an instruction
in short form holds the header, with bit 7 of the opcode set, and those fields alone. All others are
those of a template: the latest instruction in full form that was given the same number, which its
queue's byte holds above bit 0, and which the short form has in that byte.

Each program has one encoding: number templates by shape, in order of appearance, and take the short
form wherever it can be taken. The decoder refuses any other.
"""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .core import ENGINES, WORD_BYTES, Array, Instruction, instruction_set
from .distinct import alike

Int64 = npt.NDArray[np.int64]

SHORT = 0x80
TEMPLATES = 128
WAITS = tuple(f"after_{engine}" for engine in ENGINES)


def short_dtype(cls: type[Instruction]) -> np.dtype[Any]:
    """The record of a short form: opcode, template, waits, moving fields, zeros to a whole word."""
    return short_dtype_of(cls.opcode)


@cache
def short_dtype_of(opcode: int) -> np.dtype[Any]:
    cls = instruction_set()[opcode]
    columns: list[tuple[str, Any]] = [("opcode", "u1"), ("template", "u1")]
    columns += [(name, "u1") for name in WAITS]
    columns += [(name, cls.record[name]) for name in cls.moving]
    spare = -np.dtype(columns).itemsize % WORD_BYTES
    if spare:
        columns.append(("reserved", np.dtype((np.uint8, (spare,)))))
    return np.dtype(columns)


def shapes(cls: type[Instruction], records: Array) -> Int64:
    """int64[n]: equal numbers for records that differ in waits and moving fields alone, numbered
    from 0 in order of appearance."""
    first, inverse = alike(fixed_words(cls, records))
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse])


def fixed_words(cls: type[Instruction], records: Array) -> npt.NDArray[np.uint64]:
    """Records as words, [n, words], without waits and moving fields."""
    return records.view(np.uint64).reshape(len(records), -1) & fixed_bits(cls.opcode)


@cache
def fixed_bits(opcode: int) -> npt.NDArray[np.uint64]:
    """Words of a record: ones where the fields are that a short form does not hold."""
    cls = instruction_set()[opcode]
    mask = np.full(cls.record.itemsize, 0xFF, np.uint8).view(cls.record)
    for name in (*WAITS, *cls.moving):
        mask[name] = 0
    return mask.view(np.uint64)


def forms(cls: type[Instruction], records: Array) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """(template number, whether it is short) of each record of a class, in program order."""
    shape = shapes(cls, records)
    template = shape % TEMPLATES
    if not cls.moving:
        return template * 0, np.zeros(len(records), np.bool_)
    order = np.argsort(template.astype(np.uint8), kind="stable")
    again = shape[order][1:] == shape[order][:-1]
    short = np.zeros(len(records), np.bool_)
    short[order[1:]] = again
    return template, short


def shorten(cls: type[Instruction], records: Array, template: Int64) -> Array:
    """Records in short form."""
    out = np.zeros(len(records), short_dtype(cls))
    out["opcode"] = cls.opcode | SHORT
    out["template"] = template
    for name in (*WAITS, *cls.moving):
        out[name] = records[name]
    return out


def number(records: Array, template: Int64) -> Array:
    """Records in full form, each with its template's number beside its queue's."""
    out = records.copy()
    out["queue"] |= (template << 1).astype(np.uint8)
    return out


def expand(cls: type[Instruction], full: Array, template: Int64, brief: Array) -> Array:
    """Records in full form: rows `template` of `full`, with what `brief` holds in short form."""
    records = rows(full, template)
    for name in (*WAITS, *cls.moving):
        records[name] = brief[name]
    return records


def rows(records: Array, numbers: Int64) -> Array:
    """Some records, whose size is in words: these are moved faster than records are."""
    words = records.view(np.uint64).reshape(len(records), -1)
    return words.take(numbers, axis=0).view(records.dtype)[:, 0]


def templates(is_short: Array, number: Array) -> Int64:
    """Which of the records in full form each instruction of a class is like, if it is short, and
    which it is, if not; -1 for a short one whose template is not there."""
    source = latest(number, ~is_short)
    row = np.cumsum(~is_short) - 1
    return np.where(source < 0, -1, row[source])


def latest(group: Array, marked: npt.NDArray[np.bool_]) -> Int64:
    """For each entry the last marked one of its group, a number of a byte, up to it, or -1."""
    order = np.argsort(group.astype(np.uint8), kind="stable")
    position = np.where(marked[order], np.arange(len(group)), -1)
    position = np.maximum.accumulate(position)
    found = np.where(position >= 0, order[position], -1)
    found = np.where((found >= 0) & (group[found] == group[order]), found, -1)
    out = np.empty(len(group), np.int64)
    out[order] = found
    return out
