"""Where the instructions of a program begin: each says how long it is, so one leads to the next.

The text is walked from many places at once. Where a stretch of it is entered is known when the one
before it has been walked; until then any place will do, as walks that begin apart soon come upon
the same instruction, and leave their stretch at the same one. What was not so is walked again.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from . import short
from .core import WORD_BYTES, IsaError, instruction_set

Int64 = npt.NDArray[np.int64]
Words = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

STRETCH = 1024
"""Words that one walk goes through; many instructions."""

LONG = 16 * STRETCH
"""Words from which it pays to have several walks."""

STEPS = 8
"""Of all walks, between looks at whether they have ended."""

ROUNDS = 8
"""In which stretches are walked again. Compiled programs take two; a text can be made to take as
many as it has stretches."""


class ProgramError(IsaError):
    """An instruction that is not legal, at byte `offset` of .text."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(f"byte {offset:#x}: {message}")
        self.offset = int(offset)
        self.message = message


@cache
def instruction_bytes() -> dict[int, int]:
    """The size of an instruction, by opcode, in full and in short form."""
    sizes = {opcode: cls.record.itemsize for opcode, cls in instruction_set().items()}
    for opcode, cls in instruction_set().items():
        if cls.moving:
            sizes[opcode | short.SHORT] = short.short_dtype(cls).itemsize
    return sizes


def find_starts(text: bytes) -> tuple[Int64, Bytes]:
    """Byte offset and opcode of each instruction. Raises IsaError where there is none."""
    if not text or len(text) % WORD_BYTES:
        raise IsaError(f".text has {len(text)} bytes, not a positive multiple of {WORD_BYTES}")
    opcodes = np.frombuffer(text, np.uint8)[::WORD_BYTES]
    length = word_counts()[opcodes]
    starts = reached(np.maximum(length, np.uint8(1)))
    undefined = np.flatnonzero(length[starts] == 0)
    if len(undefined):
        at = int(starts[undefined[0]])
        raise ProgramError(at * WORD_BYTES, f"opcode {opcodes[at]:#04x} is not defined")
    if starts[-1] + length[starts[-1]] > len(length):
        raise ProgramError(int(starts[-1]) * WORD_BYTES, "the instruction is cut off")
    return starts * WORD_BYTES, opcodes[starts]


@cache
def word_counts() -> Bytes:
    """Words that an instruction takes, by its first byte; 0 where that is none."""
    words = np.zeros(1 << 8, np.uint8)
    for opcode, size in instruction_bytes().items():
        words[opcode] = size // WORD_BYTES
    return words


def reached(length: Bytes) -> Int64:
    """The words that one comes to from the first, each leading to that `length` after it."""
    if len(length) < LONG:
        return one_by_one(length)
    few = np.int32 if len(length) < 1 << 31 else np.int64
    follows: Words = np.arange(len(length) + int(length.max()), dtype=few)
    follows[: len(length)] += length  # who is past the end stays there
    stops = np.append(np.arange(STRETCH, len(length), STRETCH), len(length)).astype(few)
    begins = np.append(few(0), stops[:-1])
    if not settle(follows, begins, stops):
        return one_by_one(length)
    marked = np.zeros(len(follows), np.bool_)
    for at in walk(follows, begins, stops):
        marked[at] = True
    return np.flatnonzero(marked[: len(length)])


def one_by_one(length: Bytes) -> Int64:
    """As `reached`: 0.05 us an instruction, of 0.3 that doubling the reach of all words takes."""
    starts, lengths, at = [], length.tolist(), 0
    while at < len(lengths):
        starts.append(at)
        at += lengths[at]
    return np.array(starts, np.int64)


def settle(follows: Words, begins: Words, stops: Words) -> bool:
    """Set, in place, where each stretch is entered; False if that takes more than ROUNDS."""
    ends, new = stops.copy(), np.arange(len(begins))
    for _ in range(ROUNDS):
        *_, ends[new] = walk(follows, begins[new], stops[new])
        new = 1 + np.flatnonzero(ends[:-1] != begins[1:])
        begins[new] = ends[new - 1]
        if not len(new):
            return True
    return False


def walk(follows: Words, at: Words, stops: Words) -> Iterator[Words]:
    """Where each walk is, step by step, until it is at its stop or past it."""
    yield at
    while np.any(at < stops):
        for _ in range(STEPS):
            at = np.where(at < stops, follows[at], at)
            yield at
