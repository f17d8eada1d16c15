"""From a model that a pass breaks to the smallest part of it, in a folder that repeats it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from msgspec.structs import replace

from dnncc import bisect, cli, reduce
from dnncc.debug.cut import cut, feeds_of
from dnncc.debug.reduce import Search
from dnncc.debug.reproducer import Case, case_of, replay
from dnncc.frontend.importer import import_model
from dnncc.ir.graph import Graph
from dnncc.ir.interpret import interpret
from dnncc.options import Options
from dnncc.passes import pipeline
from dnncc.passes.context import Context
from dnncc.passes.pipeline import PIPELINE, Pass
from tests.compiler import faults
from tests.compiler.networks import small_network
from tests.models import make_model


def wrong_pooling(graph: Graph) -> Graph | None:
    """A pooling window of one row instead of two: only maximum pooling is wrong."""
    spoilt: Graph | None = faults.on_node("maxpool", faults.with_attrs(kernel=(1, 2)))(graph)
    return spoilt if spoilt is not None else graph


def crash_on_add(program: Any, ctx: Context) -> Any:
    if any(n.op == "add" for n in program.walk()):
        raise KeyError("residual")
    return program


def crashing(name: str = "reorder_ops") -> tuple[Pass, ...]:
    return tuple(replace(s, run=crash_on_add) if s.name == name else s for s in PIPELINE)


def types(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(small_network(), path)
    return path


def test_a_wrong_value_is_cut_down_and_repeated(tmp_path: Path) -> None:
    spoilt = faults.planted("legalize", wrong_pooling)
    case = Case(small_network(), Options(), "random:0", spoilt)
    record = bisect.find(case, tmp_path / "found", 60.0)
    assert record is not None
    assert (record.kind, record.step, record.nodes) == ("WrongValue", "legalize", 1)
    assert "node 'N_y'" in record.message
    assert types(tmp_path / "found" / "model.onnx") == ["MaxPool"]
    again, trial = replay(tmp_path / "found", spoilt)
    assert again.failure == trial.failure
    _, mended = replay(tmp_path / "found", PIPELINE)
    assert mended.failure is None


def test_a_fault_of_tiles_keeps_the_whole_operator(tmp_path: Path) -> None:
    def change(program: Any) -> Any:
        spoil = faults.on_step(
            "N_e",
            faults.computes("requantize"),
            lambda s: replace(s, attrs={**s.attrs, "zero": 4}),
        )
        named = any("N_e" in nest.loc for nest in program.nests)
        return spoil(program) if named else program

    case = Case(small_network(), Options(), "random:0", faults.planted("tile_loops", change))
    record = bisect.find(case, tmp_path / "found", 60.0)
    assert record is not None and (record.kind, record.step) == ("WrongValue", "tile_loops")
    kept = types(tmp_path / "found" / "model.onnx")
    assert kept == ["DequantizeLinear", "DequantizeLinear", "Conv", "QuantizeLinear"]
    assert (tmp_path / "found" / "before.mlir").read_text().count("dnncc.conv2d") == 1


def test_nothing_wrong_writes_nothing(model: Path, tmp_path: Path) -> None:
    assert bisect.main([str(model), "-o", str(tmp_path / "found")]) == 0
    assert not (tmp_path / "found").exists()


def test_the_command_finds_cuts_and_says_how_to_repeat(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoilt = faults.planted("legalize", wrong_pooling)
    monkeypatch.setattr(pipeline, "PIPELINE", spoilt)
    folder = tmp_path / "found"
    assert bisect.main([str(model), "-o", str(folder), "--input", "random:3"]) == 70
    out = capsys.readouterr().out
    assert f"{model}: pass legalize " in out and "node 'N_y'" in out
    assert out.endswith(f"cut down to 1 of 18 nodes; again: dnncc --repro {folder}\n")
    monkeypatch.setattr(pipeline, "PIPELINE", PIPELINE)
    assert cli.main(["--repro", str(folder)]) == 0
    assert "does not fail (any more?)" in capsys.readouterr().out


def test_an_internal_error_leaves_a_reproducer(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(pipeline, "PIPELINE", crashing())
    out = tmp_path / "out.elf"
    assert cli.main([str(model), "-o", str(out)]) == 70
    err = capsys.readouterr().err
    (folder,) = tmp_path.glob("dnncc-repro-*")
    assert err.startswith("internal error: KeyError: 'residual'; dnncc --repro ")
    assert str(folder) in err and err.count("\n") == 1 and not out.exists()
    kept = types(folder / "model.onnx")
    assert kept.count("Add") == 1 and len(kept) <= 5
    assert cli.main(["--repro", str(folder)]) == 70
    assert "KeyError: 'residual'; fails as before" in capsys.readouterr().err


@pytest.mark.parametrize("checked", [[], ["--check-each-pass", "random:3"]])
def test_an_internal_error_after_a_dump_leaves_a_reproducer(
    checked: list[str],
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It begins as late as it can: with the pass that fails."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dump = tmp_path / "legal.mlir"
    assert cli.main([str(model), "--stop-after", "legalize", "-o", str(dump), "-q"]) == 0
    monkeypatch.setattr(pipeline, "PIPELINE", crashing())
    resume = ["--start-from", "fuse", str(dump), "-q", "-o", str(tmp_path / "out.elf")]
    monkeypatch.setattr("dnncc.driver.starting.__defaults__", (crashing(),))
    assert cli.main([*resume, *checked]) == 70
    (folder,) = tmp_path.glob("dnncc-repro-*")
    assert f"dnncc --repro {folder} repeats it" in capsys.readouterr().err
    assert '"start": "reorder_ops"' in (folder / "repro.json").read_text()
    assert "dnncc.group" in (folder / "before.mlir").read_text()
    assert cli.main(["--repro", str(folder)]) == 70
    assert "KeyError: 'residual'; fails as before" in capsys.readouterr().err
    monkeypatch.setattr(pipeline, "PIPELINE", PIPELINE)
    assert cli.main(["--repro", str(folder)]) == 0


def test_an_illegal_program_leaves_a_reproducer(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by what looks on as passes run, unasked."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spoil = faults.on_node("conv2d", faults.with_attrs(strides=(1, 2)))
    monkeypatch.setattr(pipeline, "PIPELINE", faults.planted("legalize", spoil))
    assert cli.main([str(model), "-o", str(tmp_path / "out.elf"), "-q"]) == 70
    assert "repeats it" in capsys.readouterr().err
    (folder,) = tmp_path.glob("dnncc-repro-*")
    assert cli.main(["--repro", str(folder)]) == 70
    assert "BrokenProgram" in capsys.readouterr().err


def float_model() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.standard_normal((4, 4, 3, 3)).astype(np.float32) for i in range(2)}
    like = np.zeros((1, 4, 8, 8), np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w0"], ["a"], name="first", pads=[1] * 4),
        onnx.helper.make_node("MaxPool", ["a"], ["b"], name="pool", kernel_shape=[2, 2]),
        onnx.helper.make_node("Conv", ["b", "w1"], ["y"], name="second", pads=[1] * 4),
    ]
    return make_model(nodes, {"x": like}, {"y": np.zeros((1, 4, 7, 7), np.float32)}, weights)


def test_of_a_float_model_the_quantised_one_is_cut_down(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx.save(float_model(), tmp_path / "net.onnx")
    ramp = np.linspace(-7, 7, 4 * 4 * 64, dtype=np.float32).reshape(4, 4, 8, 8)
    np.savez(tmp_path / "data.npz", x=ramp)
    options = Options(target="tpu-like", calibrate=str(tmp_path / "data.npz"))
    spoilt = faults.planted("legalize", wrong_pooling)
    case = case_of(str(tmp_path / "net.onnx"), options, "random:0", spoilt)
    record = bisect.find(case, tmp_path / "found", 60.0)
    assert record is not None and (record.kind, record.step) == ("BrokenProgram", "legalize")
    assert record.nodes <= 3 and (record.precision, record.samples) == ("float", False)
    _, trial = replay(tmp_path / "found", spoilt)
    assert record.failure.is_like(trial.failure)


def test_a_failing_quantisation_keeps_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(float_model(), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones((3, 4, 8, 8), np.float32))

    def fails(model: Any, samples: Any, precision: str) -> Any:
        raise AssertionError(f"{len(samples)} samples, {precision}")

    monkeypatch.setattr("dnncc.frontend.quantize.quantized", fails)
    options = Options(calibrate=str(tmp_path / "data.npz"), precision="int8")
    case = case_of(str(tmp_path / "net.onnx"), options, None, PIPELINE)
    record = bisect.find(case, tmp_path / "found", 0.0)
    assert record is not None and record.samples and record.step == "import"
    assert record.message == "3 samples, int8"
    _, trial = replay(tmp_path / "found", PIPELINE)
    assert trial.failure == record.failure


def test_a_spoilt_reproducer_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "repro.json").write_text('{"kind": 1}')
    assert cli.main(["--repro", str(tmp_path)]) == 1
    assert "not a reproducer" in capsys.readouterr().err
    assert cli.main(["--repro", str(tmp_path / "absent")]) == 1


def values_of(model: onnx.ModelProto) -> dict[str, Any]:
    graph = import_model(model)
    feeds = {"x": np.zeros(graph.tensors["x"].shape, np.int8)}
    return feeds | interpret(graph, feeds)


@pytest.mark.parametrize("wanted", [{"MaxPool"}, {"Add", "Slice"}, {"Relu", "MaxPool"}])
def test_the_smallest_part_has_what_the_fault_needs_alone(wanted: set[str]) -> None:
    model = small_network()
    values = values_of(model)
    search = Search(model, values, lambda m, f: wanted <= {n.op_type for n in m.graph.node})
    found = search.smallest()
    assert {model.graph.node[i].op_type for i in found} == wanted and len(found) == len(wanted)


def test_a_part_computes_what_the_whole_does() -> None:
    model = small_network()
    values = values_of(model)
    part = cut(model, range(4, 9), values)
    assert part is not None
    feeds = feeds_of(part, values)
    for name, value in interpret(import_model(part), feeds).items():
        np.testing.assert_array_equal(value, values[name])


def test_reduce_by_a_command(model: Path, tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text(
        "import sys, onnx\n"
        "nodes = onnx.load(sys.argv[1]).graph.node\n"
        "sys.exit(3 if any(n.op_type == 'Relu' for n in nodes) else 0)\n"
    )
    folder = tmp_path / "small"
    command = f"{sys.executable} {script} {{model}}"
    assert reduce.main([str(model), "--failing", command, "-o", str(folder)]) == 0
    assert types(folder / "model.onnx") == ["Relu"]
    assert "model.onnx" in (folder / "repeat.sh").read_text()
    assert reduce.main([str(model), "--failing", "true", "-o", str(folder)]) == 1
