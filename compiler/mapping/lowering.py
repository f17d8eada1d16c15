"""From a group of the graph to its Workload: loops, operand boxes, instructions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dnncc.isa import vector
from dnncc.targets import Target

from ..ir.graph import Graph, Node, Tensor
from ..ir.tile import Box, Dim
from ..ops.elementwise import add_terms, is_float, lift
from ..ops.scale import product_scale
from .workload import PSUM_DTYPE, Access, StepSpec, Workload, scratchpad_dtype

OUT = "out"


@dataclass
class Builder:
    """Collects the Workload of one group while its nodes are lowered in turn."""

    graph: Graph
    target: Target
    group: Node
    dims: dict[str, int] = field(default_factory=dict)
    inputs: list[Access] = field(default_factory=list)
    inner: list[StepSpec] = field(default_factory=list)
    outer: list[StepSpec] = field(default_factory=list)
    psum: Access | None = None
    reduction: tuple[str, ...] = ()
    single: tuple[str, ...] = ()
    box: Box = ()

    def tensor(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def read(self, role: str, name: str, box: Box, kind: str = "ifmap") -> tuple[str, str]:
        dtype = scratchpad_dtype(self.tensor(name).dtype, self.target)
        self.inputs.append(Access(role, name, box, kind, dtype))
        return role, name

    def accumulate(self, box: Box) -> tuple[str, str]:
        self.psum = Access("psum", "", box, "psum", PSUM_DTYPE)
        return "psum", ""

    def finish(self) -> Workload:
        name = self.group.outputs[0]
        dtype = scratchpad_dtype(self.tensor(name).dtype, self.target)
        result = Access(OUT, name, self.box, "ofmap", dtype)
        return Workload(
            self.dims,
            tuple(self.inputs),
            result,
            self.psum,
            tuple(self.inner),
            tuple(self.outer),
            self.reduction,
            self.single,
        )


def workload(group: Node, graph: Graph, target: Target) -> Workload:
    """The Workload of a group: its first node opens the loops, the others work on its result."""
    build = Builder(graph, target, group)
    anchor, *epilogue = group.body
    ANCHORS[anchor.op](build, anchor)
    for node in epilogue:
        EPILOGUES[node.op](build, node)
    return build.finish()


def scalar_quant(tensor: Tensor) -> tuple[float, int]:
    quant = tensor.quant
    if quant is None:
        return 1.0, 0
    return float(quant.scale[0]), int(quant.zero[0])


def requantize(build: Builder, node: Node, axes: str) -> None:
    """The step from psums to the node's result, with the table of biases and scales."""
    channels = next(d for d, axis in zip(build.box, axes, strict=True) if axis == "k")
    words = build.tensor(node.attrs["params"]).shape[1]
    params = build.read("params", node.attrs["params"], (channels, Dim.whole(words)), "params")
    attrs = {
        "axes": axes,
        "zero": scalar_quant(build.tensor(node.outputs[0]))[1],
        "low": node.attrs["low"],
        "high": node.attrs["high"],
        "mode": 0 if words == 2 else 1,
    }
    uses = {"psum": ("psum", ""), "params": params, "out": (OUT, node.outputs[0])}
    build.outer.append(StepSpec("requantize", uses, attrs))


def weight_zeros(build: Builder, node: Node, channels: Dim) -> dict[str, tuple[str, str]]:
    if "zeros" not in node.attrs:
        return {}
    return {"zeros": build.read("zeros", node.attrs["zeros"], (channels,), "params")}


def conv2d(build: Builder, node: Node) -> None:
    x, w, y = (build.tensor(i) for i in (*node.inputs[:2], node.outputs[0]))
    (n, channels, h, wide), (_, _, p, q) = x.shape, y.shape
    groups = node.attrs["group"]
    k, c, (r, s) = w.shape[0] // groups, channels // groups, w.shape[2:]
    (sy, sx), (dy, dx) = node.attrs["strides"], node.attrs["dilations"]
    top, left = node.attrs["pads"][:2]
    build.dims |= {"n": n, "g": groups, "k": k, "c": c, "p": p, "q": q}
    build.reduction = ("c",)
    out = Dim(groups * k, (("g", k), ("k", 1)))
    build.box = (Dim(n, (("n", 1),)), out, Dim(p, (("p", 1),)), Dim(q, (("q", 1),)))
    ifmap = (
        build.box[0],
        Dim(channels, (("g", c), ("c", 1))),
        Dim(h, (("p", sy),), -top, (r - 1) * dy + 1),
        Dim(wide, (("q", sx),), -left, (s - 1) * dx + 1),
    )
    weight = (out, Dim(c, (("c", 1),)), Dim.whole(r), Dim.whole(s))
    zeros = weight_zeros(build, node, out)
    uses = {
        "weight": build.read("weight", node.inputs[1], weight, "weight"),
        **zeros,
        "ifmap": build.read("ifmap", node.inputs[0], ifmap),
        "psum": build.accumulate(build.box),
    }
    attrs = {
        "ifmap_axes": "nchw", "weight_axes": "kcrs", "psum_axes": "nkpq",
        "r": r, "s": s, "stride_y": sy, "stride_x": sx, "dilation_y": dy, "dilation_x": dx,
        "ifmap_zero": scalar_quant(x)[1],
        "weight_zero": 0 if zeros else scalar_quant(w)[1],
    }  # fmt: skip
    build.inner.append(StepSpec("tensor", uses, attrs))
    requantize(build, node, "nkpq")


def matmul(build: Builder, node: Node) -> None:
    """a[.., M, C] by b[C, K]: rows of a are output columns q of a 1x1 convolution."""
    a, b = build.tensor(node.inputs[0]), build.tensor(node.inputs[1])
    batch = a.shape[0] if len(a.shape) == 3 else 1
    rows, (c, k) = a.shape[-2], b.shape[-2:]
    build.dims |= {"n": batch, "g": 1, "k": k, "c": c, "p": 1, "q": rows}
    build.reduction = ("c",)
    lead = (Dim(batch, (("n", 1),)),) * (len(a.shape) - 2)
    row, out, inner = Dim(rows, (("q", 1),)), Dim(k, (("k", 1),)), Dim(c, (("c", 1),))
    build.box = (*lead, row, out)
    b_lead = tuple(Dim(d, (("n", 1),) if d > 1 else ()) for d in b.shape[:-2])
    if any(d > 1 for d in b.shape[:-2]):
        build.single = ("n",)  # an instruction has the same weights for all its images
    zeros = weight_zeros(build, node, out)
    uses = {
        "weight": build.read("weight", node.inputs[1], (*b_lead, inner, out), "weight"),
        **zeros,
        "ifmap": build.read("ifmap", node.inputs[0], (*lead, row, inner)),
        "psum": build.accumulate((*lead, out, row)),
    }
    attrs = {
        "ifmap_axes": "nwc"[3 - len(a.shape) :], "weight_axes": "bck"[3 - len(b.shape) :],
        "psum_axes": "nkq"[3 - len(a.shape) :],
        "r": 1, "s": 1, "stride_y": 1, "stride_x": 1, "dilation_y": 1, "dilation_x": 1,
        "ifmap_zero": scalar_quant(a)[1],
        "weight_zero": 0 if zeros else scalar_quant(b)[1],
    }  # fmt: skip
    build.inner.append(StepSpec("tensor", uses, attrs))
    requantize(build, node, "nqk"[3 - len(a.shape) :])


PLANE = ("n", "k", "p", "q")


def elementwise_box(build: Builder, shape: tuple[int, ...]) -> Box:
    """The whole of a tensor, its last dimensions n, k, p, q; an instruction takes one index of
    each dimension before these."""
    build.single = tuple(f"d{i}" for i in range(len(shape) - len(PLANE)))
    names = (*build.single, *PLANE)[-len(shape) :] if shape else ()
    build.dims |= {v: 1 for v in PLANE}
    build.dims |= dict(zip(names, shape, strict=True))
    return tuple(Dim(d, ((v, 1),)) for d, v in zip(shape, names, strict=True))


def broadcast_box(shape: tuple[int, ...], box: Box) -> Box:
    """The part of an operand that `box` of the result reads; a dimension of 1 is all read."""
    aligned = box[len(box) - len(shape) :]
    return tuple(d if n == d.bound else Dim.whole(n) for n, d in zip(shape, aligned, strict=True))


def pool(build: Builder, node: Node) -> None:
    x, y = build.tensor(node.inputs[0]), build.tensor(node.outputs[0])
    (n, channels, h, w), (_, _, p, q) = x.shape, y.shape
    (r, s), (sy, sx) = node.attrs["kernel"], node.attrs["strides"]
    dy, dx = node.attrs.get("dilations", (1, 1))
    top, left = node.attrs["pads"][:2]
    build.dims |= {"n": n, "k": channels, "p": p, "q": q}
    plane = (Dim(n, (("n", 1),)), Dim(channels, (("k", 1),)))
    build.box = (*plane, Dim(p, (("p", 1),)), Dim(q, (("q", 1),)))
    rows = Dim(h, (("p", sy),), -top, (r - 1) * dy + 1)
    columns = Dim(w, (("q", sx),), -left, (s - 1) * dx + 1)
    uses = {
        "x": build.read("ifmap", node.inputs[0], (*plane, rows, columns)),
        "out": (OUT, node.outputs[0]),
    }
    (x_scale, x_zero), (y_scale, y_zero) = scalar_quant(x), scalar_quant(y)
    attrs = {
        "axes": "nchw", "out_axes": "ncpq", "op": pool_code(node),
        "r": r, "s": s, "stride_y": sy, "stride_x": sx, "dilation_y": dy, "dilation_x": dx,
        "include_pad": int(bool(node.attrs.get("count_include_pad", 0))),
        "x_zero": x_zero, "out_zero": y_zero, "x_scale": x_scale, "out_scale": y_scale,
        "low": node.attrs.get("low", -128), "high": node.attrs.get("high", 127),
    }  # fmt: skip
    build.outer.append(StepSpec("pool", uses, attrs))


def pool_code(node: Node) -> int:
    if node.op == "maxpool":
        return vector.MAX
    return vector.AVERAGE if node.attrs["zero_first"] else vector.MEAN


def global_avgpool(build: Builder, node: Node) -> None:
    """Integer sums of whole planes as psums, then requantised."""
    x = build.tensor(node.inputs[0])
    n, channels, h, w = x.shape
    build.dims |= {"n": n, "k": channels, "p": 1, "q": 1}
    plane = (Dim(n, (("n", 1),)), Dim(channels, (("k", 1),)))
    build.box = (*plane, Dim.whole(1), Dim.whole(1))
    uses = {
        "x": build.read("ifmap", node.inputs[0], (*plane, Dim.whole(h), Dim.whole(w))),
        "out": build.accumulate(build.box),
    }
    attrs = {**WINDOW_OF_ONE, "axes": "nchw", "out_axes": "ncpq", "op": 2, "r": h, "s": w}
    build.outer.append(StepSpec("pool", uses, {**attrs, "x_zero": scalar_quant(x)[1]}))
    requantize(build, node, "nkpq")


def binary_attrs(build: Builder, node: Node) -> dict[str, Any]:
    kernel = real_terms if is_float(node) else BINARY_TERMS[node.op]
    limits = {"low": node.attrs["low"], "high": node.attrs["high"]}
    return {**limits, **kernel(node, build.graph)}


def add_scales(node: Node, graph: Graph) -> dict[str, Any]:
    scale_a, scale_b, offset = (float(term) for term in add_terms(node, graph.tensors))
    zeros = dict.fromkeys(("zero_a", "zero_b", "zero"), -lift(node))
    scales = {"scale_a": scale_a, "scale_b": scale_b, "offset": offset}
    return {"op": vector.QADD, **scales, **zeros}


def mul_scales(node: Node, graph: Graph) -> dict[str, Any]:
    a, b, y = (scalar_quant(graph.tensors[i])[1] for i in (*node.inputs, node.outputs[0]))
    scale, shift = product_scale(node, graph.tensors), lift(node)
    zeros = {"zero_a": a, "zero_b": b, "offset": float(y + shift), "zero": -shift}
    return {"op": vector.QMUL, "scale_a": float(scale[0]), **zeros}


def real_terms(node: Node, graph: Graph) -> dict[str, Any]:
    code = vector.REAL_ADD if node.op == "add" else vector.REAL_MUL
    a, b, y = (scalar_quant(graph.tensors[i]) for i in (*node.inputs, node.outputs[0]))
    scales = {"scale_a": a[0], "scale_b": b[0], "offset": y[0]}
    return {"op": code, **scales, "zero_a": a[1], "zero_b": b[1], "zero": y[1]}


BINARY_TERMS: Mapping[str, Callable[[Node, Graph], dict[str, Any]]] = {
    "add": add_scales,
    "mul": mul_scales,
}


def binary(build: Builder, node: Node) -> None:
    y = node.outputs[0]
    build.box = elementwise_box(build, build.tensor(y).shape)
    uses = {
        role: build.read(role, name, broadcast_box(build.tensor(name).shape, build.box))
        for role, name in zip("ab", node.inputs, strict=True)
    }
    step = StepSpec("elementwise", {**uses, "out": (OUT, y)}, binary_attrs(build, node))
    build.outer.append(step)


def binary_epilogue(build: Builder, node: Node) -> None:
    """One operand is what the group has computed so far, the other is read."""
    chained = build.outer[-1].uses["out"][1]
    uses: dict[str, tuple[str, str]] = {}
    for role, name in zip("ab", node.inputs, strict=True):
        box = broadcast_box(build.tensor(name).shape, build.box)
        uses[role] = (OUT, name) if name == chained else build.read(f"side_{role}", name, box)
    uses["out"] = (OUT, node.outputs[0])
    build.outer.append(StepSpec("elementwise", uses, binary_attrs(build, node)))


def table_uses(build: Builder, node: Node) -> dict[str, tuple[str, str]]:
    name = node.inputs[1]
    whole = (Dim.whole(build.tensor(name).size),)
    return {"table": build.read("table", name, whole, "params")}


def table_attrs(build: Builder, node: Node) -> dict[str, Any]:
    first = int(np.iinfo(build.tensor(node.inputs[0]).dtype).min)
    return {"op": 13, "first": first}


def lut(build: Builder, node: Node) -> None:
    build.box = elementwise_box(build, build.tensor(node.outputs[0]).shape)
    uses = table_uses(build, node)
    uses |= {"x": build.read("ifmap", node.inputs[0], build.box), "out": (OUT, node.outputs[0])}
    build.outer.append(StepSpec("map", uses, table_attrs(build, node)))


def lut_epilogue(build: Builder, node: Node) -> None:
    uses = {**table_uses(build, node), "x": (OUT, node.inputs[0]), "out": (OUT, node.outputs[0])}
    build.outer.append(StepSpec("map", uses, table_attrs(build, node)))


def quantize(build: Builder, node: Node) -> None:
    build.box = elementwise_box(build, build.tensor(node.outputs[0]).shape)
    uses = {"x": build.read("ifmap", node.inputs[0], build.box), "out": (OUT, node.outputs[0])}
    side = node.outputs[0] if node.op == "quantize" else node.inputs[0]
    scale, zero = scalar_quant(build.tensor(side))
    attrs: dict[str, Any] = {"op": 2 if node.op == "quantize" else 1, "scale": scale, "zero": zero}
    if node.op == "quantize":
        info = np.iinfo(build.tensor(side).dtype)
        attrs |= {"low": int(info.min), "high": int(info.max)}
    build.outer.append(StepSpec("map", uses, attrs))


def copy(build: Builder, node: Node) -> None:
    build.box = elementwise_box(build, build.tensor(node.outputs[0]).shape)
    uses = {"x": build.read("ifmap", node.inputs[0], build.box), "out": (OUT, node.outputs[0])}
    build.outer.append(StepSpec("map", uses, {"op": 0}))


def pad(build: Builder, node: Node) -> None:
    """A window of one element that meets the fill outside of the tile; the padded axes are its rows
    and columns, whichever they are."""
    x, y = build.tensor(node.inputs[0]), build.tensor(node.outputs[0])
    axes = frame_axes(node)
    names = dict(zip("nchw", ("n", "k", "p", "q"), strict=True))
    build.dims |= {v: 1 for v in PLANE}
    build.dims |= {names[a]: d for a, d in zip(axes, y.shape, strict=True)}
    build.box = tuple(Dim(d, ((names[a], 1),)) for a, d in zip(axes, y.shape, strict=True))
    inside = tuple(
        replace(d, bound=n, offset=-b)
        for d, n, b in zip(build.box, x.shape, node.attrs["before"], strict=True)
    )
    uses = {"x": build.read("ifmap", node.inputs[0], inside), "out": (OUT, node.outputs[0])}
    attrs = {**WINDOW_OF_ONE, "axes": axes, "out_axes": axes.translate(RESULT_AXES), "op": 3}
    build.outer.append(StepSpec("pool", uses, {**attrs, "out_zero": node.attrs["value"]}))


WINDOW_OF_ONE: Mapping[str, Any] = {
    "r": 1, "s": 1, "stride_y": 1, "stride_x": 1, "dilation_y": 1, "dilation_x": 1,
    "include_pad": 0, "x_zero": 0, "out_zero": 0, "x_scale": 1.0, "out_scale": 1.0,
    "low": -128, "high": 127,
}  # fmt: skip

RESULT_AXES = str.maketrans("hw", "pq")


def frame_axes(node: Node) -> str:
    """Names for up to four axes: h and w for the padded ones, n and c for the others."""
    padded = [b or a for b, a in zip(node.attrs["before"], node.attrs["after"], strict=True)]
    rest = [i for i, p in enumerate(padded) if not p]
    order = [i for i, p in enumerate(padded) if p] + rest[::-1]
    given = dict(zip(order[:2], "wh", strict=False))
    given |= dict(zip(order[2:], "cn", strict=False))
    return "".join(given[i] for i in range(len(padded)))


ANCHORS: Mapping[str, Callable[[Builder, Node], None]] = {
    "conv2d": conv2d,
    "matmul": matmul,
    "maxpool": pool,
    "avgpool": pool,
    "global_avgpool": global_avgpool,
    "add": binary,
    "mul": binary,
    "lut": lut,
    "quantize": quantize,
    "dequantize": quantize,
    "copy": copy,
    "pad": pad,
}

EPILOGUES: Mapping[str, Callable[[Builder, Node], None]] = {
    "add": binary_epilogue,
    "mul": binary_epilogue,
    "lut": lut_epilogue,
}
