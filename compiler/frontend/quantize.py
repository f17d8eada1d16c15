"""A float model has become a QDQ model, as onnxruntime.quantization makes it.

Constants of convolutions and matrix products are uint8 with zero point 128: symmetric int8, one
scale per output channel, in the form whose products onnxruntime sums exactly on every CPU.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, version_converter

from ..diagnostics import CompileError
from ..ir.graph import Array

OPSETS = {"int8": 13, "int16": 21}
"""The first opset whose QuantizeLinear has what the precision needs."""

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
QUANTISED = (
    *PRODUCTS,
    *("Add", "Sub", "Mul", "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Concat"),
    *("Relu", "Clip", "LeakyRelu", "PRelu", "Resize", "Pad", "Split", "Slice", "Gather"),
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"),
)
"""What gets a scale. Other operators between two of these have quantised sides all the same."""

Feeds = Mapping[str, Array]


def quantized(model: ModelProto, samples: Sequence[Feeds], precision: str) -> ModelProto:
    """The QDQ model; its ranges are those that `samples` reach. Raises CompileError."""
    kit = toolkit()
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            source = preprocessed(model, precision, Path(folder))
            return static(kit, source, samples, precision, Path(folder))
        except CompileError:
            raise
        except Exception as error:  # whatever the library cannot do
            what = " ".join(str(error).split())[:300]
            hint = "give --precision float to leave it on the host"
            raise CompileError(f"it cannot be quantised: {what}", hint=hint) from error


def toolkit() -> Any:
    """onnxruntime.quantization. Raises CompileError where it is not installed."""
    try:
        with quiet():
            from onnxruntime import quantization
    except ImportError:
        raise CompileError(
            "a float model is quantised by onnxruntime, which is not installed",
            hint="pip install onnxruntime, or give --precision float to leave it on the host",
        ) from None
    return quantization


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's advice."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def preprocessed(model: ModelProto, precision: str, folder: Path) -> ModelProto:
    """Batch normalisations and biases are in their products, constants are folded."""
    from onnxruntime.quantization import shape_inference

    raised = with_opset(model, OPSETS[precision])
    paths = folder / "raised.onnx", folder / "folded.onnx"
    onnx.save(raised, paths[0])
    shape_inference.quant_pre_process(*paths, skip_symbolic_shape=True)
    return flat_biases(onnx.load(paths[1]))


def flat_biases(model: ModelProto) -> ModelProto:
    """The library's int32 bias of a Gemm has to be a vector."""
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        bias = constants.get(node.input[2]) if node.op_type == "Gemm" and node.input[2:] else None
        if bias is not None and len(bias.dims) == 2 and bias.dims[0] == 1:
            del bias.dims[0]
    return model


def with_opset(model: ModelProto, version: int) -> ModelProto:
    held = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    return model if held >= version else version_converter.convert_version(model, version)


def static(
    kit: Any, model: ModelProto, samples: Sequence[Feeds], precision: str, folder: Path
) -> ModelProto:
    types = kit.QuantType
    wide = precision == "int16"
    path = folder / "quantised.onnx"
    kit.quantize_static(
        model,
        path,
        reader(kit, samples),
        quant_format=kit.QuantFormat.QDQ,
        activation_type=types.QInt16 if wide else types.QUInt8,
        weight_type=types.QInt8 if wide else types.QUInt8,
        op_types_to_quantize=list(QUANTISED),
        per_channel=True,
        extra_options={"WeightSymmetric": True, "ActivationSymmetric": wide},
    )
    return onnx.load(path)


def reader(kit: Any, samples: Sequence[Feeds]) -> Any:
    """The samples as onnxruntime wants them."""

    class Reader(kit.CalibrationDataReader):  # type: ignore[misc]
        rest = iter(samples)

        def get_next(self) -> dict[str, Array] | None:
            feeds = next(self.rest, None)
            return None if feeds is None else dict(feeds)

    return Reader()
