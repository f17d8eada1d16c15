"""No pool rounds its size up: `ceil_mode` has become more padding at the end.

ONNX's shape inference below opset 22 counts windows that begin in the padding; runtimes do not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import ModelProto, NodeProto, helper

POOLS = ("MaxPool", "AveragePool")


def remove_ceil_mode(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Rewrite the pools whose input has a known shape; tell if there were any."""
    found = [n for n in model.graph.node if is_ceil(n) and n.input[0] in shapes]
    for node in found:
        pads = padded_up(attributes(node), shapes[node.input[0]][2:])
        kept = [a for a in node.attribute if a.name not in ("ceil_mode", "pads")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", pads)])
    return bool(found)


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
