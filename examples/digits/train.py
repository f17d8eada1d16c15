"""Train a small CNN on scikit-learn's digits, in NumPy: python train.py FOLDER

FOLDER gets model.onnx, calibrate.npz (some of the training images), test.npz (all that the network
has not seen) and labels.npy (their digits). Seeds are fixed.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper, save

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Weights = dict[str, Array]
Back = Callable[[Array], tuple[Array, Array, Array]]

SEED, EPOCHS, BATCH, RATE, MOMENTUM = 0, 25, 32, 0.05, 0.9
TEST, CALIBRATION = 450, 64
SHAPES = {"conv1": (8, 1, 3, 3), "conv2": (16, 8, 3, 3), "dense": (64, 10)}
"""Of weights: of convolutions (K, C, R, S), of the product (C, K)."""


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8), 0 to 1, and their digits; the last TEST are for testing."""

    images: Array
    labels: Labels


def load() -> Digits:
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(SEED).permutation(len(found.target))
    images = (found.images[order, None] / 16).astype(np.float32)
    return Digits(images, found.target[order].astype(np.int64))


def initial() -> Weights:
    """He initialisation; biases are 0."""
    random = np.random.default_rng(SEED)
    weights: Weights = {}
    for name, shape in SHAPES.items():
        inputs = shape[0] if name == "dense" else np.prod(shape[1:])
        weights[name] = (random.normal(size=shape) * np.sqrt(2 / inputs)).astype(np.float32)
        outputs = shape[1] if name == "dense" else shape[0]
        weights[f"{name}_bias"] = np.zeros(outputs, np.float32)
    return weights


def patches(x: Array) -> Array:
    """(N, C, P, Q) -> (N, P, Q, C, 3, 3), with a border of zeros."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5)


def convolve(x: Array, weight: Array) -> Array:
    return np.tensordot(patches(x), weight, ((3, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)


def layer(x: Array, weight: Array, bias: Array) -> tuple[Array, Back]:
    """Convolution, ReLU and 2 x 2 max-pooling; and from the result's gradient those of x, weight
    and bias."""
    y = np.maximum(convolve(x, weight) + bias[:, None, None], 0)
    n, k, p, q = y.shape
    blocks = y.reshape(n, k, p // 2, 2, q // 2, 2)
    pooled = blocks.max((3, 5))

    def back(gradient: Array) -> tuple[Array, Array, Array]:
        best = (blocks == pooled[:, :, :, None, :, None]) & (blocks > 0)
        dy = (best * gradient[:, :, :, None, :, None]).reshape(y.shape).astype(np.float32)
        dw = np.tensordot(dy, patches(x), ((0, 2, 3), (0, 1, 2)))
        dx = convolve(dy, weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))
        return dx, dw, dy.sum((0, 2, 3))

    return pooled, back


def gradients(weights: Weights, x: Array, labels: Labels) -> Weights:
    """Of the mean cross-entropy."""
    a, back1 = layer(x, weights["conv1"], weights["conv1_bias"])
    b, back2 = layer(a, weights["conv2"], weights["conv2_bias"])
    flat = b.reshape(len(x), -1)
    scores = flat @ weights["dense"] + weights["dense_bias"]
    shares = np.exp(scores - scores.max(1, keepdims=True))
    error = shares / shares.sum(1, keepdims=True)
    error[np.arange(len(x)), labels] -= 1
    error /= len(x)
    found = {"dense": flat.T @ error, "dense_bias": error.sum(0)}
    da, found["conv2"], found["conv2_bias"] = back2((error @ weights["dense"].T).reshape(b.shape))
    _, found["conv1"], found["conv1_bias"] = back1(da)
    return found


def train(images: Array, labels: Labels, epochs: int = EPOCHS) -> Weights:
    """Stochastic gradient descent with momentum."""
    weights, random = initial(), np.random.default_rng(SEED)
    speed = {name: np.zeros_like(value) for name, value in weights.items()}
    for _ in range(epochs):
        for rows in np.array_split(random.permutation(len(images)), len(images) // BATCH):
            for name, slope in gradients(weights, images[rows], labels[rows]).items():
                speed[name] = MOMENTUM * speed[name] - RATE * slope
                weights[name] = weights[name] + speed[name]
    return weights


def model(weights: Weights) -> ModelProto:
    """The network, from image (1, 1, 8, 8) to scores (1, 10)."""
    node = helper.make_node
    pool: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        node("Conv", ["image", "conv1", "conv1_bias"], ["sum1"], "conv1", pads=[1, 1, 1, 1]),
        node("Relu", ["sum1"], ["map1"], "relu1"),
        node("MaxPool", ["map1"], ["pooled1"], "pool1", **pool),
        node("Conv", ["pooled1", "conv2", "conv2_bias"], ["sum2"], "conv2", pads=[1, 1, 1, 1]),
        node("Relu", ["sum2"], ["map2"], "relu2"),
        node("MaxPool", ["map2"], ["pooled2"], "pool2", **pool),
        node("Flatten", ["pooled2"], ["flat"], "flatten"),
        node("Gemm", ["flat", "dense", "dense_bias"], ["scores"], "dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value.astype(np.float32), k) for k, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main(folder: Path, epochs: int = EPOCHS) -> None:
    digits = load()
    images, labels = digits.images[:-TEST], digits.labels[:-TEST]
    folder.mkdir(parents=True, exist_ok=True)
    save(model(train(images, labels, epochs)), folder / "model.onnx")
    np.savez(folder / "calibrate.npz", image=images[:CALIBRATION])
    np.savez(folder / "test.npz", image=digits.images[-TEST:])
    np.save(folder / "labels.npy", digits.labels[-TEST:])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
