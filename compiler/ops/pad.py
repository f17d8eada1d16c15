"""ONNX Pad of integers: a frame of a constant, or of the tensor's own elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from dnncc.isa import vector

from ..ir.graph import Array, Node
from ..ir.tile import Dim
from ..mapping.build import OUT, PLANE, RESULT_AXES, WINDOW_OF_ONE, Builder
from ..mapping.workload import StepSpec
from .match import Match, Refused, constant_value, quantize
from .op import LARGEST_WINDOW, OPERANDS, Op, Tensors, operand_reason
from .shape import requantized
from .take import taken

if TYPE_CHECKING:
    from dnncc.targets import Target


class Pad(Op, name="pad", onnx=("Pad",)):
    """Frame a tensor with a constant. attrs: before, after (one per axis), value (an integer).

    A Pad of real numbers is one of what they are quantised to.
    """

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        shape, attrs = tensors[node.inputs[0]].shape, node.attrs
        return tuple(map(sum, zip(shape, attrs["before"], attrs["after"], strict=True)))

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        sides = list(zip(node.attrs["before"], node.attrs["after"], strict=True))
        if len(sides) > 4 or sum(map(any, sides)) > 2:
            return "it has more than four axes, or pads more than two"
        if max(map(max, sides), default=0) > LARGEST_WINDOW:
            return f"a pad of more than {LARGEST_WINDOW}"
        return operand_reason(node, tensors)

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        around = list(zip(node.attrs["before"], node.attrs["after"], strict=True))
        return np.pad(inputs[0], around, constant_values=node.attrs["value"])

    @classmethod
    def recognize(cls, match: Match) -> Node:
        x = match.node.inputs[0]
        is_real = match.edit.tensors[x].dtype not in OPERANDS
        x = requantized(match, 0) if is_real else x
        shape, mode = match.shape(x), match.attr("mode", "constant")
        frame = Frame.of(match, len(shape))
        if mode == "constant":
            return framed(match, x, frame, real_fill(match) if is_real else fill_of(match))
        if mode not in MODES or 0 in shape:
            raise Refused(f"mode {mode}" + " of nothing" * (0 in shape))
        sides = zip(shape, frame.before, frame.after, strict=True)
        chosen = [indices(n, before, after, MODES[mode]) for n, before, after in sides]
        return taken(match, x, {axis: chosen[axis] for axis in frame.padded()})

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        """A window of one element that meets the fill outside of the tile; the padded axes are its
        rows and columns, whichever they are."""
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
        attrs = {
            **WINDOW_OF_ONE,
            "axes": axes,
            "out_axes": axes.translate(RESULT_AXES),
            "op": vector.FRAME,
        }
        build.outer.append(StepSpec("pool", uses, {**attrs, "out_zero": node.attrs["value"]}))


class Frame(Struct, frozen=True):
    """Elements before and after, per axis; negative ones are cut off."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, match: Match, rank: int) -> Frame:
        pads = match.attr("pads", None)
        if pads is None and len(match.node.inputs) > 1:
            value = match.edit.value(match.node.inputs[1])
            pads = None if value is None else value.tolist()
        if pads is None:
            raise Refused("its pads are not constant")
        axes = [a % rank for a in axes_of(match, rank)]
        before, after = [0] * rank, [0] * rank
        for index, axis in enumerate(axes):
            before[axis], after[axis] = int(pads[index]), int(pads[index + len(axes)])
        return cls(tuple(before), tuple(after))

    def map(self, change: Callable[[int], int]) -> Frame:
        return Frame(tuple(map(change, self.before)), tuple(map(change, self.after)))

    def only(self, axes: Sequence[int]) -> Frame:
        kept = [axis in axes for axis in range(len(self.before))]
        sides = (
            tuple(n * k for n, k in zip(side, kept, strict=True))
            for side in (self.before, self.after)
        )
        return Frame(*sides)

    def padded(self) -> list[int]:
        pairs = enumerate(zip(self.before, self.after, strict=True))
        return [axis for axis, sides in pairs if any(sides)]


def axes_of(match: Match, rank: int) -> Sequence[int]:
    if len(match.node.inputs) < 4 or not match.node.inputs[3]:
        return range(rank)
    value = match.edit.value(match.node.inputs[3])
    if value is None:
        raise Refused("its axes are not constant")
    return [int(a) for a in value]


def fill_of(match: Match) -> int:
    if len(match.node.inputs) < 3 or not match.node.inputs[2]:
        return int(match.attr("value", 0))
    value = match.edit.value(match.node.inputs[2])
    if value is None:
        raise Refused("what it pads with is not constant")
    return int(value.reshape(-1)[0])


def real_fill(match: Match) -> int:
    """A real number, in steps of the result's."""
    value = constant_value(match.edit, (*match.node.inputs, "", "")[2])
    if value is None and len(match.node.inputs) > 2 and match.node.inputs[2]:
        raise Refused("what it pads with is not constant")
    real = np.asarray(match.attr("value", 0.0) if value is None else value, np.float32)
    steps = quantize(real.reshape(-1)[:1], match.quant(match.output), match.result.dtype)
    return int(np.clip(steps, match.low, match.high)[0])


def framed(match: Match, x: str, frame: Frame, value: int) -> Node:
    """Pads of two axes each, of what negative pads leave."""
    x = cropped(match, x, frame.map(lambda n: max(-n, 0)))
    frame = frame.map(lambda n: max(n, 0))
    axes = frame.padded() or [len(frame.before) - 1]
    for index in range(0, len(axes), 2):
        part = frame.only(axes[index : index + 2])
        shape = [sum(n) for n in zip(match.shape(x), part.before, part.after, strict=True)]
        last = index + 2 >= len(axes)
        output = match.output if last else match.inside(shape).output
        attrs = {"before": part.before, "after": part.after, "value": value}
        node = Node("pad", (x,), (output,), attrs, loc=match.loc)
        if last:
            return node
        match.edit.emit(node)
        x = output
    raise AssertionError("there is a last one")


def cropped(match: Match, x: str, frame: Frame) -> str:
    if not frame.padded():
        return x
    shape = match.shape(x)
    stops = tuple(n - a for n, a in zip(shape, frame.after, strict=True))
    new = match.inside([b - a for a, b in zip(frame.before, stops, strict=True)]).output
    attrs = {"starts": frame.before, "stops": stops, "steps": (1,) * len(shape)}
    match.edit.emit(Node("slice", (x,), (new,), attrs, loc=match.loc))
    return new


MODES: Mapping[str, str] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
"""ONNX's names, and numpy.pad's."""


def indices(size: int, before: int, after: int, mode: str) -> list[int]:
    """Which element of an axis each of the result is."""
    index: Any = np.arange(size)[max(-before, 0) : size - max(-after, 0)]
    return [int(i) for i in np.pad(index, (max(before, 0), max(after, 0)), mode=mode)]  # type: ignore[call-overload]


def frame_axes(node: Node) -> str:
    """Names for up to four axes: h and w for the padded ones, n and c for the others."""
    padded = [b or a for b, a in zip(node.attrs["before"], node.attrs["after"], strict=True)]
    rest = [i for i, p in enumerate(padded) if not p]
    order = [i for i, p in enumerate(padded) if p] + rest[::-1]
    given = dict(zip(order[:2], "wh", strict=False))
    given |= dict(zip(order[2:], "cn", strict=False))
    return "".join(given[i] for i in range(len(padded)))
