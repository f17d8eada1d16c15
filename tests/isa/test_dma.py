"""Load and Store against loops over single elements."""

from itertools import product
from typing import Any

import numpy as np

from dnncc.isa import core, dma


def element(machine: Any, batch: int, memory: int, at: int, code: int) -> Any:
    dtype = core.DTYPES[code]
    return np.frombuffer(machine.bytes[memory, batch, at : at + dtype.itemsize].tobytes(), dtype)[0]


def strided(start: int, index: Any, strides: Any, code: int) -> int:
    steps = sum(int(i) * int(s) for i, s in zip(index, strides, strict=True))
    return int(start) + steps * core.DTYPES[code].itemsize


def instances(cls: Any, records: Any) -> list[Any]:
    rows = (dict(zip(cls.field_names(), r.tolist()[1:], strict=False)) for r in records)
    return [cls(**row) for row in rows]


def disjoint(one: Any, sizes: Any, strides: Any) -> bool:
    places = [strided(0, i, strides, 0) for i in product(*map(range, sizes))]
    return len(set(places)) == len(places)


def test_load(small_records: Any, make_machine: Any, rng: Any) -> None:
    done = 0
    for one in instances(dma.Load, small_records(dma.Load, 6000, rng)):
        if not disjoint(one, one.framed(), one.spad_strides()) or done >= 60:
            continue
        machine = make_machine(rng)
        before = machine.bytes.copy()
        one.execute(machine)
        machine_before = make_machine(rng)
        machine_before.bytes = before
        check_load(one, machine_before, machine)
        done += 1
    assert done == 60


def check_load(one: Any, before: Any, after: Any) -> None:
    memory, start = core.split_address(one.spad)
    framed = any((one.top, one.bottom, one.left, one.right))
    for batch, index in product(range(2), product(*map(range, one.framed()))):
        got = element(
            after,
            batch,
            memory,
            strided(start, index, one.spad_strides(), one.spad_dtype),
            one.spad_dtype,
        )
        inner = (index[0], index[1], index[2] - one.top, index[3] - one.left)
        if all(0 <= i < d for i, d in zip(inner, one.sizes(), strict=True)):
            at = strided(one.dram, inner, one.dram_strides(), one.dram_dtype)
            expected = element(before, batch, 0, at, one.dram_dtype)
        else:
            assert framed
            expected = one.fill
        assert got == expected or (np.isnan(got) and np.isnan(expected))


def test_store(small_records: Any, make_machine: Any, rng: Any) -> None:
    done = 0
    for one in instances(dma.Store, small_records(dma.Store, 6000, rng)):
        if not disjoint(one, one.sizes(), one.dram_strides()) or done >= 60:
            continue
        machine = make_machine(rng)
        one.execute(machine)
        check_store(one, machine)
        done += 1
    assert done == 60


def check_store(one: Any, machine: Any) -> None:
    """The scratchpad is as it was: memories differ."""
    memory, start = core.split_address(one.spad)
    dtype = core.DTYPES[one.dram_dtype]
    for batch, index in product(range(2), product(*map(range, one.sizes()))):
        where = strided(start, index, one.spad_strides(), one.spad_dtype)
        value = element(machine, batch, memory, where, one.spad_dtype)
        if dtype.kind != "f":
            info = np.iinfo(dtype)
            value = min(max(int(value), info.min), info.max)
        at = strided(one.dram, index, one.dram_strides(), one.dram_dtype)
        got = element(machine, batch, 0, at, one.dram_dtype)
        assert got == value or (np.isnan(got) and np.isnan(value))


def test_a_frame_of_nothing_fills(machine: Any) -> None:
    one = dma.Load(
        dram=0, spad=core.address(1, 0), d2=0, d3=0, bottom=5, right=7, spad_s2=7, fill=-9
    )
    assert [(int(r.start), int(r.stop)) for r in one.reads()] == [(0, 0)]
    one.execute(machine)
    assert (machine.get(core.address(1, 0), (35,), "i1") == -9).all()


def test_widening_keeps_every_value(machine: Any) -> None:
    for narrow, wide in ((0, 2), (1, 2), (1, 3), (2, 4), (3, 4), (0, 4)):
        info = np.iinfo(core.DTYPES[narrow])
        values = np.array([[info.min, -1 if info.min else 1, 0, info.max]] * 2)
        machine.put(0, values, core.DTYPES[narrow].str)
        fields = {"spad": core.address(1, 8), "d3": 4, "dram_dtype": narrow, "spad_dtype": wide}
        dma.Load(dram=0, **fields).execute(machine)
        got = machine.get(core.address(1, 8), (4,), core.DTYPES[wide].str)
        assert np.array_equal(got, values)
