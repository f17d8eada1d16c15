"""dnncc-opt: passes on text."""

import io
from pathlib import Path

import onnx
import pytest

from dnncc.cli import main as dnncc
from dnncc.opt import main
from tests.compiler.networks import small_network


@pytest.fixture
def dumps(tmp_path: Path) -> Path:
    onnx.save(small_network(), tmp_path / "net.onnx")
    arguments = ["-q", "-o", str(tmp_path / "net.elf"), "--dump-dir", str(tmp_path / "d")]
    assert dnncc([str(tmp_path / "net.onnx"), *arguments]) == 0
    return tmp_path / "d"


def dump(folder: Path, name: str) -> Path:
    (file,) = folder.glob(f"*-{name}.*")
    return file


@pytest.mark.parametrize(
    ("first", "passes", "last"),
    [
        ("import", "fold_constants,canonicalize,legalize", "legalize"),
        ("legalize", "fuse,partition,assign_layout,pack_parameters,reorder_ops", "reorder_ops"),
        ("choose_mapping", "tile_loops", "tile_loops"),
        ("tile_loops", "prefetch,allocate", "allocate"),
    ],
)
def test_passes_on_text_make_what_the_compiler_makes(
    first: str, passes: str, last: str, dumps: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mlir"
    assert main([str(dump(dumps, first)), "--passes", passes, "-o", str(out)]) == 0
    assert out.read_text() == dump(dumps, last).read_text()


def test_its_output_is_its_input(dumps: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mlir"
    for name in ("fuse", "choose_mapping", "allocate"):
        assert main([str(dump(dumps, name)), "-o", str(out)]) == 0
        again = tmp_path / "again.mlir"
        assert main([str(out), "-o", str(again)]) == 0
        assert again.read_text() == dump(dumps, name).read_text()


def test_stdin_and_stdout(
    dumps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = dump(dumps, "fuse").read_text()
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    capsys.readouterr()
    assert main(["-", "--constants", str(dumps / "constants.npz")]) == 0
    assert capsys.readouterr().out == text


def test_the_last_pass_may_make_instructions(
    dumps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main([str(dump(dumps, "allocate")), "--passes", "emit,synchronize"]) == 0
    assert capsys.readouterr().out == dump(dumps, "synchronize").read_text()


def test_passes_are_watched(dumps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    arguments = ["--passes", "fuse,reorder_ops", "--print-changed", "--check-each-pass", "random"]
    assert main([str(dump(dumps, "legalize")), "-o", "/dev/null", *arguments]) == 0
    assert "----- changed by fuse -----" in capsys.readouterr().err


def test_unfit_input_is_refused_in_one_line(
    dumps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk, binary = tmp_path / "junk.mlir", tmp_path / "net.elf"
    junk.write_text('"dnncc.graph"() ({')
    cases: list[tuple[list[object], str]] = [
        ([junk], "line 1: unexpected text"),
        ([binary], "not text; give a dump in .mlir"),
        ([dump(dumps, "emit")], "not a graph or tile program"),
        ([dump(dumps, "fuse"), "--passes", "polish"], "there is no pass 'polish'"),
        ([dump(dumps, "fuse"), "--passes", "allocate"], "takes a tile program, not a graph"),
        ([dump(dumps, "fuse"), "--constants", binary], "not an .npz of plain arrays"),
        ([tmp_path / "absent.mlir"], "absent.mlir: No such file"),
    ]
    capsys.readouterr()
    for arguments, message in cases:
        assert main(list(map(str, arguments))) == 1
        err = capsys.readouterr().err
        assert err.startswith("error: ") and message in err and err.count("\n") == 1
