"""dnncc refuses: one line with file and node, exit 1, no traceback, no file left."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, external_data_helper, helper, numpy_helper

import dnncc.cli as cli
from tests.errors.small import ODD, refused, shrunk_target, small_model
from tests.models import make_model

Capture = pytest.CaptureFixture[str]
REAL = (np.float32, (2, 2))
MANY = 2_000_000


class Bench:
    """A folder with model.onnx; `says` compiles it and returns the refusal."""

    def __init__(self, folder: Path, capsys: Capture) -> None:
        self.folder, self.capsys = folder, capsys
        self.path, self.output = folder / "model.onnx", folder / "out.elf"

    def says(self, model: ModelProto | bytes | None, *options: object) -> str:
        if model is not None:
            data = model if isinstance(model, bytes) else model.SerializeToString()
            self.path.write_bytes(data)
        before = sorted(self.folder.iterdir())
        said = refused(cli.main, [self.path, "-o", self.output, *options], self.capsys)
        assert sorted(self.folder.iterdir()) == before, "a file is left"
        return said


@pytest.fixture
def bench(tmp_path: Path, capsys: Capture) -> Bench:
    return Bench(tmp_path, capsys)


def one_node(op: str, **attrs: Any) -> ModelProto:
    node = helper.make_node(op, ["x"], ["y"], name="the_node", **attrs)
    return make_model([node], {"x": REAL}, {"y": REAL}, {})


def test_unknown_operator_names_file_and_node(bench: Bench) -> None:
    said = bench.says(one_node("Frobnicate"))
    assert str(bench.path) in said and "node 'the_node'" in said and "Frobnicate" in said


def test_unknown_domain(bench: Bench) -> None:
    said = bench.says(one_node("Relu", domain="org.nowhere"))
    assert "node 'the_node'" in said and "org.nowhere" in said


def test_dynamic_shape_says_how_to_bind_it(bench: Bench) -> None:
    model = small_model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    said = bench.says(model)
    assert str(bench.path) in said and "'height'" in said and "--shape x=" in said


@pytest.mark.parametrize(
    "option",
    [
        "x", "x=", "=1x2", "x=1x3x8xa", "x=1,3,8,8", "x=1x3x8x-8", "x=1x3x0x8", "x=1x3x8x8x",
        "x=1x3x8x8x8", "nothing=1x3x8x8", "x=1x3x8x9",
    ],
)  # fmt: skip
def test_malformed_or_wrong_shapes(option: str, bench: Bench) -> None:
    bench.says(small_model(), "--shape", option)


@pytest.mark.parametrize("size", [1, 10, 100, 1000])
def test_truncated(size: int, bench: Bench) -> None:
    data = small_model().SerializeToString()
    assert str(bench.path) in bench.says(data[: len(data) * size // 1001])


@pytest.mark.parametrize(
    "data", [b"", b"hello\n", b"\x7fELF" + bytes(60), b"PK\x03\x04", bytes(1000), b"\xff" * 1000]
)
def test_not_onnx(data: bytes, bench: Bench) -> None:
    assert str(bench.path) in bench.says(data)


def test_no_such_file_and_a_folder(bench: Bench) -> None:
    assert "No such file" in bench.says(None)
    bench.path.mkdir()
    assert "not an ONNX file" in bench.says(None)


@pytest.mark.parametrize(
    "location", ["weights.bin", "../weights.bin", "/etc/passwd", "a/../../w", "", ".", "link"]
)
def test_external_data(location: str, bench: Bench) -> None:
    """Missing, outside of the folder, a folder, a link that leads out, or no place at all."""
    model = small_model()
    (bench.folder / "link").symlink_to("/etc/passwd")
    external_data_helper.convert_model_to_external_data(model, size_threshold=0)
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value=location)
    said = bench.says(model)
    assert str(bench.path) in said and "'w1'" in said and "external data" in said


def test_external_data_that_is_too_short(bench: Bench) -> None:
    model = small_model()
    (bench.folder / "w.bin").write_bytes(bytes(3))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    assert "'w1'" in bench.says(model)


def test_more_data_declared_than_is_there(bench: Bench) -> None:
    """Nothing of the size that a file only claims is allocated."""
    model = small_model()
    model.graph.initializer[0].dims[:] = [MANY, MANY, MANY, 1]
    assert "'w1'" in bench.says(model)


@pytest.mark.parametrize(
    "dims", [[1, 3, MANY, MANY], [1, 3, 20_000, 20_000], [1 << 62, 3, 8, 8], [4, 3, 3, 0]]
)
def test_tensors_of_impossible_sizes(dims: list[int], bench: Bench) -> None:
    model = small_model()
    shape = model.graph.input[0].type.tensor_type.shape
    for dim, size in zip(shape.dim, dims, strict=True):
        dim.dim_value = size
    bench.says(model)


def test_weights_that_do_not_fit_the_input(bench: Bench) -> None:
    model = small_model()
    wrong = numpy_helper.from_array(np.zeros((4, 5, 3, 3), np.int8), "w1")
    model.graph.initializer[0].CopyFrom(wrong)
    assert "node 'first'" in bench.says(model)


def unknown_input(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "nowhere"


def cycle(model: ModelProto) -> None:
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]


def defined_twice(model: ModelProto) -> None:
    model.graph.node[0].output[0] = model.graph.node[1].output[0]


def no_maker(model: ModelProto) -> None:
    model.graph.output[0].name = "nowhere"


@pytest.mark.parametrize("change", [unknown_input, cycle, defined_twice, no_maker])
def test_graphs_that_are_none(change: Callable[[ModelProto], None], bench: Bench) -> None:
    model = small_model()
    change(model)
    assert str(bench.path) in bench.says(model)


def test_unknown_target(bench: Bench) -> None:
    said = bench.says(small_model(), "--target", "no-such-target")
    assert "no-such-target" in said and "eyeriss-like" in said


MALFORMED: dict[str, Callable[[str], str]] = {
    "empty": lambda t: "",
    "not toml": lambda t: t + "\n[[[",
    "no array": lambda t: t.replace("[array]", "[something]"),
    "negative": lambda t: t.replace("rows = 13", "rows = -13"),
    "text for a number": lambda t: t.replace("rows = 13", 'rows = "many"'),
    "unknown dataflow": lambda t: t.replace('"row_stationary"', '"sideways"'),
    "unknown key": lambda t: t.replace("rows = 13", "rows = 13\nrowz = 13"),
    "unknown channel": lambda t: t.replace('channel = "bus"', 'channel = "tram"', 1),
    "no clock": lambda t: t.replace("clock_mhz = 123.0", "clock_mhz = 0.0"),
    "not a number": lambda t: t.replace("clock_mhz = 123.0", "clock_mhz = nan"),
    "huge": lambda t: t.replace("bytes = 9000", "bytes = 99999999999999999999"),
    "extends nothing": lambda t: 'extends = "no-such-target"\n' + t,
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_target(case: str, bench: Bench) -> None:
    path = bench.folder / "bad.toml"
    path.write_text(MALFORMED[case](ODD.read_text()))
    assert str(path) in bench.says(small_model(), "--target", path)


def test_a_target_that_is_no_text(bench: Bench) -> None:
    path = bench.folder / "bad.toml"
    path.write_bytes(b"\xff\xfe\x00rows")
    assert str(path) in bench.says(small_model(), "--target", path)


def test_nothing_fits_the_scratchpad(bench: Bench) -> None:
    target = shrunk_target(bench.folder, bytes=33)
    said = bench.says(small_model(), "--target", target, "--strict")
    assert str(bench.path) in said and "'first" in said
    assert "does not fit" in said and "in any tiling" in said


def test_strict_refuses_what_the_host_would_do(bench: Bench) -> None:
    said = bench.says(one_node("Hardmax"), "--strict")
    assert str(bench.path) in said and "Hardmax" in said


def test_output_folder_is_missing(bench: Bench) -> None:
    said = bench.says(small_model(), "-o", bench.folder / "no" / "out.elf")
    assert str(bench.folder / "no") in said


def test_output_is_a_folder(bench: Bench) -> None:
    place = bench.folder / "taken"
    place.mkdir()
    assert str(place) in bench.says(small_model(), "-o", place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_is_not_writable(bench: Bench) -> None:
    place = bench.folder / "locked"
    place.mkdir(mode=0o500)
    assert str(place) in bench.says(small_model(), "-o", place / "out.elf")


def test_a_refusal_leaves_the_old_file(bench: Bench) -> None:
    bench.output.write_text("as it was")
    bench.says(one_node("Frobnicate"))
    assert bench.output.read_text() == "as it was"


def test_a_whole_process(tmp_path: Path) -> None:
    """As a shell sees it."""
    path = tmp_path / "model.onnx"
    path.write_bytes(one_node("Frobnicate").SerializeToString())
    command = [sys.executable, "-m", "dnncc.cli", str(path), "-o", str(tmp_path / "out.elf")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: {path}: node 'the_node': ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


SAMPLES: dict[str, dict[str, Any]] = {
    "shape": {"x": np.zeros((2, 3), np.float32)},
    "name": {"other": np.zeros((2, 4, 8, 8), np.float32)},
    "values": {"x": np.full((2, 4, 8, 8), np.nan, np.float32)},
}


@pytest.mark.parametrize("case", [*SAMPLES, "none", "file"])
def test_bad_data_for_accuracy_is_refused_before_anything_is_written(
    case: str, bench: Bench
) -> None:
    data = bench.folder / "test.npz"
    if case in SAMPLES:
        np.savez(data, **SAMPLES[case])
    elif case == "file":
        data.write_bytes(b"no archive")
    assert "test.npz" in bench.says(small_model(), "--accuracy", data)
