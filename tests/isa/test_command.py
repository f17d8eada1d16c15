"""How commands end, whatever goes wrong in them."""

import subprocess
import sys
from pathlib import Path

import pytest

from dnncc.isa.command import BUG, FAILED, INTERRUPTED, finish


def ending(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def run() -> None:
        raise error

    status = finish(run, lambda e: [str(e)] if isinstance(e, KeyError) else [])
    return status, capsys.readouterr().err


def test_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert finish(lambda: None, lambda e: []) == 0
    assert finish(lambda: 3, lambda e: []) == 3
    assert capsys.readouterr() == ("", "")


def test_one_line_for_what_users_can_mend(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(KeyError("k"), capsys) == (FAILED, "error: 'k'\n")
    absent = FileNotFoundError(2, "No such file or directory", "x.onnx")
    assert ending(absent, capsys) == (FAILED, "error: x.onnx: No such file or directory\n")
    full = OSError(28, "No space left on device")
    assert ending(full, capsys) == (FAILED, "error: No space left on device\n")
    assert ending(MemoryError(), capsys) == (FAILED, "error: there is not enough memory\n")
    assert ending(KeyboardInterrupt(), capsys) == (INTERRUPTED, "error: interrupted\n")


def test_one_line_for_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    told = "internal error: ValueError: a b; -v shows where; please report it\n"
    assert ending(ValueError("a\nb"), capsys) == (BUG, told)
    noted = ValueError("a")
    noted.add_note("see there")
    assert ending(noted, capsys) == (BUG, "internal error: ValueError: a; see there\n")


COMMANDS = {
    "dnncc.cli": ["--list-passes"],
    "dnncc.isa.objdump": ["-d", "{elf}"],
    "dnncc.runtime.verify": ["-v", "{elf}"],
    "dnncc.runtime.cli": ["{elf}", "--random", "0", "-v"],
}


@pytest.mark.parametrize("module", COMMANDS)
def test_nobody_reads_what_is_printed(module: str, tmp_path: Path) -> None:
    """As in `dnncc-objdump -d model.elf | true`: no traceback, nothing on stderr."""
    import onnx

    import dnncc
    from tests.compiler.networks import small_network

    onnx.save(small_network(), tmp_path / "net.onnx")
    dnncc.compile(tmp_path / "net.onnx", "tpu-like").save(tmp_path / "net.elf")
    words = [word.format(elf=tmp_path / "net.elf") for word in COMMANDS[module]]
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == FAILED
