"""Graph -> text -> Graph is the identity, for every pass's output; other text is refused."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from dnncc.diagnostics import CompileError
from dnncc.frontend.importer import import_model
from dnncc.ir.graph import Graph, Node, Tensor
from dnncc.ir.mlir import Operation, parse_operation, print_operation, quote, unquote
from dnncc.ir.text import parse_graph, print_graph, resources
from dnncc.passes.context import Context
from tests.compiler.small import IMAGE, PASSES, Sketch, compiled
from tests.models import QUANTISED, find_model


def assert_same(a: Graph, b: Graph) -> None:
    assert (a.name, a.inputs, a.outputs, a.opset) == (b.name, b.inputs, b.outputs, b.opset)
    assert a.tensors == b.tensors
    assert a.constants.keys() == b.constants.keys()
    for name, value in a.constants.items():
        assert value.dtype == b.constants[name].dtype
        np.testing.assert_array_equal(value, b.constants[name])
    for x, y in zip(a.nodes, b.nodes, strict=True):
        assert_same_node(x, y)


def assert_same_node(a: Node, b: Node) -> None:
    assert (a.op, a.inputs, a.outputs, a.loc) == (b.op, b.inputs, b.outputs, b.loc)
    assert a.attrs.keys() == b.attrs.keys()
    for name, value in a.attrs.items():
        assert type(value) is type(b.attrs[name])
        np.testing.assert_array_equal(value, b.attrs[name])
    for x, y in zip(a.body, b.body, strict=True):
        assert_same_node(x, y)


@pytest.mark.parametrize("name", QUANTISED[:6])
def test_every_pass_prints_what_parses_back(name: str) -> None:
    graph = import_model(find_model(name))
    for run_pass in PASSES:
        graph = run_pass(graph, Context())
        text = print_graph(graph)
        again = parse_graph(text, resources(graph))
        assert_same(graph, again)
        assert print_graph(again) == text


def odd_graph() -> Graph:
    """Names, attributes and constants that text has trouble with."""
    names = ('a "quoted" \\ name', "naïve/ünïcode:0", "tab\tand\nline", "none", "0", "x" * 99)
    tensors = {name: Tensor(name, (2,), np.dtype("float32")) for name in names}
    tensors["scalar"] = Tensor("scalar", (), np.dtype("float32"))
    attrs = {
        "pi": 3.141592653589793, "tiny": 1e-300, "one": 1.0, "flag": True, "none": (),
        "mixed": ("a", 1, 2.5), "array": np.eye(2), "graph": b"\x00\xff",
        "odd": float("-inf"), "nan": float("nan"),
    }  # fmt: skip
    nodes = [
        Node("onnx.X", (a, "", "scalar"), ("", b), attrs, loc=("one", 'two "2"'))
        for a, b in zip(names, names[1:], strict=False)
    ]
    constants = {"scalar": np.float32(0.1) + np.zeros((), np.float32)}
    return Graph("odd", names[:1], names[-1:], tensors, constants, tuple(nodes), 17)


def test_odd_names_and_attributes_survive() -> None:
    graph = odd_graph()
    text = print_graph(graph)
    assert_same(graph, parse_graph(text, resources(graph)))


def test_small_graph_prints(golden) -> None:  # type: ignore[no-untyped-def]
    sketch = Sketch()
    a = sketch.conv("x", "a", strides=[2, 2])
    y = sketch.add("Transpose", [a], "y", perm=[0, 2, 3, 1])
    golden(print_graph(compiled(sketch.model({"x": IMAGE}, [y]))))


@pytest.mark.parametrize(
    "text", ["x", '"dnncc.graph"() : () ->', '"a"() : () -> () "b"', "", "%1 ="]
)
def test_other_text_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(CompileError) as caught:
        parse_graph(text, {}, "in.mlir")
    assert str(caught.value).startswith("in.mlir: line ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('value = "', 'value = "f'),
        ("dnncc.return", "dnncc.yield"),
        ("dnncc.graph", "other.graph"),
        ("xi8", "xi7"),
        ('return"(%', 'return"(%z'),
    ],
)
def test_illegal_graphs_are_refused(old: str, new: str) -> None:
    sketch = Sketch()
    graph = compiled(sketch.model({"x": IMAGE}, [sketch.conv("x", "y")]))
    with pytest.raises(CompileError) as caught:
        parse_graph(print_graph(graph).replace(old, new), resources(graph), "in.mlir")
    assert str(caught.value).startswith("in.mlir: ")


def test_strings_are_quoted_and_back() -> None:
    text = "".join(map(chr, range(0x180))) + '\\"\\n'
    assert unquote(quote(text)) == text


def test_mlir_reads_what_is_printed(tmp_path: Path) -> None:
    tool = shutil.which("xdsl-opt")
    if tool is None:
        pytest.skip("xdsl-opt is not installed")
    sketch = Sketch()
    y = sketch.add("Softmax", [sketch.real(sketch.conv("x", "a"))], "y")
    graph = compiled(sketch.model({"x": IMAGE}, [sketch.integer(y, "z")]))
    path = tmp_path / "x.mlir"
    path.write_text(print_graph(graph))
    subprocess.run([tool, "--allow-unregistered-dialect", path], check=True, capture_output=True)


def test_an_operation_round_trips() -> None:
    operation = Operation("a.b", (), ("r",), {"x": {"y": (1,)}}, result_types=("index",))
    assert parse_operation(print_operation(operation)) == operation
    assert parse_operation("// note\n" + print_operation(replace(operation, loc=("n",)))).loc == (
        "n",
    )
