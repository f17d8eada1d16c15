"""What an instruction says that it reads and writes is what it reads and writes."""

from typing import Any

import numpy as np

from dnncc.isa import core

TRIES = 60


def masks(one: core.Instruction, machine: Any) -> tuple[Any, Any]:
    """Which bytes [memory, byte] the instruction names as read and as written."""
    shape = machine.bytes.shape[0], machine.bytes.shape[2]
    found = []
    for regions in (one.reads(), one.writes()):
        mask = np.zeros(shape, bool)
        for memory, start, stop in regions:
            mask[int(memory), int(start) : int(stop)] = True
        found.append(mask)
    return found[0], found[1]


def instances(cls: Any, records: Any) -> list[Any]:
    """With Python numbers as fields, as a decoded program gives them."""
    rows = (dict(zip(cls.field_names(), r.tolist()[1:], strict=False)) for r in records)
    return [cls(**row) for row in rows]


def test_only_the_named_bytes_count(
    instruction: Any, small_records: Any, make_machine: Any, rng: Any
) -> None:
    """Nothing else changes; and when all other bytes differ, the outcome does not."""
    records = small_records(instruction, 3000, rng)[:TRIES]
    assert len(records) >= min(TRIES, 20)
    for one in instances(instruction, records):
        first, second = make_machine(rng, memory_bytes=4096 * 4), make_machine(rng)
        reads, writes = masks(one, first)
        named = (reads | writes)[:, None]
        second.bytes = np.where(named, first.bytes, second.bytes)
        before = first.bytes.copy()
        one.execute(first)
        one.execute(second)
        changed = (first.bytes != before).any(axis=1)
        assert not (changed & ~writes).any(), one
        assert np.array_equal(
            *(m.bytes[np.broadcast_to(named, before.shape)] for m in (first, second))
        )


def test_batches_are_independent(
    instruction: Any, small_records: Any, make_machine: Any, rng: Any
) -> None:
    """A batch gives what its inputs give one by one."""
    for one in instances(instruction, small_records(instruction, 2000, rng)[:20]):
        whole = make_machine(rng, batch=3)
        singles = [make_machine(rng, batch=1) for _ in range(3)]
        for i, single in enumerate(singles):
            single.bytes = whole.bytes[:, i : i + 1].copy()
            one.execute(single)
        one.execute(whole)
        assert np.array_equal(whole.bytes, np.concatenate([s.bytes for s in singles], axis=1)), one


def test_one_instance_stands_for_many(instruction: Any, small_records: Any, rng: Any) -> None:
    """Regions and faults of an array of records are those of each."""
    records = small_records(instruction, 2000, rng)[:50]
    every = instruction.from_records(records)
    for i, one in enumerate(instances(instruction, records)):
        for method in ("reads", "writes"):
            pairs = zip(getattr(every, method)(), getattr(one, method)(), strict=True)
            for many, single in pairs:
                got = [int(np.broadcast_to(column, len(records))[i]) for column in many]
                assert got == [int(value) for value in single]
        assert not any(np.any(condition) for condition, _ in one.faults())
