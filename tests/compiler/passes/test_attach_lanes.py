"""A quantised input, and pools, go tile by tile with the convolution beside them, bit by bit.

A failing case is its seed; DNNCC_SEEDS=500 tries more of them.
"""

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dnncc.ir.graph import Graph, Node, Quant, one_group
from dnncc.ir.interpret import interpret
from dnncc.ir.tile_interpret import interpret_tile
from dnncc.ir.tile_verify import verify_tile
from dnncc.runtime.session import load

from ..lowering import compiled, target, tiled
from ..random_groups import RandomGroups, random_feeds

SEEDS = int(os.environ.get("DNNCC_SEEDS", "24"))
KINDS = (
    "quantize conv2d",
    "maxpool conv2d",
    "avgpool conv2d",
    "conv2d maxpool",
    "conv2d avgpool",
    "quantize conv2d maxpool",
    "maxpool conv2d avgpool",
)
ROUNDINGS = ("float", "integer", "lifted")
TARGETS = ("eyeriss-like", "tpu-like", "odd-13x7")


class RandomPairs(RandomGroups):
    def chain(self, kinds: list[str]) -> list[Node]:
        shape = (self.between(1, 2), self.between(1, 6), self.between(4, 12), self.between(4, 12))
        real = {"dtype": "float32", "quant": None}
        x = self.input(shape, **(real if kinds[0] == "quantize" else self.typed()))
        made = []
        for kind in kinds:
            x = self.group(getattr(self, f"make_{kind}")(x))
            made.append(self.nodes[-1])
        return made

    def make_quantize(self, x: str) -> Node:
        return self.node("quantize", [x], **self.typed())

    def make_conv2d(self, x: str) -> Node:
        channels, filters = self.tensors[x].shape[1], self.between(1, 9)
        window = self.seen(x)
        taps = window.pop("kernel")
        w = self.integers((filters, channels, *taps), "int8")
        scales = self.rng.uniform(0.001, 0.02, filters).astype(np.float32)
        weights = self.constant(w, Quant(scales, np.zeros(filters, np.int32), 0))
        bias = self.constant(self.rng.integers(-999, 999, filters).astype(np.int32))
        typed = self.typed()
        return self.conv(x, weights, bias, **window, **typed, **self.clamp(typed["dtype"]))

    def seen(self, x: str) -> dict[str, Any]:
        taps = tuple(self.between(1, min(3, n)) for n in self.tensors[x].shape[2:])
        pads = tuple(self.between(0, n - 1) for n in taps * 2)
        strides = (self.between(1, 3), self.between(1, 3))
        return {"kernel": taps, "pads": pads, "strides": strides}

    def make_maxpool(self, x: str) -> Node:
        tensor, window = self.tensors[x], {**self.seen(x), "dilations": (1, 1)}
        return self.node("maxpool", [x], tensor.dtype, tensor.quant, **window)

    def make_avgpool(self, x: str) -> Node:
        typed = self.typed()
        counted = {"count_include_pad": self.between(0, 1), "rounding": self.among(*ROUNDINGS)}
        window = {**self.seen(x), "dilations": (1, 1), **self.clamp(typed["dtype"])}
        return self.node("avgpool", [x], **window, **counted, **typed)


def attached(seed: int, kind: str) -> Graph:
    build = RandomPairs(seed)
    groups = build.chain(kind.split())
    graph = build.graph(groups[-1].outputs[0])
    inside = {g.outputs[0] for g in groups[:-1]}
    tensors = {k: replace(t, view=None) if k in inside else t for k, t in graph.tensors.items()}
    return replace(graph, nodes=(one_group(groups),), tensors=tensors)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_hold_what_the_layers_make(kind: str, seed: int) -> None:
    graph, machine = attached(seed, kind), target(TARGETS[seed % len(TARGETS)])
    feeds, program = random_feeds(graph, seed), tiled(graph, machine)
    verify_tile(program, machine)
    (output,) = graph.outputs
    np.testing.assert_array_equal(
        interpret_tile(program, feeds)[output], interpret(graph, feeds)[output]
    )


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", KINDS)
def test_binaries_compute_what_the_layers_do(kind: str, seed: int) -> None:
    graph, machine = attached(seed, kind), target(TARGETS[seed % len(TARGETS)])
    feeds = random_feeds(graph, seed)
    (wanted,) = (interpret(graph, feeds)[name] for name in graph.outputs)
    session = load(compiled(graph, machine))
    for schedule in ("serial", f"random:{seed}"):
        (result,) = session.run(list(graph.outputs), feeds, schedule)
        np.testing.assert_array_equal(result, wanted, schedule)
