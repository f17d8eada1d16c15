"""What a convolution makes is combined with another tensor, and looked up, in one pass of the
lanes: onnxruntime's values, whichever operand it is."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

import dnncc
from dnncc.ir.tile import Compute, steps
from tests.compiler.qdq import SOME, WIDE, Draw, Sketch, check

OPERATORS = ("Add", "Add", "Add", "Mul", "Sub", "Max", "Min")


def quantised(sketch: Sketch, real: str, name: str) -> str:
    quant = sketch.quant(name, sketch.rng.uniform(0.02, 0.08))
    sketch.add("QuantizeLinear", [real, *quant], f"{name}_q")
    return sketch.add("DequantizeLinear", [f"{name}_q", *quant], f"{name}_back")


def residual(sketch: Sketch) -> ModelProto:
    """A convolution or matrix product, the operator, and perhaps a function by table."""
    n, c, k = sketch.pick(1, 2), sketch.pick(1, 12), sketch.pick(1, 12)
    size = sketch.pick(1, 12), sketch.pick(1, 12)
    x = sketch.value("x", (n, c, *size))
    shape: tuple[int, ...] = (n, k, *size)
    w = sketch.weight("w", (k, c, 1, 1), sketch.choose(None, 0))
    made = sketch.add("Conv", [x, w], "conv")
    mine = quantised(sketch, made, "mine")
    other = sketch.value("other", sketch.choose(shape, shape, (1, k, 1, 1), (k, 1, size[1])))
    operands = [mine, other] if sketch.pick(0, 1) else [other, mine]
    result = sketch.add(sketch.choose(*OPERATORS), operands, "both")
    function = sketch.choose("", "", "Sigmoid", "Relu")
    if function:
        result = sketch.add(function, [quantised(sketch, result, "both")], "bent")
    return sketch.model(result, 0.03)


def fused(model: ModelProto, target: str) -> list[str]:
    program = dnncc.compile(model, target).tile
    found = [s.op for nest in program.nests for s in steps(nest.body) if isinstance(s, Compute)]
    return found


@SOME
@given(st.data())
def test_values_are_those_of_onnxruntime(data: Any) -> None:
    draw: Draw = data.draw
    sketch = Sketch(draw)
    model = residual(sketch)
    check(sketch, model)
    assert set(fused(model, sketch.choose("tpu-like", "eyeriss-like"))) <= {"tensor", "residual"}


@SOME
@given(st.data())
def test_of_16_bits(data: Any) -> None:
    sketch = Sketch(data.draw, ("int16",))
    x = sketch.value("x", (1, 3, 5, 6))
    w = sketch.weight("w", (4, 3, 1, 1), 0)
    mine = quantised(sketch, sketch.add("Conv", [x, w], "conv"), "mine")
    other = sketch.value("other", (1, 4, 5, 6))
    both = [mine, other] if sketch.pick(0, 1) else [other, mine]
    model = sketch.model(sketch.add("Add", both, "r"), 0.1, opset=21)
    check(sketch, model, steps=1, targets=WIDE)


@SOME
@given(st.data())
def test_a_table_needs_no_pass_of_its_own(data: Any) -> None:
    """As of a hard swish behind a convolution."""

    sketch = Sketch(data.draw, ("uint8",))
    x = sketch.value("x", (1, 8, 9, 9))
    made = sketch.add("Conv", [x, sketch.weight("w", (8, 8, 1, 1), 0)], "conv")
    bent = sketch.add("HardSwish", [quantised(sketch, made, "mine")], "bent")
    model = sketch.model(bent, 0.03, opset=14)
    for target in ("tpu-like", "eyeriss-like", "nvdla-like-full"):
        assert set(fused(model, target)) == {"tensor", "requantize"}
