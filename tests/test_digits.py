"""examples/digits/: training works, and the accelerator's scores are the int8 model's."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.markdown import ROOT, run

FOLDER = ROOT / "examples" / "digits"
SAMPLES = 48


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"digits_{name}", FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_gradients_are_those_of_the_loss() -> None:
    """Against differences of the loss, along the gradient itself."""
    train = script("train")
    random = np.random.default_rng(0)
    x = random.normal(size=(5, 1, 8, 8))
    labels = random.integers(0, 10, 5)
    weights = {k: v.astype(float) for k, v in train.initial().items()}
    slopes = train.gradients(weights, x, labels)

    def loss(step: float) -> float:
        moved = {k: v + step * slopes[k] for k, v in weights.items()}
        a, _ = train.layer(x, moved["conv1"], moved["conv1_bias"])
        b, _ = train.layer(a, moved["conv2"], moved["conv2_bias"])
        scores = b.reshape(5, -1) @ moved["dense"] + moved["dense_bias"]
        own = scores[np.arange(5), labels]
        return float(np.mean(np.log(np.exp(scores).sum(1)) - own))

    expected = sum(float(np.square(v).sum()) for v in slopes.values())
    assert (loss(1e-6) - loss(-1e-6)) / 2e-6 == pytest.approx(expected, rel=1e-3)


def test_float_int8_and_accelerator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `make digits` does, with less training and fewer images."""
    pytest.importorskip("sklearn")
    pytest.importorskip("onnxruntime")
    script("train").main(tmp_path, epochs=4)
    images = np.load(tmp_path / "test.npz")["image"][:SAMPLES]
    np.savez(tmp_path / "test.npz", image=images)
    model = str(tmp_path / "model.onnx")
    quantise = ["--calibrate", str(tmp_path / "calibrate.npz"), "--precision", "int8"]
    binary, test, scores = (str(tmp_path / n) for n in ("m.elf", "test.npz", "scores.npz"))
    run(["dnncc", model, *quantise, "--emit", "onnx", "-o", str(tmp_path / "int8.onnx")])
    run(["dnncc", model, *quantise, "--target", "tpu-like", "-o", binary])
    run(["dnncc-run", binary, "--input", test, "--output", scores])
    assert script("show").main(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    right = [int(line[20:].split()[0]) for line in lines[:3]]
    assert right[1] == right[2] and min(right) > SAMPLES / 2, lines
