"""Loads stand in program order where their slots are free: short queues do not delay them."""

import numpy as np
import pytest

import dnncc
from dnncc.isa import core
from tests.compiler.mapping.test_bound import layers

LOAD, TENSOR = core.ENGINES.index("load0"), core.ENGINES.index("tensor")


def before_first_step(target: str, slots: int) -> int:
    """Loads on the ifmap's engine before the first step on the array, if buffers have so many
    slots."""
    given = {"N_t0": {"steps": {"p": 1, "q": 4}, "slots": slots}}
    artifact = dnncc.compile(layers([(16, 16, 1, 1)], 16), target, mapping=given, strict=True)
    engine = artifact.program.engine_of
    return int((engine[: np.flatnonzero(engine == TENSOR)[0]] == LOAD).sum())


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_as_many_tiles_as_there_are_slots_come_first(slots: int) -> None:
    assert before_first_step("diannao-like", slots) == slots


def test_nothing_waits_behind_a_load_whose_slot_is_taken() -> None:
    """On gemmini-like all loads are one engine's: weights, parameters, and an ifmap."""
    assert before_first_step("gemmini-like", 2) == 3
