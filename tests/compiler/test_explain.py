"""dnncc-explain says what compiling and simulating each change gives, and nothing else."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

import dnncc
from dnncc import explain, targets
from dnncc.explain import main
from dnncc.explanation import described
from dnncc.mapping.alternatives import channels
from dnncc.mapping.lowering import workload
from dnncc.options import Options
from dnncc.runtime import InferenceSession
from dnncc.variants import variants
from tests.compiler.mapping.test_bound import layers
from tests.compiler.networks import small_network

TARGET = "gemmini-like"
NODE = "N_b_y"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "small.onnx"
    onnx.save(small_network(), path)
    return path


@pytest.fixture(scope="module")
def found(model: Path) -> dict[str, Any]:
    return explain.explain(str(model), Options(target=TARGET), NODE)


def cycles(model: Path, target: str, **options: Any) -> int:
    return InferenceSession(dnncc.compile(model, target, **options).image).profile.cycles


def test_the_run_is_that_of_the_binary(found: dict[str, Any], model: Path) -> None:
    assert found["cycles"] == cycles(model, TARGET)
    assert found["cycles"] == sum(row["cycles"] for row in found["layers"])
    assert sum(found["gap"].values()) == found["cycles"] - found["bound"]["cycles"]


def test_other_mappings_are_simulated(found: dict[str, Any], model: Path) -> None:
    rows = {row["change"]: row for row in found["node"]["alternatives"]}
    assert len(rows) >= 4 and any("refused" not in row for row in rows.values())
    single = rows["one slot in each buffer"] if "one slot in each buffer" in rows else None
    if single and "refused" not in single:
        assert single["cycles"] == cycles(model, TARGET, mapping={NODE: {"slots": 1}})
    name, row = next((n, r) for n, r in rows.items() if n.startswith("tiles of") and "cycles" in r)
    size, var = int(name.split()[2]), name.split()[4].rstrip(",")
    assert row["cycles"] == cycles(model, TARGET, mapping={NODE: {"steps": {var: size}}})


def test_changes_of_hardware_are_compiled(
    found: dict[str, Any], model: Path, tmp_path: Path
) -> None:
    rows = {row["change"]: row for row in found["hardware"]}
    assert set(rows) == {name for name, _ in variants(targets.load(TARGET))}
    path = tmp_path / "lanes.toml"
    path.write_text('name = "wide"\nextends = "gemmini-like"\n[vector]\nlanes = 32\n')
    assert rows["vector lanes x2"]["cycles"] == cycles(model, str(path))
    assert rows["DRAM bandwidth x2"]["cycles"] <= found["cycles"]


@pytest.mark.parametrize("name", targets.names())
def test_every_variant_is_a_target(name: str) -> None:
    target = targets.load(name)
    for _, changed in variants(target):
        assert targets.loads(changed.dumps()) == changed != target


def test_rounder_channels() -> None:
    """On 16 columns 17 filters take two folds, as 32 do, and 16 take one."""
    artifact = dnncc.compile(layers([(17, 16, 1, 1)], 8), TARGET)
    load = workload(artifact.graph.nodes[0], artifact.graph, artifact.target)
    known = {c.count: c.cycles for c in channels(load, artifact.target) if c.var == "k"}
    assert next(iter(known)) == 17
    assert known[32] <= known[17] + 15 and known[16] < 0.75 * known[17]


def test_as_text(found: dict[str, Any]) -> None:
    text = described(found)
    for part in ("at least", "other mappings", "output channels", "with", "conv2d", "energy"):
        assert part in text
    whole = described({k: v for k, v in found.items() if k != "node"})
    assert len(whole.splitlines()) >= len(found["layers"]) + 8


def test_the_command(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(model), "--target", TARGET, "--no-changes"]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["target"] == TARGET
    assert main([*arguments, "--node", "nothing"]) == 1
    assert "no loop nest of that name" in capsys.readouterr().err
    assert main([*arguments, "--node", "N_"]) == 1
    assert "it is in " in capsys.readouterr().err
    assert main(["nowhere.onnx"]) == 1
