"""A machine of bare memories, and random legal instructions derived from the classes alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dnncc.isa import core

Array = npt.NDArray[Any]
Rng = np.random.Generator

MEMORY_BYTES = 1 << 14
MEMORIES = 3
BASE = core.address(1, 0)


class BareMachine:
    """Memories of random bytes for `batch` inputs; implements core.Machine."""

    def __init__(self, rng: Rng, batch: int = 2, memory_bytes: int = MEMORY_BYTES) -> None:
        shape = (MEMORIES, batch, memory_bytes)
        self.bytes = rng.integers(0, 256, shape, dtype=np.uint8)

    def view(
        self, memory: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], code: int
    ) -> Array:
        dtype = core.DTYPES[code]
        rows = self.bytes[memory]
        steps = (rows.strides[0], *(int(s) * dtype.itemsize for s in strides))
        whole = (len(rows), *(int(d) for d in shape))
        return np.ndarray(whole, dtype, rows, offset, steps)

    def put(self, where: int, values: Any, dtype: str) -> None:
        """Dense values [batch, ...] at an on-chip address (DRAM's are small numbers)."""
        memory, offset = core.split_address(where)
        data = np.ascontiguousarray(values, dtype)
        data = data.reshape(len(data), -1).view(np.uint8)
        self.bytes[memory, :, offset : offset + data.shape[1]] = data

    def get(self, where: int, shape: tuple[int, ...], dtype: str) -> Array:
        """Dense values [batch, *shape] from an on-chip address."""
        memory, offset = core.split_address(where)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        data = np.ascontiguousarray(self.bytes[memory, :, offset : offset + size])
        return data.view(dtype).reshape(len(data), *shape)


def legal(cls: type[core.Instruction], records: Array) -> Array:
    """Those of the records that break no rule of their class."""
    bad = np.zeros(len(records), bool)
    for condition, _ in cls.from_records(records).faults():
        bad |= np.broadcast_to(condition, bad.shape)
    return records[~bad]


def required(cls: type[core.Instruction]) -> dict[str, int]:
    return {f.name: BASE for f in cls.layout if f.default is None}


def drawn(kind: core.Kind, count: int, rng: Rng) -> Array:
    """Random values of the kind, its extremes among them."""
    if kind.form == "float":
        values = rng.standard_normal(count).astype(np.float32) * np.float32(10) ** rng.integers(
            -30, 30, count
        )
        values[:4] = [0.0, -0.0, np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal]
        return values.astype(np.float32)
    values = rng.integers(kind.low, kind.high, count, endpoint=True)
    values[:2] = kind.low, kind.high
    return values


def one_field_at_a_time(cls: type[core.Instruction], rng: Rng) -> Array:
    """Legal records, each with one field that is not at its default."""
    found = []
    for field in cls.layout:
        if field.name.startswith("after_"):
            continue
        values = drawn(field.kind, 6, rng)
        found.append(cls.records(len(values), **(required(cls) | {field.name: values})))
    return legal(cls, np.concatenate(found))


def small(cls: type[core.Instruction], count: int, rng: Rng) -> Array:
    """Legal records with all fields random, of small tiles that fit the machine's memories."""
    values = {f.name: small_values(f, count, rng) for f in cls.layout}
    records = legal(cls, cls.records(count, **values))
    every = cls.from_records(records)
    stops = [r.stop + 0 * records["opcode"] for r in (*every.reads(), *every.writes())]
    fits = np.all(
        np.array(stops, np.int64).reshape(len(stops), len(records)) <= MEMORY_BYTES, axis=0
    )
    return records[fits]


def small_values(field: core.Field, count: int, rng: Rng) -> Any:
    kind = field.kind
    if field.name.startswith("after_"):
        return 0
    if kind.form == "float":
        return rng.choice(np.array([0.5, 1.0, 0.013, -2.0], np.float32), count)
    if kind.form == "address":
        where = core.address(rng.integers(1, MEMORIES, count), rng.integers(0, 999, count))
        return np.where(kind.optional & (rng.random(count) < 0.5), 0, where)
    if kind.form == "dram":
        return rng.integers(0, 999, count)
    top = 60 if "_s" in field.name else 4
    return rng.integers(max(kind.low, -20), min(kind.high, top), count, endpoint=True)


@pytest.fixture
def rng() -> Rng:
    return np.random.default_rng(1)


@pytest.fixture
def machine(rng: Rng) -> BareMachine:
    return BareMachine(rng)


@pytest.fixture
def make_machine() -> Callable[..., BareMachine]:
    return BareMachine


@pytest.fixture
def extremes() -> Callable[[type[core.Instruction], Rng], Array]:
    return one_field_at_a_time


@pytest.fixture
def small_records() -> Callable[[type[core.Instruction], int, Rng], Array]:
    return small


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `instruction` runs for each class."""
    if "instruction" in metafunc.fixturenames:
        classes = list(core.instruction_set().values())
        metafunc.parametrize("instruction", classes, ids=[c.mnemonic for c in classes])
