"""Text to words to text, and what is said of wrong lines."""

from typing import Any

import numpy as np
import pytest

from dnncc.isa import asm, control, core, elf, image, program

IMAGE = image.Image(
    text=asm.assemble(
        """
        load dram=0x40 spad=1:0x0 d3=24
        fence @load0
        host part=0
        halt @load0
        """
    ),
    rodata=bytes(range(256)) * 5,
    dram_bytes=4096,
    target='name = "x" # "quotes" and \\ and ;\r\nclock = 1',
    symbols=(
        image.Symbol("x;\n\"'", "input", "int8", (1, 3, 8), (24, 8, 1), 0, 2048, 0.1, 3),
        image.Symbol("wé", "tensor", "int8", (3,), (1,), 0, 0),
        image.Symbol("inner", "tensor", "int8", (3,), (1,), 2, 64),
        image.Symbol("y", "output", "float32", (), (), 0, 4092),
        image.Symbol("none", "tensor", "int64", (0, 4), (4, 1), 0, 4096),
    ),
    host=(image.HostPart(bytes(999), ("x;\n\"'",), ("y",), (("Softmax_3", "no float"),)),),
    debug=image.Debug(
        ("Conv_1", "a | b\n"),
        ("k=0", "k=1"),
        np.array([0, 1, 1, -1], np.int32),
        np.array([0, 0, 1, -1], np.int32),
        (
            image.Unit("ifmap[0]", 1, 0, 24, 0, 1),
            image.Unit("out;\n", 0, 4092, 4096, 2, 3, ("y",)),
        ),
    ),
    tool="dnncc 0",
    options={"optimize": 2, "nested": {"b": [1, None], "a": 0.1}},
)


def program_of(records: Any) -> bytes:
    count = len(records)
    parts = [(np.arange(count), records), (np.array([count]), control.Halt.records(1))]
    return program.Program.encode(parts)


@pytest.mark.parametrize("source", ["extremes", "small_records"])
def test_round_trip(instruction: Any, source: str, request: Any, rng: Any) -> None:
    if instruction is control.Halt:
        return
    make = request.getfixturevalue(source)
    records = make(instruction, rng) if source == "extremes" else make(instruction, 200, rng)
    assert len(records)
    words = program_of(records)
    text = asm.disassemble(program.Program.decode(words))
    assert asm.assemble(text) == words
    assert asm.disassemble(program.Program.decode(asm.assemble(text))) == text


def test_floats_are_exact(rng: Any) -> None:
    values = rng.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    fields = {name: core.address(1, 0) for name in ("a", "b", "out")}
    cls = core.instruction_set()[0x31]
    words = program_of(cls.records(len(values), offset=values, **fields))
    assert asm.assemble(asm.disassemble(program.Program.decode(words))) == words


def test_what_a_line_looks_like() -> None:
    text = (
        "load queue=1 dram=0x40 spad=2:0x10 d3=16 dram_dtype=u8 spad_dtype=i16 right=1 fill=-3\n"
        "tensor ifmap=2:0x10 weight=1:0x0 psum=3:0x0 accumulate=1 @load1 @tensor-1\n"
        "map x=1:0x0 out=1:0x0 op=dequantize out_dtype=f32 scale=0.1 low=-5 @tensor\n"
        "halt @vector\n"
    )
    text = text.replace("@tensor-1", "@tensor")
    assert asm.disassemble(program.Program.decode(asm.assemble(text))) == text


def test_waits_round_trip() -> None:
    lines = ["load dram=0x0 spad=1:0x0"] * 260
    lines += ["fence @load0", "fence @load0-1 @tensor", "fence @load0-254", "halt"]
    text = "\n".join([*lines, ""])
    found = program.Program.decode(asm.assemble(text))
    assert found.waits[260:, 0].tolist() == [260, 259, 6, 0]
    assert asm.disassemble(found) == text


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("load\nhalt", 1, "field 'dram' is missing"),
        ("\n; c\nhaltt", 3, "there is no instruction 'haltt'"),
        ("halt x=1", 1, "halt has no field 'x'"),
        ("halt after_load0=1", 1, "halt has no field 'after_load0'"),
        ("halt\nload dram=-1", 2, "dram=-1 is not in 0..4294967295"),
        ("load dram=zero", 1, "dram=zero is not a number"),
        ("load dram=0 spad=0x100", 1, "spad=0x100 is not in 1:0x0..15:0xfffffff"),
        ("load dram=0 spad=1:0x10000000", 1, "spad=1:0x10000000 has an offset that is not"),
        ("load dram=0 dram=0 spad=1:0", 1, "a field is given twice"),
        ("map x=1:0 out=1:0 op=cosh", 1, "op=cosh is not one of copy, dequantize"),
        ("map x=1:0 out=1:0 scale=1e39", 1, "scale=1e39 is not in the finite numbers"),
        ("map x=1:0 out=1:0 scale=nan", 1, "scale=nan is not in the finite numbers"),
        ("halt @npu", 1, "there is no engine 'npu'; there are load0"),
        ("halt @tensor-0", 1, "@tensor-0 does not count back by 1..254"),
        ("halt @tensor-255", 1, "@tensor-255 does not count back by 1..254"),
        ("fence\nhalt @tensor-3", 2, "waits 3 back on tensor, which was issued only 0"),
        ("fence", 1, "the program does not end with halt"),
        ("halt\nfence", 2, "the program does not end with halt"),
        ("", 0, "there are no instructions"),
        ("halt d 3", 1, "cannot read 'd 3'"),
        ("halt\n=3", 2, "cannot read '=3'"),
        ("halt\n\0", 2, "cannot read"),
        (".rodata AA=A\nhalt", 1, "the bytes are not base64"),
        (".dram many\nhalt", 1, "JSON is malformed"),
        (".isa 2\nhalt", 1, "made for ISA version 2"),
        (".model AAAA\nhalt", 1, "directive .model is unknown or misplaced"),
        ('.symbol {"name": 3}\nhalt', 1, "Expected `str`"),
        (".loc 1\nhalt", 1, "Expected `array` of length 2"),
        (".debug\n.loc 0 0\nhalt", 0, "the debug map numbers names that do not exist"),
        (".debug\n.loc 9999999999 0\nhalt", 0, "a number of .loc is too large"),
        (".dram -1\nhalt", 0, "DRAM of -1 bytes"),
    ],
)
def test_errors(text: str, line: int, message: str) -> None:
    with pytest.raises(asm.AssemblyError) as caught:
        asm.assemble_image(text, "")
    assert caught.value.line == line
    assert caught.value.message.startswith(message), caught.value.message
    assert "\n" not in str(caught.value)


def test_image_round_trip() -> None:
    text = asm.disassemble(program.Program.decode(IMAGE.text), IMAGE)
    found = asm.assemble_image(text)
    assert found == IMAGE
    assert elf.write(found) == elf.write(IMAGE)
    assert "halt @load0" in text and "| Conv_1 | k=0" in text


def test_image_needs_a_target_and_takes_another() -> None:
    with pytest.raises(asm.AssemblyError, match="no target"):
        asm.assemble_image("halt")
    text = asm.disassemble(program.Program.decode(IMAGE.text), IMAGE)
    assert asm.assemble_image(text, "other").target == "other"


def test_dram_is_as_large_as_the_program_needs() -> None:
    made = asm.assemble_image("load dram=100 spad=1:0 d3=24\nhalt\n.rodata AAAA", "")
    assert (made.dram_bytes, made.rodata) == (124, bytes(3))


def test_debug_map_of_another_program_is_refused() -> None:
    with pytest.raises(core.IsaError, match="debug map is of 4 instructions, not 1"):
        asm.disassemble(program.Program.decode(asm.assemble("halt")), IMAGE)


@pytest.mark.parametrize(
    "text", [" " * 100_000, "halt" + " a=1" * 50_000 + "!", "\n " * 50_000 + "!", " ;" * 50_000]
)
def test_hostile_texts_end(text: str) -> None:
    with pytest.raises(asm.AssemblyError):
        asm.assemble(text)
