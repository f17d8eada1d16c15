"""The short form: smaller, exact, and the only encoding where it can be taken."""

from typing import Any

import numpy as np
import pytest

from dnncc.isa import control, core, distinct, dma, program, short, tensor

Program = program.Program
BASE = core.address(1, 0)


def encoded(*arrays: Any) -> bytes:
    """Arrays of records one after the other, and a halt."""
    ends = np.cumsum([0, *map(len, arrays), 1])
    spans = [np.arange(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    return Program.encode(zip(spans, (*arrays, control.Halt.records(1)), strict=True))


def loads(**fields: Any) -> Any:
    count = len(next(iter(fields.values())))
    return dma.Load.records(count, **({"dram": 0, "spad": BASE} | fields))


def sizes(text: bytes) -> list[int]:
    found: list[int] = Program.decode(text).sizes.tolist()
    return found


def test_what_repeats_is_short() -> None:
    text = encoded(loads(dram=[0, 64, 128], after_tensor=[0, 0, 0], d3=[9, 9, 9]))
    assert sizes(text) == [64, 16, 16, 8]
    found = Program.decode(text)
    assert [found.instruction(i).dram for i in range(3)] == [0, 64, 128]  # type: ignore[attr-defined]
    assert [found.instruction(i).d3 for i in range(3)] == [9, 9, 9]  # type: ignore[attr-defined]


def test_shapes_take_turns() -> None:
    text = encoded(loads(d3=[1, 2, 1, 2, 3, 1]))
    assert sizes(text) == [64, 64, 16, 16, 64, 16, 8]


def test_queues_have_templates_of_their_own() -> None:
    text = encoded(loads(queue=[0, 1, 0, 1]))
    assert sizes(text) == [64, 64, 16, 16, 8]
    assert Program.decode(text).engine_of.tolist() == [0, 1, 0, 1, -1]


def test_a_template_number_is_used_again() -> None:
    many = short.TEMPLATES + 1
    text = encoded(loads(d3=[*range(1, many + 1), many, 1, 2]))
    assert sizes(text) == [64] * many + [16, 64, 16, 8]
    found = Program.decode(text)
    assert [found.instruction(many + i).d3 for i in range(3)] == [many, 1, 2]  # type: ignore[attr-defined]


def test_random_programs_are_exact(small_records: Any, rng: Any) -> None:
    classes = [c for c in core.instruction_set().values() if c is not control.Halt]
    for _ in range(5):
        arrays = []
        for cls in rng.choice(np.array(classes, object), 30):
            shapes = small_records(cls, 99, rng)[:3]
            arrays.append(shapes[rng.integers(0, len(shapes), 9)])
        text = encoded(*arrays)
        found = Program.decode(text)
        expected = [a.tobytes() for array in arrays for a in array]
        got = [found.instruction(i).to_record().tobytes() for i in range(found.count - 1)]
        assert got == expected
        assert Program.encode([(p.indices, p.records) for p in found.parts]) == text


@pytest.mark.parametrize("spread", [distinct.SPREAD, 0])
def test_rows_of_one_sum_are_told_apart(spread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "SPREAD", spread)
    text = encoded(loads(d3=[1, 2, 1, 2, 3, 1]))
    assert sizes(text) == [64, 64, 16, 16, 64, 16, 8]


def test_full_form_is_refused_where_short_is_due() -> None:
    records = loads(dram=[0, 64])
    text = records.tobytes() + control.Halt.records(1).tobytes()
    with pytest.raises(core.IsaError, match="byte 0x40: the instruction is not in the form"):
        Program.decode(text)


def test_a_short_form_needs_its_template() -> None:
    first, second = encoded(loads(dram=[0, 64]))[:64], encoded(loads(dram=[0, 64]))[64:]
    with pytest.raises(core.IsaError, match="byte 0x0: load: its template is missing"):
        Program.decode(second)
    with pytest.raises(core.IsaError, match="byte 0x40: load: its template is missing"):
        Program.decode(first + second[:1] + b"\x05" + second[2:])


def test_templates_are_numbered_in_one_way() -> None:
    text = bytearray(encoded(loads(dram=[0, 64])))
    text[1], text[65] = 5 << 1, 5
    with pytest.raises(core.IsaError, match="byte 0x0: the instruction is not in the form"):
        Program.decode(bytes(text))


def test_every_flipped_bit_is_refused_or_means_something_else() -> None:
    """No two texts decode to the same program."""
    conv = tensor.Tensor.records(3, ifmap=BASE, weight=[BASE, BASE + 9, BASE], psum=BASE)
    good = encoded(loads(d3=[1, 2, 1, 2]), conv, control.Fence.records(2, after_load0=1))
    for bit in range(0, 8 * len(good), 5):
        text = bytearray(good)
        text[bit // 8] ^= 1 << bit % 8
        assert is_refused_or_exact(bytes(text)), bit


def is_refused_or_exact(text: bytes) -> bool:
    try:
        found = Program.decode(text)
    except core.IsaError as error:
        return "\n" not in str(error)
    return Program.encode([(p.indices, p.records) for p in found.parts]) == text
