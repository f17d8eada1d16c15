"""The eight quantised models: every element of every output, and of the quantised tensors inside.

A classifier that ends in a softmax has few distinct output values: the tensors inside tell more.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.reference import Reference
from tests.e2e.running import ODD, TARGETS, Compiled, assert_same, compiled, proto, saved
from tests.models import QUANTISED, random_feeds

LARGE = ("coral_mobilenet_v2_224_int8",)
SMALL = tuple(name for name in QUANTISED if name not in LARGE)
INTEGER = tuple(name for name in QUANTISED if name.startswith("coral_"))
"""Models of which onnxruntime computes everything but the softmax on integers."""

SEEDS = (11, 12, 14)
MOST_TIES = 2e-4

CASES = [
    pytest.param(
        name,
        target,
        id=f"{name}-{Path(target).stem}",
        marks=[pytest.mark.slow] if name in LARGE else [],
    )
    for name in QUANTISED
    for target in (*TARGETS, ODD)
    if name in SMALL or target != ODD
]
SMALL_CASES = [case for case in CASES if case.values[0] in SMALL]


@lru_cache(maxsize=8)
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
@pytest.mark.parametrize(("name", "target"), SMALL_CASES)
def test_random_inputs(name: str, target: str, seed: int) -> None:
    """Each node, on the inputs that it has in onnxruntime, gives onnxruntime's result."""
    feeds = random_feeds(proto(name), seed)
    expected = reference(name).inner(feeds)
    model = compiled(name, target)
    got = model.inner(feeds, forced=expected)
    loose = loosely_defined(model, reference(name))
    common = [tensor for tensor in got if tensor in expected]
    assert len(common) >= 3
    for tensor in common:
        steps = np.abs(got[tensor].astype(np.int32) - expected[tensor])
        where = f"{name} on {target}, seed {seed}: {tensor}"
        if tensor in loose:
            assert_few_ties(steps, where)
        else:
            assert not steps.any(), f"{where}: {np.count_nonzero(steps)} of {steps.size} differ"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", INTEGER)
def test_outputs_of_random_inputs(name: str, target: str) -> None:
    feeds = random_feeds(proto(name), seed=31)
    expected = reference(name).outputs(feeds)
    assert_same(compiled(name, target).run(feeds), expected, f"{name} on {target}, seed 31")


def loosely_defined(model: Compiled, oracle: Reference) -> set[str]:
    """Results of groups with a sum that onnxruntime computes in float32, in an order of its own.

    We add the integers, which is exact; a value halfway between two steps can round otherwise.
    """
    sums = oracle.summed_in_float()
    groups = [n for n in model.artifact.graph.nodes if n.op == "group"]
    return {g.outputs[0] for g in groups for n in g.body if sums.intersection(n.outputs)}


def assert_few_ties(steps: Any, where: str) -> None:
    count = int(np.count_nonzero(steps))
    print(f"{where}: {count} of {steps.size} differ")
    assert count <= max(2, MOST_TIES * steps.size), where
    assert steps.max(initial=0) <= 2, where  # an added residual's scale may double a step


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
