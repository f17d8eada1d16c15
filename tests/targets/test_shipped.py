"""Every shipped target runs the same models to the same bits, or says why it does not."""

import numpy as np
import pytest

import dnncc
from dnncc.diagnostics import CompileError
from dnncc.targets import load, names
from tests.e2e.running import compiled, saved
from tests.models import find_model

NARROW = [name for name in names() if load(name).datapath.accumulator_bits < 32]
EXACT = [name for name in names() if name not in NARROW]


@pytest.mark.parametrize("model", ["mlperf_tiny_ic_resnet8_int8", "mlperf_tiny_kws_dscnn_int8"])
@pytest.mark.parametrize("target", EXACT)
def test_outputs_are_onnxruntimes(model: str, target: str) -> None:
    feeds, expected = saved(model)
    for name, value in compiled(model, target).run(feeds).items():
        assert np.array_equal(value, expected[name])


@pytest.mark.parametrize("target", NARROW)
def test_narrow_psums_are_refused(target: str) -> None:
    with pytest.raises(CompileError, match="psums of 16 bits, too narrow for exact int8 sums"):
        dnncc.compile(find_model("mlperf_tiny_ic_resnet8_int8"), target)
