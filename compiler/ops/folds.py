"""Float operators that fold axes: means and other reductions, softmax, normalisations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir.graph import Array
from .chain import Chain
from .match import Refused
from .steps import Steps


class Reduction(
    Steps,
    onnx=(
        "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL1",
        "ReduceL2", "GlobalAveragePool", "GlobalMaxPool", "AveragePool",
    ),
):  # fmt: skip
    @classmethod
    def expand(cls, chain: Chain) -> str:
        x = chain.input()
        axes = axes_of(chain)
        match chain.node.op.removeprefix("onnx."):
            case "ReduceMean" | "GlobalAveragePool" | "AveragePool":
                return chain.mean(x, axes)
            case "ReduceMax" | "GlobalMaxPool":
                return chain.reduce("max", x, axes)
            case "ReduceMin":
                return chain.reduce("min", x, axes)
            case "ReduceSum":
                return chain.reduce("sum", x, axes)
            case "ReduceL1":
                return chain.reduce("sum", chain.unary("abs", x), axes)
            case "ReduceSumSquare":
                return chain.reduce("sum", chain.mul(x, x), axes)
        return chain.unary("sqrt", chain.reduce("sum", chain.mul(x, x), axes))


def axes_of(chain: Chain) -> tuple[int, ...]:
    """What is folded, as an attribute or a constant input; all axes where none are named."""
    rank = len(chain.shape(chain.node.inputs[0]))
    if chain.node.op.endswith("Pool"):
        check_window(chain)
        return tuple(range(2, rank))
    given = chain.attr("axes", None)
    if given is None and len(chain.node.inputs) > 1 and chain.node.inputs[1]:
        value = chain.edit.value(chain.node.inputs[1])
        if value is None:
            raise Refused("its axes are not constant")
        given = value.tolist()
    if not given and chain.attr("noop_with_empty_axes", 0):
        raise Refused("it folds no axis")
    return tuple(sorted(a % rank for a in given)) if given else tuple(range(rank))


def check_window(chain: Chain) -> None:
    """A pool is of whole planes. Raises Refused."""
    plane = chain.shape(chain.node.inputs[0])[2:]
    if chain.attr("kernel_shape", plane) != plane or any(chain.attr("pads", ())):
        raise Refused("a window of float32 numbers that is not the whole plane")


class Softmax(Steps, onnx=("Softmax", "LogSoftmax")):
    """exp(x - max) / sum; before opset 13 over all axes from `axis` on."""

    @classmethod
    def expand(cls, chain: Chain) -> str:
        x = chain.input()
        axes = softmax_axes(chain.attr("axis", None), len(chain.shape(x)), chain.edit.graph.opset)
        below = chain.sub(x, chain.reduce("max", x, axes))
        power = chain.unary("exp", below)
        total = chain.reduce("sum", power, axes)
        if chain.node.op == "onnx.LogSoftmax":
            return chain.sub(below, chain.unary("log", total))
        return chain.div(power, total)


def softmax_axes(axis: int | None, rank: int, opset: int) -> tuple[int, ...]:
    if opset >= 13:
        return ((-1 if axis is None else axis) % rank,)
    return tuple(range((1 if axis is None else axis) % rank, rank))


class LayerNormalization(Steps, onnx=("LayerNormalization",)):
    @classmethod
    def expand(cls, chain: Chain) -> str:
        if any(chain.node.outputs[1:]):
            raise Refused("its mean or deviation is used")
        x, rank = chain.input(), len(chain.shape(chain.node.inputs[0]))
        name = standard(chain, x, range(chain.attr("axis", -1) % rank, rank))
        name = chain.mul(name, chain.input(1))
        has_bias = len(chain.node.inputs) > 2 and chain.node.inputs[2]
        return chain.add(name, chain.input(2)) if has_bias else name


def standard(chain: Chain, x: str, axes: Sequence[int]) -> str:
    """(x - mean) / sqrt(variance + epsilon)."""
    centred = chain.sub(x, chain.mean(x, axes))
    variance = chain.mean(chain.mul(centred, centred), axes)
    epsilon = chain.attr("epsilon", 1e-5)
    return chain.div(centred, chain.unary("sqrt", chain.add(variance, epsilon)))


class InstanceNormalization(Steps, onnx=("InstanceNormalization",)):
    @classmethod
    def expand(cls, chain: Chain) -> str:
        x, rank = chain.input(), len(chain.shape(chain.node.inputs[0]))
        gain, shift = (per_channel(chain, i) for i in (1, 2))
        return chain.add(chain.mul(standard(chain, x, range(2, rank)), gain), shift)


class BatchNormalization(Steps, onnx=("BatchNormalization",)):
    """What no convolution has taken in: a gain and a shift per channel.

    Both are rounded to float32 after every operation, in onnxruntime's order.
    """

    @classmethod
    def expand(cls, chain: Chain) -> str:
        if any(chain.node.outputs[1:]) or chain.attr("training_mode", 0):
            raise Refused("it is in training")
        values = [chain.value(i) for i in range(1, 5)]
        epsilon = chain.attr("epsilon", 1e-5)
        if any(v is None for v in values):
            return computed(chain, epsilon)
        scale, shift, mean, variance = (v.astype(np.float32) for v in values if v is not None)
        gain = np.float32(1) / np.sqrt(variance + np.float32(epsilon)) * scale
        scaled = chain.mul(chain.input(), spread(chain, gain))
        return chain.add(scaled, spread(chain, shift - mean * gain))


def computed(chain: Chain, epsilon: float) -> str:
    """With parameters that are computed: (x - mean) * (scale / deviation) + shift."""
    scale, shift, mean, variance = (per_channel(chain, i) for i in range(1, 5))
    gain = chain.div(scale, chain.unary("sqrt", chain.add(variance, epsilon)))
    return chain.add(chain.mul(chain.sub(chain.input(), mean), gain), shift)


def per_channel(chain: Chain, index: int) -> str:
    """An input of a number per channel, which is the second axis."""
    value = chain.value(index)
    if value is not None:
        return spread(chain, value)
    rank, name = len(chain.shape(chain.node.inputs[0])), chain.input(index)
    return chain.reshaped(name, (*chain.shape(name), *(1,) * (rank - 2)))


def spread(chain: Chain, value: Array) -> str:
    rank = len(chain.shape(chain.node.inputs[0]))
    return chain.constant(value.reshape(-1, *(1,) * (rank - 2)))


class LocalResponse(Steps, onnx=("LRN",)):
    """x / (bias + alpha / size * sum of squares over neighbouring channels) ^ beta."""

    @classmethod
    def expand(cls, chain: Chain) -> str:
        x, size = chain.input(), chain.attr("size", 1)
        if len(chain.shape(x)) > MOST_AXES:
            raise Refused(f"it has more than {MOST_AXES} axes")
        window = {"size": size, "before": (size - 1) // 2}
        squares = chain.emit("window_sum", (chain.mul(x, x),), chain.shape(x), **window)
        spread = chain.mul(squares, chain.attr("alpha", 1e-4) / size)
        powered = chain.unary("log", chain.add(spread, chain.attr("bias", 1.0)))
        divisor = chain.unary("exp", chain.mul(powered, chain.attr("beta", 0.75)))
        return chain.div(x, divisor)


MOST_AXES = 4
