"""A float model has become a QDQ model, as onnxruntime.quantization makes it.

Constants of convolutions and matrix products are uint8 with zero point 128: symmetric int8, one
scale per output channel, in the form whose products onnxruntime sums exactly on every CPU.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from msgspec import Struct
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ..diagnostics import CompileError
from ..ir.graph import Array
from . import wide
from .preparation import BORDERS, MOVES, PRODUCTS, prepared

OPSETS = {"int8": 13, "int16": 21}
"""The first opset whose QuantizeLinear has what the precision needs."""

QUANTISED = (
    *PRODUCTS,
    *MOVES,
    *("Add", "Sub", "Mul", "ReduceMean", "Concat"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    *("Relu", "Clip", "LeakyRelu", "PRelu", "Resize", "Pad"),
)
"""What gets a scale. Other operators between two of these have quantised sides all the same."""

ROUNDS = 6
"""Of quantisation to int16: a larger scale of a value may make other weights of a product."""

WARNING, ERROR = 2, 3
"""onnxruntime's severities; the first is its default."""

Feeds = Mapping[str, Array]


def quantized(model: ModelProto, samples: Sequence[Feeds], precision: str) -> ModelProto:
    """The QDQ model; its ranges are those that `samples` reach. Raises CompileError."""
    kit = toolkit()
    with tempfile.TemporaryDirectory() as folder, quiet(), silent_sessions():
        try:
            source = Source.of(prepared(model, OPSETS[precision], Path(folder)), Path(folder))
            result = static(kit, source, samples, precision)
        except CompileError:
            raise
        except Exception as error:  # whatever the library cannot do
            what = " ".join(str(error).split())[:300]
            hint = "give --precision float to leave it on the host"
            raise CompileError(f"it cannot be quantised: {what}", hint=hint) from error
    guard_softmax(result)
    return result


def toolkit() -> Any:
    """onnxruntime.quantization. Raises CompileError where it is not installed."""
    try:
        with quiet():
            from onnxruntime import quantization
    except ImportError:
        raise CompileError(
            "a float model is quantised by onnxruntime, which is not installed",
            hint="pip install onnxruntime, or give --precision float to leave it on the host",
        ) from None
    return quantization


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's advice."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def silent_sessions() -> Iterator[None]:
    """Without what onnxruntime's sessions print of their optimisations, errors excepted."""
    onnxruntime: Any = import_module("onnxruntime")
    onnxruntime.set_default_logger_severity(ERROR)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(WARNING)


class Source(Struct, frozen=True):
    """A float model as a file, since every copy in memory has its weights; nodes to leave out."""

    folder: Path
    excluded: list[str]

    @classmethod
    def of(cls, model: ModelProto, folder: Path) -> Source:
        source = cls(folder, excluded(model))
        onnx.save(model, source.path)
        return source

    @property
    def path(self) -> Path:
        return self.folder / "prepared.onnx"


def static(kit: Any, source: Source, samples: Sequence[Feeds], precision: str) -> ModelProto:
    made = first = once(kit, source, samples, precision, {})
    steps = dict[str, int]()
    for _ in range(ROUNDS if precision == "int16" else 0):
        fewer = wide.narrowed(made, steps)
        if fewer == steps:
            break
        steps, scales = fewer, wide.overrides(first, fewer)
        made = once(kit, source, samples, precision, {"TensorQuantOverrides": scales})
    else:
        if steps:
            raise CompileError("sums of int16 overflow", hint="give --precision int8")
    wide.clip(made, steps)
    return made


def once(
    kit: Any,
    source: Source,
    samples: Sequence[Feeds],
    precision: str,
    options: Mapping[str, Any],
) -> ModelProto:
    types, is_wide = kit.QuantType, precision == "int16"
    path = source.folder / "quantised.onnx"
    kit.quantize_static(
        source.path,
        path,
        reader(kit, samples),
        quant_format=kit.QuantFormat.QDQ,
        activation_type=types.QInt16 if is_wide else types.QUInt8,
        weight_type=types.QInt8 if is_wide else types.QUInt8,
        op_types_to_quantize=list(QUANTISED),
        nodes_to_exclude=source.excluded,
        per_channel=True,
        extra_options={"WeightSymmetric": True, "ActivationSymmetric": is_wide, **options},
    )
    made = onnx.load(path)
    join_clamps(made)
    if is_wide:
        wide.ease_biases(made)
    return made


def join_clamps(model: ModelProto) -> None:
    """A Relu or Clip that alone reads what is quantised before it reads the value itself."""
    made = {o: n for n in model.graph.node for o in n.output}
    uses = Counter(i for n in model.graph.node for i in n.input)
    uses.update(v.name for v in model.graph.output)
    for node in (n for n in model.graph.node if n.op_type in ("Relu", "Clip")):
        back = made.get(node.input[0])
        before = made.get(back.input[0]) if back and back.op_type == "DequantizeLinear" else None
        if back is None or before is None or before.op_type != "QuantizeLinear":
            continue
        alone = all(uses[name] == 1 for name in (back.output[0], before.output[0], before.input[0]))
        if alone and before.input[0] in made:
            node.input[0] = before.input[0]
            model.graph.node.remove(before)
            model.graph.node.remove(back)


def reader(kit: Any, samples: Sequence[Feeds]) -> Any:
    """The samples as onnxruntime wants them."""

    class Reader(kit.CalibrationDataReader):  # type: ignore[misc]
        rest = iter(samples)

        def get_next(self) -> dict[str, Array] | None:
            feeds = next(self.rest, None)
            return None if feeds is None else dict(feeds)

    return Reader()


def excluded(model: ModelProto) -> list[str]:
    """Nodes that keep their sides: what is quantised already, and products x * f(x).

    Such a product is one function of x: a table, with one rounding instead of two.
    """
    made = {o: n for n in model.graph.node for o in n.output}
    quantisers = [n for n in model.graph.node if n.op_type in BORDERS]
    borders = {name for n in quantisers for name in (n.input[0], *n.output)}
    touched = [n.name for n in model.graph.node if not borders.isdisjoint((*n.input, *n.output))]
    return touched + [n.name for n in model.graph.node if is_gated(n, made)]


def is_gated(node: NodeProto, made: Mapping[str, NodeProto]) -> bool:
    """x * sigmoid(x) and its like."""
    if node.op_type != "Mul":
        return False
    pairs = (node.input, node.input[::-1])
    return any(
        gate in made and made[gate].op_type in GATES and made[gate].input[0] == x
        for x, gate in pairs
    )


GATES = ("Sigmoid", "HardSigmoid", "Tanh")


def guard_softmax(model: ModelProto) -> None:
    """A Max with 0 keeps each Softmax from becoming one operator with a QuantizeLinear after it.

    onnxruntime's QLinearSoftmax scales its largest exponential to e^-5 of the largest float32 and
    multiplies it with 1/scale; of few elements or a small scale, it makes infinity, and 0 of that.
    """
    rounded = set[str]()
    for node in reversed(model.graph.node):
        moves = node.op_type in MOVES and node.output[0] in rounded
        rounded.update(node.input[:1] if moves or node.op_type == "QuantizeLinear" else ())
    nodes = list[NodeProto]()
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type == "Softmax" and node.output[0] in rounded:
            nodes.append(guard(node, model))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def guard(node: NodeProto, model: ModelProto) -> NodeProto:
    zero, inner = f"{node.output[0]}.zero", f"{node.output[0]}.unguarded"
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), zero))
    result, node.output[0] = node.output[0], inner
    return helper.make_node("Max", [inner, zero], [result], name=f"{node.name}.guard")
