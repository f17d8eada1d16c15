"""Tiles of input channels whose taps fill the array's rows are candidates beside equal tiles."""

from typing import Any

import pytest

import dnncc
from dnncc.mapping.cost import Problem
from dnncc.mapping.given import ANY
from dnncc.mapping.lowering import workload
from dnncc.mapping.space import full, sizes_of
from tests.compiler.mapping.test_bound import layers


def problem(size: int, target: str) -> Problem:
    artifact = dnncc.compile(layers([(8, 256, size, 1)], 4), target, strict=True)
    (node,) = (n for n in artifact.graph.nodes if n.op == "group")
    load = workload(node, artifact.graph, artifact.target)
    return Problem(load, artifact.graph, artifact.target, node.attrs["free"])


def sizes(found: Problem) -> list[int]:
    return sizes_of(found.load, ANY, "c", found.fill)


def test_taps_fill_the_rows() -> None:
    found = problem(3, "tpu-like")
    assert full(found.load, found.fill.rows) == (
        28,
        56,
        113,
    )  # 252 of 256, 504 of 512, 1017 of 1024
    assert {28, 56, 113} < set(sizes(found)) and sizes(found) == sorted(sizes(found), reverse=True)


def test_one_tap_needs_none() -> None:
    found = problem(1, "tpu-like")
    assert full(found.load, found.fill.rows) == ()


@pytest.mark.parametrize("target", ["eyeriss-like", "gemmini-like-os", "nvdla-like-full"])
def test_arrays_that_have_taps_elsewhere(target: str) -> None:
    found: Any = problem(3, target)
    assert found.fill.rows == 0 and 28 not in sizes(found)


def test_what_is_given_is_all() -> None:
    found = problem(3, "tpu-like")
    given = dnncc.compile(
        layers([(8, 256, 3, 1)], 4), "tpu-like", mapping={"N_t0_y": {"steps": {"c": 27}}}
    )
    (node,) = (n for n in given.graph.nodes if n.op == "group")
    assert node.attrs["mapping"]["steps"]["c"] == 27 and 27 not in sizes(found)
