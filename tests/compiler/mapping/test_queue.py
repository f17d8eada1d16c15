"""Results that wait while a load has the link that both share."""

from typing import Any

import dnncc
from dnncc.runtime import load
from tests.compiler.mapping.test_bound import layers


def compiled(given: dict[str, Any], target: str) -> tuple[dict[str, int], int]:
    """The slots of one convolution's buffers, and its cycles."""
    model = layers([(64, 16, 1, 1)], 40)
    steps = {"p": 8, "q": 20, "k": 8}
    wish = {"N_t0_y": {"steps": steps, "order": ["p", "q", "k"], "whole": ["weight"], **given}}
    made = dnncc.compile(model, target, mapping=wish, strict=True)
    (group,) = (node for node in made.graph.nodes if node.op == "group")
    return group.attrs["mapping"]["slots"], load(made.image).profile.cycles


def test_results_have_slots_for_as_long_as_a_load_takes() -> None:
    rest = dict.fromkeys(("ifmap", "params", "psum"), 2)
    wide, cycles = compiled({"slots": rest}, "nvdla-like-small")
    narrow, more = compiled({"slots": {**rest, "out": 2}}, "nvdla-like-small")
    assert wide["out"] > narrow["out"] == 2
    assert cycles <= more


def test_what_is_given_stays() -> None:
    slots, _ = compiled({"slots": {"out": 3}}, "nvdla-like-small")
    assert slots["out"] == 3
