"""Small networks of the kinds that people export, with the idioms of their exporters."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

REAL = np.float32


class Exporter:
    """Writes nodes one after the other; arrays among a node's inputs become constants."""

    def __init__(self, shape: Sequence[int | str], opset: int) -> None:
        self.rng = np.random.default_rng(0)
        self.shape, self.opset = shape, opset
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def weight(self, *shape: int) -> str:
        spread = 1 / np.sqrt(np.prod(shape[1:]))
        return self.constant(self.rng.normal(0, spread, shape).astype(REAL))

    def __call__(self, op: str, *inputs: Any, results: int = 1, **attrs: Any) -> Any:
        number = len(self.nodes)
        outputs = [f"{op.lower()}{number}_{i}" for i in range(results)]
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        self.nodes.append(helper.make_node(op, names, outputs, f"{op}_{number}", **attrs))
        return outputs if results > 1 else outputs[0]

    def conv(self, x: str, c: int, k: int, size: int = 3, **attrs: Any) -> str:
        """Same size, 2-D, unless `attrs` say otherwise."""
        group = attrs.get("group", 1)
        around = [attrs.get("dilations", [1])[0] * (size // 2)] * 4
        kernel, bias = self.weight(k, c // group, size, size), np.full(k, 0.05, REAL)
        name: str = self("Conv", x, kernel, bias, **{"pads": around, **attrs})
        return name

    def model(self, *results: str) -> ModelProto:
        kinds = [TensorProto.INT64 if r.startswith("arg") else TensorProto.FLOAT for r in results]
        graph = helper.make_graph(
            self.nodes, "exported",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            list(map(helper.make_tensor_value_info, results, kinds, [None] * len(results))),
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )  # fmt: skip
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def whole(*values: int) -> Any:
    return np.array(values, np.int64)


def detector() -> ModelProto:
    """Two scales, joined by a nearest Resize; boxes are decoded in the graph."""
    net = Exporter((1, 3, 32, 32), 13)
    fine = net("LeakyRelu", net.conv("x", 3, 8, strides=[2, 2]), alpha=0.1)
    coarse = net("LeakyRelu", net.conv(fine, 8, 16, strides=[2, 2]), alpha=0.1)
    up = net("Resize", net.conv(coarse, 16, 8, 1), "", np.array([1, 1, 2, 2], REAL),
             mode="nearest", nearest_mode="floor",
             coordinate_transformation_mode="asymmetric")  # fmt: skip
    joined = net("Concat", up, fine, axis=1)
    found = []
    for feature, size in ((joined, 16), (coarse, 8)):
        raw = net("Reshape", net.conv(feature, 16, 14, 1), whole(1, 2, 7, size, size))
        score = net("Sigmoid", net("Transpose", raw, perm=[0, 1, 3, 4, 2]))
        xy, wh, rest = net("Split", score, whole(2, 2, 3), results=3, axis=4)
        xy = net("Mul", net("Sub", net("Mul", xy, REAL(2)), REAL(0.5)), REAL(32 / size))
        wh = net("Mul", net("Pow", net("Mul", wh, REAL(2)), REAL(2)), REAL(9))
        boxes = net("Concat", xy, wh, rest, axis=4)
        found.append(net("Reshape", boxes, whole(1, -1, 7)))
    return net.model(net("Concat", *found, axis=1))


def unet() -> ModelProto:
    net = Exporter((1, 1, 24, 16), 13)
    outer = net("Relu", net.conv("x", 1, 8))
    inner = net("Relu", net.conv(net("MaxPool", outer, kernel_shape=[2, 2], strides=[2, 2]), 8, 16))
    up = net("ConvTranspose", inner, net.weight(16, 8, 2, 2), strides=[2, 2])
    joined = net("Relu", net.conv(net("Concat", up, outer, axis=1), 16, 8))
    return net.model(net("Sigmoid", net.conv(joined, 8, 1, 1)))


def superresolution() -> ModelProto:
    """Sub-pixels, on top of a linear Resize."""
    net = Exporter((1, 1, 10, 14), 13)
    y = net("Tanh", net.conv("x", 1, 8, 5))
    y = net("DepthToSpace", net.conv(y, 8, 4), blocksize=2, mode="CRD")
    base = net("Resize", "x", "", np.array([1, 1, 2, 2], REAL), mode="linear")
    return net.model(net("Clip", net("Add", y, base), REAL(-1), REAL(3)))


def keywords() -> ModelProto:
    """1-D convolutions, separable, dilated, with residuals."""
    net = Exporter((1, 1, 400), 13)
    y = net("Relu", net("Conv", "x", net.weight(16, 1, 25), strides=[4], pads=[12, 12]))
    y = net("MaxPool", y, kernel_shape=[4], strides=[4])
    for dilation in (1, 2, 4):
        deep = net("Conv", y, net.weight(16, 1, 5), group=16, dilations=[dilation],
                   pads=[2 * dilation] * 2)  # fmt: skip
        y = net("Relu", net("Add", net("Conv", net("Relu", deep), net.weight(16, 16, 1)), y))
    flat = net("Flatten", net("GlobalAveragePool", y))
    return net.model(net("Softmax", net("Gemm", flat, net.weight(12, 16), transB=1)))


def squeeze_and_excite() -> ModelProto:
    net = Exporter((1, 3, 24, 24), 14)
    y = net("HardSwish", net.conv("x", 3, 16, strides=[2, 2]))
    deep = net("HardSwish", net.conv(y, 16, 16, 5, group=16))
    pooled = net("ReduceMean", deep, axes=[2, 3], keepdims=1)
    gate = net("HardSigmoid", net.conv(net("Relu", net.conv(pooled, 16, 4, 1)), 4, 16, 1))
    y = net("Add", net.conv(net("Mul", gate, deep), 16, 16, 1), y)
    flat = net("Reshape", net("GlobalAveragePool", y), whole(1, 16))
    return net.model(net("Gemm", flat, net.weight(10, 16), transB=1))


def normalised() -> ModelProto:
    """GroupNorm as it is exported, and a ConvNeXt block, whose Gelu is spelled out."""
    net = Exporter((1, 8, 8, 8), 17)
    y = net("Reshape", net.conv("x", 8, 16), whole(0, 4, -1))
    y = net("InstanceNormalization", y, np.ones(4, REAL), np.zeros(4, REAL))
    y = net("Mul", net("Reshape", y, whole(1, 16, 8, 8)), np.full((16, 1, 1), 1.1, REAL))
    y = net("Transpose", net.conv(y, 16, 16, 7, group=16), perm=[0, 2, 3, 1])
    y = net("LayerNormalization", y, np.full(16, 1.2, REAL), np.full(16, 0.1, REAL))
    y = net("Add", net("MatMul", y, net.weight(16, 32)), np.full(32, 0.1, REAL))
    bent = net("Add", net("Erf", net("Div", y, REAL(np.sqrt(2)))), REAL(1))
    y = net("MatMul", net("Mul", net("Mul", y, bent), REAL(0.5)), net.weight(32, 16))
    return net.model(net("ReduceMean", net("Transpose", y, perm=[0, 3, 1, 2]), axes=[2, 3]))


def shuffled() -> ModelProto:
    """Channels are shuffled by shapes that are computed, of a batch that is a symbol."""
    net = Exporter(("N", 3, 16, 16), 13)
    y = net("Relu", net.conv("x", 3, 12, strides=[2, 2]))
    shape = net("Shape", y)
    sizes = [net("Unsqueeze", net("Gather", shape, np.int64(i)), whole(0)) for i in (0, 2, 3)]
    apart = net("Concat", sizes[0], whole(2), whole(6), *sizes[1:], axis=0)
    back = net("Concat", sizes[0], whole(-1), *sizes[1:], axis=0)
    y = net("Transpose", net("Reshape", y, apart), perm=[0, 2, 1, 3, 4])
    y = net.conv(net("Reshape", y, back), 12, 24, group=3, strides=[2, 2])
    flat = net("ReduceMean", y, axes=[2, 3], keepdims=0)
    return net.model(net("Gemm", flat, net.weight(6, 24), transB=1))


def attention() -> ModelProto:
    """Patches, and one block of two heads behind a causal mask."""
    net = Exporter((1, 3, 16, 16), 13)
    patches = net("Conv", "x", net.weight(16, 3, 4, 4), strides=[4, 4])
    tokens = net("Transpose", net("Reshape", patches, whole(1, 16, 16)), perm=[0, 2, 1])
    mixed = net("Reshape", net("MatMul", tokens, net.weight(16, 48)), whole(1, 16, 3, 2, 8))
    mixed = net("Transpose", mixed, perm=[2, 0, 3, 1, 4])
    q, k, v = (net("Gather", mixed, np.int64(i), axis=0) for i in range(3))
    scores = net("MatMul", q, net("Transpose", k, perm=[0, 1, 3, 2]))
    later = np.triu(np.ones((16, 16), bool), 1)
    scores = net("Where", later, REAL(-20), net("Mul", scores, REAL(8**-0.5)))
    y = net("MatMul", net("Softmax", scores, axis=-1), v)
    y = net("Reshape", net("Transpose", y, perm=[0, 2, 1, 3]), whole(1, 16, 16))
    y = net("Gather", net("Add", tokens, net("MatMul", y, net.weight(16, 16))), np.int64(0), axis=1)
    return net.model(net("Gemm", y, net.weight(9, 16), transB=1))


def segmenter() -> ModelProto:
    """Dilated branches; the class of each pixel."""
    net = Exporter((1, 3, 20, 20), 13)
    y = net("Relu", net.conv("x", 3, 8, strides=[2, 2]))
    wide = [net("Relu", net.conv(y, 8, 8, dilations=[d, d])) for d in (1, 2, 4)]
    y = net.conv(net("Concat", *wide, axis=1), 24, 5, 1)
    y = net("Resize", y, "", "", whole(1, 5, 20, 20), mode="linear",
            coordinate_transformation_mode="pytorch_half_pixel")  # fmt: skip
    return net.model(net("ArgMax", y, axis=1, keepdims=0))


def causal() -> ModelProto:
    """A dilated 1-D network with explicit pads, and a transposed convolution at its end."""
    net = Exporter((1, 4, 64), 13)
    y, channels = "x", 4
    for dilation in (1, 2, 4):
        y = net("Pad", y, whole(0, 0, 2 * dilation, 0, 0, 0))
        y = net("Relu", net("Conv", y, net.weight(8, channels, 3), dilations=[dilation]))
        channels = 8
    y = net("ConvTranspose", y, net.weight(8, 4, 4), strides=[2], pads=[1, 1])
    return net.model(net("Softplus", net("Squeeze", y, whole(0))))


NETWORKS: tuple[Callable[[], ModelProto], ...] = (
    detector, unet, superresolution, keywords, squeeze_and_excite, normalised, shuffled, attention,
    segmenter, causal,
)  # fmt: skip
