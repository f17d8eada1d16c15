"""Each pass does what its first line says, and no pass changes what the graph computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from dnncc.ir.graph import Graph
from dnncc.ir.interpret import interpret
from dnncc.ir.strides import is_row_major, reshape_strides
from dnncc.ir.verify import verify
from dnncc.ops import is_view
from tests.compiler.small import IMAGE, Sketch, compiled
from tests.models import random_feeds
from tests.oracle import run


def summary(graph: Graph) -> str:
    """One line per node: what it is of, and where its result lies."""
    return "\n".join(
        f"{', '.join(node.outputs)} = {kind(node)}({', '.join(i for i in node.inputs if i)})"
        f"{place(graph, node)}"
        for node in graph.nodes
    )


def kind(node: Any) -> str:
    return f"{node.op}[{' '.join(b.op for b in node.body)}]" if node.body else node.op


def place(graph: Graph, node: Any) -> str:
    view = graph.tensors[node.outputs[0]].view
    return f" at {view.root}+{view.offset} {list(view.strides)}" if view else ""


def checked(model: ModelProto, exact: bool = True) -> Graph:
    """The compiled Graph, which computes what onnxruntime does."""
    feeds = random_feeds(model, 3)
    expected = run(model, feeds)
    for until in ("canonicalize", "legalize", "fuse", "partition", "assign_layout"):
        graph = compiled(model, until)
        verify(graph)
        values = interpret(graph, feeds)
        for name in graph.outputs:
            error = np.abs(values[name].astype(float) - expected[name])
            assert error.max() <= (0 if exact and until != "canonicalize" else 1)
    for name in graph.outputs:
        tensor = graph.tensors[name]
        assert tensor.view and tensor.view.offset == 0
        assert is_row_major(tensor.shape, tensor.view.strides)
    return graph


def residual(s: Sketch) -> list[str]:
    a = s.conv("x", "a")
    y = s.add("Add", [s.real(s.conv(a, "b")), s.real(a)], "y_sum")
    return [s.integer(s.add("Relu", [y], "y_relu"), "y")]


def table_after_conv(s: Sketch) -> list[str]:
    a = s.add("Sigmoid", [s.real(s.conv("x", "a"))], "s")
    return [s.integer(a, "y", "double")]


def swish(s: Sketch) -> list[str]:
    x = s.real("x")
    return [s.integer(s.add("Mul", [x, s.add("Sigmoid", [x], "gate")], "s"), "y", "double")]


def nhwc(s: Sketch) -> list[str]:
    """As tf2onnx writes them: transposes around, a reshape of a transposed result."""
    s.constant("flat", np.array([1, -1]))
    t = s.add("Transpose", ["x"], "t", perm=[0, 2, 1, 3])
    t = s.add("Transpose", [t], "u", perm=[0, 2, 1, 3])
    a = s.conv(t, "a", strides=[1, 2])
    v = s.add("Transpose", [a], "v", perm=[0, 2, 3, 1])
    return [s.add("Reshape", [v, "flat"], "y")]


def concatenated(s: Sketch) -> list[str]:
    a, b = s.conv("x", "a"), s.conv("x", "b", (3, 4))
    c = s.integer(s.add("Concat", [s.real(a), s.real(b)], "c_all", axis=1), "c")
    return [s.conv(c, "y", (2, 7))]


def concatenated_otherwise(s: Sketch) -> list[str]:
    """Parts that cannot be in two places, and one with another scale."""
    a = s.conv("x", "a")
    parts = [s.real(a), s.real(a), s.real("x")]
    return [s.integer(s.add("Concat", parts, "c_all", axis=1), "y", "double")]


def padded(s: Sketch) -> list[str]:
    s.constant("pads", np.array([0, 0, 1, 0, 0, 0, 2, 1]))
    p = s.integer(s.add("Pad", [s.real("x"), "pads"], "p_pad"), "p")
    return [s.conv(p, "y")]


def split(s: Sketch) -> list[str]:
    s.nodes.append(helper.make_node("Split", ["x"], ["l", "r"], axis=1))
    y = s.add("Add", [s.real("l"), s.real("r")], "y_real")
    return [s.integer(y, "y")]


def clash(s: Sketch) -> list[str]:
    """Two readers want the same value in two orders: one gets a copy."""
    s.constant("flat", np.array([1, -1]))
    a = s.conv("x", "a")
    y = s.add("Reshape", [s.add("Transpose", [a], "v", perm=[0, 2, 3, 1]), "flat"], "y")
    return [y, s.add("Reshape", [s.add("Transpose", [a], "w", perm=[0, 3, 1, 2]), "flat"], "z")]


def passed_on(s: Sketch) -> list[str]:
    """An output that is but an input seen otherwise."""
    return [s.add("Transpose", ["x"], "y", perm=[0, 2, 3, 1])]


def two_hosts(s: Sketch) -> list[str]:
    """Host operators in two branches are one part, not two."""
    outs = []
    for name in ("a", "b"):
        real = s.add("Hardmax", [s.real(s.conv("x", name))], f"{name}s")
        real = s.add("Cos", [real], f"{name}c")
        outs.append(s.integer(real, f"{name}q"))
    return [s.integer(s.add("Add", [s.real(outs[0]), s.real(outs[1])], "y_sum"), "y")]


def unequal_max(s: Sketch) -> list[str]:
    m = s.add("MaxPool", [s.real("x")], "m", kernel_shape=[2, 2])
    return [s.integer(m, "y", "double")]


def identities(s: Sketch) -> list[str]:
    a = s.add("Identity", [s.real("x")], "i")
    a = s.add("Unsqueeze", [a, s.constant("axes", np.array([0]))], "u")
    a = s.add("Squeeze", [a, "axes"], "q")
    return [s.conv(s.integer(a, "same"), "y")]


CASES: dict[str, Callable[[Sketch], list[str]]] = {
    f.__name__: f
    for f in (
        residual, table_after_conv, swish, nhwc, concatenated, concatenated_otherwise, padded,
        split, clash, passed_on, two_hosts, unequal_max, identities,
    )
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_passes(case: str, golden: Callable[[str], None]) -> None:
    sketch = Sketch()
    outputs = CASES[case](sketch)
    golden(summary(checked(sketch.model({"x": IMAGE}, outputs), exact=case != "two_hosts")))


def test_batch_normalisation_folds_into_its_convolution() -> None:
    s = Sketch()
    for name in ("scale_n", "bias_n", "mean_n", "variance_n"):
        s.constant(name, s.rng.uniform(0.5, 1.5, 4).astype(np.float32))
    s.constant("w", s.rng.standard_normal((4, 4, 3, 3)).astype(np.float32))
    y = s.add("Conv", ["x", "w"], "c", auto_pad="SAME_UPPER")
    s.add("BatchNormalization", [y, "scale_n", "bias_n", "mean_n", "variance_n"], "y")
    model = s.model({"x": (np.float32, IMAGE[1])}, [])
    model.graph.output.extend(run_output("y"))
    graph = compiled(model, "canonicalize")
    assert [n.op for n in graph.nodes] == ["onnx.Conv"]
    feeds = random_feeds(model, 0)
    np.testing.assert_allclose(
        interpret(graph, feeds)["y"], run(model, feeds)["y"], rtol=1e-5, atol=1e-5
    )


def run_output(name: str) -> list[Any]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]


def test_reshape_strides_are_right_or_absent() -> None:
    """Against numpy: a view where numpy can, None where it must copy."""
    rng = np.random.default_rng(0)
    shapes = [(2, 3, 4), (6, 4), (24,), (2, 12), (4, 3, 2), (1, 24, 1), (2, 1, 3, 4), (3, 8)]
    for _ in range(400):
        base = np.arange(24).reshape(shapes[rng.integers(len(shapes))])
        base = base.transpose(rng.permutation(base.ndim))
        new = shapes[rng.integers(len(shapes))]
        strides = reshape_strides(base.shape, tuple(s // 8 for s in base.strides), new)
        reshaped = base.reshape(new)
        assert (strides is not None) == np.shares_memory(base, reshaped)
        if strides is not None:
            flat = np.arange(24)
            found = np.lib.stride_tricks.as_strided(flat, new, [s * 8 for s in strides])
            np.testing.assert_array_equal(found, reshaped)


def test_views_compute_nothing() -> None:
    """Every view's address names the elements that its reference semantics move."""
    sketch = Sketch()
    model = sketch.model({"x": IMAGE}, nhwc(sketch))
    graph = compiled(model)
    values = interpret(graph, random_feeds(model, 0))
    for node in filter(is_view, graph.nodes):
        (name,) = node.outputs
        view = graph.tensors[name].view
        assert view is not None
        root = graph.tensors[view.root].view
        assert root is not None
        storage = np.zeros(values[view.root].size, np.int8)
        whole = np.lib.stride_tricks.as_strided(storage, values[view.root].shape, root.strides)
        whole[...] = values[view.root]
        seen = np.lib.stride_tricks.as_strided(
            storage[view.offset :], graph.tensors[name].shape, view.strides
        )
        np.testing.assert_array_equal(seen, values[name])
