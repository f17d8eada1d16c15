"""dnncc-run refuses before it executes: one line that names the file, exit 1, no file left."""

import os
import pickle
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dnncc.isa import core, elf
from dnncc.isa.image import HostPart, Image
from dnncc.runtime import RunError, cli, load
from tests.errors.small import ODD, SHAPE, feeds, refused, small_binary, small_image

Capture = pytest.CaptureFixture[str]


class Bench:
    """A folder with model.elf and in.npz; `says` runs it and returns the refusal."""

    def __init__(self, folder: Path, capsys: Capture) -> None:
        self.folder, self.capsys = folder, capsys
        self.path, self.inputs = folder / "model.elf", folder / "in.npz"
        self.path.write_bytes(binary())
        np.savez(self.inputs, **feeds())

    def says(self, *options: object) -> str:
        before = sorted(self.folder.iterdir())
        files = ["--output", self.folder / "out.npz", "--report", self.folder / "report.json"]
        said = refused(cli.main, [self.path, *files, *options], self.capsys)
        assert sorted(self.folder.iterdir()) == before, "a file is left"
        return said

    def says_of_input(self, *options: object) -> str:
        return self.says("--input", self.inputs, *options)


@pytest.fixture
def bench(tmp_path: Path, capsys: Capture) -> Bench:
    return Bench(tmp_path, capsys)


@cache
def binary() -> bytes:
    return small_binary()


@cache
def image() -> Image:
    return small_image()


INPUTS: dict[str, dict[str, Any]] = {
    "another name": {"y": np.zeros(SHAPE, np.int8)},
    "one name too many": {"x": np.zeros(SHAPE, np.int8), "y": np.zeros(1)},
    "another type": {"x": np.zeros(SHAPE, np.float32)},
    "another sign": {"x": np.zeros(SHAPE, np.uint8)},
    "one dimension less": {"x": np.zeros(SHAPE[1:], np.int8)},
    "another height": {"x": np.zeros((1, 3, 9, 8), np.int8)},
    "an empty batch": {"x": np.zeros((0, 3, 8, 8), np.int8)},
    "text": {"x": np.array(["a"])},
    "no array at all": {},
}


@pytest.mark.parametrize("case", INPUTS)
def test_inputs_that_do_not_fit(case: str, bench: Bench) -> None:
    np.savez(bench.inputs, **INPUTS[case])
    bench.says_of_input()


def test_pickled_objects_are_never_loaded(bench: Bench) -> None:
    marker = bench.folder / "marker"

    class Malice:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    np.savez(bench.inputs, x=np.array([Malice()], object))
    marker.unlink(missing_ok=True)
    bench.says_of_input()
    with zipfile.ZipFile(bench.inputs, "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Malice()))
    bench.says_of_input()
    bench.inputs.write_bytes(pickle.dumps(Malice()))
    bench.says_of_input()
    assert not marker.exists()


@pytest.mark.parametrize("data", [b"", b"hello\n", b"PK\x03\x04" + bytes(50)])
def test_an_input_that_is_no_npz(data: bytes, bench: Bench) -> None:
    bench.inputs.write_bytes(data)
    assert "in.npz" in bench.says_of_input()


@pytest.mark.parametrize("name", ["missing.npz", "x=missing.npy", "nothing"])
def test_an_input_file_that_is_missing(name: str, bench: Bench) -> None:
    bench.says("--input", name)


def test_no_input(bench: Bench) -> None:
    assert "'x'" in bench.says()


@pytest.mark.parametrize(
    "options", [["--schedule", "sideways"], ["--schedule", "random:x"], ["--random", "-1"]]
)
def test_malformed_options(options: list[str], bench: Bench) -> None:
    bench.says_of_input(*options)


def test_no_such_binary(bench: Bench) -> None:
    bench.path.unlink()
    assert str(bench.path) in bench.says_of_input()


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"hello\n", bytes(4096)])
def test_not_a_binary(data: bytes, bench: Bench) -> None:
    bench.path.write_bytes(data)
    assert str(bench.path) in bench.says_of_input()


def test_another_programs_elf(bench: Bench) -> None:
    bench.path.write_bytes(Path(os.path.realpath(sys.executable)).read_bytes()[: 1 << 20])
    assert str(bench.path) in bench.says_of_input()


@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.9, 0.999])
def test_truncated(share: float, bench: Bench) -> None:
    bench.path.write_bytes(binary()[: int(len(binary()) * share)])
    assert str(bench.path) in bench.says_of_input()


@pytest.mark.parametrize("name", elf.NAMES[1:])
def test_a_flipped_bit_in_each_section(name: str, bench: Bench) -> None:
    data = bytearray(binary())
    place = next(p for p in elf.places(binary()) if p.name == name)
    if place.size == 0:
        pytest.skip(f"{name} is empty in this binary")
    data[place.offset + place.size // 2] ^= 4
    bench.path.write_bytes(data)
    assert str(bench.path) in bench.says_of_input()


def remade(**changes: Any) -> bytes:
    """The binary with other contents and right checksums."""
    return elf.write(replace(image(), **changes))


def text_with(word: int, value: int) -> bytes:
    text = bytearray(image().text)
    text[8 * word : 8 * word + 8] = value.to_bytes(8, "little")
    return bytes(text)


def test_an_instruction_that_does_not_exist(bench: Bench) -> None:
    bench.path.write_bytes(remade(text=text_with(0, 0xEE)))
    assert str(bench.path) in bench.says_of_input()


def test_every_word_of_the_program_is_checked(bench: Bench) -> None:
    """All bits of any word set: refused when it is loaded, before anything runs; but for a word
    that may be so, such as the dilations and the padding of a filter with one tap."""
    words = len(image().text) // core.WORD_BYTES
    texts = [text_with(word, (1 << 64) - 1) for word in range(0, words, max(1, words // 40))]
    spoilt = [text for text in texts if not is_legal(text)]
    assert len(spoilt) >= max(20, len(texts) - 2)
    for text in spoilt:
        bench.path.write_bytes(remade(text=text))
        assert bench.says_of_input()


def is_legal(text: bytes) -> bool:
    try:
        load(replace(image(), text=text))
    except RunError:
        return False
    return True


def test_an_empty_program(bench: Bench) -> None:
    bench.path.write_bytes(remade(text=b""))
    bench.says_of_input()


def test_a_program_without_its_end(bench: Bench) -> None:
    bench.path.write_bytes(remade(text=image().text[: -core.WORD_BYTES]))
    bench.says_of_input()


def test_constants_that_are_missing(bench: Bench) -> None:
    bench.path.write_bytes(remade(rodata=image().rodata[:64]))
    bench.says_of_input()


def test_a_target_in_the_binary_that_is_none(bench: Bench) -> None:
    bench.path.write_bytes(remade(target="rows = 1"))
    assert str(bench.path) in bench.says_of_input()


def test_host_parts_that_are_no_models(bench: Bench) -> None:
    """A host part that nothing runs does no harm; one that is run is refused."""
    part = HostPart(b"\xff not a model", ("x",), ("out",))
    bench.path.write_bytes(remade(host=(part,)))
    arguments = [str(bench.path), "--input", str(bench.inputs), "-q"]
    assert cli.main(arguments) in (0, 1)
    assert "Traceback" not in bench.capsys.readouterr().err


def test_a_binary_for_another_target_says_what_differs(bench: Bench) -> None:
    arguments = [str(bench.path), "--input", str(bench.inputs), "--target", "tpu-like"]
    assert cli.main(arguments) == 1
    out, err = bench.capsys.readouterr()
    assert out == "" and err.startswith(f"error: {bench.path}: ")
    assert "'eyeriss-like'" in err and "'tpu-like'" in err
    assert "dataflow" in err and "weight_stationary" in err and "row_stationary" in err


def test_the_same_target_is_taken(bench: Bench) -> None:
    arguments = [str(bench.path), "--input", str(bench.inputs), "-q", "--target", "eyeriss-like"]
    assert cli.main(arguments) == 0


@pytest.mark.parametrize("target", ["no-such-target", "missing.toml"])
def test_unknown_target(target: str, bench: Bench) -> None:
    assert target in bench.says_of_input("--target", target)


def test_a_malformed_target(bench: Bench) -> None:
    path = bench.folder / "bad.toml"
    path.write_text(ODD.read_text().replace("rows = 13", "rows = 0"))
    assert str(path) in bench.says_of_input("--target", path)


@pytest.mark.parametrize("option", ["--output", "--report"])
def test_a_place_that_cannot_be_written(option: str, tmp_path: Path, capsys: Capture) -> None:
    bench = Bench(tmp_path, capsys)
    before = sorted(tmp_path.iterdir())
    place = tmp_path / "no" / "file"
    arguments = [str(bench.path), "--input", str(bench.inputs), "-q", option, str(place)]
    assert cli.main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and "no" in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_whole_process(bench: Bench) -> None:
    """As a shell sees it."""
    data = bytearray(binary())
    data[len(data) // 2] ^= 1
    bench.path.write_bytes(data)
    command = [sys.executable, "-m", "dnncc.runtime.cli", str(bench.path), "--random", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: {bench.path}: ") and done.stderr.count("\n") == 1
