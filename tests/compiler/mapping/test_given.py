"""Mappings that are given: taken as they are, completed, or refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

import dnncc
from dnncc.cli import main
from dnncc.codegen.stream import stream
from dnncc.diagnostics import CompileError
from dnncc.driver import Artifact
from dnncc.ir.text import parse_graph, print_graph, resources
from dnncc.ir.tile import Compute, Loop, Step, steps
from dnncc.ir.tile_text import parse_tile, print_tile
from dnncc.isa import elf
from tests.compiler.networks import small_network
from tests.models import find_model

TARGETS = ("eyeriss-like", "tpu-like", "nvdla-like-small")
ODD = str(Path(__file__).parents[2] / "targets" / "odd-13x7.toml")
CONV = "N_b_y"


def compiled(mapping: Any = None, target: str = "eyeriss-like", **options: Any) -> Artifact:
    return dnncc.compile(small_network(), target, mapping=mapping, **options)


def chosen(artifact: Artifact, node: str = CONV) -> dict[str, Any]:
    (group,) = (n for n in artifact.graph.nodes if n.op == "group" and node in n.loc)
    mapping: dict[str, Any] = group.attrs["mapping"]
    return mapping


def outputs(artifact: Artifact, path: Path) -> Any:
    artifact.save(path)
    x = np.random.default_rng(1).integers(-128, 128, (1, 8, 15, 14)).astype(np.int8)
    return dnncc.load(path).run(None, {"x": x})[0]


def model(name: str) -> ModelProto | Path:
    return small_network() if name == "small" else find_model(name)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["small", "mlperf_tiny_ic_resnet8_int8"])
def test_a_saved_mapping_makes_the_same_binary(name: str, target: str, tmp_path: Path) -> None:
    artifact = dnncc.compile(model(name), target)
    artifact.save_mapping(tmp_path / "m.toml")
    again = dnncc.compile(model(name), target, mapping=tmp_path / "m.toml")
    assert elf.write(again.image) == elf.write(artifact.image)
    again.save_mapping(tmp_path / "n.toml")
    assert (tmp_path / "n.toml").read_text() == (tmp_path / "m.toml").read_text()


def test_what_is_given_is_taken_and_the_rest_is_searched(tmp_path: Path) -> None:
    table = {"steps": {"k": 4, "c": 3}, "order": ["k", "c"], "whole": [], "slots": 1}
    forced, free = compiled({CONV: table}), compiled()
    mapping = chosen(forced)
    assert mapping["steps"] == {"n": 1, "g": 1, "k": 4, "c": 3, "p": 8, "q": 7}
    assert mapping["order"] == ("k", "c") and mapping["resident"] == ()
    assert set(mapping["slots"].values()) == {1}
    assert chosen(forced, "N_e_y") == chosen(free, "N_e_y")
    same = outputs(forced, tmp_path / "a.elf") == outputs(free, tmp_path / "b.elf")
    assert same.all()


def test_one_given_step_leaves_the_others_free() -> None:
    assert chosen(compiled({CONV: {"steps": {"p": 3}}}))["steps"]["p"] == 3


def loops(body: tuple[Loop | Step, ...]) -> list[str]:
    inner = [i for i in body if isinstance(i, Loop)]
    return [name for loop in inner for name in (loop.var, *loops(loop.body))]


def test_the_order_is_that_of_the_loops() -> None:
    given = {"steps": {"k": 8, "p": 4, "q": 3}, "order": ["q", "p", "k"], "slots": 2}
    tile = compiled({CONV: given}).tile
    (nest,) = (n for n in tile.nests if CONV in n.loc)
    assert loops(nest.body) == ["q", "p", "k"]


# Array parameters


def params(artifact: Artifact) -> Any:
    """The array parameters of the instructions of CONV, int64 [tiles, 6]."""
    made = stream(artifact.tile, artifact.target)
    nest = next(i for i, n in enumerate(artifact.tile.nests) if CONV in n.loc)
    records = [p.records for p in made.pieces if p.nest == nest and p.step == "tensor"]
    return np.stack([records[0][f"map{i}"] for i in range(6)], axis=-1)


def test_array_parameters_are_those_that_are_given(tmp_path: Path) -> None:
    array = dict(set_rows=3, filters=5, channels=2, sets_c=2, sets_k=2, images=1)
    forced = compiled({CONV: {"array": array, "steps": {"p": 3, "k": 7}}})
    assert len(params(forced)) == 3 * 3
    assert (params(forced) == [3, 5, 2, 2, 2, 1]).all()
    assert chosen(forced)["parameters"] == array
    same = outputs(forced, tmp_path / "a.elf") == outputs(compiled(), tmp_path / "b.elf")
    assert same.all()


def test_array_parameters_that_are_not_given_are_chosen() -> None:
    found = params(compiled({CONV: {"array": {"filters": 3}}}))
    assert (found[:, 1] == 3).all() and (found > 0).all()


def test_tiles_that_the_array_cannot_run_so_are_not_taken() -> None:
    """16 filters and 2 groups of them need 32 columns; the tiles of this node have one group."""
    with pytest.raises(CompileError, match="2 groups do not fit on 16 x 16 PEs"):
        compiled({CONV: {"array": {"packed": 2}}}, "gemmini-like")


def test_texts_keep_what_is_given() -> None:
    artifact = compiled({CONV: {"array": {"filters": 3}}})
    text = print_graph(artifact.graph)
    again = parse_graph(text, resources(artifact.graph), "g")
    assert print_graph(again) == text and "parameters = {filters = 3}" in text
    tile = parse_tile(print_tile(artifact.tile), resources(artifact.graph), "t")
    tensors = [s for n in tile.nests for s in steps(n.body) if isinstance(s, Compute)]
    assert [s.attrs["parameters"] for s in tensors if "parameters" in s.attrs] == [{"filters": 3}]


# Refusals

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown-key": ({"step": {}}, "step: unknown key; the keys are steps, order"),
    "not-a-table": ({"steps": [1]}, "steps: must be a table of numbers by name"),
    "not-a-number": ({"steps": {"k": "x"}}, "steps.k: must be a whole number, at least 1"),
    "unknown-loop": ({"steps": {"r": 1}}, "steps.r: no such loop; there are n, g, k, c, p, q"),
    "zero": ({"steps": {"k": 0}}, "steps.k: must be a whole number, at least 1"),
    "too-large": ({"steps": {"k": 17}}, "steps.k: 17 is not in 1..16"),
    "order-unknown": ({"order": ["x"]}, "order: no loop 'x'"),
    "order-twice": ({"order": ["k", "k"]}, "order: 'k' is in it twice"),
    "order-short": ({"order": [], "steps": {"k": 2}}, "order: loop 'k' is missing"),
    "reduction": ({"order": ["c", "k"]}, "order: sums must be innermost: c after all others"),
    "whole": ({"whole": ["psum"]}, "whole: no operand 'psum' to load; there are "),
    "slots": ({"slots": {"z": 1}}, "slots.z: no such buffer; there are "),
    "array": ({"array": {"packed": 1}}, "array.packed: no parameter of row_stationary; there are"),
    "array-large": ({"array": {"filters": 256}}, "array.filters: 256 is not in 1..255"),
    "array-illegal": ({"array": {"filters": 25}}, "psums need more than 24 words"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(case: str) -> None:
    table, reason = REFUSED[case]
    with pytest.raises(CompileError) as caught:
        compiled({CONV: table})
    message = str(caught.value)
    assert message.startswith(f"mapping: node '{CONV}': ") and "\n" not in message
    assert reason in message


def test_what_does_not_fit_names_the_memory_and_the_bytes() -> None:
    many = {"steps": {"k": 1, "p": 1}, "order": ["k", "p"], "slots": 200, "whole": []}
    with pytest.raises(CompileError, match=r"needs \d+ bytes of 'spad', which has \d+") as caught:
        compiled({"N_a_y": many}, ODD)
    assert "node 'N_a_y'" in str(caught.value)


@pytest.mark.parametrize(
    "name, reason",
    [("N_b_z", "no loop nest of that name; did you mean 'N_b_y'?"), ("q", "no loop nest of that")],
)
def test_unknown_nodes_are_refused(name: str, reason: str) -> None:
    with pytest.raises(CompileError, match=reason.replace("?", r"\?")):
        compiled({name: {}})


def test_two_names_of_one_nest_are_refused() -> None:
    with pytest.raises(CompileError, match="one loop nest with 'N_b_y'"):
        compiled({CONV: {}, "N_b": {}})


# Files and the command


@pytest.fixture
def network(tmp_path: Path) -> Path:
    onnx.save(small_network(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_words_of_the_command_go_before_the_file(network: Path, tmp_path: Path) -> None:
    file, saved = tmp_path / "m.toml", tmp_path / "s.toml"
    file.write_text(f'["{CONV}"]\nsteps = {{ k = 4, p = 2 }}\n')
    word = f"{CONV}: steps.k=8 order=p,k whole= array.filters=3"
    given = ["--mapping", file, "--mapping-node", word, "--save-mapping", saved, "-q"]
    assert main([str(a) for a in (network, "-o", tmp_path / "n.elf", *given)]) == 0
    table = dnncc.compile(network, mapping=saved)
    mapping = chosen(table)
    assert (mapping["steps"]["k"], mapping["steps"]["p"]) == (8, 2)
    assert mapping["parameters"] == {"filters": 3} and mapping["resident"] == ()
    assert elf.write(table.image) == (tmp_path / "n.elf").read_bytes()


@pytest.mark.parametrize(
    "text, reason",
    [
        ("a = ", "not TOML: "),
        ("a = 1", "node 'a': mapping: must be a table"),
        ("x" * 20_000, "a line is longer than 10000 characters"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("[N_q]\n", "node 'N_q': the model has no loop nest of that name"),
        ("[N_b_y]\nsteps = { k = 99 }\n", "node 'N_b_y': steps.k: 99 is not in 1..16"),
    ],
    ids=["syntax", "value", "line", "nesting", "node", "step"],
)
def test_a_bad_file_is_one_line(
    network: Path, tmp_path: Path, capsys: Any, text: str, reason: str
) -> None:
    file = tmp_path / "m.toml"
    file.write_text(text)
    assert main([str(network), "--mapping", str(file), "-o", str(tmp_path / "n.elf")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}: ") and reason in line
    assert not (tmp_path / "n.elf").exists()


@pytest.mark.parametrize("word", ["steps.k=1", "N_b_y: steps.k", "N_b_y: k=1", "N_b_y: steps=1"])
def test_bad_words_are_one_line(network: Path, capsys: Any, word: str) -> None:
    assert main([str(network), "--mapping-node", word]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
