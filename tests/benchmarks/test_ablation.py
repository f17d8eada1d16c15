"""The tables of bounds and of ablations have what they say they have."""

from pathlib import Path

import pytest

from benchmarks import ablation, bounds, convolutions, rings
from benchmarks.bounds import Case
from tests.models import find_model


@pytest.fixture
def case() -> Case:
    return Case("net", str(find_model("mlperf_tiny_kws_dscnn_int8")), "tpu-like", 1.3)


def test_without_a_pass_it_takes_longer(case: Case) -> None:
    """Though what place_buffers does not keep on chip, keep_parts does where tiles leave room."""
    whole, without = ablation.measured(case, ["place_buffers"])
    assert (whole.without, without.without) == ("", "place_buffers")
    assert without.cycles > whole.cycles and without.dram >= whole.dram
    assert ablation.line(without, whole).startswith("place_buffers ")
    assert {"fuse", "reorder_ops", "place_buffers"} <= {*ablation.optional()}


def test_a_row_of_bounds(case: Case) -> None:
    row = bounds.measure(case, {"level": "1"})
    assert row.cycles >= row.bound >= max(row.array, row.links)
    assert row.dram >= row.compulsory and row.layered >= row.bound
    assert bounds.line(row).startswith("net ")


def test_networks_are_found_by_name_or_file(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    found = list(bounds.cases(f"resnet8,{case.path}", ["tpu-like"], Path("unused")))
    assert [c.target for c in found] == ["tpu-like"] * len(found)
    assert found[-1].path == case.path and found[-1].network == "model"


def test_alexnet_has_two_groups() -> None:
    model = convolutions.alexnet_model()
    groups = [a.i for n in model.graph.node for a in n.attribute if a.name == "group"]
    assert groups == [1, 2, 1, 2, 2]
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][0] == 4


def test_a_row_of_rings(case: Case) -> None:
    """Where there is none, nothing is another."""
    shares = rings.line(case, "latency").split()
    assert shares[:2] == ["net", "tpu-like"] and len(shares) == 6
    assert shares[2] != "0" or shares[3:] == ["1.000"] * 3
