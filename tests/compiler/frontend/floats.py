"""Small float models, and samples for them."""

from typing import Any

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from tests.models import make_model

SHAPE = (1, 3, 8, 8)


def network(dtype: str = "float32", opset: int = 13, **extra: Any) -> ModelProto:
    """Convolution, Relu, pool, matrix product; weights are seeded."""
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "v"], ["y"], "gemm"),
    ]
    constants = {"w": normal(rng, 4, 3, 3, 3), "b": normal(rng, 4), "v": normal(rng, 4, 5)}
    typed = {k: v.astype(dtype) for k, v in constants.items()}
    borders = {"x": (dtype, SHAPE)}, {"y": (dtype, (1, 5))}
    return make_model(nodes, *borders, typed | extra, opset)


def normal(rng: np.random.Generator, *shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


def samples(count: int = 4, seed: int = 0) -> Any:
    return normal(np.random.default_rng(seed), count, *SHAPE[1:])


def kinds(model: ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def weight_only() -> ModelProto:
    """The network, whose convolution's weights are int8 constants that are dequantised."""
    model = network()
    rng = np.random.default_rng(6)
    whole = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    held = {"wq": whole, "ws": np.full(4, 0.01, np.float32), "wz": np.zeros(4, np.int8)}
    back = helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], "back", axis=0)
    return with_constants(model, held, back)


def with_constants(model: ModelProto, held: dict[str, Any], first: Any) -> ModelProto:
    kept = [t for t in model.graph.initializer if t.name not in first.output]
    nodes = [first, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in held.items())
    model.graph.node.extend(nodes)
    return model


def attention(depth: int) -> ModelProto:
    """A product of two computed matrices, each of which is a product with constants."""
    rng = np.random.default_rng(7)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["q"], "query"),
        helper.make_node("MatMul", ["x", "v"], ["k"], "key"),
        helper.make_node("Transpose", ["k"], ["t"], "turn", perm=[1, 0]),
        helper.make_node("MatMul", ["q", "t"], ["y"], "scores"),
    ]
    weights = {"w": normal(rng, 16, depth), "v": normal(rng, 16, depth)}
    return make_model(nodes, {"x": ("float32", (8, 16))}, {"y": ("float32", (8, 8))}, weights)
