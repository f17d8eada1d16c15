"""Networks of the kinds that people export, quantised by onnxruntime, on several targets: equal to
its default session; and as float models, to the quantised form that dnncc makes of them."""

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

import dnncc
from dnncc.diagnostics import Remarks
from dnncc.driver import quantised_model
from dnncc.isa import elf
from dnncc.options import Options
from dnncc.runtime import load
from tests.e2e.exported import NETWORKS
from tests.e2e.quantised import quiet
from tests.oracle import run

quantization: Any = pytest.importorskip("onnxruntime.quantization")

TARGETS = ("eyeriss-like", "tpu-like", "diannao-like", "gemmini-like")
CASES = [
    (n, t, u)
    for n, t, u in zip(NETWORKS * 2, cycle(TARGETS), [True] * 10 + [False] * 10, strict=False)
]
NAMES = [f"{n.__name__}-{t}-{'u8' if u else 's8'}" for n, t, u in CASES]
LAST_BITS = 2e-6
TIES = {"superresolution": 0.03, "detector": 0.001}
"""The share of the elements that may be off, by a step or two: interpolations, and convolutions
that onnxruntime leaves in float32, as their int8 input has two readers."""

STEPS = 2.5 / 128


class Samples:
    """What onnxruntime calls a CalibrationDataReader."""

    def __init__(self, model: ModelProto) -> None:
        self.left = [feeds(model, seed) for seed in range(4)]

    def get_next(self) -> Any:
        return self.left.pop() if self.left else None


def feeds(model: ModelProto, seed: int) -> dict[str, Any]:
    (value,) = model.graph.input
    shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
    return {value.name: np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def quantised(model: ModelProto, unsigned: bool, folder: Path) -> ModelProto:
    kinds, paths = quantization.QuantType, (folder / "float.onnx", folder / "int8.onnx")
    onnx.save(model, paths[0])
    kind = kinds.QUInt8 if unsigned else kinds.QInt8
    with quiet():
        quantization.quantize_static(
            *paths, Samples(model), activation_type=kind, weight_type=kinds.QInt8,
            per_channel=unsigned,
        )  # fmt: skip
    return onnx.load(paths[1])


def compare(build: Any, model: ModelProto, target: str, reference: ModelProto) -> None:
    """Equal but for the last bits of float32, and for ties where onnxruntime sums in float32."""
    given = feeds(model, 9)
    got = load(elf.write(dnncc.compile(model, target).image)).run(None, given)
    for value, wanted in zip(got, run(reference, given).values(), strict=True):
        assert (value.dtype, value.shape) == (wanted.dtype, wanted.shape)
        off = np.abs(np.subtract(value, wanted, dtype=np.float64)) / np.abs(wanted).max()
        assert (off > LAST_BITS).mean() <= TIES.get(build.__name__, 0)
        assert off.max() < STEPS


@pytest.mark.parametrize(("build", "target", "unsigned"), CASES, ids=NAMES)
def test_quantised_by_onnxruntime(build: Any, target: str, unsigned: bool, tmp_path: Path) -> None:
    model = quantised(build(), unsigned, tmp_path)
    compare(build, model, target, model)


@pytest.mark.parametrize("build", NETWORKS, ids=lambda b: str(b.__name__))
def test_float(build: Any) -> None:
    model = build()
    known = quantised_model(model, Options(target="tpu-like"), Remarks())
    compare(build, model, "tpu-like", known)
