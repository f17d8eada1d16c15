"""A small quantised model, its binary, and what a command says when it refuses."""

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

import dnncc
from dnncc.isa import elf
from dnncc.isa.image import Image
from tests.models import make_model

SHAPE = (1, 3, 8, 8)
TARGETS = Path(__file__).parents[1] / "targets"
ODD = TARGETS / "odd-13x7.toml"

Command = Callable[[Sequence[str]], int]


def small_model(seed: int = 0, channels: int = 4) -> ModelProto:
    """Convolution, clamp, and the same once more, on int8."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.integers(-127, 128, (channels, 3, 3, 3)).astype(np.int8),
        "w2": rng.integers(-127, 128, (2, channels, 1, 1)).astype(np.int8),
    }
    scalars = {"s": np.float32(0.05), "z": np.int8(0), "bias": np.zeros(channels, np.int32)}
    nodes = [
        *quantised_conv("first", "x", "w1", "y", bias="bias", pads=[1, 1, 1, 1]),
        *quantised_conv("second", "y", "w2", "out"),
    ]
    inputs, outputs = {"x": (np.int8, SHAPE)}, {"out": (np.int8, (1, 2, 8, 8))}
    return make_model(nodes, inputs, outputs, weights | scalars)


def quantised_conv(
    name: str, x: str, weight: str, y: str, bias: str = "", **attrs: Any
) -> list[Any]:
    real = [f"{name}_{operand}" for operand in (x, weight, bias) if operand]
    operands = zip((x, weight, bias), real, strict=False)
    return [
        *(helper.make_node("DequantizeLinear", with_scale(o), [r]) for o, r in operands),
        helper.make_node("Conv", real, [f"{name}_sum"], name=name, **attrs),
        helper.make_node("Relu", [f"{name}_sum"], [f"{name}_relu"], name=f"{name}_relu"),
        helper.make_node("QuantizeLinear", [f"{name}_relu", "s", "z"], [y]),
    ]


def with_scale(name: str) -> list[str]:
    return [name, "s"] if name == "bias" else [name, "s", "z"]


def small_image(target: str = "eyeriss-like") -> Image:
    return dnncc.compile(small_model(), target).image


def small_binary(target: str = "eyeriss-like") -> bytes:
    return elf.write(small_image(target))


def feeds(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"x": rng.integers(-128, 128, SHAPE).astype(np.int8)}


def shrunk_target(folder: Path, **memory: int) -> Path:
    """The odd target with another size of its scratchpad."""
    text = ODD.read_text()
    for key, value in memory.items():
        old = tomllib.loads(text)["memory"][0][key]
        text = text.replace(f"{key} = {old}\n", f"{key} = {value}\n", 1)
    path = folder / "shrunk.toml"
    path.write_text(text)
    return path


def refused(
    command: Command, arguments: Sequence[object], capsys: pytest.CaptureFixture[str]
) -> str:
    """The one line on stderr of a command that exits with 1; it has written nothing to stdout."""
    status = command([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert status == 1, f"exit {status}: {err}"
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert "Traceback" not in err
    return err
