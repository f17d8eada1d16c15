"""The container: exact, readable by binutils, and closed to every damaged file."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from msgspec.structs import replace

from dnncc.isa import control, core, elf, image

SYMBOLS = (
    image.Symbol("image", "input", "uint8", (1, 3, 4), (12, 4, 1), 0, 256, 0.1, 3, None, True),
    image.Symbol("weights é", "tensor", "int8", (3,), (1,), 0, 0),
    image.Symbol("inner", "tensor", "int8", (3,), (1,), 2, 64),
    image.Symbol("scores", "output", "float32", (), (), 0, 512),
)
DEBUG = image.Debug(
    ("Conv",),
    ("k=0",),
    np.array([0], np.int32),
    np.array([-1], np.int32),
    (image.Unit("ifmap[0]", 1, 0, 24, 0, 0, ("image",)),),
)
IMAGE = image.Image(
    text=control.Halt.records(1).tobytes(),
    rodata=bytes(range(200)),
    dram_bytes=4096,
    target="name = 'x'\n",
    symbols=SYMBOLS,
    host=(image.HostPart(b"onnx", ("image",), ("scores",), (("Softmax_1", "no float"),)),),
    debug=DEBUG,
    tool="dnncc 0.1",
    options={"optimize": 2},
)
EMPTY = image.Image(b"", b"", 0, "", ())


@pytest.mark.parametrize("made", [IMAGE, EMPTY])
def test_round_trip(made: image.Image) -> None:
    data = elf.write(made)
    assert elf.read(data) == made
    assert elf.write(elf.read(data)) == data


def test_numpy_numbers_are_written_as_numbers() -> None:
    numbers: dict[str, Any] = {"scale": np.float64(0.1), "zero": np.int64(3)}
    symbol = replace(SYMBOLS[0], **numbers, shape=cast(Any, (np.int64(1), 3, 4)))
    assert elf.read(elf.write(replace(IMAGE, symbols=(symbol, *SYMBOLS[1:])))) == IMAGE


@pytest.mark.skipif(shutil.which("readelf") is None, reason="binutils' readelf is not installed")
@pytest.mark.parametrize("made", [IMAGE, EMPTY])
def test_readelf_has_no_complaint(made: image.Image, tmp_path: Path) -> None:
    elf.save(made, tmp_path / "x.elf")
    command = ["readelf", "-aW", str(tmp_path / "x.elf")]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
    assert ran.stderr == ""
    assert "warning" not in ran.stdout.lower() and "error" not in ran.stdout.lower()
    assert all(f"dnncc  {' ' * 16}" or name in ran.stdout for name in elf.NAMES)
    for symbol in made.symbols:
        assert symbol.name.split()[0] in ran.stdout


def test_sections_are_where_places_says() -> None:
    data = elf.write(IMAGE)
    where = {p.name: data[p.offset : p.offset + p.size] for p in elf.places(data)}
    assert where[".text"] == IMAGE.text and where[".rodata"] == IMAGE.rodata
    assert data.endswith(where[".dnncc.sum"])


@pytest.mark.parametrize("name", [p.name for p in elf.places(elf.write(IMAGE)) if p.size])
def test_a_flipped_byte_names_its_section(name: str) -> None:
    data = bytearray(elf.write(IMAGE))
    place = next(p for p in elf.places(bytes(data)) if p.name == name)
    data[place.offset + place.size // 2] ^= 1
    with pytest.raises(core.IsaError, match=name.replace(".", r"\.") + "|checksum"):
        elf.read(bytes(data))


def test_every_flipped_byte_is_seen() -> None:
    good = elf.write(IMAGE)
    for at in range(len(good)):
        data = bytearray(good)
        data[at] ^= 1 << at % 8
        with pytest.raises(core.IsaError):
            elf.read(bytes(data))


def test_every_truncation_is_seen() -> None:
    good = elf.write(IMAGE)
    for length in range(0, len(good), 7):
        with pytest.raises(core.IsaError):
            elf.read(good[:length])
    with pytest.raises(core.IsaError):
        elf.read(good + b"\0")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ELF file"),
        (b"PK\3\4" + bytes(100), "not an ELF file"),
        (b"\x7fELF\x01" + bytes(100), "an ELF file, but not a dnncc binary"),
        (b"\x7fELF", "not an ELF file"),
    ],
)
def test_other_files(data: bytes, message: str) -> None:
    with pytest.raises(core.IsaError, match=message):
        elf.read(data)


def test_another_version_is_named() -> None:
    data = bytearray(elf.write(IMAGE))
    data[48:52] = (7).to_bytes(4, "little")
    with pytest.raises(core.IsaError, match="made for ISA version 7; this dnncc reads version 1"):
        elf.read(bytes(data))


def resealed(data: bytes) -> bytes:
    """The file with checksums that fit, as an attacker would make them."""
    table, _ = elf.check_header(data)
    found = elf.read_sections(data, table)
    rows = [elf.Section(name, 0, 0, 0, found[name]) for name in elf.NAMES[:-1]]
    body = data[: len(data) - len(found[elf.SUM])]
    return body + elf.checksums(rows, [body])


def test_damage_behind_fitting_checksums_is_refused_or_harmless(rng: Any) -> None:
    good = elf.write(IMAGE)
    assert resealed(good) == good
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for at in rng.integers(0, len(good), rng.integers(1, 4)):
            data[at] = rng.integers(0, 256)
        refused += is_refused(bytes(data))
    assert refused > 500


def is_refused(data: bytes) -> bool:
    """Whether reading fails; anything but IsaError escapes, and what is read must be writable."""
    try:
        made = elf.read(resealed(data))
    except core.IsaError as error:
        assert "\n" not in str(error)
        return True
    assert elf.read(elf.write(made)) == made
    return False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dram_bytes": 100}, "DRAM of 100 bytes"),
        ({"dram_bytes": 1 << 40}, "DRAM of"),
        ({"text": b"abc"}, ".text has 3 bytes"),
        ({"symbols": (replace(SYMBOLS[0], kind="weird"),)}, "kind 'weird'"),
        ({"symbols": (replace(SYMBOLS[0], dtype="O"),)}, "dtype 'O'"),
        ({"symbols": (replace(SYMBOLS[0], address=4090),)}, "are not in memory 0"),
        ({"symbols": (replace(SYMBOLS[0], strides=(1,)),)}, "do not fit"),
        ({"symbols": (replace(SYMBOLS[0], shape=(1, -3, 4)),)}, "do not fit"),
        ({"symbols": (replace(SYMBOLS[0], name="a\0b"),)}, "null"),
        ({"symbols": (replace(SYMBOLS[0], name="\ud800"),)}, "cannot be written"),
        ({"symbols": (replace(SYMBOLS[0], scale=float("nan")),)}, "not finite"),
        ({"symbols": (replace(SYMBOLS[0], real=True, scale=0.0),)}, "no real numbers"),
        ({"symbols": (replace(SYMBOLS[1], real=True, scale=0.1),)}, "no real numbers"),
        ({"symbols": SYMBOLS[:1]}, "host part 0: tensor 'scores' has no symbol"),
        ({"options": {"x": object()}}, "cannot be written"),
        (
            {"debug": image.Debug((), (), np.array([1], np.int32), np.array([0], np.int32))},
            "debug map",
        ),
        (
            {"debug": replace(DEBUG, units=(image.Unit("u", 1, 9, 8, 0, 0),))},
            "a unit that cannot be",
        ),
        (
            {"debug": replace(DEBUG, units=(image.Unit("u", 1, 0, 8, 0, 1),))},
            "a unit that cannot be",
        ),
        (
            {"debug": replace(DEBUG, units=(image.Unit("u", 99, 0, 8, 0, 0),))},
            "a unit that cannot be",
        ),
    ],
)
def test_images_that_cannot_be(change: dict[str, Any], message: str) -> None:
    host = IMAGE.host if change.get("symbols", SYMBOLS[:1]) == SYMBOLS[:1] else ()
    made = replace(IMAGE, **(change | {"host": host}))
    with pytest.raises(core.IsaError, match=message):
        elf.write(made)


def test_save_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "x.elf"
    elf.save(IMAGE, path)
    with pytest.raises(core.IsaError):
        elf.save(replace(IMAGE, dram_bytes=1), path)
    assert elf.load(path) == IMAGE
    assert [p.name for p in tmp_path.iterdir()] == ["x.elf"]
