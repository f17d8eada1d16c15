"""The chosen mapping beside all others of its space, simulated; and estimates beside cycles."""

from typing import Any

import pytest

from dnncc.targets import load
from tests.compiler.mapping.exhaustive import Space
from tests.compiler.mapping.test_bound import layers

NEAR_BEST, NEAR_CYCLES = 1.01, 0.02

Shapes = tuple[list[tuple[int, int, int, int]], int]
TINY: Shapes = ([(4, 2, 1, 1)], 2)
SMALL: dict[str, Shapes] = {
    "3x3": ([(4, 2, 3, 1)], 4),
    "1x1": ([(6, 4, 1, 1)], 2),
    "depthwise": ([(4, 1, 3, 4)], 4),
}
MEDIUM: dict[str, Shapes] = {"3x3": ([(64, 32, 3, 1)], 16), "1x1": ([(96, 64, 1, 1)], 14)}

TARGETS = ("eyeriss-like", "tpu-like", "gemmini-like", "nvdla-like-full", "shidiannao-like")


def test_a_space_is_told_once_each() -> None:
    space = Space(layers(*TINY), "tpu-like")
    names = [repr(mapping) for mapping in space.mappings()]
    assert len(names) == len(set(names)) > 20 and repr(space.chosen) in names


@pytest.mark.parametrize("target", ["eyeriss-like", "tpu-like"])
def test_the_best_of_a_tiny_space_is_chosen(target: str) -> None:
    space = Space(layers(*TINY), target)
    best = min(c.simulated for c in space.candidates())
    assert space.cycles(space.chosen) <= NEAR_BEST * best


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SMALL)
def test_the_best_of_a_small_space_is_chosen(shape: str, target: str) -> None:
    """At the default level and at -O3."""
    model: Any = layers(*SMALL[shape])
    space = Space(model, target)
    best = min(c.simulated for c in space.candidates())
    longest = Space(model, target, level=3).chosen
    assert space.cycles(space.chosen) <= NEAR_BEST * best
    assert space.cycles(longest) <= NEAR_BEST * best


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", MEDIUM)
def test_estimates_are_the_cycles_of_the_layer(shape: str, target: str) -> None:
    space = Space(layers(*MEDIUM[shape]), target)
    found = space.found
    simulated = space.cycles(found.mapping) - load(target).issue.start_cycles
    assert abs(found.cycles - simulated) <= NEAR_CYCLES * simulated
