"""Host parts as machine code: when, where it is kept, and what is not trusted."""

import json
import shutil
import signal
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy import array
from onnx import TensorProto, helper

import dnncc
from dnncc.runtime.native import build, cache, choice, relax, suitable, trial, work

MLP = [("MatMul", ["x", "w"], "h"), ("Tanh", ["h"], "t"), ("Softmax", ["t"], "y")]
needs_tvm = pytest.mark.skipif(find_spec("tvm") is None, reason="TVM is not installed")
NAME = "0" * 64

Steps = list[tuple[str, list[str], str]]


def model(steps: Steps, shape: tuple[int, ...] = (4, 8), kind: int = TensorProto.FLOAT) -> Any:
    """A chain of operators from x to y; w is a matrix, i whole numbers."""
    random = np.random.default_rng(0)
    held: dict[str, Any] = {
        "w": random.normal(size=(8, 8)).astype(np.float32),
        "i": np.array([4, 8], np.int64),
    }
    read = {name for _, names, _ in steps for name in names}
    graph = helper.make_graph(
        [helper.make_node(op, names, [made]) for op, names, made in steps],
        "part",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [onnx.numpy_helper.from_array(v, k) for k, v in held.items() if k in read],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return work.inferred(made)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache.folder()


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def called(*_: object) -> None:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(choice, name, called)


def expected(proto: Any, x: Any) -> Any:
    (y,) = onnx.reference.ReferenceEvaluator(proto).run(["y"], {"x": x})
    return y


@needs_tvm
def test_a_part_is_built_once_and_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model(MLP)
    data = proto.SerializeToString()
    made = choice.choose(data, "tvm")
    assert (made.runner, made.why) == ("TVM", "512 operations; compiled now")
    forbid(monkeypatch, "build")
    again = choice.choose(data, "tvm")
    assert again.why == "512 operations; from the cache" and again.evaluate
    x = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    assert np.allclose(again.evaluate(["y"], {"x": x})[0], expected(proto, x), atol=1e-6)


@needs_tvm
def test_without_a_compiler_it_is_built_in_memory(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    made = choice.choose(model(MLP).SerializeToString(), "tvm")
    assert made.runner == "TVM" and made.why.startswith("compiled in memory")
    assert not list(place.iterdir())


@needs_tvm
def test_wrong_code_is_remembered_and_not_used(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    wrong = build.Build(None, "TVM is wrong: output 'y' differs in 3 of 32 elements")
    monkeypatch.setattr(choice, "build", lambda model, place: wrong)
    data = model(MLP).SerializeToString()
    for _ in range(2):
        assert choice.choose(data, "tvm") == choice.Choice("onnx.reference", wrong.why)
        forbid(monkeypatch, "build")


def test_a_host_without_tvm_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(choice, "version", version)
    made = choice.choose(model(MLP).SerializeToString(), "tvm")
    assert made.runner == "onnx.reference" and "TVM is not installed" in made.why


def test_a_malformed_part_is_left_to_onnx_reference() -> None:
    proto = model([("Div", ["x", "x"], "y")])
    del proto.graph.node[0].output[:]
    made = choice.choose(proto.SerializeToString(), "tvm")
    assert made.runner == "onnx.reference" and made.why.startswith("it cannot be judged")


@needs_tvm
def test_importing_leaves_the_excepthook() -> None:
    hook = sys.excepthook
    relax.imported()
    assert sys.excepthook is hook


def sized(monkeypatch: pytest.MonkeyPatch, size: int, steps: Steps = MLP) -> str:
    """Why `auto` does not run a part of that size with TVM; nothing is built."""
    forbid(monkeypatch, "build")
    monkeypatch.setattr(work, "operations", lambda proto: size)
    made = choice.choose(model(steps).SerializeToString(), "auto")
    assert made.runner == "onnx.reference"
    return made.why


@needs_tvm
def test_auto_is_sparing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "too few to load" in sized(monkeypatch, work.LOADING - 1)
    assert "too few to compile" in sized(monkeypatch, work.BUILDING - 1)
    rounded: Steps = [("Floor", ["x"], "y")]
    assert sized(monkeypatch, work.BUILDING, rounded).startswith("Floor rounds")


SUITABLE: list[tuple[Steps, str]] = [
    (MLP, ""),
    ([("Reshape", ["x", "i"], "y")], ""),
    ([("Shape", ["x"], "s"), ("Reshape", ["x", "s"], "y")], ""),
    ([("Cast", ["x"], "c"), ("Reshape", ["x", "c"], "y")], "Reshape goes where values say"),
    ([("Gather", ["w", "x"], "y")], "Gather goes where values say"),
    ([("NonZero", ["x"], "y")], "NonZero is not compiled"),
]


@pytest.mark.parametrize(("steps", "why"), SUITABLE)
def test_what_is_compiled(steps: Steps, why: str) -> None:
    assert suitable.obstacle(model(steps)) == why


def test_whole_numbers_are_not_divided_in_machine_code() -> None:
    divided = model([("Div", ["x", "x"], "y")], kind=TensorProto.INT32)
    assert "could stop the process" in suitable.obstacle(divided)
    assert not suitable.obstacle(model([("Div", ["x", "x"], "y")]))


def test_operations_are_counted_by_hand() -> None:
    assert work.operations(model(MLP)) == 4 * 8 * 8 + 2 * 4 * 8 * work.ELEMENT
    conv = model([("Conv", ["x", "w4"], "y")], (1, 3, 6, 6))
    conv.graph.initializer.append(
        onnx.numpy_helper.from_array(np.ones((5, 3, 3, 2), np.float32), "w4")
    )
    assert work.operations(work.inferred(conv)) == 5 * 4 * 5 * (3 * 3 * 2)


def test_code_that_computes_something_else_is_found() -> None:
    proto = model(MLP)
    assert not trial.disagreement(proto, lambda names, feeds: [expected(proto, feeds["x"])])
    found = trial.disagreement(proto, lambda names, feeds: [expected(proto, feeds["x"] + 1)])
    assert found.startswith("output 'y' differs in ")


@pytest.mark.parametrize(
    ("wanted", "got", "why"),
    [
        (array([1, 2], np.float32), array([1, 2.00001], np.float32), ""),
        (array([1, np.nan], np.float32), array([1, np.nan], np.float32), ""),
        (array([1, np.inf], np.float32), array([1, 9], np.float32), "differs in 1 of 2 elements"),
        (array([1, np.nan], np.float32), array([1, 2], np.float32), "differs in 1 of 2 elements"),
        (array([1, 2], np.int8), array([1, 3], np.int8), "differs in 1 of 2 elements"),
        (array([1, 2], np.int8), array([1, 2], np.int32), "is int32[2], not int8[2]"),
        (array([1, 2], np.int8), array([[1, 2]], np.int8), "is int8[1, 2], not int8[2]"),
    ],
)
def test_what_counts_as_rounding(wanted: Any, got: Any, why: str) -> None:
    assert trial.difference(wanted, got) == why


@pytest.mark.parametrize(("status", "final"), [(-signal.SIGSEGV, True), (-signal.SIGKILL, False)])
def test_a_compiler_that_dies_is_a_reason(tmp_path: Path, status: int, final: bool) -> None:
    made = build.outcome(tmp_path, status)
    assert made == build.Build(None, f"compiling with TVM ended with status {status}", final)


def test_entries_are_found_again(place: Path) -> None:
    assert cache.find(place, NAME) is None
    cache.add(place, NAME, b"one")
    newer = cache.add(place, NAME, b"two")  # of a run at the same time
    assert cache.find(place, NAME) == newer and newer.library
    assert newer.library.read_bytes() == b"two"
    cache.add(place, NAME, None, "TVM cannot")
    assert cache.find(place, NAME) == cache.Entry(None, "TVM cannot")
    assert {p.stat().st_mode & 0o777 for p in place.iterdir()} == {0o600}


def library(place: Path) -> Path:
    (found,) = place.glob("*.so")
    return found


def outside(place: Path) -> None:
    """An entry that names a library elsewhere, whose checksum is right."""
    evil = place.parent / "evil.so"
    evil.write_bytes(b"evil")
    (place / f"{NAME}.json").write_text(json.dumps({"library": "../evil", "why": ""}))


def linked(place: Path) -> None:
    path = library(place)
    path.rename(place.parent / "moved.so")
    path.symlink_to(place.parent / "moved.so")


TAMPERED: list[Callable[[Path], object]] = [
    lambda place: library(place).write_bytes(b"evil"),
    lambda place: library(place).unlink(),
    lambda place: library(place).chmod(0o666),
    lambda place: (place / f"{NAME}.json").write_text("["),
    lambda place: (place / f"{NAME}.json").write_text("[" * 100_000),
    lambda place: (place / f"{NAME}.json").write_text('{"library": 7, "why": ""}'),
    lambda place: (place / f"{NAME}.json").chmod(0o666),
    outside,
    linked,
]


@pytest.mark.parametrize("tamper", TAMPERED)
def test_what_others_could_have_written_is_not_loaded(
    place: Path, tamper: Callable[[Path], object]
) -> None:
    cache.add(place, NAME, b"library")
    tamper(place)
    assert cache.find(place, NAME) is None


def test_a_folder_that_others_can_read_is_not_used(place: Path) -> None:
    place.chmod(0o755)
    with pytest.raises(cache.CacheError, match="open to other users"):
        cache.folder()
    assert choice.usable_folder() is None


def test_a_folder_that_is_a_link_is_not_used(place: Path) -> None:
    place.rmdir()
    place.symlink_to(place.parent)
    with pytest.raises(cache.CacheError, match="not a folder of this user's"):
        cache.folder()


def test_the_report_tells_host_time_from_cycles(tmp_path: Path) -> None:
    proto = model([("MatMul", ["x", "w"], "h"), ("Softmax", ["h"], "y")])
    artifact = dnncc.compile(proto, "tpu-like", precision="float")
    artifact.save(tmp_path / "a.elf")
    session = dnncc.load(tmp_path / "a.elf", host="reference")
    before = session.with_host_time(session.profile.report)
    assert before["host_seconds"] == 0 and "runner" not in before["host_parts"][0]
    session.run(None, {"x": np.ones((4, 8), np.float32)})
    report = session.with_host_time(session.profile.report)
    (part,) = report["host_parts"]
    assert (part["runner"], part["why"], part["inputs"]) == ("onnx.reference", "as asked for", 1)
    assert report["host_seconds"] == part["seconds"] > 0
    assert report["cycles"] == before["cycles"]


def test_an_unknown_host_is_refused() -> None:
    with pytest.raises(dnncc.runtime.RunError, match="it is one of auto, tvm, reference"):
        dnncc.load("a.elf", host="gpu")
