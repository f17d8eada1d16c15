"""The eight quantised models: every element of every output, and of the quantised tensors inside.

A classifier that ends in a softmax has few distinct output values: the tensors inside tell more.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from tests.e2e.reference import Reference
from tests.e2e.running import ODD, TARGETS, Compiled, assert_same, compiled, proto, saved
from tests.models import QUANTISED, random_feeds

LARGE = ("coral_mobilenet_v2_224_int8",)
SMALL = tuple(name for name in QUANTISED if name not in LARGE)
SEEDS = (11, 12, 13)

CASES = [
    pytest.param(name, target, id=f"{name}-{target.rpartition('/')[2].removesuffix('.toml')}")
    for name in QUANTISED
    for target in (*TARGETS, ODD)
    if name in SMALL or target != ODD
]

UNNAMED = 1
"""Quantised tensors of a binary that ONNX's graph has not: made by the compiler's own rewriting."""


@lru_cache(maxsize=2)
def reference(name: str) -> Reference:
    return Reference(proto(name))


@pytest.mark.parametrize(("name", "target"), CASES)
def test_outputs_equal_those_saved(name: str, target: str) -> None:
    feeds, expected = saved(name)
    assert_same(compiled(name, target).run(feeds), expected, f"{name} on {target}")


@pytest.mark.parametrize(("name", "target"), CASES)
def test_inner_tensors_equal_onnxruntime(name: str, target: str) -> None:
    feeds, _ = saved(name)
    count = compare_inner(compiled(name, target), reference(name), feeds)
    assert count >= 3, f"only {count} quantised tensors of {name} were found in the binary"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "target"), CASES)
def test_random_inputs(name: str, target: str, seed: int) -> None:
    if name in LARGE and seed != SEEDS[0]:
        pytest.skip(f"{name}: one seed, it is large")
    feeds = random_feeds(proto(name), seed)
    got = compiled(name, target).run(feeds)
    assert_same(got, reference(name).outputs(feeds), f"{name} on {target}, seed {seed}")


@pytest.mark.parametrize("name", SMALL)
def test_inner_tensors_of_random_inputs(name: str) -> None:
    feeds = random_feeds(proto(name), seed=21)
    assert compare_inner(compiled(name, TARGETS[0]), reference(name), feeds) >= 3


def compare_inner(model: Compiled, oracle: Reference, feeds: dict[str, Any]) -> int:
    """How many quantised tensors inside are equal; each that both have is compared."""
    expected = oracle.inner(feeds)
    got = model.inner(feeds)
    common = [name for name in got if name in expected]
    for name in common:
        values = got[name].astype(np.int32)
        np.testing.assert_array_equal(values, expected[name].astype(np.int32), name)
    missed = [n for n in got if n not in expected and is_quantised(model, n)]
    print(f"{len(common)} tensors compared; not in onnxruntime's graph: {missed}")
    return len(common)


def is_quantised(model: Compiled, name: str) -> bool:
    return model.artifact.graph.tensors[name].dtype.itemsize == 1
