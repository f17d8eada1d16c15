"""A few random networks on a few targets; `python -m benchmarks.fuzz` runs more."""

import pytest

from benchmarks.fuzz.comparison import difference
from benchmarks.fuzz.graphs import network
from tests.e2e.running import ODD

RUNS = {"eyeriss-like": range(0, 8), "tpu-like": range(300, 306), ODD: range(600, 604)}

WIDE = {"eyeriss-like": range(0, 6), "diannao-like": range(300, 303)}
"""With int16 feature maps."""


@pytest.mark.parametrize(
    "target, seed", [(target, seed) for target, seeds in RUNS.items() for seed in seeds]
)
def test_network(target: str, seed: int) -> None:
    fault = difference(network(seed), seed, target)
    assert not fault, f"{fault}; again: python -m benchmarks.fuzz --seed {seed} --target {target}"


@pytest.mark.parametrize(
    "target, seed", [(target, seed) for target, seeds in WIDE.items() for seed in seeds]
)
def test_wide_network(target: str, seed: int) -> None:
    fault = difference(network(seed, wide=True), seed, target)
    again = f"python -m benchmarks.fuzz --seed {seed} --target {target} --wide"
    assert not fault, f"{fault}; again: {again}"
