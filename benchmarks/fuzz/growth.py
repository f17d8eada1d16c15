"""The operators that a random network grows by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from .graphs import Network, Value, root, small

Growth = Callable[[Network, Value], Value | None]


def window(net: Network, x: Value, biggest: int = 5) -> dict[str, Any] | None:
    """Attributes of a window that fits: kernel, strides, dilations, pads or auto_pad."""
    sizes = x.shape[2:]
    kernel = [int(net.rng.integers(1, min(biggest, n + 1) + 1)) for n in sizes]
    strides = [int(net.rng.integers(1, 4)) if net.maybe() else 1 for _ in sizes]
    dilations = [int(net.rng.integers(1, 4)) if net.maybe(4) else 1 for _ in sizes]
    attrs: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "dilations": dilations}
    if net.maybe(4):
        mode = net.choose(["SAME_UPPER", "SAME_LOWER", "VALID"])
        attrs |= {"auto_pad": mode, "dilations": [1 for _ in sizes]}
        attrs["strides"] = [min(s, k) for s, k in zip(strides, kernel, strict=True)]
    else:
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, attrs["dilations"], strict=True)]
        attrs["pads"] = [int(net.rng.integers(0, min(k, 3))) for k in (*reach, *reach)]
    return attrs if fits(x, attrs) else None


def fits(x: Value, attrs: dict[str, Any]) -> bool:
    return min(extents(x, attrs)) > 0


def extents(x: Value, attrs: dict[str, Any]) -> list[int]:
    """The spatial size of the result."""
    sizes, rank = x.shape[2:], len(x.shape) - 2
    if attrs.get("auto_pad", "VALID") != "VALID":
        return [-(-n // s) for n, s in zip(sizes, attrs["strides"], strict=True)]
    pads = attrs.get("pads", [0] * 2 * rank)
    found = []
    for i in range(rank):
        reach = (attrs["kernel_shape"][i] - 1) * attrs.get("dilations", [1] * rank)[i] + 1
        room = sizes[i] + pads[i] + pads[i + rank] - reach
        step = attrs["strides"][i]
        count = (-(-room // step) if attrs.get("ceil_mode") else room // step) + 1
        if attrs.get("ceil_mode") and (count - 1) * step >= sizes[i] + pads[i]:
            count -= 1
        found.append(count if room >= 0 else 0)
    return found


def convolve(net: Network, x: Value) -> Value | None:
    attrs = window(net, x)
    if attrs is None or (net.wide and not x.is_exact):
        return None
    channels = x.shape[1]
    divisors = [g for g in range(1, channels + 1) if channels % g == 0]
    group = channels if net.maybe(3) else net.choose(divisors) if net.maybe(3) else 1
    out = group * int(net.rng.integers(1, max(2, 12 // group + 1)))
    w_shape = (out, channels // group, *attrs["kernel_shape"])
    shape = (1, out, *extents(x, attrs))
    return multiply(net, x, w_shape, shape, attrs | {"group": group}) if small(shape) else None


def shuffle(net: Network, x: Value) -> Value | None:
    """A convolution in groups, whose channels are shuffled between these, as in ShuffleNet."""
    attrs, channels = window(net, x), x.shape[1]
    groups = [g for g in range(2, channels + 1) if channels % g == 0]
    if attrs is None or not groups or net.wide and not x.is_exact:
        return None
    group, each = net.choose(groups), int(net.rng.integers(1, 5))
    plane = extents(x, attrs)
    shape = (1, group * each, *plane)
    if not small(shape):
        return None
    w_shape = (shape[1], channels // group, *attrs["kernel_shape"])
    y = multiply(net, x, w_shape, shape, attrs | {"group": group})
    split = (1, group, each, *plane)
    y = moved(net, y, "Reshape", split, extra=[net.constant(np.array(split, np.int64))])
    perm = [0, 2, 1, *range(3, len(split))]
    y = moved(net, y, "Transpose", tuple(split[a] for a in perm), perm=perm)
    y = moved(net, y, "Reshape", shape, extra=[net.constant(np.array(shape, np.int64))])
    if not net.maybe(3):
        del net.values[-4:-1]  # so that nobody else reads what is between
    return y


def multiply(
    net: Network, x: Value, w_shape: tuple[int, ...], shape: tuple[int, ...], attrs: dict[str, Any]
) -> Value:
    """A convolution; its weights are quantised per tensor or per channel."""
    w, scale, zero = weights(net, w_shape, 0, exact=net.wide)
    spread = x.spread * float(scale.mean()) * size_of(w) * root(prod(w_shape[1:]))
    result = net.value(shape, spread, exact=net.wide)
    unit = (np.float32(x.scale) * scale).astype(np.float32)
    bias = biases(net, spread, w_shape[0], unit)
    names = [net.constant(v) for v in (w, scale, zero)]
    has_bias = net.maybe()
    if net.qoperator:
        given = [x.name, *net.parameters(x), *names, *net.parameters(result)]
        given += [net.constant(bias)] if has_bias else []
        net.add("QLinearConv", given, result.name, **attrs)
        return net.keep(result)
    w_real = net.add("DequantizeLinear", names, f"{names[0]}_real", axis=0)
    inputs = [net.real(x), w_real]
    if has_bias:
        b = [net.constant(v) for v in (bias, unit, np.zeros(unit.shape, np.int32))]
        inputs.append(net.add("DequantizeLinear", b, f"{b[0]}_real", axis=0))
    real = net.add("Conv", inputs, f"{result.name}_float", **attrs)
    return net.keep(net.quantised(real, result))


def biases(net: Network, spread: float, count: int, unit: Any) -> Any:
    size = net.rng.normal(0, spread / 2, count) / unit
    return np.clip(np.rint(size), -(2**30), 2**30).astype(np.int32)


def weights(
    net: Network, shape: tuple[int, ...], axis: int, exact: bool = False
) -> tuple[Any, Any, Any]:
    """Integers, scale and zero point, which is 0 for int8; `exact` for exact float32 sums."""
    kind = np.dtype("int8" if exact else net.weights)
    info = np.iinfo(kind)
    low, high = (-SMALL, SMALL) if exact else (int(info.min), int(info.max))
    w = net.rng.integers(low, high + 1, shape).astype(kind)
    many = () if net.maybe() or kind == np.uint8 else (shape[axis],)
    scale = net.rng.uniform(0.001, 0.02, many).astype(np.float32)
    scale = np.exp2(np.rint(np.log2(scale))) if exact else scale
    zero = kind.type(net.choose([128, int(net.rng.integers(256))]) if info.min == 0 else 0)
    return w, np.asarray(scale), np.full(many, zero, kind)


SMALL = 3
"""The largest weight where sums have to be exact in float32."""


def size_of(w: Any) -> float:
    """Standard deviation of weights, about their zero point."""
    return float(np.std(w.astype(float))) + 1 / 2


def pool(net: Network, x: Value) -> Value | None:
    attrs = window(net, x, 3)
    op = net.choose(["MaxPool", "AveragePool"])
    if attrs is None:
        return None
    if op == "AveragePool":
        attrs.pop("dilations")
        attrs["count_include_pad"] = int(net.maybe())
    if "pads" in attrs:
        reach = attrs["kernel_shape"]
        attrs["pads"] = [
            min(p, k - 1) for p, k in zip(attrs["pads"], [*reach, *reach], strict=True)
        ]
        attrs["ceil_mode"] = int(net.maybe(3))
    if not fits(x, attrs):
        return None
    shape = (*x.shape[:2], *extents(x, attrs))
    if op == "MaxPool" and not net.wide and net.maybe():
        return moved(net, x, "MaxPool", shape, **attrs)
    if op == "AveragePool" and net.qoperator:
        return q_unary(net, "QLinearAveragePool", x, shape, **attrs)
    return net.computed(op, [x], shape, x.spread, **attrs)


def moved(net: Network, x: Value, op: str, shape: tuple[int, ...], **attrs: Any) -> Value:
    """An operator that keeps scale and zero point, on the integers themselves."""
    result = replace(x, name=net.value(shape, 1.0).name, shape=shape)
    extra = attrs.pop("extra", [])
    net.add(op, [x.name, *extra], result.name, **attrs)
    return net.keep(result)


def q_unary(net: Network, op: str, x: Value, shape: tuple[int, ...], **attrs: Any) -> Value:
    result = net.value(shape, x.spread)
    net.add(op, [x.name, *net.parameters(x), *net.parameters(result)], result.name, **attrs)
    return net.keep(result)


def combine(net: Network, x: Value) -> Value | None:
    """A residual Add or Mul; the other operand may be broadcast."""
    fitting = [v for v in net.values if len(v.shape) == len(x.shape) and broadcasts(v, x)]
    other = net.choose(fitting)
    op = net.choose(["Add", "Add", "Mul"] + ["Sub", "Max", "Min"] * (not net.qoperator))
    spread = x.spread * (other.spread if op == "Mul" else 1.5)
    pair = [x, other] if net.maybe() else [other, x]
    if not net.qoperator:
        return net.computed(op, pair, x.shape, spread)
    result = net.value(x.shape, spread)
    given = [n for v in (*pair, result) for n in ([v.name] if v is not result else [])
             + net.parameters(v)]  # fmt: skip
    net.add(f"QLinear{op}", given, result.name)
    return net.keep(result)


def broadcasts(other: Value, x: Value) -> bool:
    return all(a in (1, b) for a, b in zip(other.shape, x.shape, strict=True))


def concatenate(net: Network, x: Value) -> Value | None:
    axis = net.choose([1, 1, len(x.shape) - 1])
    same = [v for v in net.values if len(v.shape) == len(x.shape) and beside(v, x, axis)]
    parts = [x, *(net.choose(same) for _ in range(int(net.rng.integers(1, 3))))]
    shape = list(x.shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    if not small(shape):
        return None
    if not net.qoperator:
        return net.computed("Concat", parts, shape, x.spread, axis=axis)
    result = net.value(shape, x.spread)
    given = [n for p in parts for n in (p.name, *net.parameters(p))]
    net.add("QLinearConcat", [*net.parameters(result), *given], result.name, axis=axis)
    return net.keep(result)


def beside(other: Value, x: Value, axis: int) -> bool:
    return all(
        i == axis or a == b for i, (a, b) in enumerate(zip(other.shape, x.shape, strict=True))
    )


def cut(net: Network, x: Value) -> Value | None:
    axis = int(net.rng.integers(1, len(x.shape)))
    size, step = x.shape[axis], int(net.rng.integers(1, 3))
    start = int(net.rng.integers(size))
    extra = [net.constant(np.array([v], np.int64)) for v in (start, size, axis, step)]
    shape = (*x.shape[:axis], len(range(start, size, step)), *x.shape[axis + 1 :])
    return moved(net, x, "Slice", shape, extra=extra)


def split(net: Network, x: Value) -> Value | None:
    """Two parts, which are both kept."""
    axis = int(net.rng.integers(1, len(x.shape)))
    if x.shape[axis] < 2:
        return None
    first = int(net.rng.integers(1, x.shape[axis]))
    sizes = [first, x.shape[axis] - first]
    names = [f"s{len(net.nodes)}_{i}" for i in range(2)]
    given = [x.name, net.constant(np.array(sizes, np.int64))]
    net.add("Split", given, names[0], axis=axis)
    net.nodes[-1].output.append(names[1])
    for name, n in zip(names, sizes, strict=True):
        shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
        net.keep(replace(x, name=name, shape=shape))
    return net.values[-1]


def turn(net: Network, x: Value) -> Value | None:
    perm = [0, *(1 + net.rng.permutation(len(x.shape) - 1)).tolist()]
    shape = tuple(x.shape[axis] for axis in perm)
    if net.maybe():
        return moved(net, x, "Transpose", shape, perm=perm)
    return net.computed("Transpose", [x], shape, x.spread, perm=perm)


def reshape(net: Network, x: Value) -> Value | None:
    _, c, *sizes = x.shape
    options = [
        (1, c * sizes[0], *sizes[1:], 1),
        (1, sizes[-1], *sizes[:-1], c),
        (1, c, *sizes[::-1]),
    ]
    shape = tuple(int(n) for n in net.choose(options))
    return moved(net, x, "Reshape", shape, extra=[net.constant(np.array(shape, np.int64))])


def activate(net: Network, x: Value) -> Value | None:
    if net.qoperator:
        return q_unary(net, net.choose(["QLinearLeakyRelu", "QLinearSigmoid"]), x, x.shape)
    op = net.choose(EXACT_FUNCTIONS if net.wide else [*EXACT_FUNCTIONS, "Sigmoid", "Tanh", "Elu"])
    if op == "HardSwish" and net.opset < HARD_SWISH:
        return None
    return net.computed(op, [x], x.shape, x.spread if op not in ("Sigmoid", "Tanh") else 0.4)


EXACT_FUNCTIONS = ("LeakyRelu", "HardSigmoid", "HardSwish", "Relu", "Abs")
HARD_SWISH = 14
"""The first opset that has it."""


def learned(net: Network, x: Value) -> Value | None:
    """PRelu, with a slope per channel or one for all, quantised or not."""
    if net.qoperator:
        return None
    count = net.choose([1, x.shape[1]])
    shape = (count, *(1 for _ in x.shape[2:]))
    kind = np.dtype(net.dtype)
    values = net.rng.integers(0, 100, shape).astype(kind)
    scale = net.constant(np.float32(net.rng.uniform(0.001, 0.01)))
    slope = net.constant(values.astype(np.float32) / 128)
    if net.maybe():
        names = [net.constant(values), scale, net.constant(kind.type(0))]
        slope = net.add("DequantizeLinear", names, f"{names[0]}_real")
    return net.computed("PRelu", [x], x.shape, x.spread, extra=[slope])


def pad(net: Network, x: Value) -> Value | None:
    rank = len(x.shape) - 2
    ends = net.rng.integers(0, 3, (2, rank))
    pads = np.array([0, 0, *ends[0], 0, 0, *ends[1]], np.int64)
    shape = (*x.shape[:2], *(int(n) for n in np.array(x.shape[2:]) + ends.sum(0)))
    extra = [net.constant(pads)]
    if net.maybe():
        extra.append(net.constant(np.float32(net.rng.normal(0, x.spread))))
    return net.computed("Pad", [x], shape, x.spread, extra=extra)


def classify(net: Network, x: Value) -> Value:
    """A global average, and a matrix product."""
    if len(x.shape) == 4 and net.maybe():
        shape = (*x.shape[:2], 1, 1)
        x = (
            q_unary(net, "QLinearGlobalAveragePool", x, shape, channels_last=0)
            if net.qoperator
            else net.computed("GlobalAveragePool", [x], shape, x.spread, exact=net.wide)
        )
    if net.wide and not x.is_exact:
        return x
    flat = (1, prod(x.shape))
    x = moved(net, x, "Reshape", flat, extra=[net.constant(np.array(flat, np.int64))])
    n = int(net.rng.integers(1, 20))
    w, scale, zero = weights(net, (flat[1], n), 1, exact=net.wide)
    spread = x.spread * float(scale.mean()) * size_of(w) * root(flat[1])
    result = net.value((1, n), spread, exact=net.wide)
    names = [net.constant(v) for v in (w, scale, zero)]
    if net.qoperator:
        given = [x.name, *net.parameters(x), *names, *net.parameters(result)]
        net.add("QLinearMatMul", given, result.name)
        return net.keep(result)
    w_real = net.add("DequantizeLinear", names, f"{names[0]}_real", axis=1)
    op = net.choose(["MatMul", "Gemm"])
    real = net.add(op, [net.real(x), w_real], f"{result.name}_float")
    return net.keep(net.quantised(real, result))


GROWTHS: tuple[Growth, ...] = (
    convolve, convolve, convolve, convolve, convolve, pool, pool, combine, combine, concatenate,
    cut, split, turn, reshape, activate, learned, pad, shuffle,
)  # fmt: skip
