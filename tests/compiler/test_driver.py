"""The dnncc command: which passes run, what is shown of them, stopping and going on."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import dnncc
from dnncc.cli import main
from dnncc.debug.observer import Observer
from dnncc.diagnostics import CompileError
from dnncc.driver import compile_model
from dnncc.levels import OMITTED
from dnncc.options import Options
from dnncc.passes.manual import markdown
from dnncc.passes.pipeline import PIPELINE, Pass, Program
from dnncc.runtime import load
from tests.compiler.networks import small_network
from tests.compiler.small import IMAGE, Sketch

ROOT = Path(__file__).parents[2]
NAMES = [step.name for step in PIPELINE]
OPTIONAL = [step.name for step in PIPELINE if step.instead]
NEEDED = [step.name for step in PIPELINE if not step.instead]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(small_network(), path)
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    sketch = Sketch()
    path = tmp_path / "tiny.onnx"
    onnx.save(sketch.model({"x": IMAGE}, [sketch.conv("x", "y")]), path)
    return path


def dnncc_(*arguments: object) -> int:
    return main(list(map(str, arguments)))


@pytest.fixture
def dumps(model: Path, tmp_path: Path) -> Path:
    assert dnncc_(model, "-q", "-o", tmp_path / "whole.elf", "--dump-dir", tmp_path / "d") == 0
    return tmp_path / "d"


def test_a_dump_per_pass_is_numbered(dumps: Path) -> None:
    files = sorted(p.name for p in dumps.iterdir())
    assert files[:-1] == [
        f"{i:03}-{name}{'.s' if name in ('emit', 'synchronize') else '.mlir'}"
        for i, name in enumerate(["import", *NAMES])
    ]
    assert files[-1] == "constants.npz"


def test_any_dump_goes_on_to_the_same_binary(dumps: Path, tmp_path: Path) -> None:
    for file, step in zip(sorted(dumps.glob("*.mlir")), PIPELINE, strict=False):
        assert dnncc_("--start-from", step.name, file, "-q", "-o", tmp_path / "again.elf") == 0
        again = (tmp_path / "again.elf").read_bytes()
        assert again == (tmp_path / "whole.elf").read_bytes(), step.name


def test_the_same_input_makes_the_same_dumps(model: Path, dumps: Path, tmp_path: Path) -> None:
    assert dnncc_(model, "-q", "-o", tmp_path / "b.elf", "--dump-dir", tmp_path / "e") == 0
    for file in dumps.iterdir():
        assert file.read_bytes() == (tmp_path / "e" / file.name).read_bytes(), file.name


def test_mlir_tools_read_every_dump(dumps: Path) -> None:
    tool = shutil.which("xdsl-opt")
    if tool is None:
        pytest.skip("xdsl-opt is not installed")
    for file in dumps.glob("*.mlir"):
        subprocess.run(
            [tool, "--allow-unregistered-dialect", file], check=True, capture_output=True
        )


@pytest.mark.parametrize("name", ["import", "legalize", "tile_loops", "synchronize"])
def test_stop_after_writes_what_the_dump_has(
    name: str, model: Path, dumps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert dnncc_(model, "--stop-after", name) == 0
    (file,) = dumps.glob(f"*-{name}.*")
    assert capsys.readouterr().out == file.read_text()


def test_a_stopped_program_is_written_with_its_constants(model: Path, tmp_path: Path) -> None:
    part, whole, ref = (tmp_path / n for n in ("part.mlir", "whole.elf", "ref.elf"))
    assert dnncc_(model, "--stop-after", "fuse", "-o", part) == 0
    assert dnncc_("--start-from", "partition", part, "-q", "-o", whole) == 0
    assert dnncc_(model, "-q", "-o", ref) == 0
    assert whole.read_bytes() == ref.read_bytes()


def test_print_after_and_before(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dnncc_(model, "-q", "-o", "-", "--emit", "graph", "--print-after", "all") == 0
    heads = re.findall(r"^(?:;|//) ----- (.*) -----$", capsys.readouterr().err, re.MULTILINE)
    assert heads == [f"after {name}" for name in ["import", *NAMES]]
    assert dnncc_(model, "-q", "--stop-after", "fuse", "--print-before", "fuse,legalize") == 0
    heads = re.findall(r"^// ----- (.*) -----$", capsys.readouterr().err, re.MULTILINE)
    assert heads == ["before legalize", "before fuse"]


def test_print_changed_shows_a_diff(
    tiny: Path, capsys: pytest.CaptureFixture[str], golden: Callable[[str], None]
) -> None:
    assert dnncc_(tiny, "--stop-after", "place_buffers", "--print-changed") == 0
    err = capsys.readouterr().err
    assert "changed by fuse" in err and "changed by reorder_ops" not in err
    golden(err)


def test_filter_keeps_one_node(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--print-after", "legalize,tile_loops,synchronize", "--filter", "N_e_y"]
    arguments += ["--disable-pass", "attach_lanes"]  # or the pool would be in its nest
    assert dnncc_(model, "-q", "--stop-after", "synchronize", "-o", "/dev/null", *arguments) == 0
    err = capsys.readouterr().err
    graph, tile, stream = re.split(r"^(?:;|//) -----.*\n", err, flags=re.MULTILINE)[1:]
    assert graph.count("dnncc.conv2d") == 1 and 'loc(fused["N_e_y", "N_e"])' in graph
    assert tile.count("dnncc.nest") == 1 and "dnncc.pool" not in tile
    assert stream and all("N_e_y" in line for line in stream.splitlines())


def test_time_passes(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dnncc_(model, "-q", "--stop-after", "emit", "-o", "/dev/null", "--time-passes=json") == 0
    total = json.loads(capsys.readouterr().err)
    levels = [span["name"] for span in total["children"]]
    assert levels == ["graph", "tile", "stream"]
    passes = [s["name"] for s in total["children"][0]["children"] if " " not in s["name"]]
    assert passes == ["import", *NAMES[: NAMES.index("tile_loops")]]
    assert total["seconds"] >= sum(s["seconds"] for s in total["children"])
    assert total["peak_bytes"] > 10_000_000
    assert dnncc_("--time-passes", model, "-q", "--stop-after", "emit", "-o", "/dev/null") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].endswith("total") and "choose_mapping" in "".join(lines)


def test_list_passes_says_what_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    assert dnncc_("--list-passes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"^\w+ +\*? *(\w+) .*", r"\1", line) for line in lines] == NAMES
    assert all(re.search(r"After it, \S", line) and len(line) <= 120 for line in lines)


def outputs(options: Options, feeds: dict[str, Any]) -> Any:
    session = load(compile_model(small_network(), options).image)
    first = session.run(None, feeds)
    np.testing.assert_array_equal(first[0], session.run(None, feeds, "random:3")[0])
    return first[0]


@pytest.mark.parametrize("target", ["eyeriss-like", "tpu-like"])
def test_without_any_optional_pass_the_values_are_the_same(target: str) -> None:
    rng = np.random.default_rng(1)
    feeds = {"x": rng.integers(-128, 128, (1, 8, 15, 14)).astype(np.int8)}
    expected = outputs(Options(target), feeds)
    for name in OPTIONAL:
        got = outputs(Options(target, disabled=(name,)), feeds)
        distance = np.abs(got.astype(int) - expected)  # in floats, ties may go the other way
        assert distance.max() <= (name == "legalize"), name
    for level in range(len(OMITTED)):
        np.testing.assert_array_equal(outputs(Options(target, level=level), feeds), expected)


@pytest.mark.parametrize("name", NEEDED)
def test_needed_passes_are_not_left_out(
    name: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dnncc_(model, "--disable-pass", name) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {model}: pass '{name}' cannot be left out: ")
    assert err.count("\n") == 1


def test_bisect_limit_runs_the_first_passes(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dnncc_(model, "-q", "-o", tmp_path / "a.elf", "--opt-bisect-limit", 3) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[2:4] == [
        "BISECT: running pass (3) canonicalize",
        "BISECT: NOT running pass (4) legalize",
    ]
    assert len(lines) == len(OPTIONAL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--print-after", "polish"], "there is no pass 'polish'; the passes are fold_constants, "),
        (["--disable-pass", "polish"], "there is no pass 'polish'"),
        (["--stop-after", "polish"], "there is no pass 'polish'"),
        (["--print-after", "all", "--filter", "N_x"], "--filter N_x: no node is called so; there"),
        (["--budget", "0"], "the budget of 0 s is used up in what comes before"),
    ],
)
def test_wrong_options_are_refused(
    arguments: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dnncc_(model, *arguments, "-o", "/dev/null") == 1
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1


def test_the_budget_is_checked_for_every_group(model: Path) -> None:
    class Late(Observer):
        def before(self, step: Pass, program: Program | None) -> None:
            if step.name == "choose_mapping":
                time.sleep(1.0)

    with pytest.raises(
        CompileError, match="budget of 0.9 s is used up in choose_mapping"
    ) as caught:
        compile_model(model, Options(budget=0.9), [Late()])
    assert caught.value.node == "N_a_y, N_a_r, N_a"


def test_a_dump_of_another_level_is_refused(
    dumps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tile,) = dumps.glob("*-allocate.mlir")
    (assembly,) = dumps.glob("*-emit.s")
    capsys.readouterr()
    assert dnncc_("--start-from", "fuse", tile) == 1
    assert capsys.readouterr().err == (
        f"error: {tile}: pass 'fuse' takes a graph program, and this is a tile\n"
    )
    assert dnncc_("--start-from", "synchronize", assembly) == 1
    assert "dnncc-as takes assembly" in capsys.readouterr().err
    (dumps / "constants.npz").unlink()
    assert dnncc_("--start-from", "emit", tile) == 1
    assert "there is no constant" in capsys.readouterr().err


def test_dot(
    model: Path, capsys: pytest.CaptureFixture[str], golden: Callable[[str], None]
) -> None:
    assert dnncc_(model, "-q", "--emit", "dot", "-o", "-") == 0
    golden(capsys.readouterr().out)


def test_observers_see_every_step_in_order(model: Path) -> None:
    class Seeing(Observer):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def should_run(self, step: Pass) -> bool:
            return step.name not in ("fuse", "attach_lanes")

        def before(self, step: Pass, program: Program | None) -> None:
            self.seen.append(f"before {step.name}")

        def after(self, step: Pass, program: Program) -> None:
            self.seen.append(f"after {step.name}")

    watching = Seeing()
    artifact = compile_model(model, Options(), [watching])
    assert watching.seen == [f"{w} {n}" for n in ["import", *NAMES] for w in ("before", "after")]
    assert all(len(n.body) == 1 for n in artifact.graph.nodes if n.op == "group")


def test_the_binary_notes_the_options() -> None:
    def noted(**options: Any) -> Any:
        return dnncc.compile(small_network(), **options).image.options

    assert noted() == {"shapes": {}}
    assert noted(level=0) == {"shapes": {}, "level": 0}
    assert noted(disable=("fuse",)) == {"shapes": {}, "disabled": ["fuse"]}


def test_the_manual_of_passes_is_up_to_date() -> None:
    document = ROOT / "docs" / "passes.md"
    assert document.read_text(encoding="utf-8") == markdown() + "\n", (
        "python -m dnncc.passes.manual > docs/passes.md"
    )
