"""dnncc-objdump and dnncc-as, as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnncc
from dnncc.assembler import main as assemble
from dnncc.isa import elf, image, objdump

SOURCE = """
    load dram=0x0 spad=1:0x0 d3=100
    store dram=0x80 spad=1:0x0 d3=100 @load0
    halt @store0
"""


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    source, made = tmp_path / "p.s", tmp_path / "p.elf"
    source.write_text(SOURCE)
    assert assemble([str(source), "-o", str(made), "--target", "tpu-like"]) == 0
    return made


def test_disassembly_assembles_to_the_same_bytes(binary: Path, capsys: Any) -> None:
    loaded = elf.load(binary)
    nodes, steps = np.array([0, 0, -1], np.int32), np.array([0, 1, -1], np.int32)
    symbols = (image.Symbol("x", "input", "int8", (100,), (1,), 0, 0, 0.5, 3, None, True),)
    debug = image.Debug(("Copy_0",), ("a", "b"), nodes, steps)
    fields = {name: getattr(loaded, name) for name in ("text", "rodata", "dram_bytes", "target")}
    elf.save(image.Image(**fields, symbols=symbols, debug=debug), binary)
    assert objdump.main(["-d", str(binary)]) == 0
    text = capsys.readouterr().out
    assert "; 0x40 | Copy_0 | b" in text
    assert objdump.main(["-t", str(binary)]) == 0
    assert "int8[100] real" in capsys.readouterr().out
    again = binary.with_name("again.s")
    again.write_text(text)
    made = binary.with_name("again.elf")
    assert assemble([str(again), "-o", str(made), "--target", "tpu-like"]) == 0
    assert made.read_bytes() == binary.read_bytes()
    assert assemble([str(again), "-o", str(made)]) == 0
    assert made.read_bytes() == binary.read_bytes()


def test_tables_and_json(binary: Path, capsys: Any) -> None:
    assert objdump.main(["-h", "-t", str(binary)]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in elf.NAMES)
    assert objdump.main(["--json", str(binary)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [i["mnemonic"] for i in found["instructions"]] == ["load", "store", "halt"]
    assert found["instructions"][1]["fields"]["dram"] == 0x80
    assert found["dram_bytes"] == 0x80 + 100


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("halt\nload dram=x", "p.s:2: dram=x is not a number"),
        ("halt @tensor-2", "p.s:1: waits 2 back"),
        ("load dram=0 spad=15:0\nhalt", "p.s: byte 0x0: load 0 writes"),
        ("\udcff", "p.s: 'utf-8' codec"),
    ],
)
def test_wrong_text(source: str, message: str, tmp_path: Path, capsys: Any) -> None:
    path, made = tmp_path / "p.s", tmp_path / "p.elf"
    path.write_bytes(source.encode(errors="surrogateescape"))
    assert assemble([str(path), "-o", str(made), "--target", "tpu-like"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/{message}") and error.count("\n") == 1
    assert not made.exists()


def test_files_that_are_not_there(tmp_path: Path, capsys: Any) -> None:
    missing = str(tmp_path / "none")
    assert objdump.main(["-d", missing]) == 1
    assert assemble([missing, "-o", missing + ".elf", "--target", "tpu-like"]) == 1
    (tmp_path / "p.s").write_text(SOURCE)
    source = str(tmp_path / "p.s")
    assert assemble([source, "-o", missing + "/x.elf", "--target", "tpu-like"]) == 1
    assert assemble([source, "-o", missing + ".elf", "--target", "abacus"]) == 1
    assert assemble([source, "-o", missing + ".elf"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and all(line.startswith("error: ") for line in lines)


def test_damaged_files(binary: Path, capsys: Any) -> None:
    data = bytearray(binary.read_bytes())
    data[-2000] ^= 1
    binary.write_bytes(data)
    assert objdump.main(["-d", str(binary)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {binary}: checksum of") and error.count("\n") == 1


@pytest.mark.parametrize("module", ["dnncc.isa.objdump", "dnncc.assembler"])
def test_help_needs_no_numpy(module: str) -> None:
    check = "assert 'numpy' not in sys.modules"
    code = f"import sys, {module} as m\ntry: m.main(['--help'])\nfinally: {check}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "usage: dnncc-" in ran.stdout


def test_a_closed_pipe_is_no_error(binary: Path) -> None:
    command = f"{sys.executable} -m dnncc.isa.objdump -d {binary} | head -1"
    ran = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert ran.stdout == ".isa 1\n" and ran.stderr == ""


@pytest.mark.parametrize("target", ["tpu-like", "eyeriss-like"])
def test_a_compiled_model_comes_back(target: str, tmp_path: Path, capsys: Any) -> None:
    model = Path(__file__).parents[2] / "examples" / "resnet8" / "model.onnx"
    made, again = tmp_path / "model.elf", tmp_path / "again.elf"
    dnncc.compile(model, target).save(made)
    assert objdump.main(["-d", str(made)]) == 0
    (tmp_path / "model.s").write_text(capsys.readouterr().out)
    assert assemble([str(tmp_path / "model.s"), "-o", str(again), "--target", target]) == 0
    assert again.read_bytes() == made.read_bytes()
