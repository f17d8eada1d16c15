"""Convolutions one after the other in one group, what lies between them in tiles: a cascade.

Its chain is `expand`, `spatial`, `project`, one of the outer two maybe missing; they are 1x1 and
without stride and padding, so a tile of what is between is an affine image of the loops. The loops:

    n, p, q    pixels of `spatial`'s result; with `expand`, strips of its rows
    slice      of the hidden channels, those between the convolutions
    row        rows of a strip of expand's result, with halo
    part       channels of a slice of spatial's result

`expand` fills a tile of hidden channels row by row, `spatial` one of them part by part, so that the
requantisation of one piece goes on while the array works on the next. `project` adds up over the
slices. Halo rows are computed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..ir.graph import Node, one_group
from ..ir.tile import Box, Dim
from ..mapping.build import Builder, requantize, requantizing
from ..mapping.workload import PSUM_DTYPE, Access, StepSpec, scratchpad_dtype
from .conv import array_attrs, read_weights, seen
from .op import Tensors


class Chain(Struct, frozen=True):
    """The convolutions by what they do; at least two."""

    expand: Node | None
    spatial: Node
    project: Node | None


def split(body: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """The convolutions at the beginning of a group, and its epilogue."""
    count = sum(node.op == "conv2d" for node in body)
    return list(body[:count]), list(body[count:])


def chain_of(nodes: Sequence[Node], tensors: Tensors) -> Chain | None:
    """What each of these convolutions does in a cascade; None if they can be none."""
    first, *middle, last = nodes
    before, after = is_pointwise(first, tensors), is_pointwise(last, tensors)
    for node in middle:
        fits = before and after and is_depthwise(node, tensors) and overlaps(node, tensors)
        return Chain(first, node, last) if fits and len(middle) == 1 else None
    if after and is_sliceable(first, tensors):
        return Chain(None, first, last)
    fits = before and is_sliceable(last, tensors) and overlaps(last, tensors)
    return Chain(first, last, None) if fits else None


def is_pointwise(node: Node, tensors: Tensors) -> bool:
    """An output pixel is made of the input's channels at its place."""
    attrs = node.attrs
    plain = tensors[node.inputs[1]].shape[2:] == (1, 1) and attrs["group"] == 1
    return plain and set(attrs["strides"]) == {1} and not any(attrs["pads"])


def is_depthwise(node: Node, tensors: Tensors) -> bool:
    """An output channel is made of one input channel."""
    channels = [tensors[name].shape[1] for name in (node.inputs[0], node.outputs[0])]
    return {node.attrs["group"]} == set(channels)


def is_sliceable(node: Node, tensors: Tensors) -> bool:
    return bool(node.attrs["group"] == 1) or is_depthwise(node, tensors)


def overlaps(node: Node, tensors: Tensors) -> bool:
    """No window lies in the padding alone."""
    taps, dilations = tensors[node.inputs[1]].shape[2:], node.attrs["dilations"]
    reach = [(n - 1) * d for n, d in zip(taps, dilations, strict=True)] * 2
    return all(pad <= most for pad, most in zip(node.attrs["pads"], reach, strict=True))


def repeated_rows(chain: Chain, tensors: Tensors, strip: int) -> float:
    """Hidden rows that strips of so many rows compute, of those that there are, with `expand`."""
    taps, stride = tensors[chain.spatial.inputs[1]].shape[2], chain.spatial.attrs["strides"][0]
    dilation, rows = chain.spatial.attrs["dilations"][0], tensors[chain.spatial.outputs[0]].shape[2]
    hidden = tensors[chain.spatial.inputs[0]].shape[2]
    inside = min((strip - 1) * stride + (taps - 1) * dilation + 1, hidden)
    return max(1.0, float(inside * (rows // strip) / hidden))


def why_not(nodes: Sequence[Node], sizes: Mapping[str, int], tensors: Tensors) -> str:
    """Why these convolutions can be no cascade of slices and strips of these sizes, or ""."""
    chain = chain_of(nodes, tensors)
    if chain is None:
        return "these convolutions can be none: all but one are 1x1, without stride and padding"
    extents = {"slice": hidden_channels(chain, tensors)}
    if chain.expand is not None:
        extents["strip"] = tensors[chain.spatial.outputs[0]].shape[2]
    if set(sizes) != set(extents):
        return f"it takes {', '.join(extents)}, not {', '.join(sizes)}"
    wrong = [name for name, size in sizes.items() if extents[name] % size]
    return "".join(f"{n}: {sizes[n]} does not divide {extents[n]}" for n in wrong[:1])


def merged(groups: Sequence[Node], sizes: Mapping[str, int]) -> Node:
    """One group of all of them, which reads what they read."""
    return replace(one_group(groups), attrs={"cascade": dict(sizes)})


# Loops


class Frame(Struct, frozen=True):
    """What an iteration works on: pixels of the result; a slice of the hidden channels, and a part
    of it; with `expand`, the hidden pixels under those of the result, and some rows of them."""

    n: Dim
    rows: Dim
    cols: Dim
    channels: Dim
    part: Dim
    under: tuple[Dim, Dim]
    row: Dim

    @property
    def pixels(self) -> tuple[Dim, Dim]:
        return self.rows, self.cols


def frame_of(build: Builder, chain: Chain, sizes: Mapping[str, int]) -> Frame:
    """`sizes`: "slice", channels in one; with `expand` also "strip", rows of the result in one."""
    n, _, p, q = build.tensor(chain.spatial.outputs[0]).shape
    hidden, size = hidden_channels(chain, build.graph.tensors), sizes["slice"]
    rows = Dim(p, (("p", 1),))
    if chain.expand is not None:
        rows = Dim(p, (("strip", sizes["strip"]),), 0, sizes["strip"])
    cols = Dim(q, (("q", 1),))
    under = (seen(build, chain.spatial, rows, 0), seen(build, chain.spatial, cols, 1))
    row = Dim(under[0].bound, (*under[0].terms, ("row", 1)), under[0].offset)
    channels = Dim(hidden, (("slice", size),), 0, size)
    part = Dim(hidden, (("slice", size), ("part", 1)))
    return Frame(Dim(n, (("n", 1),)), rows, cols, channels, part, under, row)


def hidden_channels(chain: Chain, tensors: Tensors) -> int:
    inside = chain.expand or chain.spatial
    return tensors[inside.outputs[0]].shape[1]


def open_loops(build: Builder, chain: Chain, frame: Frame) -> None:
    size = frame.channels.extent
    slices = {"slice": frame.channels.bound // size}
    pixels = {"n": frame.n.bound, "p": frame.rows.bound, "q": frame.cols.bound}
    if chain.expand is not None:
        strips, inside = frame.rows.bound // frame.rows.extent, frame.under[0].extent
        pixels = {"n": frame.n.bound, "strip": strips, "q": frame.cols.bound}
        slices["row"] = inside
    if not sums_up(chain):
        slices["part"] = size
    build.dims |= pixels | slices
    build.single = ("strip", "slice")
    adds = chain.project is not None or sums_up(chain)
    build.reduction = ("slice", "row", "part") if adds else ("row",)
    orders = [(*pixels, *slices)]
    if not adds:
        orders.append(("slice", *pixels, *(v for v in slices if v != "slice")))
    build.orders = tuple(orders)


def sums_up(chain: Chain) -> bool:
    """Whether the hidden channels are summed by `spatial`."""
    return chain.expand is not None and chain.spatial.attrs["group"] == 1


# Steps


def lower_cascade(build: Builder, nodes: Sequence[Node], sizes: Mapping[str, int]) -> None:
    """The loops and steps of a cascade, up to the result of the last convolution."""
    chain = chain_of(nodes, build.graph.tensors)
    if chain is None:
        raise ValueError("these convolutions are no cascade")
    frame = frame_of(build, chain, sizes)
    open_loops(build, chain, frame)
    if chain.expand is not None:
        lower_expand(build, chain.expand, frame)
    lower_spatial(build, chain, frame)
    if chain.project is not None:
        lower_project(build, chain, frame)


def lower_expand(build: Builder, node: Node, frame: Frame) -> None:
    build.apart = ("part",)
    name = node.inputs[0]
    every = Dim.whole(build.tensor(name).shape[1])
    held, piece = (frame.n, every, *frame.under), (frame.n, every, frame.row, frame.under[1])
    build.read("ifmap", name, held)
    build.part("ifmap_row", "ifmap", piece, name)
    hold(build, "hidden", node, (frame.n, frame.channels, *frame.under))
    out = (frame.n, frame.channels, frame.row, frame.under[1])
    weights = read_weights(build, node, frame.channels, every)
    multiply(build, node, ("ifmap_row", ""), weights, out, "hidden")


def lower_spatial(build: Builder, chain: Chain, frame: Frame) -> None:
    node, number = chain.spatial, "" if chain.expand is None else "2"
    build.apart = ("row",)
    filters = channels = frame.part
    deep = Dim.whole(build.tensor(node.inputs[1]).shape[1])
    if sums_up(chain):
        filters, channels = Dim.whole(build.tensor(node.outputs[0]).shape[1]), frame.channels
        deep = frame.channels
    elif node.attrs["group"] == 1:
        channels = deep
    ifmap = (frame.n, channels, *frame.under)
    if chain.expand is None:
        use = build.read("ifmap", node.inputs[0], ifmap)
    else:
        use = build.part("hidden_part", "hidden", ifmap)
    out = (frame.n, filters, *frame.pixels)
    result = "" if chain.project is None else f"hidden{number}"
    if result:
        hold(build, result, node, (frame.n, frame.channels, *frame.pixels))
    multiply(
        build, node, use, read_weights(build, node, filters, deep, number), out, result, number
    )


def lower_project(build: Builder, chain: Chain, frame: Frame) -> None:
    node, number = chain.project, "2" if chain.expand is None else "3"
    assert node is not None
    build.apart = ("row", "part")
    every = Dim.whole(build.tensor(node.outputs[0]).shape[1])
    weights = read_weights(build, node, every, frame.channels, number)
    use = ("hidden" if chain.expand is None else "hidden2", "")
    multiply(build, node, use, weights, (frame.n, every, *frame.pixels), "", number)


def hold(build: Builder, role: str, node: Node, box: Box) -> None:
    """A tile of what `node` makes, for the next convolution."""
    dtype = scratchpad_dtype(build.tensor(node.outputs[0]).dtype, build.target)
    build.temps.append(Access(role, "", box, "ofmap", dtype, ("row", "part")))


def multiply(
    build: Builder,
    node: Node,
    ifmap: tuple[str, str],
    weights: Mapping[str, tuple[str, str]],
    out: Box,
    held: str,
    number: str = "",
) -> None:
    """The step on the array, and its results requantised to a part of the tile `held`, or to the
    group's result if that is ""."""
    uses = {**weights, "ifmap": ifmap}
    if not held:
        build.box = out
        uses["psum"] = build.accumulate(out)
        step = StepSpec("tensor", uses, array_attrs(build, node), build.apart)
        build.inner.append(step)
        build.apart = build.reduction
        requantize(build, node, "nkpq", f"params{number}")
        return
    psum = f"sums{number}"
    build.sums.append(Access(psum, "", out, "psum", PSUM_DTYPE, build.apart))
    uses["psum"] = (psum, "")
    to = build.part(f"{held}_made", held, out)
    step = StepSpec("tensor", uses, array_attrs(build, node), build.apart)
    lanes = {"psum": (psum, ""), "out": to}
    build.inner += [step, requantizing(build, node, "nkpq", out[1], lanes, f"params{number}")]
