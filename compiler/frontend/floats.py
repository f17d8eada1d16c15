"""Whether a model is float, and what then becomes of it: one that the target's integers compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING

from msgspec import Struct
from onnx import ModelProto

from ..diagnostics import Remarks
from ..ir.graph import Array
from .calibration import SYNTHETIC, inputs_of, read_samples, synthetic
from .preparation import float_products

if TYPE_CHECKING:
    from dnncc.targets import Target

Data = str | PathLike[str] | Mapping[str, Array]
Rewrite = Callable[[ModelProto], ModelProto]

UNUSED = "the data to calibrate with is not used: no convolution or matrix product is to quantise"
UNKNOWN = (
    f"WARNING: quantised with {SYNTHETIC} made-up inputs, so its accuracy is UNKNOWN and may be "
    "poor; give --calibrate DATA"
)


class Wish(Struct, frozen=True):
    """How a float model is to be quantised: `precision` int8, int16, float, or auto; the data."""

    precision: str = "auto"
    data: Data | None = None


def quantizer(wish: Wish, target: Target | None, remarks: Remarks) -> Rewrite:
    """A function that quantises the float part of a model of static shapes."""

    def quantise(model: ModelProto) -> ModelProto:
        if wish.precision == "float" or not float_products(model):
            if wish.data is not None:
                remarks.append(UNUSED)
            return model
        from .quality import layer_errors
        from .quantize import quantized

        inputs = inputs_of(model)
        samples = synthetic(inputs) if wish.data is None else read_samples(wish.data, inputs)
        precision = precision_of(wish, target)
        result = quantized(model, samples, precision)
        if wish.data is None:
            remarks.warnings.append(UNKNOWN)
        remarks.quantisation |= {
            "precision": precision,
            "samples": len(samples),
            "synthetic": wish.data is None,
            "layers": layer_errors(model, result, samples[0]),
        }
        return result

    return quantise


def precision_of(wish: Wish, target: Target | None) -> str:
    """int16 where the target's datapath has 16 bits."""
    if wish.precision != "auto":
        return wish.precision
    if target is None or target.datapath.operand_bytes < 2:
        return "int8"
    return "int16" if "int16" in target.datapath.operands else "int8"
