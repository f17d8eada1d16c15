"""dnncc.backend: ONNX's interface, and a slice of ONNX's own suites through it."""

from itertools import islice

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

import dnncc.backend as backend
from benchmarks.onnx_suite import faults
from dnncc import suite as onnx_suite
from dnncc.diagnostics import CompileError

STEP = 7
"""Of the node suite, every 7th case is run here; `python -m benchmarks.onnx_suite` runs all."""

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def model_of(node: NodeProto, *inputs: tuple[str, int, list[str | int]]) -> ModelProto:
    values = [helper.make_tensor_value_info(*given) for given in inputs]
    result = helper.make_tensor_value_info(node.output[0], FLOAT, None)
    graph = helper.make_graph([node], "model", values, [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("suite", onnx_suite.SUITES)
def test_slice_of_suite(suite: str) -> None:
    cases = islice(onnx_suite.cases([suite]), 0, None, STEP if suite == "node" else 3)
    verdicts = [v for v in map(onnx_suite.judged, cases) if v.expected]
    assert not [(v.case.name, v.reason) for v in faults(verdicts)]
    passed = [v for v in verdicts if v.outcome == onnx_suite.PASSED]
    if suite != "simple":  # which is mostly sequences and strings
        assert len(passed) >= 0.9 * len(verdicts)


def test_devices_are_targets() -> None:
    assert backend.supports_device("CPU") and backend.supports_device("tpu-like")
    assert not backend.supports_device("CUDA")


def test_symbolic_dimensions_are_those_of_the_inputs() -> None:
    model = model_of(helper.make_node("Relu", ["x"], ["y"]), ("x", FLOAT, ["n", 3]))
    prepared = backend.prepare(model)
    for rows in (2, 5, 0):
        x = np.linspace(-1, 1, rows * 3, dtype=np.float32).reshape(rows, 3)
        np.testing.assert_array_equal(prepared.run([x]).y, np.maximum(x, 0))


def test_shapes_of_values_are_bound_per_value() -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    prepared = backend.prepare(model_of(node, ("x", FLOAT, [2, 6]), ("shape", INT64, [2])))
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    for shape in ([3, 4], [4, 3], [-1, 1]):
        (y,) = prepared.run([x, np.array(shape)])
        np.testing.assert_array_equal(y, x.reshape(shape))


def test_shapes_that_depend_on_data_are_refused() -> None:
    node = helper.make_node("NonZero", ["x"], ["y"])
    model = model_of(node, ("x", FLOAT, [2, 2]))
    model.graph.output[0].type.tensor_type.elem_type = INT64
    with pytest.raises(CompileError, match="the shape of 'y' depends on data"):
        backend.run_model(model, [np.eye(2, dtype=np.float32)])


def test_run_node() -> None:
    x = np.array([[1.0, -2.0]], np.float32)
    (y,) = backend.run_node(helper.make_node("Sub", ["a", "b"], ["y"]), [x, -x], "tpu-like")
    np.testing.assert_array_equal(y, 2 * x)


def test_sequences_and_missing_inputs_are_refused() -> None:
    model = model_of(helper.make_node("Relu", ["x"], ["y"]), ("x", FLOAT, [2]))
    with pytest.raises(CompileError, match="input 'x' is not a tensor"):
        backend.run_model(model, [[np.zeros(2, np.float32)]])
    with pytest.raises(CompileError, match="the model takes 1 inputs, 0 are given"):
        backend.run_model(model, [])


def test_is_compatible() -> None:
    good = model_of(helper.make_node("Relu", ["x"], ["y"]), ("x", FLOAT, [2]))
    bad = model_of(helper.make_node("Relu", ["z"], ["y"]), ("x", FLOAT, [2]))
    assert backend.is_compatible(good) and not backend.is_compatible(bad)


def test_constant_output() -> None:
    value = helper.make_tensor("v", FLOAT, [2], [1.0, 2.0])
    model = model_of(helper.make_node("Constant", [], ["y"], value=value))
    (y,) = backend.run_model(model, [])
    np.testing.assert_array_equal(y, [1, 2])


EMPTY = ("test_slice_start_out", "test_split_zero_size", "test_reshape_allowzero")
"""Float values without elements, which views would address."""


@pytest.mark.parametrize("match", EMPTY)
def test_nothing_is_moved_by_nobody(match: str) -> None:
    verdicts = [onnx_suite.judged(case) for case in onnx_suite.cases(["node"], match)]
    assert verdicts and all(v.outcome == onnx_suite.PASSED for v in verdicts)


def test_constants_that_are_listed_as_inputs_are_constants() -> None:
    """As before version 4 of the format; here one says what shape a weight has."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    sides = (("x", FLOAT, [1, 60, 4, 4]), ("shape", INT64, [4]))
    inputs = [helper.make_tensor_value_info(*side) for side in sides]
    outputs = [helper.make_tensor_value_info("y", FLOAT, None)]
    shape = helper.make_tensor("shape", INT64, [4], [40, 60, 3, 3])
    graph = helper.make_graph(nodes, "old", inputs, outputs, [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=3)
    (y,) = backend.run_model(model, [np.ones((1, 60, 4, 4), np.float32)])
    np.testing.assert_array_equal(y, np.zeros((1, 40, 2, 2)))
