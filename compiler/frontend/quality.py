"""How far a quantised model is from the float one: signal-to-noise ratios, in dB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, ValueInfoProto

from ..ir.graph import Array

MOST_DB = 200.0
"""What is said of a tensor without noise."""


def signal_to_noise(signal: Array, approximate: Array) -> float:
    """10 log10 of the signal's power over that of the difference."""
    real = signal.astype(np.float64)
    noise = float(np.square(real - approximate).sum())
    power = float(np.square(real).sum())
    if not noise or not np.isfinite(noise):
        return MOST_DB if noise == 0 else -MOST_DB
    return float(np.clip(10 * np.log10(max(power, 1e-300) / noise), -MOST_DB, MOST_DB))


def layer_errors(
    model: ModelProto, quantised: ModelProto, feeds: Mapping[str, Array]
) -> list[dict[str, Any]]:
    """Per quantised tensor, in order, its ratio to the float model's tensor of that name."""
    held = {o for n in model.graph.node for o in n.output}
    pairs = {r: d for r, d in rounded(quantised) if r in held}
    wanted, got = list(pairs), list(pairs.values())
    real = evaluated(model, wanted, feeds)
    near = evaluated(quantised, got, feeds)
    return [
        {"tensor": name, "snr_db": round(signal_to_noise(a, b), 2)}
        for name, a, b in zip(wanted, real, near, strict=True)
        if a.shape == b.shape
    ]


def rounded(model: ModelProto) -> list[tuple[str, str]]:
    """Each value that is quantised, and the name of it dequantised."""
    source = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    back = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in source]
    return [(source[n.input[0]], n.output[0]) for n in back]


def evaluated(model: ModelProto, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    """Inner values, by onnxruntime without optimisations."""
    if not names:
        return []  # which onnxruntime would take for all outputs
    kept = list(model.graph.output)
    giving(model, [ValueInfoProto(name=name) for name in names])
    try:
        opened = session(model, optimised=False)
    finally:
        giving(model, kept)  # rather than a copy, which would have all weights again
    return list(opened.run(None, dict(feeds)))


def giving(model: ModelProto, outputs: Sequence[ValueInfoProto]) -> None:
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def session(model: ModelProto, optimised: bool = True) -> Any:
    """An onnxruntime session that says nothing."""
    from onnxruntime.capi import onnxruntime_inference_collection as sessions
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    options = native.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = native.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = model.SerializeToString()
    return sessions.InferenceSession(data, options, providers=["CPUExecutionProvider"])
