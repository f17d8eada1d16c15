"""Random quantised graphs: right values after every pass, and addresses that hold them."""

from typing import Any

import numpy as np
import pytest

from dnncc.frontend.importer import import_model
from dnncc.ir.graph import Array, Graph
from dnncc.ir.interpret import interpret
from dnncc.ir.text import parse_graph, print_graph, resources
from dnncc.ir.verify import verify
from dnncc.ops import is_view
from dnncc.passes.context import Context
from tests.compiler.small import PASSES, Sketch
from tests.models import random_feeds
from tests.oracle import run

LENGTH = 9


class Grower(Sketch):
    """Adds random operators to what there is; `shapes` are those of the int8 values so far."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.shapes: dict[str, tuple[int, ...]] = {"x": (1, 4, 6, 5)}

    def choose(self, values: list[Any]) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def grow(self, step: int) -> None:
        kinds = [self.convolve, self.sum, self.concat, self.turn, self.flatten, self.cut, self.pad]
        kinds += [self.table, self.pool]
        images = [name for name, shape in self.shapes.items() if len(shape) == 4]
        self.choose(kinds)(self.choose(images), f"v{step}")

    def keep(self, name: str, shape: tuple[int, ...]) -> None:
        self.shapes[name] = tuple(shape)

    def convolve(self, x: str, y: str) -> None:
        n, c, h, w = self.shapes[x]
        k = int(self.rng.integers(1, 5))
        self.conv(x, y, (k, c))
        self.keep(y, (n, k, h, w))

    def sum(self, x: str, y: str) -> None:
        other = self.choose([k for k, s in self.shapes.items() if s == self.shapes[x]])
        total = self.add("Add", [self.real(x), self.real(other)], f"{y}_sum")
        self.integer(self.add("Relu", [total], f"{y}_relu"), y)
        self.keep(y, self.shapes[x])

    def concat(self, x: str, y: str) -> None:
        axis = int(self.rng.integers(1, 4))
        shape = self.shapes[x]
        fits = [k for k, s in self.shapes.items() if cut_out(s, axis) == cut_out(shape, axis)]
        parts = [x, *(self.choose(fits) for _ in range(int(self.rng.integers(1, 3))))]
        self.integer(self.add("Concat", [self.real(p) for p in parts], f"{y}_all", axis=axis), y)
        size = sum(self.shapes[p][axis] for p in parts)
        self.keep(y, (*shape[:axis], size, *shape[axis + 1 :]))

    def turn(self, x: str, y: str) -> None:
        perm = [0, *(1 + self.rng.permutation(3)).tolist()]
        self.add("Transpose", [x], y, perm=perm)
        self.keep(y, tuple(self.shapes[x][axis] for axis in perm))

    def flatten(self, x: str, y: str) -> None:
        _, c, h, w = self.shapes[x]
        shape = self.choose([(1, c * h, w, 1), (1, h, c, w), (1, 1, c, h * w), (1, c * h * w)])
        self.add("Reshape", [x, self.constant(f"{y}_shape", np.array(shape))], y)
        self.keep(y, shape)

    def cut(self, x: str, y: str) -> None:
        axis = int(self.rng.integers(1, 4))
        size = self.shapes[x][axis]
        start = int(self.rng.integers(size))
        step = int(self.rng.integers(1, 3))
        names = [
            self.constant(f"{y}_{k}", np.array([v]))
            for k, v in (("start", start), ("end", size), ("axis", axis), ("step", step))
        ]
        self.add("Slice", [x, *names], y)
        shape = list(self.shapes[x])
        shape[axis] = len(range(start, size, step))
        self.keep(y, tuple(shape))

    def pad(self, x: str, y: str) -> None:
        pads = np.array([0, 0, *self.rng.integers(0, 2, 2), 0, 0, *self.rng.integers(0, 3, 2)])
        name = self.constant(f"{y}_pads", pads)
        self.integer(self.add("Pad", [self.real(x), name], f"{y}_p"), y)
        shape = np.array(self.shapes[x]) + pads[:4] + pads[4:]
        self.keep(y, tuple(shape.tolist()))

    def table(self, x: str, y: str) -> None:
        op = self.choose(["Sigmoid", "LeakyRelu", "HardSwish", "Tanh", "Abs"])
        self.integer(self.add(op, [self.real(x)], f"{y}_f"), y)
        self.keep(y, self.shapes[x])

    def pool(self, x: str, y: str) -> None:
        op = self.choose(["MaxPool", "AveragePool"])
        kernel = [min(2, n) for n in self.shapes[x][2:]]
        self.integer(self.add(op, [self.real(x)], f"{y}_f", kernel_shape=kernel), y)
        shape = self.shapes[x]
        self.keep(y, (*shape[:2], *(n - k + 1 for n, k in zip(shape[2:], kernel, strict=True))))


def cut_out(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (len(shape), *shape[:axis], *shape[axis + 1 :])


@pytest.mark.parametrize("seed", range(60))
def test_random_graph(seed: int) -> None:
    sketch = Grower(seed)
    for step in range(LENGTH):
        sketch.grow(step)
    outputs = list(sketch.shapes)[-2:]
    model = sketch.model({"x": (np.int8, sketch.shapes["x"])}, outputs)
    model.opset_import[0].version = 14
    feeds = random_feeds(model, seed)
    expected = run(model, feeds)
    graph = import_model(model)
    for run_pass in PASSES:
        graph = run_pass(graph, Context())
        verify(graph)
        values = interpret(graph, feeds)
        for name in graph.outputs:
            error = np.abs(values[name].astype(int) - expected[name])
            assert error.max() <= 2, f"{run_pass.__name__}: {name}"
    check_addresses(graph, values)
    assert print_graph(parse_graph(print_graph(graph), resources(graph))) == print_graph(graph)


def check_addresses(graph: Graph, values: dict[str, Array]) -> None:
    """Run by address: nodes write to the views of results, and find what they read in views."""
    storage = {t.name: np.zeros(t.size, t.dtype) for t in graph.tensors.values()}
    for name in graph.inputs:
        seen(graph, storage, name)[...] = values[name]
    for node in graph.nodes:
        for name in node.inputs:
            if name in values and graph.tensors[name].view is not None:
                np.testing.assert_array_equal(seen(graph, storage, name), values[name], name)
        for name in filter(None, () if is_view(node) else node.outputs):
            seen(graph, storage, name)[...] = values[name]
    for name in graph.outputs:
        np.testing.assert_array_equal(seen(graph, storage, name), values[name], name)


def seen(graph: Graph, storage: dict[str, Array], name: str) -> Array:
    """The elements of `name` in the storage of its root."""
    tensor, view = graph.tensors[name], graph.tensors[name].view
    assert view is not None
    strides = [stride * tensor.dtype.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(storage[view.root][view.offset :], tensor.shape, strides)
