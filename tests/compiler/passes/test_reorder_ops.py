"""Reordering lowers the peak of branching graphs, to the least that there is."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import dnncc.passes.reorder_ops as reordering
from dnncc.ir.graph import Graph, Node, Tensor, View
from dnncc.passes.context import Context
from dnncc.passes.reorder_ops import reorder_ops


def graph_of(sizes: dict[str, int], nodes: Sequence[tuple[str, str]], *outputs: str) -> Graph:
    """Values of so many bytes; nodes "what is read" -> "what is made", names by blanks."""
    made = tuple(Node("group", tuple(a.split()), tuple(b.split()), loc=(b,)) for a, b in nodes)
    tensors = {n: Tensor(n, (size,), np.dtype(np.int8)) for n, size in sizes.items()}
    produced = {o for n in made for o in n.outputs}
    return Graph("test", tuple(n for n in sizes if n not in produced), outputs, tensors, {}, made)


def names(graph: Graph) -> list[str]:
    return [n.outputs[0] for n in graph.nodes]


def peak(graph: Graph, order: Sequence[Node]) -> int:
    """By the book: at each node, the bytes of all that is made and still needed, or an output."""
    most = 0
    for now in range(len(order)):
        before = {i for n in order[: now + 1] for i in (*n.inputs, *n.outputs)}
        after = {i for n in order[now:] for i in (*n.inputs, *n.outputs)} | set(graph.outputs)
        most = max(most, sum(graph.tensors[name].size for name in before & after))
    return most


def test_a_branch_is_finished_before_the_next_begins() -> None:
    """Each branch goes through 100 bytes to 10.

    As given, both wide values live together: x + a = 110, x + a + c = 210, a + c + b = 210, ...
    A branch at a time: x + a = 110, x + a + b = 120, x + b + c = 120, b + c + d = 120, 30.
    """
    sizes = {"x": 10, "a": 100, "b": 10, "c": 100, "d": 10, "y": 10}
    nodes = [("x", "a"), ("x", "c"), ("a", "b"), ("c", "d"), ("b d", "y")]
    graph = graph_of(sizes, nodes, "y")
    better = reorder_ops(graph, Context())
    assert names(better) == ["a", "b", "c", "d", "y"]
    assert (peak(graph, graph.nodes), peak(graph, better.nodes)) == (210, 120)


def test_the_wide_branch_comes_first() -> None:
    """`small` first keeps its 50 bytes beside x + wide: 160. Last: x + wide + thin = 120."""
    sizes = {"x": 10, "small": 50, "wide": 100, "thin": 10, "y": 10}
    nodes = [("x", "small"), ("x", "wide"), ("wide", "thin"), ("thin small", "y")]
    graph = graph_of(sizes, nodes, "y")
    better = reorder_ops(graph, Context())
    assert names(better) == ["wide", "thin", "small", "y"]
    assert (peak(graph, graph.nodes), peak(graph, better.nodes)) == (160, 120)


def test_an_order_that_is_as_good_stays() -> None:
    sizes = {"x": 10, "a": 10, "b": 10, "c": 10, "y": 10}
    graph = graph_of(sizes, [("x", "b"), ("x", "a"), ("x", "c"), ("a b c", "y")], "y")
    assert reorder_ops(graph, Context()) is graph


def test_parts_of_a_concatenation_live_as_its_storage_does() -> None:
    """Both parts lie in y: 100 bytes from the first of them on, whichever that is, so `big` is to
    be dead by then."""
    sizes = {"x": 10, "a": 50, "big": 80, "thin": 10, "b": 50, "y": 100}
    nodes = [("x", "a"), ("x", "big"), ("big", "thin"), ("thin", "b"), ("a b", "y")]
    graph = graph_of(sizes, nodes, "y")
    tensors = dict(graph.tensors)
    for name, offset in (("a", 0), ("b", 50), ("y", 0)):
        tensors[name] = replace(tensors[name], view=View("y", offset, (1,)))
    graph = replace(graph, tensors=tensors)
    assert names(reorder_ops(graph, Context()))[:2] == ["big", "thin"]


def random_dag(seed: int) -> Graph:
    """Up to 8 nodes, each of some of the values before it."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 9))
    sizes = {"v0": int(rng.integers(1, 100))}
    nodes = []
    for index in range(1, count + 1):
        known = list(sizes)
        read = rng.choice(known, min(len(known), int(rng.integers(1, 4))), replace=False)
        nodes.append((" ".join(read), f"v{index}"))
        sizes[f"v{index}"] = int(rng.integers(1, 100))
    read_ones = {name for a, _ in nodes for name in a.split()}
    return graph_of(sizes, nodes, *(n for n in sizes if n not in read_ones))


def orders(graph: Graph, done: tuple[Node, ...] = ()) -> Iterator[tuple[Node, ...]]:
    """Every order in which nodes read what is there."""
    if len(done) == len(graph.nodes):
        yield done
    known = {*graph.inputs, *(o for n in done for o in n.outputs)}
    for node in graph.nodes:
        if node not in done and known.issuperset(node.inputs):
            yield from orders(graph, (*done, node))


@pytest.mark.parametrize("seed", range(25))
def test_the_peak_is_the_least_of_all_orders(seed: int) -> None:
    graph = random_dag(seed)
    better = reorder_ops(graph, Context())
    assert better.nodes in list(orders(graph))
    assert peak(graph, better.nodes) == min(peak(graph, order) for order in orders(graph))


def bushy_dag(seed: int) -> Graph:
    """12 to 20 nodes in chains that branch off and join again, of widths that vary by a hundred."""
    rng = np.random.default_rng(seed)
    sizes, nodes = {"v0": int(rng.integers(1, 100))}, []
    ends = ["v0"]
    for index in range(1, int(rng.integers(12, 21)) + 1):
        name = f"v{index}"
        joins = len(ends) > 1 and rng.random() < 0.25
        read = list(rng.choice(ends, 2 if joins else 1, replace=False))
        nodes.append((" ".join(read), name))
        sizes[name] = int(rng.integers(1, 100))
        keep = rng.random() < 0.4
        ends = [e for e in ends if e not in read or (keep and len(ends) < 6)] + [name]
    read_ones = {name for a, _ in nodes for name in a.split()}
    return graph_of(sizes, nodes, *(n for n in sizes if n not in read_ones))


def least_peak(graph: Graph) -> int:
    """Over all orders: for each set of nodes that can come first, the least peak to get there."""
    count = len(graph.nodes)
    maker = {o: i for i, n in enumerate(graph.nodes) for o in n.outputs}
    needs = [sum({1 << maker[i] for i in n.inputs if i in maker}) for n in graph.nodes]
    values = [
        (sum(1 << i for i, n in enumerate(graph.nodes) if v in (*n.inputs, *n.outputs)), t.size)
        for v, t in graph.tensors.items()
    ]
    kept = [name in graph.outputs for name in graph.tensors]

    def during(done: int, node: int) -> int:
        after = done | 1 << node
        alive = (
            size
            for (users, size), stays in zip(values, kept, strict=True)
            if users & after and (stays or users & ~done)
        )
        return sum(alive)

    peaks = {0: 0}
    for _ in range(count):
        found: dict[int, int] = {}
        for done, so_far in peaks.items():
            ready = (n for n in range(count) if not done >> n & 1 and needs[n] & ~done == 0)
            for node in ready:
                most = max(so_far, during(done, node))
                key = done | 1 << node
                found[key] = min(found.get(key, most), most)
        peaks = found
    return peaks[(1 << count) - 1]


@pytest.mark.parametrize("seed", range(20))
def test_the_peak_is_the_least_on_graphs_of_up_to_20_nodes(seed: int) -> None:
    graph = bushy_dag(seed)
    better = reorder_ops(graph, Context())
    assert peak(graph, better.nodes) == least_peak(graph) <= peak(graph, graph.nodes)


@pytest.mark.parametrize("seed", range(20))
def test_a_narrow_beam_is_put_right(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one partial order kept, what the beam misses is found by the proof."""
    monkeypatch.setattr(reordering, "BEAM", 1)
    graph = bushy_dag(seed)
    assert peak(graph, reorder_ops(graph, Context()).nodes) == least_peak(graph)


def test_many_independent_nodes_take_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an interpolation has them, one for each kind of weights, writing into one result."""
    parts = [f"p{i}" for i in range(90)]
    sizes = {"x": 10, "small": 50, "wide": 100, "thin": 10, **dict.fromkeys(parts, 1), "y": 90}
    nodes = [("x", "small"), ("x", "wide"), ("wide", "thin"), *(("x", p) for p in parts)]
    graph = graph_of(sizes, [*nodes, (" ".join(["thin", "small", *parts]), "y")], "y")
    views = {p: replace(graph.tensors[p], view=View("y", i, (1,))) for i, p in enumerate(parts)}
    graph = replace(graph, tensors={**graph.tensors, **views})
    calls, step = list[int](), reordering.Lifetimes.step

    def counted(problem: reordering.Lifetimes, *rest: Any) -> tuple[int, int]:
        calls.append(1)
        return step(problem, *rest)

    monkeypatch.setattr(reordering.Lifetimes, "step", counted)
    better = reorder_ops(graph, Context())
    assert names(better).index("wide") < names(better).index("small")
    assert len(calls) < 50_000
