"""What mappings are made for is what they are good at, by the simulator's own report."""

from typing import Any

import numpy as np
import pytest

import dnncc
from dnncc.diagnostics import CompileError
from dnncc.mapping.cost import Problem
from dnncc.mapping.lowering import workload
from dnncc.mapping.mapping import Mapping
from dnncc.mapping.objective import array_energy, outside_energy
from dnncc.mapping.pool import Pool
from dnncc.mapping.space import Choice
from dnncc.runtime import InferenceSession
from tests.compiler.mapping.test_bound import TARGETS, layers
from tests.compiler.networks import small_network
from tests.models import find_model

FEW = ("eyeriss-like", "gemmini-like", "shidiannao-like", "diannao-like", "nvdla-like-full")


def report(model: Any, target: str, goal: str) -> dict[str, Any]:
    found = InferenceSession(dnncc.compile(model, target, opt_for=goal).image).profile.report
    return dict(found)


@pytest.mark.parametrize("target", FEW)
@pytest.mark.parametrize("name", ["", "mlperf_tiny_kws_dscnn_int8"])
def test_energy_is_not_more_than_of_the_fastest(name: str, target: str) -> None:
    model = find_model(name) if name else small_network()
    fastest, frugal = (report(model, target, goal) for goal in ("latency", "energy"))
    assert frugal["energy"]["total"] <= fastest["energy"]["total"] * (1 + 1e-12)


MORE = pytest.mark.xfail(
    strict=True, reason="6 %: closed forms of cycles, where latency alone goes by rehearsals"
)


@pytest.mark.parametrize("target", (pytest.param("eyeriss-like", marks=MORE), "diannao-like"))
def test_the_product_of_one_layer(target: str) -> None:
    """Of the three mappings, the one that is for the product has the least, but for edges."""
    model = layers([(48, 32, 3, 1)], 16)
    products = {}
    for goal in ("latency", "energy", "edp"):
        found = report(model, target, goal)
        products[goal] = found["cycles"] * found["energy"]["total"]
    assert products["edp"] <= 1.02 * min(products.values())


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_priced_is_what_is_reported(target: str) -> None:
    """One convolution in tiles of full size: 32 of 32 channels, 16 x 16 pixels."""
    steps = {"n": 1, "g": 1, "k": 16, "c": 16, "p": 8, "q": 16}
    given = {"N_t0_y": {"steps": steps, "order": ["p", "k", "c"], "slots": 1}}
    try:
        artifact = dnncc.compile(layers([(32, 32, 1, 1)], 16), target, mapping=given)
    except CompileError:
        pytest.skip("the tile is larger than the target's memories")
    (node,) = (n for n in artifact.graph.nodes if n.op == "group")
    load = workload(node, artifact.graph, artifact.target)
    problem = Problem(load, artifact.graph, artifact.target, node.attrs["free"])
    chosen = Mapping.from_attr(node.attrs["mapping"])
    columns = {v: np.array([s]) for v, s in chosen.steps.items()}
    choice = Choice(chosen.order, chosen.resident, 1, chosen.slots)
    zero = np.zeros(1, np.int64)
    pool = Pool(zero, zero, zero, None, columns)  # type: ignore[arg-type]
    priced = outside_energy(problem, [choice], pool) + array_energy(problem, columns)
    found = InferenceSession(artifact.image).profile.report
    assert priced[0] == pytest.approx(found["energy"]["total"], rel=1e-9)


def test_the_goal_is_noted_in_the_binary() -> None:
    made = {
        g: dnncc.compile(small_network(), "eyeriss-like", opt_for=g) for g in ("latency", "edp")
    }
    assert {g: a.image.options.get("goal") for g, a in made.items()} == {
        "latency": None, "edp": "edp"
    }  # fmt: skip
