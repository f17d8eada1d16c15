"""Batch normalisations of transposed convolutions are in their weights.

onnxruntime's optimiser does that for convolutions, and the importer for what it leaves.
"""

from collections import Counter

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from ..ir.graph import Array


def fold_batch_norms(model: ModelProto) -> None:
    """Into each ConvTranspose of constant weights that only a BatchNormalization reads."""
    graph = model.graph
    made = {o: n for n in graph.node for o in n.output}
    uses = Counter(i for n in graph.node for i in n.input)
    uses.update(v.name for v in graph.output)
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for norm in [n for n in graph.node if n.op_type == "BatchNormalization"]:
        before = made.get(norm.input[0])
        if before is None or before.op_type != "ConvTranspose" or uses[norm.input[0]] > 1:
            continue
        if {*before.input[1:], *norm.input[1:]} <= {*constants} and is_fixed(norm):
            fold(before, norm, constants, model)


def is_fixed(norm: NodeProto) -> bool:
    training = any(a.name == "training_mode" and a.i for a in norm.attribute)
    return not training and not any(norm.output[1:])


def fold(conv: NodeProto, norm: NodeProto, constants: dict[str, Array], model: ModelProto) -> None:
    """Weights [C, K / group, ...]: the gain is that of the K results."""
    weights, *bias = (constants[name].astype(np.float64) for name in conv.input[1:])
    scale, shift, mean, variance = (constants[name].astype(np.float64) for name in norm.input[1:])
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    group = next((a.i for a in conv.attribute if a.name == "group"), 1)
    gain = scale / np.sqrt(variance + epsilon)
    parts = zip(np.split(weights, group), np.split(gain, group), strict=True)
    shape = (1, -1, *(1,) * (weights.ndim - 2))
    scaled = np.concatenate([part * own.reshape(shape) for part, own in parts])
    offset = ((bias[0] if bias else 0.0) - mean) * gain + shift
    names = [f"{norm.output[0]}.{what}" for what in ("weight", "bias")]
    for name, value in zip(names, (scaled, offset), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    conv.input[1:] = names
    conv.output[0] = norm.output[0]
    model.graph.node.remove(norm)
