"""After it, each thing is written in one way.

Identities are gone; Squeeze, Unsqueeze and Flatten are Reshape, DepthToSpace and SpaceToDepth
Transposes between them; transposes in a row are one; pads are explicit; batch normalisation is in
its convolution's weights; and operators that only move elements stand on the integer side of
QuantizeLinear and DequantizeLinear, so that a quantised operator touches its DequantizeLinears and
its QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from msgspec.structs import replace

from ..ir.edit import Editor
from ..ir.graph import Array, Graph, Node
from ..ops.match import INTEGER_OPS, constant_value, dequantizer
from .context import Context
from .fold_constants import fold_constants

MOVES = tuple(f"onnx.{name}" for name in INTEGER_OPS)
RESHAPES = ("onnx.Squeeze", "onnx.Unsqueeze", "onnx.Flatten", "onnx.Reshape")
WINDOWED = tuple(f"onnx.{name}" for name in ("Conv", "ConvInteger", "MaxPool", "AveragePool"))
MIRRORED = {"SAME_UPPER": 0, "SAME_LOWER": 1}

Rule = Callable[[Editor, Node], Sequence[Node] | None]


def canonicalize(graph: Graph, ctx: Context) -> Graph:
    edit = Editor(graph)
    for node in graph.nodes:
        rewrite(edit, node)
    return fold_constants(edit.finish(), ctx)


def rewrite(edit: Editor, node: Node) -> None:
    """Emit `node`, or what the first rule that fits makes of it, rewritten in turn."""
    node = edit.resolved(node)
    for rule in RULES:
        result = rule(edit, node)
        if result is not None:
            for new in result:
                rewrite(edit, new)
            return
    edit.emit(node)


def drop(edit: Editor, node: Node, same_as: str) -> Sequence[Node] | None:
    """Readers of the node's result read `same_as`; a result of the graph keeps its name."""
    if node.outputs[0] in edit.graph.outputs:
        return None
    edit.alias(node.outputs[0], same_as)
    return ()


def drop_identity(edit: Editor, node: Node) -> Sequence[Node] | None:
    if node.op not in ("onnx.Identity", "onnx.Dropout") or any(node.outputs[1:]):
        return None
    if node.op == "onnx.Dropout" and is_training(edit, node):
        return None
    return drop(edit, node, node.inputs[0])


def is_training(edit: Editor, node: Node) -> bool:
    mode = edit.value(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    return len(node.inputs) > 2 and bool(node.inputs[2]) and (mode is None or bool(mode))


def reshape_only(edit: Editor, node: Node) -> Sequence[Node] | None:
    """Squeeze, Unsqueeze, Flatten and Reshape are Reshape to a constant shape."""
    if node.op not in RESHAPES or is_plain_reshape(edit, node):
        return None
    return [reshape_to(edit, node, node.inputs[0])]


def is_plain_reshape(edit: Editor, node: Node) -> bool:
    if node.op != "onnx.Reshape" or len(node.inputs) < 2:
        return False
    value, shape = edit.value(node.inputs[1]), edit.tensors[node.outputs[0]].shape
    attrs = {} if all(shape) else {"allowzero": 1}
    return value is not None and tuple(value) == shape and node.attrs == attrs


def reshape_to(edit: Editor, node: Node, source: str) -> Node:
    (output,) = node.outputs
    shape = np.array(edit.tensors[output].shape, np.int64)
    name = edit.constant(f"{output}.shape", shape)
    attrs = {} if shape.all() else {"allowzero": 1}
    return replace(node, op="onnx.Reshape", inputs=(source, name), attrs=attrs)


def drop_reshape(edit: Editor, node: Node) -> Sequence[Node] | None:
    """A Reshape to the same shape, or of a Reshape."""
    if node.op != "onnx.Reshape":
        return None
    source = node.inputs[0]
    if edit.tensors[source].shape == edit.tensors[node.outputs[0]].shape:
        return drop(edit, node, source)
    before = edit.producer(source)
    if before is not None and before.op == "onnx.Reshape":
        return [replace(node, inputs=(before.inputs[0], node.inputs[1]), loc=before.loc + node.loc)]
    return None


def merge_transpose(edit: Editor, node: Node) -> Sequence[Node] | None:
    """Transposes in a row are one; one that moves only axes of size 1 is a Reshape."""
    if node.op != "onnx.Transpose":
        return None
    shape = edit.tensors[node.inputs[0]].shape
    perm = tuple(node.attrs.get("perm", range(len(shape))[::-1]))
    if perm == tuple(range(len(shape))):
        return drop(edit, node, node.inputs[0])
    moved = [axis for axis in perm if shape[axis] != 1]
    if moved == sorted(moved):
        return [reshape_to(edit, node, node.inputs[0])]
    before = edit.producer(node.inputs[0])
    if before is None or before.op != "onnx.Transpose":
        return None
    first = before.attrs.get("perm", range(len(shape))[::-1])
    merged = tuple(first[axis] for axis in perm)
    loc = before.loc + node.loc
    return [replace(node, inputs=before.inputs, attrs={"perm": merged}, loc=loc)]


def pad_after_transpose(edit: Editor, node: Node) -> Sequence[Node] | None:
    """Transpose of Pad is Pad of Transpose, so that the Pad is next to its convolution."""
    before = edit.producer(node.inputs[0]) if node.op == "onnx.Transpose" else None
    if before is None or before.op != "onnx.Pad" or len(before.inputs) not in (2, 3):
        return None
    pads, perm = edit.value(before.inputs[1]), node.attrs.get("perm")
    if pads is None or perm is None:
        return None
    moved = pads.reshape(2, -1)[:, list(perm)].reshape(-1)
    source = edit.tensors[before.inputs[0]]
    shape = tuple(source.shape[axis] for axis in perm)
    inner = edit.like(source.name, f"{source.name}.transposed", shape=shape)
    inputs = (inner, edit.constant(f"{before.inputs[1]}.transposed", moved), *before.inputs[2:])
    return [
        replace(node, inputs=before.inputs[:1], outputs=(inner,)),
        replace(before, inputs=inputs, outputs=node.outputs),
    ]


def depth_to_space(edit: Editor, node: Node) -> Sequence[Node] | None:
    """DepthToSpace and SpaceToDepth are a Transpose between two Reshapes."""
    if node.op not in ("onnx.DepthToSpace", "onnx.SpaceToDepth"):
        return None
    b, (n, c, h, w) = node.attrs["blocksize"], edit.tensors[node.inputs[0]].shape
    depth_first = node.attrs.get("mode", "DCR") == "DCR"
    if node.op == "onnx.SpaceToDepth":
        split = (n, c, h // b, b, w // b, b)
        perm = (0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4)
    elif depth_first:
        split, perm = (n, b, b, c // b**2, h, w), (0, 3, 4, 1, 5, 2)
    else:
        split, perm = (n, c // b**2, b, b, h, w), (0, 1, 4, 2, 5, 3)
    (output,) = node.outputs
    apart = edit.like(output, f"{output}.apart", shape=split)
    turned = edit.like(output, f"{output}.turned", shape=tuple(split[axis] for axis in perm))
    return [
        reshape_to(edit, replace(node, outputs=(apart,)), node.inputs[0]),
        replace(
            node, op="onnx.Transpose", inputs=(apart,), outputs=(turned,), attrs={"perm": perm}
        ),
        reshape_to(edit, node, turned),
    ]


def split_to_slices(edit: Editor, node: Node) -> Sequence[Node] | None:
    """Split has become one Slice per part that is read."""
    if node.op != "onnx.Split" or edit.graph.opset < 10:
        return None
    axis = node.attrs.get("axis", 0) % len(edit.tensors[node.inputs[0]].shape)
    sizes = part_sizes(edit, node, edit.tensors[node.inputs[0]].shape[axis])
    if sizes is None:
        return None
    nodes = []
    for output, size, stop in zip(node.outputs, sizes, np.cumsum(sizes), strict=True):
        if not output:
            continue
        bounds = [np.array([v], np.int64) for v in (stop - size, stop, axis)]
        names = [edit.constant(f"{output}.bounds", bound) for bound in bounds]
        inputs = (node.inputs[0], *names)
        nodes.append(Node("onnx.Slice", inputs, (output,), loc=node.loc))
    return nodes


def part_sizes(edit: Editor, node: Node, size: int) -> Sequence[int] | None:
    """As it is told, or equal but for the last."""
    told = node.attrs.get("split")
    if len(node.inputs) > 1 and node.inputs[1]:
        told = edit.value(node.inputs[1])
        return None if told is None else [int(n) for n in told]
    count = len(node.outputs)
    each = -(-size // count)
    return told or [*[each] * (count - 1), size - each * (count - 1)]


def sum_of_two(edit: Editor, node: Node) -> Sequence[Node] | None:
    """Sum of two is Add, which onnxruntime then computes in float."""
    if node.op != "onnx.Sum" or len(node.inputs) != 2:
        return None
    return [replace(node, op="onnx.Add", attrs={"kernel": "float"})]


def drop_guard(edit: Editor, node: Node) -> Sequence[Node] | None:
    """Max of a Softmax and 0 is the Softmax. It was there for onnxruntime (frontend/quantize.py),
    whose choice of a kernel has been noted by now."""
    if node.op != "onnx.Max" or len(node.inputs) != 2:
        return None
    for name, other in (node.inputs, node.inputs[::-1]):
        before, bound = edit.producer(name), edit.value(other)
        alone = bound is not None and bound.size == 1 and bool(np.all(bound == 0))
        if alone and before is not None and before.op == "onnx.Softmax":
            return drop(edit, node, name)
    return None


def explicit_pads(edit: Editor, node: Node) -> Sequence[Node] | None:
    """auto_pad has become pads."""
    mode = node.attrs.get("auto_pad", None)
    if mode is None:
        return None
    attrs = {k: v for k, v in node.attrs.items() if k != "auto_pad"}
    if mode in MIRRORED and node.op in WINDOWED:
        attrs["pads"] = same_pads(edit, node, MIRRORED[mode])
    elif mode not in ("NOTSET", "VALID"):
        return None
    return [replace(node, attrs=attrs)]


def same_pads(edit: Editor, node: Node, lower: int) -> tuple[int, ...]:
    """Pads for ceil(size / stride) results; the odd one goes above and left with `lower`."""
    size, out = edit.tensors[node.inputs[0]].shape[2:], edit.tensors[node.outputs[0]].shape[2:]
    rank = len(size)
    kernel = node.attrs.get("kernel_shape")
    kernel = kernel or edit.tensors[node.inputs[1]].shape[2:]
    strides = node.attrs.get("strides", (1,) * rank)
    dilations = node.attrs.get("dilations", (1,) * rank)
    total = [
        max((out[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - size[i], 0)
        for i in range(rank)
    ]
    begin = [(t + lower) // 2 for t in total]
    return *begin, *(t - b for t, b in zip(total, begin, strict=True))


def pool_of_plane(edit: Editor, node: Node) -> Sequence[Node] | None:
    """GlobalMaxPool is MaxPool with a window that is all of the plane."""
    if node.op != "onnx.GlobalMaxPool":
        return None
    plane = edit.tensors[node.inputs[0]].shape[2:]
    return [replace(node, op="onnx.MaxPool", attrs={"kernel_shape": plane})]


def fold_batch_norm(edit: Editor, node: Node) -> Sequence[Node] | None:
    """Batch normalisation of a convolution that only it reads: scale the weights."""
    conv = edit.producer(node.inputs[0]) if node.op == "onnx.BatchNormalization" else None
    if conv is None or conv.op != "onnx.Conv" or not edit.is_single_use(conv.outputs[0]):
        return None
    values = [edit.value(i) for i in (*conv.inputs[1:], *node.inputs[1:])]
    training = node.attrs.get("training_mode", 0) or any(node.outputs[1:])
    if training or any(v is None for v in values):
        return None
    w, *rest = (v.astype(np.float64) for v in values if v is not None)
    scale, shift, mean, variance = rest[-4:]
    bias = rest[0] if len(rest) > 4 else np.zeros(len(w))
    gain = scale / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    scaled = (w * gain.reshape(-1, *(1,) * (w.ndim - 1))).astype(np.float32)
    offset = ((bias - mean) * gain + shift).astype(np.float32)
    names = (f"{conv.inputs[1]}.scaled", f"{node.outputs[0]}.bias")
    inputs = (conv.inputs[0], edit.constant(names[0], scaled), edit.constant(names[1], offset))
    return [replace(conv, inputs=inputs, outputs=node.outputs, loc=conv.loc + node.loc)]


def drop_requantize(edit: Editor, node: Node) -> Sequence[Node] | None:
    """QuantizeLinear of a DequantizeLinear with the same parameters is the value itself."""
    if node.op != "onnx.QuantizeLinear":
        return None
    before = edit.producer(node.inputs[0])
    if before is None or before.op != "onnx.DequantizeLinear":
        return None
    source, quant = before.inputs[0], dequantizer(edit, before)
    same_type = edit.tensors[source].dtype == edit.tensors[node.outputs[0]].dtype
    if quant is None or not same_type or quant != dequantizer(edit, node):
        return None
    if node.outputs[0] in edit.graph.outputs:
        return [reshape_to(edit, node, source)]
    return drop(edit, node, source)


def move_above_dequantize(edit: Editor, node: Node) -> Sequence[Node] | None:
    """move(DequantizeLinear(x)) is DequantizeLinear(move(x))."""
    if not is_move(edit, node):
        return None
    before = edit.producer(node.inputs[0])
    if before is None or before.op != "onnx.DequantizeLinear" or not is_scalar(edit, before):
        return transpose_weight(edit, node, before)
    inputs = moved_inputs(edit, node, before)
    if inputs is None:
        return None
    source, (output,) = before.inputs[0], node.outputs[:1]
    dtype = edit.tensors[source].dtype
    inner = edit.like(output, f"{output}.{dtype}", dtype=dtype)
    moved = replace(node, inputs=(source, *inputs), outputs=(inner,))
    return [moved, replace(before, inputs=(inner, *before.inputs[1:]), outputs=(output,))]


def transpose_weight(edit: Editor, node: Node, before: Node | None) -> Sequence[Node] | None:
    """Transpose of a constant quantised per channel: the constant and its axis are transposed."""
    if before is None or before.op != "onnx.DequantizeLinear" or node.op != "onnx.Transpose":
        return None
    value, quant = edit.value(before.inputs[0]), dequantizer(edit, before)
    if value is None or quant is None or quant.axis is None:
        return None
    perm = tuple(node.attrs.get("perm", range(value.ndim)[::-1]))
    name = edit.constant(f"{before.inputs[0]}.transposed", value.transpose(perm).copy())
    attrs = {**before.attrs, "axis": perm.index(quant.axis)}
    return [replace(before, inputs=(name, *before.inputs[1:]), outputs=node.outputs, attrs=attrs)]


def move_below_quantize(edit: Editor, node: Node) -> Sequence[Node] | None:
    """QuantizeLinear(move(y)) is move(QuantizeLinear(y))."""
    if node.op != "onnx.QuantizeLinear" or not is_scalar(edit, node):
        return None
    before = edit.producer(node.inputs[0])
    if before is None or not is_move(edit, before):
        return None
    inputs = moved_inputs(edit, before, node)
    if inputs is None:
        return None
    source, (output,) = before.inputs[0], node.outputs
    dtype = edit.tensors[output].dtype
    inner = edit.like(source, f"{source}.{dtype}", dtype=dtype)
    quantized = replace(node, inputs=(source, *node.inputs[1:]), outputs=(inner,))
    return [quantized, replace(before, inputs=(inner, *inputs), outputs=node.outputs)]


def is_move(edit: Editor, node: Node) -> bool:
    """Its result is made of elements of its first input, which of them being known."""
    if node.op not in MOVES or any(node.outputs[1:]):
        return False
    if node.op in ("onnx.Resize", "onnx.Upsample"):
        return bool(node.attrs.get("mode", "nearest") == "nearest")
    return node.op != "onnx.Gather" or edit.value(node.inputs[1]) is not None


def is_scalar(edit: Editor, node: Node) -> bool:
    quant = dequantizer(edit, node)
    return quant is not None and quant.axis is None


def moved_inputs(edit: Editor, node: Node, border: Node) -> Sequence[str] | None:
    """The other inputs of `node` among integers: a Pad by zero is one by the zero point."""
    if node.op != "onnx.Pad":
        return node.inputs[1:]
    if node.attrs.get("mode", "constant") != "constant":
        return node.inputs[1:]
    has_value = len(node.inputs) > 2 and node.inputs[2]
    fill = constant_value(edit, node.inputs[2]) if has_value else np.zeros(1)
    if len(node.inputs) < 2 or fill is None or fill.any():
        return None
    zero = edit.constant(f"{node.outputs[0]}.zero", zero_point(edit, border))
    return node.inputs[1], zero, *node.inputs[3:]


def zero_point(edit: Editor, border: Node) -> Array:
    integer = border.inputs[0] if border.op == "onnx.DequantizeLinear" else border.outputs[0]
    quant = dequantizer(edit, border)
    assert quant is not None
    zero: Array = quant.zero[0].astype(edit.tensors[integer].dtype)
    return zero


RULES: tuple[Rule, ...] = (
    drop_identity,
    sum_of_two,
    drop_guard,
    explicit_pads,
    reshape_only,
    drop_reshape,
    merge_transpose,
    pad_after_transpose,
    depth_to_space,
    split_to_slices,
    pool_of_plane,
    fold_batch_norm,
    drop_requantize,
    move_above_dequantize,
    move_below_quantize,
)
