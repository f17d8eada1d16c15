"""All instructions of one class, as a program holds them: what many share is there once."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from . import short
from .core import MEMORY_SHIFT, Array, Field, Instruction
from .distinct import alike, alike_in

Int64 = npt.NDArray[np.int64]


class Forms(NamedTuple):
    """The first row of each form, and the form of every row: rows of one form differ in waits and
    in where in their memories they act, and in nothing else."""

    first: Int64
    form: Int64


class Part(Struct, frozen=True, eq=False, dict=True):
    """Instructions of one class.

    `indices` are their numbers in the program, ascending. What each is holds its row `template` of
    `full`, records whose waits and moving fields do not count, and its row of `brief`, in short
    form (short.py), which has those.
    """

    cls: type[Instruction]
    indices: Int64
    full: Array
    template: npt.NDArray[Any]
    brief: Array

    @classmethod
    def of(cls, kind: type[Instruction], indices: Int64, records: Array) -> Self:
        """Of records that are whole."""
        rows = np.arange(len(records))
        return cls(kind, indices, records, rows, short.shorten(kind, records, rows))

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, rows: slice | npt.NDArray[Any]) -> Self:
        """Some of the instructions."""
        return type(self)(
            self.cls, self.indices[rows], self.full, self.template[rows], self.brief[rows]
        )

    def column(self, name: str) -> Array:
        """A field of all instructions, in its own type."""
        if name in (self.brief.dtype.names or ()):
            return self.brief[name]
        return np.asarray(self.full[name][self.template])

    @cached_property
    def records(self) -> Array:
        """The instructions in full, read-only."""
        records = short.expand(self.cls, self.full, self.template, self.brief)
        records.flags.writeable = False
        return records

    @cached_property
    def forms(self) -> Forms:
        _, shape = alike(short.fixed_words(self.cls, self.full))
        kept = (kept_of(field, self.brief[field.name]) for field in self.moving())
        return Forms(*alike_in([shape[self.template], *(c for c in kept if c is not None)]))

    @cached_property
    def kinds(self) -> Any:
        """The first of each form, as one instruction with arrays as fields."""
        return self.cls.from_records(self.take(self.forms.first).records)

    def moving(self) -> Iterable[Field]:
        return (field for field in self.cls.layout if field.name in self.cls.moving)


def kept_of(field: Field, values: Array) -> Array | None:
    """What of a field's values is not only a place in a memory."""
    if field.kind.form == "dram":
        return None
    return values >> MEMORY_SHIFT if field.kind.form == "address" else values
