"""No pool rounds its size up: `ceil_mode` has become more padding at the end.

ONNX's shape inference below opset 22 counts windows that begin in the padding; runtimes do not.
That padding is no part of an average, so one that counts its own has a Pad node for that. But
onnxruntime's integer kernel, of one dimension and of two, divides by the whole window
(qlinear_pool.cc): kernels.py undoes the Pad once it knows which kernel runs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ..ir.graph import Node
from .qoperators import OURS

INPUT_PADS = 11
"""The opset from which on Pad takes its pads as an input."""

POOLS = ("MaxPool", "AveragePool")

COUNTED = "counted"
"""Attribute of an average whose size was rounded up: the padding that its Pad node has taken over,
as numbers with spaces in between; without a Pad if all are 0."""


def remove_ceil_mode(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Rewrite the pools whose input has a known shape; tell if there were any."""
    found = [n for n in model.graph.node if is_ceil(n) and n.input[0] in shapes]
    for node in found:
        attrs = attributes(node)
        pads = padded_up(attrs, shapes[node.input[0]][2:])
        own = attrs.get("pads", [0] * len(pads))
        changed: dict[str, Any] = {"pads": pads}
        counts = node.op_type == "AveragePool" and attrs.get("count_include_pad", 0)
        if counts and pads != own:
            counted = [min(o, p) for o, p in zip(own, pads, strict=True)]
            changed = {"pads": [p - c for p, c in zip(pads, counted, strict=True)]}
            changed["count_include_pad"] = 0
            pad_before(model, node, counted)
            mark = " ".join(map(str, counted))
            node.metadata_props.add(key=f"{OURS}{COUNTED}", value=mark)
        kept = [a for a in node.attribute if a.name not in ("ceil_mode", *changed)]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.extend(helper.make_attribute(k, v) for k, v in changed.items())
    return bool(found)


def pad_before(model: ModelProto, node: NodeProto, pads: Sequence[int]) -> None:
    """The node reads its input with that spatial padding of zeros."""
    if not any(pads):
        return
    rank, padded = len(pads) // 2, f"{node.output[0]}.padded"
    whole = [0, 0, *pads[:rank], 0, 0, *pads[rank:]]
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if opset < INPUT_PADS:
        pad = helper.make_node("Pad", [node.input[0]], [padded], node.name, pads=whole)
    else:
        sides = numpy_helper.from_array(np.array(whole, np.int64), f"{padded}.pads")
        model.graph.initializer.append(sides)
        pad = helper.make_node("Pad", [node.input[0], sides.name], [padded], node.name)
    node.input[0] = padded
    model.graph.node.insert(list(model.graph.node).index(node), pad)


def forget_counted(model: ModelProto) -> None:
    """The model stands for itself, with its Pad nodes: no other model's kernels count."""
    for node in model.graph.node:
        kept = [p for p in node.metadata_props if p.key != f"{OURS}{COUNTED}"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


def unpadded(node: Node, makers: Mapping[str, Node]) -> str:
    """The input of an average, before the Pad node that was made for it."""
    made = any(counted_pads(node))
    return makers[node.inputs[0]].inputs[0] if made else node.inputs[0]


def counted_pads(node: Node) -> tuple[int, ...]:
    return tuple(int(n) for n in str(node.attrs.get(COUNTED, "")).split())


def settled(node: Node, makers: Mapping[str, Node], integer: bool) -> Node:
    """The average as its kernel computes it: the integer one divides by the whole window."""
    if COUNTED not in node.attrs:
        return node
    attrs = {k: v for k, v in node.attrs.items() if k != COUNTED}
    if not integer:
        return replace(node, attrs=attrs)
    pads = tuple(p + c for p, c in zip(attrs["pads"], counted_pads(node), strict=True))
    source = unpadded(node, makers)
    return replace(node, inputs=(source,), attrs={**attrs, "pads": pads, "count_include_pad": 1})


def is_ceil(node: NodeProto) -> bool:
    attrs = attributes(node)
    explicit = attrs.get("auto_pad", b"NOTSET") == b"NOTSET"
    return node.op_type in POOLS and bool(attrs.get("ceil_mode", 0)) and explicit


def attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def padded_up(attrs: Mapping[str, Any], size: Sequence[int]) -> list[int]:
    """Pads with which floor gives as many windows as ceil does, each begun before the end."""
    rank = len(size)
    pads = list(attrs.get("pads", [0] * 2 * rank))
    strides, dilations = (attrs.get(name, [1] * rank) for name in ("strides", "dilations"))
    for i in range(rank):
        reach = (attrs["kernel_shape"][i] - 1) * dilations[i] + 1
        begun = size[i] + pads[i]
        count = -(-(begun + pads[i + rank] - reach) // strides[i]) + 1
        if (count - 1) * strides[i] >= begun:
            count -= 1
        pads[i + rank] = max((count - 1) * strides[i] + reach - begun, 0)
    return pads
