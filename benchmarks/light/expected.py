"""What onnxruntime computes: of a quantised model, its outputs and its quantised inner tensors.

    python -m benchmarks.light.expected MODEL.onnx OUT.npz
    python -m benchmarks.light.expected MODEL.onnx OUT.npz TARGET

With a target, the model is a float one, and what counts is the quantised model that dnncc makes of
it for that target.

Where int8 activations are read more than once, onnxruntime on x86 leaves convolutions of a QDQ
model in float32, whose sums depend on the machine. Of such a model, the same one with uint8 for
int8 and zero points moved by 128 counts: it means the same and takes the integer kernels.
"""

import sys

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from benchmarks import networks
from benchmarks.light.files import save
from dnncc.diagnostics import Remarks
from dnncc.driver import quantised_model
from dnncc.options import Options
from tests.e2e.reference import Reference, as_type, quantised_types
from tests.oracle import holds, shifted

SEED = 2
"""Of the input; the ranges come from another one."""


def main() -> None:
    path, out, *target = sys.argv[1:]
    model = quantised_for(path, *target) if target else onnx.load(path)
    feeds = networks.image(model, np.random.default_rng(SEED))
    reference = reference_of(model)
    outputs, inner = reference.outputs(feeds), reference.inner(feeds)
    signed = quantised_types(model)
    typed = {name: as_type(value, signed.get(name, value.dtype)) for name, value in inner.items()}
    sums = {name: typed[name] for name in reference.summed_in_float() & typed.keys()}
    save(out, {"input": feeds, "output": outputs, "inner": typed, "sum": sums})


def reference_of(model: ModelProto) -> Reference:
    plain = Reference(model)
    is_signed = any(dtype == np.int8 for dtype in quantised_types(model).values())
    return Reference(unsigned(model)) if is_signed and plain.summed_in_float() else plain


def unsigned(model: ModelProto) -> ModelProto:
    """With uint8 for the int8 activations between QuantizeLinear and DequantizeLinear."""
    copy = ModelProto()
    copy.CopyFrom(model)
    constants = {t.name: t for t in copy.graph.initializer}
    for node in copy.graph.node:
        quantiser = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if quantiser and len(node.input) == 3 and node.input[0] not in constants:
            if holds(constants, node.input[2], TensorProto.INT8):
                node.input[2] = shifted(copy, constants, node.input[2])
    return copy


def quantised_for(path: str, target: str) -> ModelProto:
    return quantised_model(path, Options(target=target), Remarks())


if __name__ == "__main__":
    main()
