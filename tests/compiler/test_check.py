"""Each seeded fault is found, in the pass it was planted in; and nothing is found where is none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dnncc import targets
from dnncc.check import Checking, WrongValue, watchers
from dnncc.debug.verifying import BrokenProgram
from dnncc.driver import compile_model
from dnncc.ir.graph import Graph, Quant
from dnncc.options import Options
from dnncc.passes.pipeline import PIPELINE, Pass
from tests.compiler import faults
from tests.compiler.networks import small_network
from tests.e2e.quantised import Recipe, quantised
from tests.e2e.running import saved
from tests.models import QUANTISED, find_model

APART = tuple(step for step in PIPELINE if step.name != "attach_lanes")
SMALL_TILES = faults.planted("choose_mapping", faults.mapped, APART)
"""The pipeline that faults are planted in; pools have nests of their own."""

ODD = str(Path(__file__).parents[1] / "targets" / "odd-13x7.toml")


def check(model: Any, pipeline: Sequence[Pass] = PIPELINE, target: str = ODD) -> Checking:
    options = Options(target=target, verify=False)
    watching = watchers("random:7", targets.load(target))
    compile_model(model, options, watching, pipeline)
    checking = watching[0]
    assert isinstance(checking, Checking)
    return checking


VALUES: dict[str, tuple[str, faults.Change, str]] = {
    "wrong clamp": ("legalize", faults.on_node("conv2d", faults.with_attrs(low=-128)), "N_a"),
    "wrong scale": (
        "legalize",
        faults.on_tensor("b", quant=Quant.per_tensor(0.36, 3)),
        "N_b",
    ),
    "slice from elsewhere": (
        "legalize",
        faults.on_node("slice", faults.with_attrs(starts=(0, 5, 0, 0), stops=(1, 13, 8, 7))),
        "N_d",
    ),
    "weights spoilt": (
        "fuse",
        faults.on_constant("w3", lambda w: np.where(w == w.max(), w.max() - 1, w).astype(w.dtype)),
        "N_e",
    ),
    "wrong view offset": ("assign_layout", faults.on_view("d", -56), "N_d"),
    "bad rounding of scales": (
        "pack_parameters",
        faults.on_constant("a.params", faults.truncated),
        "N_a",
    ),
    "wrong stride in a lowering": (
        "tile_loops",
        faults.on_step(
            "N_a",
            faults.computes("tensor"),
            faults.with_operand(
                "ifmap", faults.with_dim(2, lambda d: replace(d, terms=(("p", 1),)))
            ),
        ),
        "N_a",
    ),
    "halo too small by one": (
        "tile_loops",
        faults.on_step(
            "N_b",
            faults.computes("tensor"),
            faults.with_operand("ifmap", faults.with_dim(2, lambda d: replace(d, offset=0))),
        ),
        "N_b",
    ),
    "wrong zero point in padding": (
        "tile_loops",
        faults.on_step(
            "N_b",
            faults.computes("tensor"),
            lambda s: replace(s, attrs={**s.attrs, "ifmap_zero": 2}),
        ),
        "N_b",
    ),
    "sums begin anew": (
        "tile_loops",
        faults.on_step("N_b", faults.computes("tensor"), lambda s: replace(s, accumulate=())),
        "N_b",
    ),
    "other rounding mode": (
        "tile_loops",
        faults.on_step(
            "N_a",
            faults.computes("requantize"),
            lambda s: replace(s, attrs={**s.attrs, "zero": 4}),
        ),
        "N_a",
    ),
    "swapped slots": (
        "tile_loops",
        faults.on_step(
            "N_b",
            faults.computes("tensor"),
            faults.with_operand("weight", lambda o: replace(o, slots=("k",))),
        ),
        "N_b",
    ),
    "dropped load": (
        "tile_loops",
        faults.on_step("N_e", faults.loads("w3"), lambda s: None),
        "N_e",
    ),
    "dropped store": (
        "tile_loops",
        faults.on_step("N_y", faults.stores("y"), lambda s: None),
        "N_y",
    ),
    "resident address": ("allocate", faults.on_address("e", -256), "N_"),
    "wrong field": ("emit", faults.on_records("requantize", low=-128), "N_a"),
}
"""Faults that only the values tell: the pass, the fault, and how the node's name begins."""


def reordered(graph: Graph) -> Graph:
    return replace(graph, nodes=(graph.nodes[1], graph.nodes[0], *graph.nodes[2:]))


RULES: dict[str, tuple[str, faults.Change, str]] = {
    "a reordering across a dependency": ("reorder_ops", reordered, "reads 'a' before"),
    "a stale origin": (
        "fuse",
        faults.on_node("group", lambda n: replace(n, loc=("N_e", "N_e_y"))),
        "'a' is computed by node 'N_a', not by 'N_e \\+ N_e_y'",
    ),
    "an unknown origin": (
        "legalize",
        faults.on_node("slice", lambda n: replace(n, loc=("D",))),
        "node 'D' is not one of the model",
    ),
    "a nest of another node": (
        "tile_loops",
        faults.on_nest("N_e", lambda n: replace(n, loc=("N_d",))),
        "the nest of node 'N_e_y \\+ N_e' says 'N_d'",
    ),
    "wrong shape": (
        "legalize",
        faults.on_node("conv2d", faults.with_attrs(strides=(1, 2))),
        "node 'N_a_y': conv2d gives",
    ),
    "view out of its root": ("assign_layout", faults.on_view("d", 600), "which has 896"),
    "a loop that ends early": (
        "tile_loops",
        faults.on_nest("N_y", lambda n: replace(n, body=(replace(n.body[0], extent=6),))),
        "N_y",
    ),
    "overlapping buffers": (
        "allocate",
        faults.on_nest(
            "N_a", lambda n: replace(n, buffers=tuple(replace(b, address=0) for b in n.buffers))
        ),
        "N_a",
    ),
    "dropped waits": ("synchronize", faults.without_waits, "race: instruction .*'N_"),
}
"""Faults that break a rule of the level: the pass, the fault, and what is said."""


@pytest.mark.parametrize("fault", VALUES)
def test_changed_values_are_found(fault: str) -> None:
    step, change, node = VALUES[fault]
    with pytest.raises((WrongValue, BrokenProgram)) as caught:
        check(small_network(), faults.planted(step, change, SMALL_TILES))
    assert getattr(caught.value, "step", None) == step
    assert f"node '{node}" in str(caught.value)


@pytest.mark.parametrize("fault", RULES)
def test_broken_rules_are_found(fault: str) -> None:
    step, change, message = RULES[fault]
    with pytest.raises(BrokenProgram, match=message) as caught:
        check(small_network(), faults.planted(step, change, SMALL_TILES))
    assert caught.value.step == step


def test_the_report_names_the_worst_element() -> None:
    step, change, _ = VALUES["other rounding mode"]
    with pytest.raises(WrongValue) as caught:
        check(small_network(), faults.planted(step, change, SMALL_TILES))
    found = caught.value.mismatch
    assert found.node == ("N_a_y", "N_a_r", "N_a") and found.tensor == "a"
    assert found.got == found.expected + 1 and found.count <= found.size == 896
    assert len(found.index) == 4


@pytest.mark.parametrize("target", [ODD, "eyeriss-like", "tpu-like"])
def test_nothing_is_found_where_nothing_is_wrong(target: str) -> None:
    checking = check(small_network(), target=target)
    assert set(checking.tallies) == {step.name for step in PIPELINE}
    assert all(tally.tensors for tally in checking.tallies.values())
    assert sum(tally.rounded for tally in checking.tallies.values()) < 10


SLOW = ("coral_mobilenet_v1_025_128_int8", "coral_mobilenet_v2_224_int8", "mcunet_vww_int8")


@pytest.mark.parametrize("target", ["eyeriss-like", "tpu-like"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in QUANTISED],
)
def test_no_false_alarm_on_models(name: str, target: str) -> None:
    checking = check(find_model(name), target=target)
    assert sum(tally.rounded for tally in checking.tallies.values()) <= 100


FORMS = (
    Recipe("QUInt8", "QInt8"),
    Recipe("QUInt8", "QUInt8", per_channel=False, symmetric=False),
    Recipe("QInt8", "QInt8", "QDQ"),
)


@pytest.mark.parametrize("recipe", FORMS, ids=str)
def test_no_false_alarm_on_other_forms(recipe: Recipe) -> None:
    checking = check(quantised("mlperf_tiny_kws_dscnn_int8", recipe), target="tpu-like")
    assert sum(tally.rounded for tally in checking.tallies.values()) <= 20


@pytest.mark.parametrize("target", ["eyeriss-like", "tpu-like"])
@pytest.mark.parametrize("name", ["deeploy_autoencoder1d", "mnist_cntk_opset8"])
def test_no_false_alarm_on_float_models(name: str, target: str) -> None:
    """Calibrated with what lies beside them. A convolution in one dimension is one in two, and a
    reshape of what no other pass knows: it may round as the convolution may."""
    pytest.importorskip("onnxruntime")
    source = str(find_model(name))
    asked = Options(target=target, calibrate=saved(name)[0])
    watching = watchers("random:0", targets.load(target))
    compile_model(source, replace(asked, verify=False), watching, PIPELINE)
    checking = watching[0]
    assert isinstance(checking, Checking)
    assert sum(tally.rounded for tally in checking.tallies.values()) <= 20
