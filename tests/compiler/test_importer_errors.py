"""Each bad model is refused with one line that names the file, the node, and the remedy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from dnncc.diagnostics import CompileError
from dnncc.frontend.importer import import_model
from dnncc.ir.interpret import interpret
from tests.models import make_model

PAIR = (np.float32, (2, 2))


def relu(**changes: Any) -> ModelProto:
    node = helper.make_node(changes.pop("op", "Relu"), ["x"], ["y"], name="act", **changes)
    return make_model([node], {"x": PAIR}, {"y": PAIR}, {})


def refusal(source: Any, shapes: dict[str, tuple[int, ...]] | None = None) -> str:
    with pytest.raises(CompileError) as caught:
        import_model(source, shapes)
    text = str(caught.value)
    assert "\n" not in text
    return text


def external(location: str, length: int = 16) -> ModelProto:
    model = make_model(
        [helper.make_node("Add", ["x", "w"], ["y"], name="sum")], {"x": PAIR}, {"y": PAIR}, {}
    )
    tensor = TensorProto(name="w", dims=[2, 2], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    return model


def saved(model: ModelProto, folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.onnx") == f"{tmp_path / 'no.onnx'}: No such file or directory"


def test_folder(tmp_path: Path) -> None:
    assert "not an ONNX file" in refusal(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.touch()
    assert "m.onnx: the file is empty" in refusal(path)


@pytest.mark.parametrize("data", [b"PK\x03\x04 not a model", b"\xff" * 100, b"hello\n"])
def test_not_onnx(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert "m.onnx: not an ONNX model" in refusal(path)


def test_truncated(tmp_path: Path) -> None:
    weights = {"w": np.ones((64, 64), np.float32)}
    node = helper.make_node("Add", ["x", "w"], ["y"])
    data = make_model([node], {"x": (np.float32, (64, 64))}, {"y": (np.float32, (64, 64))}, weights)
    path = tmp_path / "m.onnx"
    raw = data.SerializeToString()
    for size in (10, len(raw) // 2, len(raw) - 3):
        path.write_bytes(raw[:size])
        assert refusal(path).startswith(str(path))


def test_unknown_operator() -> None:
    text = refusal(relu(op="Frobnicate"))
    assert text.startswith("test: node 'act': unknown operator Frobnicate (opset 13)")


def test_unknown_domain() -> None:
    assert "unknown operator com.example.Relu" in refusal(relu(domain="com.example"))


def test_dynamic_dimension_is_named() -> None:
    model = relu()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    text = refusal(model)
    assert "dimension 'width' of input 'x' is dynamic; give --shape x=..." in text


def test_batch_is_bound_to_one_with_a_note() -> None:
    model = relu()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    notes: list[str] = []
    graph = import_model(model, notes=notes)
    assert graph.tensors["y"].shape == (1, 2)
    assert notes == ["test: the batch dimension 'N' of input 'x' is taken as 1"]


def test_given_shapes_bind_symbols() -> None:
    model = relu()
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim, "NW", strict=True):
        dim.dim_param = name
    assert import_model(model, {"x": (3, 7)}).tensors["y"].shape == (3, 7)


def test_wrong_given_shapes() -> None:
    assert "there is no input 'z' to give a shape; the inputs are 'x'" in refusal(
        relu(), {"z": (1,)}
    )
    assert "has 2 dimensions, the given shape 1" in refusal(relu(), {"x": (1,)})
    assert "dimension 1 of input 'x' is 2, not 3" in refusal(relu(), {"x": (2, 3)})


def test_missing_external_data(tmp_path: Path) -> None:
    text = refusal(saved(external("w.bin"), tmp_path))
    assert "external data of tensor 'w' is missing: 'w.bin'" in text


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin"])
def test_external_data_outside_the_folder(location: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (tmp_path / "in").mkdir()
    text = refusal(saved(external(location), tmp_path / "in"))
    assert "outside the model's folder" in text


def test_external_data_by_a_link_outside(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "w.bin").symlink_to(tmp_path / "w.bin")
    assert "outside the model's folder" in refusal(saved(external("w.bin"), tmp_path / "in"))


def test_short_external_data(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(15))
    assert "'w' is 16 bytes by its shape" in refusal(saved(external("w.bin"), tmp_path))


def test_external_data_is_read(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    graph = import_model(saved(external("w.bin"), tmp_path))
    np.testing.assert_array_equal(graph.constants["w"], [[0, 1], [2, 3]])


def test_tensor_whose_data_is_not_its_shape() -> None:
    model = relu()
    tensor = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    tensor.dims[0] = 1 << 40
    model.graph.initializer.append(tensor)
    assert "tensor 'w' holds 16 bytes, its shape" in refusal(model)


def test_shapes_that_do_not_fit() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="bad")
    weights = {"w": np.ones((3, 3), np.float32)}
    text = refusal(make_model([node], {"x": PAIR}, {"y": PAIR}, weights))
    assert text.startswith("test: node 'bad': the model is not valid")


def test_cycle_and_undefined_names() -> None:
    nodes = [helper.make_node("Relu", ["b"], ["a"], name="one")]
    nodes += [helper.make_node("Relu", ["a"], ["b"], name="two")]
    assert refusal(make_model(nodes, {}, {"b": PAIR}, {})).startswith("test: ")


def test_data_dependent_shape() -> None:
    node = helper.make_node("NonZero", ["x"], ["y"], name="where")
    text = refusal(make_model([node], {"x": PAIR}, {"y": (np.int64, (2, None))}, {}))
    assert "node 'where': the shape of 'y' depends on data" in text


def test_strings() -> None:
    model = relu()
    text = TensorProto(name="s", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"])
    model.graph.initializer.append(text)
    assert "tensor 's' holds strings" in refusal(model)


def test_fuzzed_bytes_never_crash(tmp_path: Path) -> None:
    """Flipped bytes are refused in one line, or are still a model."""
    rng = np.random.default_rng(0)
    raw = np.frombuffer(external("w.bin").SerializeToString(), np.uint8)
    (tmp_path / "w.bin").write_bytes(bytes(16))
    path = tmp_path / "m.onnx"
    for _ in range(300):
        bad = raw.copy()
        bad[rng.integers(0, len(raw), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(bad.tobytes())
        try:
            import_model(path)
        except CompileError as error:
            assert "\n" not in str(error)


def test_control_flow_stays_whole() -> None:
    result = helper.make_tensor_value_info("r", TensorProto.FLOAT, [2, 2])
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "then", [], [result])
    node = helper.make_node("If", ["c"], ["y"], name="choice", then_branch=body, else_branch=body)
    model = make_model([node], {"c": (np.bool_, ()), "x": PAIR}, {"y": PAIR}, {})
    graph = import_model(model)
    assert graph.nodes[0].inputs == ("c", "x")
    feeds = {"c": np.array(True), "x": np.array([[-1, 2], [3, -4]], np.float32)}
    np.testing.assert_array_equal(interpret(graph, feeds)["y"], [[0, 2], [3, 0]])
