"""Which host parts may become machine code: those whose addresses no value decides.

onnx.reference checks every index; compiled code does not. So an operator is taken only if where it
reads and writes follows from shapes and constants, which the trial run on onnx.reference proves in
bounds for all inputs. Whole numbers are not divided: by zero, that would end the process.
"""

from collections.abc import Iterator
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto

ELEMENTWISE = frozenset(
    "Abs Add And Cast Ceil Clip Cos Div Dropout Elu Equal Erf Exp Floor Gelu Greater"
    " GreaterOrEqual HardSigmoid HardSwish Identity LeakyRelu Less LessOrEqual Log Max Mean Min"
    " Mish Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign"
    " Sqrt Sub Sum Tanh ThresholdedRelu Where Xor DequantizeLinear QuantizeLinear".split()
)
SUMMED = frozenset(
    "ArgMax ArgMin AveragePool BatchNormalization Conv ConvTranspose Gemm GlobalAveragePool"
    " GlobalMaxPool InstanceNormalization LRN LayerNormalization LogSoftmax MatMul MaxPool"
    " Softmax".split()
)
MOVED = frozenset("Concat Constant DepthToSpace Flatten Shape SpaceToDepth Transpose".split())
BY_CONSTANTS = frozenset(
    "Expand Gather Pad ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean"
    " ReduceMin ReduceProd ReduceSum ReduceSumSquare Reshape Resize Slice Split Squeeze Tile"
    " Unsqueeze Upsample".split()
)
"""Taken if all inputs but the first are constants."""

ROUNDING = frozenset(
    "ArgMax ArgMin Ceil Equal Floor Greater GreaterOrEqual Less LessOrEqual QuantizeLinear Round"
    " Sign".split()
)
"""Where a difference in the last place of a float becomes one in the result."""

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


def obstacle(model: ModelProto) -> str:
    """Why the part must not be compiled, in words; "" if it may. `model` has inferred shapes."""
    return next(obstacles(model), "")


def obstacles(model: ModelProto) -> Iterator[str]:
    constants = known(model)
    floats = {t.name for t in model.graph.initializer if t.data_type in FLOATS}
    floats |= {v.name for v in values(model) if v.type.tensor_type.elem_type in FLOATS}
    if any(not fixed(v.type.tensor_type) for v in values(model)):
        yield "its shapes are not fixed"
    for node in model.graph.node:
        if node.domain or node.op_type not in ELEMENTWISE | SUMMED | MOVED | BY_CONSTANTS:
            yield f"{node.op_type} is not compiled"
        if node.op_type in BY_CONSTANTS and not constants.issuperset(node.input[1:]):
            yield f"{node.op_type} goes where values say"
        if node.op_type in ("Div", "Pow") and node.output[0] not in floats:
            yield f"{node.op_type} of whole numbers could stop the process"


def known(model: ModelProto) -> set[str]:
    """The values that are the same in every run, and "" for an input that is left out."""
    fixed = {"", *(t.name for t in model.graph.initializer)}
    for node in model.graph.node:
        if node.op_type == "Shape" or fixed.issuperset(node.input):
            fixed.update(node.output)
    return fixed


def rounding(model: ModelProto) -> str:
    """The operator whose result must not depend on a float's last place; "" if there is none."""
    return next((n.op_type for n in model.graph.node if rounds(n)), "")


def rounds(node: NodeProto) -> bool:
    kinds = {a.i for a in node.attribute if a.name == "to"}
    return node.op_type in ROUNDING or (node.op_type == "Cast" and not kinds <= FLOATS)


def fixed(tensor: Any) -> bool:
    return all(d.HasField("dim_value") for d in tensor.shape.dim)


def values(model: ModelProto) -> list[Any]:
    graph = model.graph
    return [*graph.input, *graph.value_info, *graph.output]
