"""ResNet-8, MobileNet v1 and DS-CNN in all forms that onnxruntime.quantization makes of them."""

from functools import lru_cache

import numpy as np
import pytest

from tests.e2e.quantised import Recipe, quantised
from tests.e2e.reference import Reference, session
from tests.e2e.running import TARGETS, assert_same, through_binary
from tests.models import random_feeds

MODELS = {
    "resnet8": "resnet8_mlperf_nchw_f32",
    "mobilenet_v1": "mlperf_tiny_vww_mobilenetv1_f32",
    "ds_cnn": "mlperf_tiny_kws_dscnn_int8",
}
U8, S8 = "QUInt8", "QInt8"
RECIPES = (
    Recipe(U8, S8),
    Recipe(U8, S8, narrow=True),
    Recipe(S8, S8),
    Recipe(U8, U8, per_channel=False, symmetric=False),
    Recipe(U8, S8, "QDQ", narrow=True),
    Recipe(S8, S8, "QDQ"),
    Recipe(U8, U8, "QDQ", symmetric=False),
)
SAME_ON_ALL_MACHINES = (RECIPES[1], RECIPES[2], RECIPES[3])
"""No product of these can saturate, so that the session as it is gives exact values."""

SEED = 99


@lru_cache(maxsize=4)
def reference(name: str, recipe: Recipe) -> Reference:
    return Reference(quantised(name, recipe))


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_quantised_models(model: str, recipe: Recipe) -> None:
    oracle = reference(MODELS[model], recipe)
    feeds = random_feeds(oracle.model, SEED)
    expected, inner = oracle.outputs(feeds), oracle.inner(feeds)
    if recipe in SAME_ON_ALL_MACHINES:
        plain = session(oracle.model).run(list(expected), feeds)
        assert_same(dict(zip(expected, plain, strict=True)), expected, "onnxruntime's own kernels")
    for target in TARGETS:
        compiled = through_binary(oracle.model, target)
        where = f"{model} {recipe} on {target}, seed {SEED}"
        assert_same(compiled.run(feeds), expected, where)
        got = compiled.inner(feeds)
        common = [name for name in got if name in inner]
        assert len(common) >= 9, f"{where}: only {len(common)} inner tensors to compare"
        for name in common:
            np.testing.assert_array_equal(got[name], inner[name], f"{where}: {name}")
        assert not compiled.session.image.host, where
