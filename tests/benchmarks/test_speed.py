"""What makes dnncc quick stays so: counts and ratios, never seconds."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import dnncc
from benchmarks import products, resnets
from benchmarks.once import cpu_seconds
from dnncc.mapping import objective
from dnncc.runtime import InferenceSession, files
from tests.models import ROOT

RESNET8 = ROOT / "examples" / "resnet8" / "model.onnx"
LAYERS = 11
"""Groups of ResNet-8 that the accelerator runs."""


@pytest.fixture(params=("tpu-like", "eyeriss-like"))
def session(request: pytest.FixtureRequest) -> InferenceSession:
    return InferenceSession(dnncc.compile(RESNET8, request.param).image)


def repeated(session: InferenceSession, batch: int) -> dict[str, Any]:
    one = files.random_inputs(session.get_inputs(), 0)
    return {name: np.concatenate([value] * batch) for name, value in one.items()}


def test_a_layer_is_one_operation(session: InferenceSession) -> None:
    plan = session.plan
    assert plan is not None
    alone = sum(piece.stop - piece.first for piece in plan.pieces if not piece.merged)
    assert sum(len(piece.merged) for piece in plan.pieces) <= 2 * LAYERS
    assert alone <= 16  # the softmax at the end, in float steps


def test_a_run_makes_few_calls(session: InferenceSession) -> None:
    feeds = repeated(session, 1)
    session.run(None, feeds, grouped=True)
    calls = counted(lambda: session.run(None, feeds, grouped=True))
    assert calls <= 400 * LAYERS


def counted(run: Callable[[], Any]) -> int:
    """Functions that are called, NumPy's included."""
    calls = [0]

    def count(frame: Any, event: str, argument: Any) -> None:
        calls[0] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls[0]


def test_a_batch_takes_little_more_than_its_arithmetic(session: InferenceSession) -> None:
    feeds = repeated(session, 64)
    kernels = products.products(onnx.load(RESNET8), 64)
    session.run(None, feeds, grouped=True)
    ours = min(cpu_seconds(lambda: session.run(None, feeds, grouped=True)) for _ in range(5))
    plain = min(cpu_seconds(lambda: [k.run() for k in kernels]) for _ in range(5))
    assert ours < 6 * plain


def test_equal_layers_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth adds blocks that are alike, and none of them is searched again."""
    from dnncc.passes import choose_mapping

    searched: list[Any] = []

    def counting(goal: str, problem: Any, limit: int) -> Any:
        searched.append(problem)
        return objective.searching_for(goal, problem, limit)

    monkeypatch.setattr(choose_mapping, "searching_for", counting)
    sides = {}
    for depth in (18, 34):
        searched.clear()
        dnncc.compile(resnets.resnet(depth, 32), "tpu-like")
        sides[depth] = len(searched)
    assert sides[34] <= sides[18] + 8


LATE = ("lark", "rich", "onnx", "onnxruntime", "numpy.ma", "numpy.random")


def test_a_cold_run_loads_only_what_it_needs(tmp_path: Path) -> None:
    """Of a network without host parts, from a file, into a file."""
    model = resnets.resnet(18, 32)
    artifact = dnncc.compile(model, "tpu-like")
    assert not artifact.image.host
    artifact.save(tmp_path / "net.elf")
    np.savez(tmp_path / "in.npz", image=np.zeros((1, 3, 32, 32), np.int8))
    script = (
        "import sys; from dnncc.runtime.cli import main; "
        "status = main(['net.elf', '--input', 'in.npz', '--output', 'out.npz']); "
        f"sys.exit(status or ','.join(set({LATE!r}) & set(sys.modules)) or 0)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


NOT_COMPILED = (
    "lark", "rich",
    "numpy.ma", "onnx.reference", "onnxruntime", "difflib",
    "dnncc.runtime", "dnncc.host.export", "dnncc.frontend.batch_norm",
)  # fmt: skip


def after_compiling(folder: Path, wrong: str) -> str:
    """What the expression `wrong` says after ResNet-8 was compiled in a process of its own."""
    script = (
        "import sys; from dnncc.cli import main; "
        f"status = main([{str(RESNET8)!r}, '-o', 'a.elf', '-q']); "
        f"sys.exit(status or ','.join({wrong}) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    return run.stderr or str(run.returncode or "")


def test_a_compilation_does_not_load_what_it_does_not_need(tmp_path: Path) -> None:
    assert after_compiling(tmp_path, f"set({NOT_COMPILED!r}) & set(sys.modules)") == ""


def test_a_compilation_makes_no_dataclass_of_ours(tmp_path: Path) -> None:
    """Each would take 1.5 ms of it, fifty times as long as a Struct."""
    ours = "[vars(m) for n, m in sys.modules.items() if n.startswith('dnncc')]"
    made = f"{{n for v in {ours} for n, c in v.items() if hasattr(c, '__dataclass_fields__')}}"
    assert after_compiling(tmp_path, made) == ""


def test_help_and_version_import_nothing_heavy() -> None:
    heavy = "{'numpy', 'onnx', 'msgspec', 'dataclasses', 'inspect'}"
    script = "import sys; from dnncc.cli import main, parser\nparser().format_help()\n"
    script += f"sys.exit(main(['--version']) or ','.join({heavy} & set(sys.modules)) or 0)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
