"""dnncc as a back end of TVM: what becomes a part, and that values stay onnxruntime's."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from dnncc.diagnostics import CompileError
from tests.compiler.networks import weights
from tests.compiler.small import Sketch
from tests.compiler.test_random_graphs import LENGTH, Grower
from tests.markdown import blocks, execute
from tests.models import random_feeds
from tests.oracle import exact

tvm = pytest.importorskip("tvm")
relax = pytest.importorskip("tvm.relax")

import dnncc.tvm  # noqa: E402
from dnncc.tvm import bias, parts  # noqa: E402

ROOT = Path(__file__).parents[2]
RESNET8 = ROOT / "examples" / "resnet8" / "model.onnx"


def imported(model: ModelProto) -> Any:
    from tvm.relax.frontend.onnx import from_onnx

    return from_onnx(model, keep_params_in_input=False)


def run(module: Any, feeds: dict[str, Any], **pipeline: Any) -> list[Any]:
    machine = relax.VirtualMachine(tvm.compile(module, "llvm", **pipeline), tvm.cpu())
    found = machine["main"](*map(tvm.runtime.tensor, feeds.values()))
    return [v.numpy() for v in ([found] if hasattr(found, "numpy") else found)]


def onnxruntime(model: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    ort = pytest.importorskip("onnxruntime")
    return list(ort.InferenceSession(model.SerializeToString()).run(None, feeds))


def same(model: ModelProto, target: str = "tpu-like", parts: int = 1) -> None:
    """The module has so many parts, and computes what onnxruntime does."""
    module, feeds = imported(model), random_feeds(model, 1)
    made = dnncc.tvm.partition(module, target)
    assert len(dnncc.tvm.binaries(made)) == parts
    wanted = onnxruntime(model, feeds)
    for one, other in zip(wanted, run(made, feeds), strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)


@pytest.mark.parametrize("target", ["eyeriss-like", "tpu-like"])
def test_resnet8_is_one_part(target: str) -> None:
    same(onnx.load(RESNET8), target)


def clipped() -> ModelProto:
    """A convolution with limits, shared by a branch, and two outputs."""
    sketch = Sketch()
    weights(sketch, "w", (8, 4, 3, 3))
    sketch.constant("low", np.float32(0))
    sketch.constant("high", np.float32(6))
    y = sketch.add("Conv", [sketch.real("x"), "w_real"], "y", pads=[1, 1, 1, 1])
    y = sketch.integer(sketch.add("Clip", [y, "low", "high"], "limited"), "a", "coarse")
    real = sketch.add("DequantizeLinear", [y, "coarse", "zero"], "a_real")
    z = sketch.integer(sketch.add("GlobalAveragePool", [real], "mean"), "z", "scale")
    return sketch.model({"x": (np.int8, (1, 4, 7, 6))}, [y, z])


def floating() -> ModelProto:
    """A float convolution, whose result is quantised."""
    sketch = Sketch()
    weights(sketch, "w", (8, 4, 3, 3))
    y = sketch.integer(sketch.add("Conv", ["x", "w_real"], "y"), "a", "coarse")
    return sketch.model({"x": (np.float32, (1, 4, 7, 6))}, [y])


def test_a_small_network_is_one_part() -> None:
    same(clipped())


@pytest.mark.parametrize("seed", [0, 6, 12])
def test_random_graphs(seed: int) -> None:
    """With what TVM keeps between the parts: each seed has two outputs, joined and cut values."""
    sketch = Grower(seed)
    for step in range(LENGTH):
        sketch.grow(step)
    outputs = list(sketch.shapes)[-2:]
    model = sketch.model({"x": (np.int8, sketch.shapes["x"])}, outputs)
    model.opset_import[0].version = 14
    module, feeds = imported(model), random_feeds(model, seed)
    made = dnncc.tvm.partition(module, "tpu-like")
    assert dnncc.tvm.binaries(made)
    for one, other in zip(onnxruntime(exact(model), feeds), run(made, feeds), strict=True):
        assert np.array_equal(one, other)


def test_what_reads_floats_is_left_to_tvm() -> None:
    module = imported(floating())
    assert not dnncc.tvm.binaries(dnncc.tvm.partition(module))


def test_a_part_that_is_refused_is_left_to_tvm(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CompileError("too large")

    monkeypatch.setattr(parts, "compile_model", refuse)
    model = clipped()
    with pytest.warns(UserWarning, match="leaves a part to TVM: .*too large"):
        made = dnncc.tvm.partition(imported(model))
    assert not dnncc.tvm.binaries(made)
    feeds = random_feeds(model, 2)
    plain = run(imported(model), feeds)
    assert all(np.array_equal(a, b) for a, b in zip(run(made, feeds), plain, strict=True))


def test_an_unknown_target_is_told() -> None:
    with pytest.raises(Exception, match="abacus"):
        tvm.compile(imported(clipped()), "llvm", relax_pipeline=dnncc.tvm.pipeline("abacus"))


def test_the_bias_is_the_convolutions_again() -> None:
    shape = helper.make_node(
        "Constant", [], ["s"], value=onnx.numpy_helper.from_array(np.array([1, 8, 1, 1], np.int64))
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        shape,
        helper.make_node("Reshape", ["b", "s"], ["r"]),
        helper.make_node("Add", ["c", "r"], ["y"]),
    ]
    made = bias.with_biases(nodes)
    (conv,) = [n for n in made if n.op_type in ("Conv", "Add")]
    assert (conv.op_type, list(conv.input), list(conv.output)) == ("Conv", ["x", "w", "b"], ["y"])


def test_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(ROOT / "docs" / "tvm.md", "python"):
        execute(block, ROOT / "docs" / "tvm.md", names)


def test_the_example_loads_in_a_fresh_process(tmp_path: Path) -> None:
    folder, library = ROOT / "examples" / "tvm_byoc", str(tmp_path / "a.so")
    installed = any(e.name == "dnncc" for e in entry_points(group="tvm.backends"))
    call = ["-c", f"import dnncc.tvm, runpy; runpy.run_path({str(folder / 'call.py')!r})"]
    for command in (
        [str(folder / "run.py"), library],
        [str(folder / "call.py"), library] if installed else [*call, library],
    ):
        ran = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, env=dict(os.environ)
        )
        assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("the same as onnxruntime")
