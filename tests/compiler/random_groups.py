"""Random groups of every kind, from a seed: odd shapes, zero points, layouts, epilogues."""

from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec.structs import replace

from dnncc.ir.graph import Graph, Node, Quant, View
from dnncc.ops.scale import quant_of

from .graphs import GraphBuilder

BYTES = ("int8", "uint8")
WIDE = (*BYTES, "int16")


class RandomGroups(GraphBuilder):
    """Grows a chain of groups; the next may read what one makes, also where it is resident."""

    def __init__(self, seed: int, dtypes: tuple[str, ...] = BYTES) -> None:
        super().__init__(seed)
        self.dtypes = dtypes
        self.results: list[str] = []

    def among(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def quant(self, dtype: Any, scale: float = 0.05) -> Quant:
        info = np.iinfo(dtype)
        zero = self.between(max(info.min, -300), min(info.max, 300))
        return Quant.per_tensor(float(scale * self.rng.uniform(0.5, 2.0)), zero)

    def typed(self, scale: float = 0.05, dtypes: tuple[str, ...] = ()) -> dict[str, Any]:
        dtype = self.among(*(dtypes or self.dtypes))
        return {"dtype": dtype, "quant": self.quant(dtype, scale)}

    def clamp(self, dtype: Any) -> dict[str, Any]:
        if self.chance(0.6):
            return {}
        info = np.iinfo(dtype)
        low, high = sorted(self.rng.integers(info.min, info.max + 1, 2).tolist())
        return {"low": low, "high": high}

    def order(self, rank: int) -> list[int] | None:
        return self.rng.permutation(rank).tolist() if self.chance(0.3) else None

    def source(self, shape: tuple[int, ...], dtypes: tuple[str, ...] = ()) -> str:
        """A value of this shape: a result if one has it, or an input, maybe a slice of one."""
        dtypes = dtypes or self.dtypes
        for name in self.results[::-1]:
            if self.tensors[name].shape == shape and self.tensors[name].dtype.name in dtypes:
                return name
        if len(shape) == 4 and dtypes == self.dtypes and self.chance(0.2):
            return self.sliced(shape)
        return self.input(shape, **self.typed(dtypes=dtypes), order=self.order(len(shape)))

    def sliced(self, shape: tuple[int, ...]) -> str:
        """Every second row of some of the channels of a larger input."""
        n, c, h, w = shape
        starts, steps = (0, self.between(0, 3), 1, 0), (1, 1, 2, 1)
        whole = self.input((n, c + 4, 2 * h + 1, w), **self.typed(), order=self.order(4))
        stops = (n, starts[1] + c, 2 * h + 1, w)
        view = self.tensors[whole].view
        assert view is not None
        offset = sum(a * b for a, b in zip(starts, view.strides, strict=True))
        strides = tuple(a * b for a, b in zip(steps, view.strides, strict=True))
        where = View(whole, offset, strides)
        return self.view("slice", [whole], where, starts=starts, stops=stops, steps=steps)

    def plane(self) -> tuple[int, ...]:
        """[N, C, H, W], that of a result if there is one."""
        for name in self.results[::-1]:
            if len(self.tensors[name].shape) == 4:
                return self.tensors[name].shape
        return (
            self.among(1, 1, 2, 3),
            self.between(1, 24),
            self.between(1, 17),
            self.between(1, 17),
        )

    def window(self, h: int, w: int, pad_limit: int = 9) -> tuple[tuple[int, int], dict[str, Any]]:
        """A kernel, with strides, pads and dilations under which it fits the padded plane."""
        kernel = (self.between(1, 5), self.between(1, 5))
        dilations = (self.among(1, 1, 2), self.among(1, 1, 3))
        pads = [0, 0, 0, 0]
        for i, size in enumerate((h, w)):
            most = min(pad_limit, (kernel[i] - 1) * dilations[i])
            pads[i], pads[i + 2] = self.between(0, most), self.between(0, most)
            missing = (kernel[i] - 1) * dilations[i] + 1 - size - pads[i] - pads[i + 2]
            pads[i + 2] += max(0, missing)
        strides = (self.between(1, 3), self.between(1, 3))
        return kernel, {"strides": strides, "pads": tuple(pads), "dilations": dilations}

    def weight(self, shape: tuple[int, ...], axis: int) -> str:
        """Quantised per tensor, per channel, or per channel with a zero point each."""
        dtype = self.among(*BYTES)
        channels = shape[axis]
        form = self.among("tensor", "channel", "zeros")
        count = 1 if form == "tensor" else channels
        scale = self.rng.uniform(0.01, 0.03, count).astype(np.float32)
        info = np.iinfo(dtype)
        zero = np.full(count, self.between(info.min, info.max), np.int32)
        if form == "zeros":
            zero = self.rng.integers(info.min, info.max + 1, count).astype(np.int32)
        quant = Quant(scale, zero, None if count == 1 else axis)
        return self.constant(self.integers(shape, dtype), quant)

    def bias(self, channels: int) -> str:
        if self.chance(0.4):
            return ""
        return self.constant(self.rng.integers(-3000, 3000, channels).astype(np.int32))

    def conv_node(self, group: int, c: int, k: int) -> Node:
        n, _, h, w = self.plane()
        x = self.source((n, group * c, h, w))
        kernel, attrs = self.window(h, w)
        if self.chance(0.15):
            attrs["pads"] = tuple(p + self.between(0, 6) for p in attrs["pads"])
        weight = self.weight((group * k, c, *kernel), 0)
        out = self.typed(0.05 * (c * kernel[0] * kernel[1]) ** 0.5)
        more = {"group": group, **attrs, **out, **self.clamp(out["dtype"])}
        return self.conv(x, weight, self.bias(group * k), **more)

    def conv_group(self) -> None:
        c = self.plane()[1]
        self.finish(self.conv_node(1, c, self.between(1, 40)))

    def depthwise_group(self) -> None:
        self.finish(self.conv_node(self.plane()[1], 1, self.among(1, 1, 2, 3)))

    def grouped_group(self) -> None:
        c = self.plane()[1]
        group = self.among(*(g for g in range(1, c + 1) if c % g == 0))
        self.finish(self.conv_node(group, c // group, self.between(1, 6)))

    def matmul_group(self) -> None:
        rows, c, k = self.between(1, 40), self.between(1, 70), self.between(1, 50)
        lead: tuple[int, ...] = (self.between(1, 4),) if self.chance(0.4) else ()
        if self.results and len(self.tensors[self.results[-1]].shape) in (2, 3):
            *lead_list, rows, c = self.tensors[self.results[-1]].shape
            lead = tuple(lead_list)
        a = self.source((*lead, rows, c))
        if self.chance(0.25):
            b = self.input((*lead, c, k), **self.typed(), order=self.order(len(lead) + 2))
        else:
            b = self.weight((c, k), 1)
        bias = self.bias(k)
        out = self.typed(0.05 * c**0.5)
        inputs = [a, b, bias] if bias else [a, b]
        self.finish(self.node("matmul", inputs, **out, **self.clamp(out["dtype"])))

    def finish(self, anchor: Node) -> None:
        """Close a group of an anchor: with a residual, a table, both or nothing."""
        body = [anchor]
        if self.chance(0.3):
            body.append(self.residual(body[-1].outputs[0]))
        if self.tensors[body[-1].outputs[0]].dtype.itemsize == 1 and self.chance(0.3):
            body.append(self.table_of(body[-1].outputs[0]))
        rank = len(self.tensors[body[-1].outputs[0]].shape)
        self.results.append(self.group(*body, order=self.order(rank)))

    def residual(self, name: str) -> Node:
        operands = [name, self.source(self.tensors[name].shape)]
        if self.chance(0.5):
            operands.reverse()
        out = self.typed(0.1)
        return self.node("add", operands, **out, **self.clamp(out["dtype"]))

    def table_of(self, name: str) -> Node:
        out = self.typed()
        table = self.constant(self.integers((256,), out["dtype"]))
        return self.node("lut", [name, table], **out)

    def shape(self) -> tuple[int, ...]:
        if self.results:
            return self.tensors[self.results[-1]].shape
        return tuple(self.between(1, 20) for _ in range(self.between(1, 4)))

    def alone(self, node: Node) -> None:
        rank = len(self.tensors[node.outputs[0]].shape)
        self.results.append(self.group(node, order=self.order(rank)))

    def binary_group(self) -> None:
        shape = self.shape()
        other = shape
        if self.chance(0.5):
            repeated = tuple(1 if self.chance(0.5) else n for n in shape)
            other = repeated[self.between(0, len(shape) - 1) :]
        operands = [self.source(shape), self.input(other, **self.typed())]
        if self.chance(0.5):
            operands.reverse()
        out = self.typed(0.1)
        self.alone(self.node(self.among("add", "mul"), operands, **out, **self.clamp(out["dtype"])))

    def lut_group(self) -> None:
        self.alone(self.table_of(self.source(self.shape(), BYTES)))

    def copy_group(self) -> None:
        x = self.source(self.shape())
        tensor = self.tensors[x]
        self.alone(self.node("copy", [x], tensor.dtype, tensor.quant))

    def quantize_group(self) -> None:
        x = self.source(self.shape())
        real = self.node("dequantize", [x], "float32", None)
        self.alone(real)
        self.alone(self.node("quantize", real.outputs, **self.typed()))

    def pad_group(self) -> None:
        x = self.source(self.shape())
        rank = len(self.tensors[x].shape)
        sides = np.zeros((2, rank), int)
        for axis in self.rng.permutation(rank)[:2]:
            sides[:, axis] = self.rng.integers(0, 9, 2)
        before, after = (tuple(side.tolist()) for side in sides)
        tensor = self.tensors[x]
        value = int(self.integers((), tensor.dtype))
        attrs = {"before": before, "after": after, "value": value}
        self.alone(self.node("pad", [x], tensor.dtype, tensor.quant, **attrs))

    def pool_group(self) -> None:
        n, c, h, w = self.plane()
        x = self.source((n, c, h, w))
        kernel, attrs = self.window(h, w)
        if min(h, w) <= 12:  # every window sees an element
            kernel, attrs["dilations"] = (min(kernel[0], h), min(kernel[1], w)), (1, 1)
            attrs["pads"] = tuple(self.between(0, (kernel[i % 2] - 1) // 2) for i in range(4))
        common = {"kernel": kernel, "ceil": self.among(0, 1), **attrs}
        if self.chance(0.5):
            tensor = self.tensors[x]
            self.alone(self.node("maxpool", [x], tensor.dtype, tensor.quant, **common))
            return
        out = self.typed()
        if self.chance(0.5):  # means that lie halfway between two steps
            out["quant"] = replace(out["quant"], scale=quant_of(self.tensors, x).scale)
        more = {
            "count_include_pad": self.among(0, 1),
            "rounding": self.among("float", "integer", "lifted"),
        }
        self.alone(self.node("avgpool", [x], **out, **common, **more, **self.clamp(out["dtype"])))

    def global_group(self) -> None:
        x = self.source(self.plane())
        out = self.typed()
        self.alone(self.node("global_avgpool", [x], **out, **self.clamp(out["dtype"])))


KINDS: tuple[Callable[[RandomGroups], None], ...] = (
    RandomGroups.conv_group,
    RandomGroups.conv_group,
    RandomGroups.depthwise_group,
    RandomGroups.grouped_group,
    RandomGroups.matmul_group,
    RandomGroups.binary_group,
    RandomGroups.lut_group,
    RandomGroups.copy_group,
    RandomGroups.quantize_group,
    RandomGroups.pad_group,
    RandomGroups.pool_group,
    RandomGroups.global_group,
)


def random_graph(seed: int, dtypes: tuple[str, ...] = BYTES) -> Graph:
    """One to four groups; the first is of kind `seed` modulo the number of kinds."""
    build = RandomGroups(seed, dtypes)
    KINDS[seed % len(KINDS)](build)
    for _ in range(build.between(0, 3)):
        build.among(*KINDS)(build)
    used = {i for n in build.nodes for i in n.inputs}
    ends = [name for name in build.results if name not in used]
    return build.graph(*ends)


def random_feeds(graph: Graph, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    feeds = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        if tensor.dtype.kind == "f":
            feeds[name] = rng.uniform(-9, 9, tensor.shape).astype(tensor.dtype)
            continue
        info = np.iinfo(tensor.dtype)
        feeds[name] = rng.integers(info.min, info.max + 1, tensor.shape).astype(tensor.dtype)
    return feeds
