"""Psums that have a memory of their own have more slots than the array needs to begin."""

from typing import Any

import pytest

import dnncc
from tests.compiler.mapping.test_bound import layers


def slots(target: str, **given: Any) -> dict[str, int]:
    """Of a convolution in eight tiles of rows, loaded whole."""
    wish = {"N_t0_y": {"steps": {"p": 5}, "order": ["p"], "whole": ["weight", "params"], **given}}
    made = dnncc.compile(layers([(64, 16, 1, 1)], 40), target, mapping=wish, strict=True)
    (group,) = (node for node in made.graph.nodes if node.op == "group")
    found: dict[str, int] = group.attrs["mapping"]["slots"]
    return found


def test_psums_alone_in_their_memory_have_four() -> None:
    assert slots("tpu-like", slots={"ifmap": 2})["psum"] == 4


@pytest.mark.parametrize("number", [1, 2, 3])
def test_what_is_given_stays(number: int) -> None:
    assert slots("tpu-like", slots={"psum": number})["psum"] == number
    assert slots("tpu-like", slots=number)["psum"] == number
