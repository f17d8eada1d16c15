"""Reports: layers sum to totals, engines' cycles to all cycles, energy to counted accesses."""

import json
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dnncc.isa import image as images
from dnncc.runtime import InferenceSession, table

COUNTS = (
    "cycles", "macs", "dram_read_bytes", "dram_written_bytes", "dram_bus_bytes",
    "scratchpad_bytes", "instructions",
)  # fmt: skip


@pytest.fixture
def image(build: Any, symbol: Any) -> images.Image:
    """Two layers: a matrix product of 10 x 4 by 4 x 4, and a copy of its ifmap."""
    rows = [
        build.load(0, 0, 16),
        build.load(64, 64, 40),
        build.matmul(64, 0, 128, (10, 4, 4), after_load0=1),
        build.store(128, 256, 40, dram_dtype=4, spad_dtype=4, after_tensor=1),
        build.copy(64, 1024, 40, after_load0=1),
        build.store(1024, 512, 40, after_vector=1),
    ]
    node_of = np.array([0, 0, 0, 0, 1, 1, -1], np.int32)
    debug = images.Debug(("Conv_0 + Relu_1", "Copy_2"), ("step",), node_of, node_of * 0)
    symbols = [symbol("x", "input", "int8", (4, 10), 64)]
    found: images.Image = build.image(rows, symbols, rodata=bytes(64))
    return replace(found, debug=debug)


@pytest.fixture
def report(image: images.Image) -> dict[str, Any]:
    found: dict[str, Any] = InferenceSession(image).profile.report
    return found


def test_layers_sum_to_totals(report: dict[str, Any]) -> None:
    layers = report["layers"]
    assert [row["node"] for row in layers] == ["Conv_0 + Relu_1", "Copy_2", ""]
    for name in COUNTS:
        assert sum(row[name] for row in layers) == report[name]
    for level, count in report["accesses"].items():
        assert sum(row["accesses"][level] for row in layers) == count
    assert sum(row["energy"]["total"] for row in layers) == report["energy"]["total"]


def test_engines_add_up(report: dict[str, Any]) -> None:
    assert list(report["engines"]) == ["load0", "store0", "tensor", "vector"]
    for row in report["engines"].values():
        assert row["busy"] + sum(row["stalls"].values()) == report["cycles"]


def test_layers_have_their_engines_cycles(report: dict[str, Any]) -> None:
    for name, row in report["engines"].items():
        layers = [layer["engines"][name] for layer in report["layers"]]
        assert sum(layer["busy"] for layer in layers) == row["busy"]
        for cause, cycles in row["stalls"].items():
            if cause != "drained":
                assert sum(layer["stalls"][cause] for layer in layers) == cycles


def test_counts_by_hand(report: dict[str, Any]) -> None:
    assert report["macs"] == 10 * 4 * 4
    assert report["dram_read_bytes"] == 16 + 40
    assert report["dram_written_bytes"] == 40 * 4 + 40
    assert report["dram_bus_bytes"] == 256  # all whole bursts of 8
    assert report["accesses"]["dram"] == 256
    assert report["accesses"]["mac"] == 160
    assert report["energy"]["by_level"]["dram"] == 256 * 200
    # the copy: 40 in, 40 out; its store: 40
    assert report["layers"][1]["scratchpad_bytes"] == 120
    assert report["layers"][1]["op"] == "map"


def test_cycles_belong_to_whom_computes(report: dict[str, Any]) -> None:
    # loads: bytes 11..15, then 15..25. matmul and copy: 25..45 and 25..37. First store: 160
    # bytes, 45..85; the second's bytes follow, 85..95. The copy has of them only its store's: it
    # computes while the array does
    first, second, rest = (row["cycles"] for row in report["layers"])
    assert (first, second, rest) == (85, 10, 0)
    assert report["cycles"] == 95
    assert report["time_us"] == pytest.approx(0.95)
    assert report["utilisation"] == pytest.approx(160 / (95 * 16))


def test_a_report_is_json_with_a_schema(report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report)) == report
    assert report["schema"] == 1
    assert report["target"]["name"] == "tiny"
    assert (report["weight_bytes"], report["code_bytes"] % 8) == (64, 0)


def test_a_program_without_debug_map_is_one_layer(image: images.Image) -> None:
    report = InferenceSession(replace(image, debug=None)).profile.report
    assert [row["cycles"] for row in report["layers"]] == [report["cycles"]]


def test_table_and_summary(report: dict[str, Any]) -> None:
    lines = table.table(report).splitlines()
    assert lines[0].split()[:3] == ["layer", "steps", "cycles"]
    assert lines[1].startswith("Conv_0 +1  tensor")
    assert lines[-1].split()[:2] == ["total", "95"]
    assert max(map(len, lines)) <= 100
    assert "weight stationary, 16 PEs at 100 MHz" in table.summary(report)


def test_long_names_keep_their_ends() -> None:
    label = "MobilenetV2/expanded_conv_10/depthwise/Relu6;MobilenetV2/b + Add_3 + Relu_4"
    assert table.layer_name(label) == "…_conv_10/depthwise/Relu6 +2"
    assert len(table.layer_name(label)) <= table.WIDEST[0]


def test_names_cannot_drive_the_terminal(report: dict[str, Any]) -> None:
    report["layers"][0]["node"] = "a\x1b[31m[bold]"
    assert "a?[31m[bold]" in table.table(report)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (7, "7"), (999, "999"), (1000, "1k"), (12345, "12.3k"), (999_999, "1000k"),
        (0.5, "0.5"),
    ],
)  # fmt: skip
def test_short(value: float, text: str) -> None:
    assert table.short(value) == text
