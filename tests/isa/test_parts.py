"""What is said of forms holds for all instructions that are of them."""

from typing import Any

import numpy as np

from dnncc.isa import control, parts, places, program

FEW = 300


def a_part(cls: Any, records: Any, rng: Any) -> tuple[parts.Part, Any]:
    """Of a program of the class, in which records come again at other places, and its records."""
    records = records[rng.integers(0, max(1, len(records) // 9), len(records))].copy()
    for field in (f for f in cls.layout if f.name in cls.moving and f.kind.form == "address"):
        records[field.name] ^= rng.integers(0, 1 << 12, len(records), dtype=np.uint32)
        records[field.name] &= rng.choice([~np.uint32(0), ~np.uint32(1 << 28)], len(records))
        records[field.name] |= 1 << 29
    records = records[: 1 if cls is control.Halt else None]
    numbers = np.arange(len(records))
    pieces = [(numbers, records), (numbers[-1:] + 1, control.Halt.records(1))]
    text = program.Program.encode(pieces[: 1 if cls is control.Halt else 2])
    return next(p for p in program.Program.decode(text).parts if p.cls is cls), records


def test_records_are_whole(instruction: Any, small_records: Any, rng: Any) -> None:
    part, records = a_part(instruction, small_records(instruction, FEW, rng), rng)
    assert part.records.tobytes() == records.tobytes()
    some = rng.permutation(len(records))[:20]
    assert part.take(some).records.tobytes() == records[some].tobytes()
    assert parts.Part.of(instruction, part.indices, records).records.tobytes() == records.tobytes()
    for name in instruction.field_names():
        np.testing.assert_array_equal(part.column(name), records[name])


def test_forms_differ_in_waits_and_places_alone(
    instruction: Any, small_records: Any, rng: Any
) -> None:
    part, records = a_part(instruction, small_records(instruction, FEW, rng), rng)
    plain = records.copy()
    for field in instruction.layout:
        if field.name in program.WAIT_NAMES:
            plain[field.name] = 0
        elif field.name in instruction.moving and field.kind.form in places.MASKS:
            plain[field.name] &= ~places.MASKS[field.kind.form]
    first, form = part.forms
    assert plain[first[form]].tobytes() == plain.tobytes()
    assert len(np.unique(plain[first])) == len(first)
    assert np.all(first[form] <= np.arange(len(form)))


def test_places_are_the_regions(instruction: Any, small_records: Any, rng: Any) -> None:
    part, records = a_part(instruction, small_records(instruction, FEW, rng), rng)
    every = instruction.from_records(records)
    regions = [(w, r) for w, held in ((0, every.reads()), (1, every.writes())) for r in held]
    for (is_write, region), found in zip(regions, places.places(part), strict=True):
        memory, start, stop = (np.broadcast_to(c, len(records)) for c in region)
        rows = np.flatnonzero(stop > start)
        assert found.is_write == is_write
        np.testing.assert_array_equal(found.indices, rows)
        np.testing.assert_array_equal(found.start, start[rows])
        np.testing.assert_array_equal(found.memory[found.form], memory[rows])
        np.testing.assert_array_equal(found.bytes[found.form], (stop - start)[rows])


def test_columns_are_in_the_order_of_instructions(rng: Any) -> None:
    tables = [np.flatnonzero(rng.random(50) < share) for share in (0.2, 0.9, 0, 0.5)]
    rows = sorted((i, n) for n, table in enumerate(tables) for i in table.tolist())
    places_ = list(places.ordered(50, tables))
    for n, table in enumerate(tables):
        assert [rows[at] for at in places_[n]] == [(i, n) for i in table.tolist()]
