"""The models that tests run on, and onnx models made on the spot."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tests" / "models"
MODELS = Path(os.environ.get("DNNCC_MODELS", ROOT.parent / "shared" / "models"))
OPSETS = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]

QUANTISED = (
    "mlperf_tiny_ic_resnet8_int8",
    "mlperf_tiny_kws_dscnn_int8",
    "mlperf_tiny_ad_toycar_int8",
    "arm_kws_dscnn_s_int8",
    "tflm_micro_speech_int8",
    "mcunet_vww_int8",
    "coral_mobilenet_v1_025_128_int8",
    "coral_mobilenet_v2_224_int8",
)
FLOAT = (
    "deeploy_tinyvit_demo",
    "deeploy_autoencoder1d",
    "dtln_1",
    "mnist_cntk_opset8",
    "mlperf_tiny_vww_mobilenetv1_f32",
    "resnet8_mlperf_nchw_f32",
    "stm_mobilenet_v2_035_128_f32",
    "deeploy_cct2_opset20",
    "stm_yamnet_256_f32",
    "teams_background_seg",
    "ultraface_slim_320",
    "magika_fast_v2_1",
    "squeezenet11_f32",
    "super_resolution_10",
    "fastestdet_352",
    "yolox_nano_224",
    "portrait_slimnet_512",
)
SHAPES = {"teams_background_seg": {"bgrm": (1, 4, 128, 128)}}
"""Of inputs that are dynamic."""


def find_model(name: str) -> Path:
    for folder in (KEPT, MODELS):
        if (folder / name / "model.onnx").is_file():
            return folder / name / "model.onnx"
    pytest.skip(f"{name}: not in {MODELS} (set DNNCC_MODELS to the folder of models)")


def make_model(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    constants: dict[str, Any],
    opset: int = 13,
) -> ModelProto:
    """A model; inputs and outputs are arrays of their type and shape, or (dtype, shape)."""
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(
        list(nodes),
        "test",
        [value_info(k, v) for k, v in inputs.items()],
        [value_info(k, v) for k, v in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def value_info(name: str, like: Any) -> Any:
    dtype, shape = like if isinstance(like, tuple) else (like.dtype, like.shape)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, shape)


def random_feeds(model: ModelProto, seed: int) -> dict[str, Any]:
    """Values over the whole range of each input."""
    rng = np.random.default_rng(seed)
    names = {t.name for t in model.graph.initializer}
    return {v.name: random_value(v, rng) for v in model.graph.input if v.name not in names}


def random_value(value: Any, rng: np.random.Generator) -> Any:
    dense = value.type.tensor_type
    shape = [d.dim_value or 1 for d in dense.shape.dim]
    if dense.elem_type == TensorProto.FLOAT:
        return rng.standard_normal(shape).astype(np.float32)
    dtype = helper.tensor_dtype_to_np_dtype(dense.elem_type)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)
