"""Float models, quantised and run: element by element the same QDQ model in onnxruntime.

Calibrated with the inputs beside each model, and with these and noise. int8 results are equal but
where a float operator on the host is a few units in the last place of float32 away, or one step of
the quantisation after it; int16 operators are within a step, as onnxruntime sums them in float32.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

import dnncc
from dnncc.diagnostics import Remarks
from dnncc.driver import quantised_model
from dnncc.isa import elf
from dnncc.options import Options
from dnncc.runtime import load
from tests.e2e.running import TARGETS, Compiled, saved, through_binary
from tests.models import SHAPES, find_model
from tests.oracle import in_float

ort = pytest.importorskip("onnxruntime")

SLOW = ("fastestdet_352", "yolox_nano_224", "portrait_slimnet_512")
RELATIVE = {
    "deeploy_tinyvit_demo": 0.0,
    "deeploy_autoencoder1d": 0.0,
    "dtln_1": 1e-6,
    "mnist_cntk_opset8": 0.0,
    "mlperf_tiny_vww_mobilenetv1_f32": 1e-6,
    "resnet8_mlperf_nchw_f32": 1e-6,
    "stm_mobilenet_v2_035_128_f32": 1e-6,
    "deeploy_cct2_opset20": 0.0,
    "stm_yamnet_256_f32": 1e-6,
    "teams_background_seg": 0.07,  # Resize: ties of exact means; steps of a Sigmoid's input
    "ultraface_slim_320": 1e-6,
    "magika_fast_v2_1": 1e-6,
    "squeezenet11_f32": 1e-5,
    "super_resolution_10": 0.0,
    "fastestdet_352": 0.03,  # Softmax and a step after it, depending on the machine
    "yolox_nano_224": 0.0,
    "portrait_slimnet_512": 0.01,  # a step: onnxruntime's ConvTranspose adds in float32
}
"""How far an element may be, by the largest of its output."""

MODELS = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RELATIVE]


def data(name: str, count: int = 4) -> dict[str, Any]:
    """The saved inputs, and those with noise; bytes are any."""
    rng, inputs = np.random.default_rng(0), saved(name)[0]
    return {
        k: np.concatenate([v, *(noisy(v, rng) for _ in range(count - 1))])
        for k, v in inputs.items()
    }


def noisy(value: Any, rng: np.random.Generator) -> Any:
    if value.dtype.kind != "f":
        return rng.integers(0, 256, value.shape).astype(value.dtype)
    return value + (0.1 * value.std() * rng.standard_normal(value.shape)).astype(value.dtype)


@lru_cache(maxsize=2)
def quantised(name: str, precision: str) -> tuple[ModelProto, Remarks]:
    remarks = Remarks()
    options = Options(shapes=SHAPES.get(name, {}), calibrate=data(name), precision=precision)
    return quantised_model(str(find_model(name)), options, remarks), remarks


def expected(model: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = in_float(ort.SessionOptions())
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options)
    return list(session.run(None, feeds))


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_onnxruntime(name: str) -> None:
    model, _ = quantised(name, "int8")
    feeds = saved(name)[0]
    wanted = expected(model, feeds)
    for target in TARGETS:
        compiled = through_binary(model, target)
        for value, got in zip(wanted, compiled.run(feeds).values(), strict=True):
            most = RELATIVE[name] * np.abs(value).max()
            np.testing.assert_allclose(got, value, rtol=0, atol=most, err_msg=f"{name} {target}")
        check_share(compiled, name, target)


def check_share(compiled: Compiled, name: str, target: str) -> None:
    """MACs of the instructions, of those of the float model. What no window of a pool reads is not
    computed where that is one nest with the convolution."""
    model = quantised(name, "int8")[0]
    done = compiled.session.profile.report["macs"]
    if done < 0.99 * macs(model):
        apart = through_binary(model, target, disable=["attach_lanes"])
        done = apart.session.profile.report["macs"]
    assert done >= 0.99 * macs(model), name


def macs(model: ModelProto) -> int:
    """Of all convolutions and matrix products, on the accelerator or not."""
    from dnncc.frontend.arithmetic import static_shapes

    shapes, total = static_shapes(model), 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
            a, b, y = (shapes[i] for i in (*node.input[:2], node.output[0]))
            whole = a if node.op_type == "ConvTranspose" else y
            depth = a[-1] if node.op_type in ("MatMul", "Gemm") else int(np.prod(b[1:]))
            total += int(np.prod(whole)) * depth
    return total


INT16 = ("mnist_cntk_opset8", "resnet8_mlperf_nchw_f32", "mlperf_tiny_vww_mobilenetv1_f32")


@pytest.mark.parametrize("name", INT16)
def test_int16_operators_are_within_a_step(name: str) -> None:
    """Each operator is given onnxruntime's own inputs; a residual sum rounds twice."""
    model, remarks = quantised(name, "auto")
    assert remarks.quantisation["precision"] == "int16"
    feeds, whole = saved(name)[0], ModelProto()
    names = [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    whole.CopyFrom(model)
    whole.graph.output.extend(type(model.graph.output[0])(name=n) for n in names)
    inner = dict(zip(names, expected(whole, feeds)[len(model.graph.output) :], strict=True))
    apart = through_binary(model, "eyeriss-like", disable=["attach_lanes", "quantize_outside"])
    got = apart.inner(feeds, inner)
    common = [n for n in got if n in inner]
    assert len(common) >= 4
    for tensor in common:
        off = np.abs(got[tensor].astype(np.int64) - inner[tensor])
        assert off.max() <= 2 and (off > 0).mean() < 0.02, tensor


def test_whole_way_from_a_float_file() -> None:
    """Data in, a binary out; the report says how it was quantised, and the result is near."""
    name = "mnist_cntk_opset8"
    path, feeds = str(find_model(name)), saved(name)[0]
    artifact = dnncc.compile(path, "tpu-like", calibrate=data(name))
    session = load(elf.write(artifact.image))
    report, (got,) = session.profile.report, session.run(None, feeds)
    assert report["quantisation"]["precision"] == "int8" and not report["host_parts"]
    (real,) = saved(name)[1].values()
    assert np.abs(got - real).max() < 0.03 * np.abs(real).max()
