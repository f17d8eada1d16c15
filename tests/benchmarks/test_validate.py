"""The models keep the tolerances that they keep, beside published figures."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.validate import __main__ as command
from benchmarks.validate import arrays, eyeriss_isca16, eyeriss_jssc17, gemmini, nvdla, tpu, vgg16
from benchmarks.validate.figures import Chapter, Figure, Table, aligned
from benchmarks.validate.layers import vgg16 as vgg16_layers
from dnncc.targets import load

ROOT = Path(__file__).parents[2]


def test_a_figure_misses_what_it_must_not() -> None:
    assert not Figure("", 15.46, 15.5, 0).misses
    assert Figure("", 15.44, 15.5, 0).misses
    assert not Figure("", 106.9, 100, 0.07).misses
    assert Figure("", 108, 100, 0.07).misses
    assert not Figure("", 108, 100).misses
    assert not Figure("", 108).misses


def test_misses_are_printed_with_their_reason() -> None:
    table = Table("t", (Figure("a", 2, 1, 0.1, reason="why"), Figure("b", 1, 1, 0.1, reason="no")))
    text = Chapter("c", "s", (table,)).text()
    assert "MISS" in text and "a: why" in text and "b: no" not in text


def test_columns_are_aligned() -> None:
    lines = list(aligned([("", "x"), ("long name", "1")]))
    assert len(set(map(len, lines))) == 1


def test_eyeriss_misses_only_what_is_known() -> None:
    known = [miss for miss in eyeriss_jssc17.chapter().misses if "do not count" not in miss]
    assert known == [
        "Total latency, ms: CONV5",
        "GLB traffic of ifmaps and psums, MB: CONV3",
    ]


def test_eyeriss_energy() -> None:
    """By the paper's words, then by readings that were settled otherwise after they had missed."""
    tables = {table.title: table.figures for table in eyeriss_isca16.chapter().tables}
    assert {name: [f.what for f in figures if f.misses] for name, figures in tables.items()} == {
        "ALU, 1e9 MACs": [],
        "RF, 1e9 MACs": [],
        "DRAM, 1e9 MACs": ["CONV1"],
        "DRAM by the least words of DRAM alone, 1e9 MACs": ["CONV1", "CONV2"],
        "DRAM if padding is not in ifmaps, 1e9 MACs": [f"CONV{i}" for i in range(1, 6)],
    }


@pytest.mark.parametrize("chapter", [arrays.diannao, arrays.shidiannao, arrays.systolic])
def test_closed_forms_of_other_papers(chapter: Callable[[], Chapter]) -> None:
    known = {"CLASS1", "CLASS3", "CONV3", "64 MACs"}
    assert all(miss.split(": ")[-1] in known for miss in chapter().misses)


def test_gemmini() -> None:
    tables = gemmini.chapter().tables
    assert [[figure.what for figure in t.figures if figure.misses] for t in tables] == [
        [],
        ["64 x 64 x 64"],
        ["64 x 64 x 64", "512 x 512 x 64"],
        ["64 x 64 x 64"],
        [],
    ]


@pytest.mark.parametrize(
    ("shape", "tile"),
    [((64, 64, 64), (4, 4, 4)), ((256, 256, 256), (5, 5, 16)), ((999, 64, 999), (6, 4, 51))],
)
def test_tiles_of_gemminis_library(shape: gemmini.Shape, tile: tuple[int, int, int]) -> None:
    assert gemmini.library_tile(load("gemmini-like"), shape) == tile


def test_tpu_is_bound_by_its_weights() -> None:
    figures = {f.what: f for f in tpu.mlp0().figures}
    assert figures["weights' DRAM busy, %"].ours > 90
    assert [name for name, figure in figures.items() if figure.misses] == [
        "waits for weights, %",
        "... or drains meanwhile, %",
        "TOPS of five further layers at 34 GB/s",
    ]


def test_another_network_of_the_tpu() -> None:
    """No constant of the target was looked for in MLP1's row."""
    misses = [figure.what for figure in tpu.mlp1().figures if figure.misses]
    assert misses == ["TOPS of four further layers", "weights shift in, %"]


def test_cnn0_is_busier_than_the_chip_or_waits_for_its_host() -> None:
    misses = [figure.what for figure in tpu.cnn0().figures if figure.misses]
    assert misses == ["TOPS, with the host's transfers", "array active in 14 further layers, %"]


def test_resnet50_on_the_largest_nvdla() -> None:
    assert not nvdla.chapter(nvdla.CONFIGURATIONS[:1]).misses


# VGG-16

LAYER = vgg16_layers(vgg16.BATCH)[-1:]


def mapping_file(folder: Path, lines: str) -> Path:
    path = folder / "m.toml"
    path.write_text(f"[CONV5_3]\n{lines}\n")
    return path


def test_vgg16_with_a_mapping_from_outside(tmp_path: Path) -> None:
    path = mapping_file(tmp_path, "m = 64\nn = 3\ne = 14\np = 16\nq = 4\nr = 1\nt = 2")
    row = next(line for line in vgg16.text(path, LAYER).splitlines() if "CONV5-3" in line)
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2:4] == ["1.39", "84"]  # 3 x 14 PEs, two sets of them
    assert cells[8:15] == ["64", "3", "14", "16", "4", "1", "2"]


def test_vgg16_says_what_the_memory_has_no_room_for(tmp_path: Path) -> None:
    path = mapping_file(tmp_path, "m = 512\nn = 3\ne = 14\np = 16\nq = 4\nr = 1\nt = 2")
    assert "banks of 25" in vgg16.text(path, LAYER)
    assert "banks of 25" not in vgg16.text(None, LAYER)


def test_vgg16_chooses_a_mapping_that_fits() -> None:
    assert "CONV5-3" in vgg16.text(None, LAYER)


@pytest.mark.parametrize(
    "lines,reason",
    [
        ("m = 1", "takes m, n, e"),
        ("m = 0\nn = 1\ne = 1\np = 1\nq = 1\nr = 1\nt = 1", "integers from 1"),
        ("m = 16\nn = 3\ne = 14\np = 25\nq = 1\nr = 1\nt = 1", "psums need"),
    ],
)
def test_vgg16_refuses_other_mappings(tmp_path: Path, lines: str, reason: str) -> None:
    with pytest.raises(vgg16.MappingError, match=reason):
        vgg16.text(mapping_file(tmp_path, lines), LAYER)


def test_vgg16_says_which_file_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.toml"
    assert command.main(["vgg16", "--mapping", str(path)]) == 1
    assert capsys.readouterr().err == f"error: {path}: No such file or directory\n"


def test_the_document_is_what_the_command_prints() -> None:
    """The slow chapters are not run again."""
    document = (ROOT / "docs" / "validation.md").read_text()
    assert document.startswith(command.PREFACE)
    quick = ("eyeriss_jssc17", "diannao", "shidiannao", "systolic")
    assert all(command.CHAPTERS[name]().text() in document for name in quick)
