"""Mappings as annotated loop nests: one golden text per dataflow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnncc
from dnncc.cli import main
from dnncc.targets import dataflow, load
from tests.compiler.networks import small_network

FLOWS = {
    "row_stationary": "eyeriss-like",
    "weight_stationary": "gemmini-like",
    "output_systolic": "gemmini-like-os",
    "output_stationary": "shidiannao-like",
    "no_local_reuse": "nvdla-like-small",
}


@pytest.mark.parametrize("flow", FLOWS)
def test_mapping_prints_as_a_loop_nest(flow: str, golden: Callable[[str], None]) -> None:
    assert load(FLOWS[flow]).dataflow == flow
    given: Any = {"N_b_y": {"steps": {"k": 8, "p": 5}, "order": ["k", "p"]}}
    golden(dnncc.compile(small_network(), FLOWS[flow], mapping=given).mapping_text())


def test_the_command_prints_it(tmp_path: Path, capsys: Any) -> None:
    import onnx

    onnx.save(small_network(), tmp_path / "net.onnx")
    assert main([str(tmp_path / "net.onnx"), "--emit", "mapping", "-q"]) == 0
    assert capsys.readouterr().out == dnncc.compile(tmp_path / "net.onnx").mapping_text()


@pytest.mark.parametrize("target", FLOWS.values())
def test_the_loops_do_every_mac(target: str) -> None:
    """Trips of all loops multiply to the MACs, where everything divides."""
    machine = load(target)
    model = dataflow.model(machine)
    sizes = dict(k=16, c=8, p=4, q=4, r=3, s=3)
    for more in ({}, {"n": 2}, {"g": 4, "k": 1, "c": 1}):
        work = dataflow.Work.of(**(sizes | more))
        params = model.choose(machine, work)
        loops = model.loops(machine, work, params)
        trips = [-(-loop.extent // loop.step) for loop in loops]
        # blocks that are evened out may have edges
        assert int(np.prod(trips)) >= int(work.macs())
        assert int(np.prod([t for t, loop in zip(trips, loops, strict=True)
                            if loop.kind == "par"])) == int(
            model.active_pes(machine, work, params)
        )  # fmt: skip
