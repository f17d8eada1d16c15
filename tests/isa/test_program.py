"""Encoding and strict decoding, for every instruction class."""

from typing import Any

import numpy as np
import pytest

from dnncc.isa import control, core, dma, program, starts, tensor

Program, IsaError = program.Program, core.IsaError
address = core.address
BASE = address(1, 0)


def ended(*records: Any) -> bytes:
    """The records in order, then halt."""
    parts, at = [], 0
    for array in (*records, control.Halt.records(1)):
        parts.append((np.arange(at, at + len(array)), array))
        at += len(array)
    return Program.encode(parts)


def test_decode_inverts_encode(instruction: Any, extremes: Any, rng: Any) -> None:
    if instruction is control.Halt:
        return
    records = extremes(instruction, rng)
    found = Program.decode(ended(records))
    assert found.count == len(records) + 1
    part = next(p for p in found.parts if p.cls is instruction)
    assert part.records.tobytes() == records.tobytes()
    assert Program.encode([(p.indices, p.records) for p in found.parts]) == ended(records)


def test_instruction_gives_the_fields(instruction: Any, extremes: Any, rng: Any) -> None:
    if instruction is control.Halt:
        return
    records = extremes(instruction, rng)
    found = Program.decode(ended(records))
    for index in range(len(records)):
        one = found.instruction(index)
        assert type(one) is instruction
        assert one.to_record().tobytes() == records[index].tobytes()
        assert all(type(getattr(one, n)) in (int, float) for n in one.field_names())


def test_interleaved_classes_keep_their_places() -> None:
    loads = dma.Load.records(3, dram=[1, 2, 3], spad=BASE, d3=[4, 5, 6])
    fences = control.Fence.records(2)
    parts = [([1, 2, 4], loads), ([0, 3], fences), ([5], control.Halt.records(1))]
    found = Program.decode(Program.encode(parts))
    assert found.opcodes.tolist() == [1, 0x10, 0x10, 1, 0x10, 3]
    assert found.offsets.tolist() == [0, 8, 72, 136, 144, 208]
    assert found.instruction(4).dram == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("numbers", [[0, 0], [0, 2], [-1, 0]])
def test_encode_refuses_wrong_numbers(numbers: list[int]) -> None:
    with pytest.raises(IsaError):
        Program.encode([(numbers, control.Fence.records(2))])


def test_every_field_out_of_range_is_refused(instruction: Any) -> None:
    required = {f.name: BASE for f in instruction.layout if f.default is None}
    for field in instruction.layout:
        if field.kind.form == "float":
            bad: list[Any] = [np.inf, np.nan]
        else:
            bad = [field.kind.high + 1, 1 if field.kind.optional else field.kind.low - 1]
        for value in bad:
            with pytest.raises(IsaError, match=f"{field.name}="):
                instruction.records(1, **(required | {field.name: value}))


def test_words_out_of_range_are_refused(instruction: Any) -> None:
    """Every value of each field that its kind forbids, put into the word itself."""
    required = {f.name: BASE for f in instruction.layout if f.default is None}
    for field in instruction.layout:
        if field.name == "queue" and instruction.moving:
            continue  # its upper bits number the template
        for value in forbidden(field.kind):
            record = instruction.records(1, **required)
            record[field.name] = value
            text = record.tobytes() + control.Halt.records(1).tobytes()
            with pytest.raises(IsaError, match=rf"byte 0x0: {instruction.mnemonic}: "):
                Program.decode(text)


def forbidden(kind: core.Kind) -> list[Any]:
    if kind.form == "float":
        return [np.nan, np.inf, -np.inf]
    info = np.iinfo(kind.dtype)
    outside = [info.min] if kind.low > info.min and not kind.optional else []
    outside += [kind.low - 1] if kind.low > 1 else []
    return outside + ([kind.high + 1, info.max] if kind.high < info.max else [])


def test_reserved_bytes_must_be_zero(instruction: Any) -> None:
    names = instruction.record.names
    if "reserved" not in names:
        return
    required = {f.name: BASE for f in instruction.layout if f.default is None}
    first = instruction.record.fields["reserved"][1]
    for at in range(first, instruction.record.itemsize):
        words = bytearray(instruction.records(1, **required).tobytes())
        words[at] = 0x80
        with pytest.raises(IsaError, match="reserved"):
            Program.decode(bytes(words) + control.Halt.records(1).tobytes())


def test_undefined_opcodes_are_refused() -> None:
    halt = control.Halt.records(1).tobytes()
    for opcode in set(range(256)) - set(starts.instruction_bytes()):
        with pytest.raises(IsaError, match=f"byte 0x8: opcode {opcode:#04x}"):
            Program.decode(control.Fence.records(1).tobytes() + bytes([opcode]) + bytes(7) + halt)


def test_cut_off_programs_are_refused() -> None:
    text = ended(dma.Load.records(2, dram=0, spad=BASE))
    for length in range(len(text)):
        with pytest.raises(IsaError):
            Program.decode(text[:length])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (control.Fence.records(1), "byte 0x0: the program does not end with halt"),
        (control.Halt.records(2), "byte 0x0: halt before the end"),
        (np.zeros(1, "u8"), "opcode 0x00 is not defined"),
    ],
)
def test_halt_is_the_end(text: Any, message: str) -> None:
    with pytest.raises(IsaError, match=message):
        Program.decode(text.tobytes())


def test_waits_become_absolute() -> None:
    load = dma.Load.records(4, dram=0, spad=BASE, queue=[0, 1, 0, 0])
    conv = tensor.Tensor.records(
        2, ifmap=BASE, weight=BASE, psum=BASE, after_load0=[1, 3], after_load1=[0, 1]
    )
    halt = control.Halt.records(1, after_tensor=2)
    parts = [([0, 1, 2, 4], load), ([3, 5], conv), ([6], halt)]
    found = Program.decode(Program.encode(parts))
    assert found.waits[3].tolist() == [2, 0, 0, 0, 0, 0]
    assert found.waits[5].tolist() == [1, 1, 0, 0, 0, 0]
    assert found.waits[6].tolist() == [0, 0, 0, 0, 1, 0]
    assert found.engine_of.tolist() == [0, 1, 0, 4, 0, 4, -1]


def test_waits_for_the_future_are_refused() -> None:
    text = ended(
        dma.Load.records(2, dram=0, spad=BASE, d3=[1, 2]), control.Fence.records(1, after_load0=4)
    )
    with pytest.raises(IsaError, match="byte 0x80: waits 3 back on load0, .* only 2"):
        Program.decode(text)


def test_regions_and_bounds() -> None:
    load = dma.Load.records(
        1, dram=100, spad=address(2, 8), d2=3, d3=4, dram_s2=10, spad_s2=8, spad_dtype=2
    )
    found = Program.decode(ended(load))
    got = found.regions
    assert got.memory.tolist() == [0, 2]
    assert got.start.tolist() == [100, 8]
    assert got.stop.tolist() == [100 + 24, 8 + 2 * 20]
    assert got.is_write.tolist() == [False, True]
    program.check_bounds(found, [124, 0, 48])
    for sizes in ([123, 0, 48], [124, 0, 47], [124, 99]):
        with pytest.raises(IsaError, match="byte 0x0: load 0 (reads|writes) bytes 0x"):
            program.check_bounds(found, sizes)


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (dma.Load, {"spad_dtype": 0, "dram_dtype": 2}, "does not hold"),
        (dma.Load, {"dram_dtype": 1, "spad_dtype": 1, "right": 1, "fill": -1}, "fill"),
        (dma.Load, {"d0": 9, "spad_s0": 0}, "coincide"),
        (dma.Store, {"spad_dtype": 5}, "both integer"),
        (dma.Store, {"d0": 65535, "d1": 65535, "d2": 2}, "large|coincide"),
        (tensor.Tensor, {"p": 9999, "q": 9999, "k": 65535}, "psum tile is too large"),
        (tensor.Tensor, {"g": 65535, "c": 4096, "ifmap_sc": 1 << 31}, "too far apart"),
        (tensor.Tensor, {"h": 60000, "w": 60000}, "ifmap tile is too large"),
        (tensor.Tensor, {"q": 65535, "stride_x": 255, "p": 99, "stride_y": 99}, "padded"),
        (tensor.Tensor, {"c": 4000, "k": 65535, "r": 255, "s": 255}, "multiplications"),
        (tensor.Tensor, {"h": 5, "ring": 4}, "more rows than its ring"),
        (tensor.Tensor, {"ring": 4, "ring_row": 4}, "ring_row is not in the ring"),
        (tensor.Tensor, {"ring_row": 1}, "ring_row is not in the ring"),
    ],
)
def test_illegal_combinations(cls: Any, fields: dict[str, int], message: str) -> None:
    required = {f.name: BASE for f in cls.layout if f.default is None}
    with pytest.raises(IsaError, match=message):
        Program.decode(ended(cls.records(1, **(required | fields))))


def test_large_programs_decode_fast() -> None:
    count = 25_000
    numbers = np.arange(4 * count)
    parts: list[Any] = [
        (numbers[0::4], dma.Load.records(count, dram=0, spad=BASE)),
        (numbers[1::4], tensor.Tensor.records(count, ifmap=BASE, weight=BASE, psum=BASE)),
        (numbers[2::4], control.Fence.records(count, after_tensor=1)),
        (numbers[3::4], dma.Store.records(count, dram=0, spad=BASE)),
        ([4 * count], control.Halt.records(1)),
    ]
    text = Program.encode(parts)
    found = Program.decode(text)
    assert found.count == 4 * count + 1
    assert found.waits[-3, 4] == count
