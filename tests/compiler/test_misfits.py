"""What fits a target in no tiling is the host's, and the report says why."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

import dnncc
from dnncc.diagnostics import CompileError
from dnncc.isa import elf
from dnncc.runtime import load
from tests.models import make_model
from tests.oracle import run

TARGET = "diannao-like"
"""Its buffers have 2 KiB for inputs."""


def network() -> ModelProto:
    """A pool whose window alone takes 3600 bytes and more, between two that are small."""
    shape = (1, 2, 64, 64)
    sides = ["s", "z"]
    nodes: list[Any] = [helper.make_node("DequantizeLinear", ["x", *sides], ["a0"])]
    for i, kernel in enumerate((3, 60, 2)):
        nodes += [
            helper.make_node("AveragePool", [f"a{i}"], [f"p{i}"], f"pool{i}",
                             kernel_shape=[kernel, kernel]),
            helper.make_node("QuantizeLinear", [f"p{i}", *sides], [f"q{i}"], f"q{i}"),
            helper.make_node("DequantizeLinear", [f"q{i}", *sides], [f"a{i + 1}"], f"d{i}"),
        ]  # fmt: skip
    constants = {"s": np.float32(0.02), "z": np.int8(3)}
    inputs = {"x": (np.dtype(np.int8), shape)}
    return make_model(nodes[:-1], inputs, {"q2": (np.dtype(np.int8), (1, 2, 2, 2))}, constants)


def test_the_host_takes_it() -> None:
    model = network()
    artifact = dnncc.compile(model, TARGET)
    told = [row for part in artifact.image.host for row in part.reasons]
    ((name, reason),) = told
    assert name == "pool1" and "does not fit target 'diannao-like' in any tiling" in reason
    feeds = {"x": np.random.default_rng(0).integers(-128, 128, (1, 2, 64, 64)).astype(np.int8)}
    (got,) = load(elf.write(artifact.image)).run(None, feeds)
    assert abs(got.astype(int) - run(model, feeds)["q2"]).max() <= 1


def test_strict_says_so() -> None:
    with pytest.raises(CompileError, match="'pool1'.* does not fit target"):
        dnncc.compile(network(), TARGET, strict=True)
