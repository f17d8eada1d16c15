"""Float operators, written as steps of the vector engine: a class per family, found by its name.

They are computed in float32 as onnxruntime does, but for the last bit of an exponential or a sum
that is taken in another order.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .chain import Chain
from .match import Refused


class Steps:
    """Subclasses register by being defined; `onnx` names the operators. Nothing is instantiated."""

    named: ClassVar[dict[str, type[Steps]]] = {}
    """By `onnx.NAME`."""

    def __init_subclass__(cls, onnx: tuple[str, ...] = ()) -> None:
        Steps.named.update((f"onnx.{operator}", cls) for operator in onnx)

    @classmethod
    def expand(cls, chain: Chain) -> str:
        """Emit the steps; the name of what the operator computes, its shape up to a reshape."""
        raise NotImplementedError(cls.__name__)


class Arithmetic(Steps, onnx=("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")):
    @classmethod
    def expand(cls, chain: Chain) -> str:
        function = chain.node.op.removeprefix("onnx.").lower()
        name, dtype = chain.input(0), chain.edit.tensors[chain.result].dtype
        function = "add" if function == "sum" else function
        for index in range(1, len(chain.node.inputs)):
            name = chain.binary(function, name, chain.input(index), dtype)
        return name


class Function(
    Steps,
    onnx=(
        "Exp", "Log", "Sqrt", "Reciprocal", "Tanh", "Sigmoid", "Erf", "Abs", "Neg", "Floor",
        "Ceil", "Round", "Sign",
    ),
):  # fmt: skip
    @classmethod
    def expand(cls, chain: Chain) -> str:
        return chain.unary(chain.node.op.removeprefix("onnx.").lower(), chain.input())


class Relu(Steps, onnx=("Relu",)):
    @classmethod
    def expand(cls, chain: Chain) -> str:
        return chain.above(chain.input(), 0.0)


class Clip(Steps, onnx=("Clip",)):
    """max before min, as ONNX has it; bounds may be computed."""

    @classmethod
    def expand(cls, chain: Chain) -> str:
        name = chain.input()
        for index, (attr, step) in enumerate((("min", chain.above), ("max", chain.below)), 1):
            given = len(chain.node.inputs) > index and chain.node.inputs[index]
            bound = chain.input(index) if given else chain.attr(attr, None)
            name = name if bound is None else step(name, bound)
        return name


class LeakyRelu(Steps, onnx=("LeakyRelu", "PRelu")):
    """max(x, 0) + slope * min(x, 0): exact, as one of them is 0."""

    @classmethod
    def expand(cls, chain: Chain) -> str:
        x = chain.input()
        is_learned = chain.node.op == "onnx.PRelu"
        slope = learned(chain) if is_learned else chain.attr("alpha", 0.01)
        return chain.add(chain.above(x, 0.0), chain.mul(chain.below(x, 0.0), slope))


def learned(chain: Chain) -> str:
    """The slope; one per channel may be a vector, as before opset 7."""
    slope, shape = chain.input(1), chain.shape(chain.node.inputs[0])
    mine = chain.shape(slope)
    per_channel = len(mine) == 1 and len(shape) > 1 and mine[0] == shape[1]
    if not per_channel or shape[-1] == mine[0]:
        return slope
    return chain.reshaped(slope, (*mine, *(1,) * (len(shape) - 2)))


class HardSigmoid(Steps, onnx=("HardSigmoid", "HardSwish")):
    @classmethod
    def expand(cls, chain: Chain) -> str:
        x = chain.input()
        if chain.node.op == "onnx.HardSwish":
            return chain.mul(x, hard_sigmoid(chain, x, 1 / 6, 0.5))
        return hard_sigmoid(chain, x, chain.attr("alpha", 0.2), chain.attr("beta", 0.5))


def hard_sigmoid(chain: Chain, x: str, alpha: float, beta: float) -> str:
    return chain.above(chain.below(chain.add(chain.mul(x, alpha), beta), 1.0), 0.0)


class Elu(Steps, onnx=("Elu", "Selu", "Celu")):
    """gain * (max(x, 0) + alpha * (exp(min(x, 0) / width) - 1))."""

    @classmethod
    def expand(cls, chain: Chain) -> str:
        x, op = chain.input(), chain.node.op
        alpha = chain.attr("alpha", SELU_ALPHA if op == "onnx.Selu" else 1.0)
        low = chain.below(x, 0.0)
        low = chain.div(low, alpha) if op == "onnx.Celu" else low
        bent = chain.mul(chain.sub(chain.unary("exp", low), 1.0), alpha)
        name = chain.add(chain.above(x, 0.0), bent)
        return chain.mul(name, chain.attr("gamma", SELU_GAMMA)) if op == "onnx.Selu" else name


SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


class Softplus(Steps, onnx=("Softplus", "Mish")):
    """log(1 + exp(x)), which does not overflow as max(x, 0) + log(1 + exp(-|x|))."""

    @classmethod
    def expand(cls, chain: Chain) -> str:
        x = chain.input()
        power = chain.unary("exp", chain.unary("neg", chain.unary("abs", x)))
        name = chain.add(chain.above(x, 0.0), chain.unary("log", chain.add(power, 1.0)))
        if chain.node.op == "onnx.Softplus":
            return name
        return chain.mul(x, chain.unary("tanh", name))


class Softsign(Steps, onnx=("Softsign",)):
    @classmethod
    def expand(cls, chain: Chain) -> str:
        x = chain.input()
        return chain.div(x, chain.add(chain.unary("abs", x), 1.0))


class Gelu(Steps, onnx=("Gelu",)):
    @classmethod
    def expand(cls, chain: Chain) -> str:
        x = chain.input()
        if chain.attr("approximate", "none") == "tanh":
            cube = chain.mul(chain.mul(x, x), x)
            inner = chain.mul(chain.add(x, chain.mul(cube, 0.044715)), np.sqrt(2 / np.pi))
            bent = chain.unary("tanh", inner)
        else:
            bent = chain.unary("erf", chain.div(x, np.sqrt(2)))
        return chain.mul(chain.mul(x, 0.5), chain.add(bent, 1.0))


class Pow(Steps, onnx=("Pow",)):
    """To a constant that is 0.5, -1, or a small whole number."""

    @classmethod
    def expand(cls, chain: Chain) -> str:
        value = chain.value(1)
        if value is None or value.size != 1:
            raise Refused("its exponent is not one constant")
        exponent, x = float(value.reshape(())), chain.input()
        if exponent in ROOTS:
            return chain.unary(ROOTS[exponent], x)
        if exponent not in (1.0, 2.0, 3.0, 4.0):
            raise Refused(f"a power of {exponent:g}")
        name = x
        for _ in range(int(exponent) - 1):
            name = chain.mul(name, x)
        return name


ROOTS = {0.5: "sqrt", -1.0: "reciprocal"}
