"""A few random networks on a few targets; `python -m benchmarks.fuzz` runs more."""

import pytest

from benchmarks.fuzz.comparison import difference
from benchmarks.fuzz.graphs import network
from tests.e2e.running import ODD

RUNS = {"eyeriss-like": range(0, 8), "tpu-like": range(300, 306), ODD: range(600, 604)}


@pytest.mark.parametrize(
    "target, seed", [(target, seed) for target, seeds in RUNS.items() for seed in seeds]
)
def test_network(target: str, seed: int) -> None:
    fault = difference(network(seed), seed, target)
    assert not fault, f"{fault}; again: python -m benchmarks.fuzz --seed {seed} --target {target}"
