"""Zeros in real data: counted as NumPy counts them, whatever the tiling."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnncc
from benchmarks.validate.networks import INPUT, WEIGHT_SCALE, Network
from dnncc.runtime import InferenceSession, RunError, cli, load
from dnncc.targets import coding

CHANNELS, FILTERS, SIDE = 8, 16, 48
SMALL = """
extends = "eyeriss-like"
name = "small"
[[memory]]
name = "glb"
bytes = 20736
"""


def sparse(rng: np.random.Generator, *shape: int) -> Any:
    values = rng.integers(-128, 128, shape, np.int8)
    return values * (rng.random(shape) < 0.3)


def session(folder: Path, layers: int, target: str = SMALL) -> InferenceSession:
    """Convolutions whose results, which are scaled down, are mostly zero."""
    net, x, channels = Network(), INPUT, CHANNELS
    net.constants[WEIGHT_SCALE] = np.asarray(np.float32(2e-5))
    for _ in range(layers):
        x, channels = net.conv(x, channels, FILTERS, 3), FILTERS
    model = net.model((1, CHANNELS, SIDE, SIDE), x, (1, FILTERS, SIDE, SIDE))
    path = folder / "small.toml"
    path.write_text(target)
    return load(dnncc.compile(model, str(path)).image)


def zero_products(x: Any, filters: int) -> int:
    """Of a 3x3 convolution that is padded by 1, over the batch."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return int((windows == 0).sum()) * filters


@pytest.mark.parametrize("batch", [1, 3])
def test_gated_macs_are_those_of_zeros(tmp_path: Path, batch: int) -> None:
    ran = session(tmp_path, 1)
    x = sparse(np.random.default_rng(batch), batch, CHANNELS, SIDE, SIDE)
    (y,) = ran.run(None, {INPUT: x}, count_zeros=True)
    assert np.array_equal(y, ran.run(None, {INPUT: x})[0])
    zeros = ran.report_with_zeros()["zeros"]
    plain = ran.profile.report
    expected = zero_products(x, FILTERS) / batch
    assert zeros["gated_macs"] == pytest.approx(expected, abs=len(ran.instructions))
    assert batch > 1 or zeros["gated_macs"] == expected
    saved = {k: plain["accesses"][k] - zeros["accesses"][k] for k in ("mac", "rf", "noc", "glb")}
    gated = zeros["gated_macs"]
    assert saved == {"mac": gated, "rf": gated, "noc": 0, "glb": 0}


def test_feature_maps_are_coded(tmp_path: Path) -> None:
    ran = session(tmp_path, 2)
    x = sparse(np.random.default_rng(0), 1, CHANNELS, SIDE, SIDE)
    ran.run(None, {INPUT: x}, count_zeros=True)
    counted, zeros = ran.report_with_zeros(), ran.report_with_zeros()["zeros"]
    plain = ran.profile.report
    assert zeros["dram_written_bytes"] < plain["dram_written_bytes"]
    assert zeros["dram_read_bytes"] < plain["dram_read_bytes"]
    assert zeros["energy"]["total"] < plain["energy"]["total"]
    assert counted["cycles"] == plain["cycles"]
    rows = [row["zeros"] for row in counted["layers"]]
    assert len(rows) == len(plain["layers"])
    for name in ("gated_macs", "dram_read_bytes", "dram_written_bytes", "dram_bus_bytes"):
        assert sum(row[name] for row in rows) == zeros[name]


def test_a_map_that_is_written_whole_takes_its_code(tmp_path: Path) -> None:
    ran = session(tmp_path, 1, 'extends = "eyeriss-like"\nname = "large"')
    x = sparse(np.random.default_rng(1), 1, CHANNELS, SIDE, SIDE)
    (y,) = ran.run(None, {INPUT: x}, count_zeros=True)
    written = ran.report_with_zeros()["zeros"]["dram_written_bytes"]
    whole = int(coding.rlc_bytes(y.reshape(1, -1), 0, 8)[0])
    assert whole <= written <= 1.2 * whole  # a block of the map ends in the middle of a word


def test_targets_without_gates_or_code(tmp_path: Path) -> None:
    ran = session(tmp_path, 1, 'extends = "gemmini-like"\nname = "plain"')
    ran.run(None, {INPUT: np.zeros((1, CHANNELS, SIDE, SIDE), np.int8)}, count_zeros=True)
    zeros, plain = ran.report_with_zeros()["zeros"], ran.profile.report
    assert zeros == {"gated_macs": 0} | {k: plain[k] for k in zeros if k != "gated_macs"}


def test_zeros_that_nobody_counted(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="count_zeros"):
        session(tmp_path, 1).report_with_zeros()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2]
    binary, report = tmp_path / "m.elf", tmp_path / "r.json"
    dnncc.compile(root / "examples" / "resnet8" / "model.onnx").save(binary)
    options = ["--random", "0", "--count-zeros", "--sanitize", "--report", str(report)]
    assert cli.main([str(binary), *options]) == 0
    out = capsys.readouterr().out
    assert "MACs gated" in out
    zeros = json.loads(report.read_text())["zeros"]
    assert 0 < zeros["gated_macs"] < json.loads(report.read_text())["macs"]
