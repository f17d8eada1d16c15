"""What is compiled computes what the operators mean: random groups, executed on the machine.

A failing case is its seed; DNNCC_SEEDS=500 tries more of them.
"""

import os

import numpy as np
import pytest

from dnncc.ir.graph import Graph
from dnncc.ir.interpret import interpret
from dnncc.ir.verify import verify
from dnncc.runtime.session import load

from ..lowering import TARGETS, compiled, target
from ..random_groups import WIDE, random_feeds, random_graph

SEEDS = int(os.environ.get("DNNCC_SEEDS", "24"))


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", TARGETS)
def test_binary_computes_the_reference(name: str, seed: int) -> None:
    check(random_graph(seed), name, seed)


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_so_it_does_with_16_bits(seed: int) -> None:
    check(random_graph(seed, WIDE), "eyeriss-like", seed)


def check(graph: Graph, name: str, seed: int) -> None:
    verify(graph)
    feeds = random_feeds(graph, seed)
    wanted = interpret(graph, feeds)
    session = load(compiled(graph, target(name)))
    for schedule in ("serial", f"random:{seed}"):
        results = session.run(list(graph.outputs), feeds, schedule)
        for output, result in zip(graph.outputs, results, strict=True):
            np.testing.assert_array_equal(result, wanted[output], f"{output}, {schedule}")
