"""On whole models, every pass leaves the values that onnxruntime's default session computes."""

from typing import Any

import numpy as np
import onnx
import pytest
from tests.models import QUANTISED, find_model, random_feeds
from tests.oracle import run

from dnncc.frontend.importer import import_model
from dnncc.ir.interpret import interpret
from dnncc.ir.verify import verify
from dnncc.passes.assign_layout import assign_layout
from dnncc.passes.canonicalize import canonicalize
from dnncc.passes.context import Context
from dnncc.passes.fold_constants import fold_constants
from dnncc.passes.fuse import fuse
from dnncc.passes.legalize import legalize
from dnncc.passes.partition import partition

INTEGER_PASSES = (legalize, fuse, partition, assign_layout)


@pytest.mark.parametrize("name", QUANTISED)
def test_integers_equal_onnxruntime_after_every_pass(name: str) -> None:
    path = find_model(name)
    model = onnx.load(path)
    feeds = random_feeds(model, seed=1)
    expected = run(model, feeds)
    graph = canonicalize(fold_constants(import_model(path), Context()), Context())
    for run_pass in INTEGER_PASSES:
        graph = run_pass(graph, Context())
        verify(graph)
        values = interpret(graph, feeds)
        for output in graph.outputs:
            np.testing.assert_array_equal(values[output], expected[output], run_pass.__name__)
    compare_inner(model, feeds, values)


def compare_inner(model: onnx.ModelProto, feeds: dict[str, Any], values: dict[str, Any]) -> None:
    """Every quantised tensor that is still there by its ONNX name."""
    named = {o for node in model.graph.node for o in node.output}
    inner = [k for k, v in values.items() if k in named and v.dtype.itemsize == 1]
    expected = run(model, feeds, inner)
    assert len(inner) > 4 or "toycar" in str(model.graph.name) or inner
    for name in inner:
        np.testing.assert_array_equal(values[name], expected[name], name)


@pytest.mark.parametrize("name", QUANTISED[:3])
def test_importing_and_canonicalizing_keep_the_meaning(name: str) -> None:
    """The float form of the model, through onnx.reference: at most one step of the last quantiser."""
    path = find_model(name)
    feeds = random_feeds(onnx.load(path), seed=2)
    graph = import_model(path)
    first = interpret(graph, feeds)
    for run_pass in (fold_constants, canonicalize):
        graph = run_pass(graph, Context())
        verify(graph)
        values = interpret(graph, feeds)
        for output in graph.outputs:
            np.testing.assert_allclose(values[output], first[output], atol=1)


def test_no_model_leaves_compute_on_the_host_but_softmax() -> None:
    for name in QUANTISED:
        graph = import_model(find_model(name))
        for run_pass in (fold_constants, canonicalize, *INTEGER_PASSES):
            graph = run_pass(graph, Context())
        reasons = [r for n in graph.nodes if n.op == "host" for r in n.attrs["reason"]]
        assert all("Softmax" in reason for reason in reasons)
        assert all(b.op != "copy" for n in graph.walk() for b in n.body)
