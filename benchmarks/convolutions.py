"""The convolutions of AlexNet and VGG-19 with the pools between them, as int8 ONNX models with
seeded weights: what is left of these networks without their large matrix products."""

import os
from pathlib import Path
from typing import Any

import onnx

from benchmarks.validate.layers import Layer, alexnet
from benchmarks.validate.networks import INPUT, Network

BATCH = 4
"""Of AlexNet, as in the chip's paper (Chen et al., JSSC 2017)."""

POOLED = ("CONV1", "CONV2", "CONV5")
"""Layers of AlexNet behind which a 3x3 pool of stride 2 is."""

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Of VGG-19, configuration E of Simonyan and Zisserman (ICLR 2015): filters, and convolutions."""


def saved(name: str, cache: Path) -> Path:
    """The file of `alexnet` or `vgg19`, made when it is not there."""
    path = cache / f"{name}_convolutions.onnx"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        onnx.save({"alexnet": alexnet_model, "vgg19": vgg19_model}[name](), part)
        part.replace(path)
    return path


def alexnet_model() -> Any:
    """The original, of two groups, for a batch of 4 images of 227 x 227."""
    net, x, side = Network(), INPUT, 0
    layers = alexnet(BATCH)
    for layer in layers:
        x, side = convolution(net, x, layer), layer.outputs
        if layer.name in POOLED:
            x, side = net.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2]), side // 2
    shape = (BATCH, layers[-1].filters, side, side)
    return net.model((BATCH, layers[0].channels, layers[0].inputs, layers[0].inputs), x, shape)


def convolution(net: Network, x: str, layer: Layer) -> str:
    before = layer.padding // 2
    return net.conv(
        x, layer.channels // layer.groups, layer.filters, layer.size, layer.stride,
        pads=[before, before, layer.padding - before, layer.padding - before], group=layer.groups,
    )  # fmt: skip


def vgg19_model() -> Any:
    """Sixteen 3x3 convolutions and five 2x2 pools, for an image of 224 x 224."""
    net, x, channels, side = Network(), INPUT, 3, 224
    for filters, count in STAGES:
        for _ in range(count):
            x, channels = net.conv(x, channels, filters, 3), filters
        x, side = net.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2]), side // 2
    return net.model((1, 3, 224, 224), x, (1, channels, side, side))
