"""Rehearsals of mappings beside the simulator, which has their instructions."""

from typing import Any

import numpy as np
import pytest

from dnncc.mapping.mapping import Mapping
from dnncc.mapping.rehearsal import rehearsed
from tests.compiler.mapping.exhaustive import Space
from tests.compiler.mapping.test_bound import TARGETS, layers

NEAR = 0.01
SAMPLE = 3

Shapes = tuple[list[tuple[int, int, int, int]], int]
SHAPES: dict[str, Shapes] = {
    "3x3": ([(12, 8, 3, 1)], 7),
    "1x1": ([(20, 12, 1, 1)], 6),
    "depthwise": ([(12, 1, 3, 12)], 9),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_rehearsal_takes_the_cycles_of_the_program(shape: str, target: str) -> None:
    model: Any = layers(*SHAPES[shape])
    space = Space(model, target)
    every = list(space.mappings())
    for at in np.random.default_rng(5).choice(len(every), SAMPLE, replace=False):
        cycles = rehearsed(space.problem, every[at])
        simulated = space.cycles(every[at]) - space.machine.issue.start_cycles
        assert cycles == pytest.approx(simulated, rel=NEAR), every[at]


def test_what_is_too_long_is_not_rehearsed() -> None:
    space = Space(layers([(64, 64, 1, 1)], 16), "eyeriss-like")
    single = Mapping(dict.fromkeys(space.problem.load.dims, 1), ("k", "p", "q", "c"), (), {})
    assert rehearsed(space.problem, single) is None
