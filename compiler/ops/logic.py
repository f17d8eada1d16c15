"""Comparisons, logic and choice as steps of the vector engine: truth values are 0 or 1."""

from __future__ import annotations

import numpy as np

from .chain import Chain
from .steps import Steps

TRUTH = np.dtype(bool)


class Comparison(
    Steps, onnx=("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
):  # fmt: skip
    """Of any numbers; nothing is equal to NaN, or less."""

    @classmethod
    def expand(cls, chain: Chain) -> str:
        a, b, op = chain.input(0), chain.input(1), chain.node.op.removeprefix("onnx.")
        if op == "Equal":
            return chain.binary("equal", a, b, TRUTH)
        a, b = (b, a) if op.startswith("Greater") else (a, b)
        less = chain.binary("less", a, b, TRUTH)
        if not op.endswith("OrEqual"):
            return less
        return chain.binary("max", less, chain.binary("equal", a, b, TRUTH), TRUTH)


class Logic(Steps, onnx=("And", "Or", "Xor")):
    @classmethod
    def expand(cls, chain: Chain) -> str:
        a, b = chain.input(0), chain.input(1)
        match chain.node.op:
            case "onnx.And":
                return chain.binary("min", a, b, TRUTH)
            case "onnx.Or":
                return chain.binary("max", a, b, TRUTH)
        return inverse(chain, chain.binary("equal", a, b, TRUTH))


class Not(Steps, onnx=("Not",)):
    @classmethod
    def expand(cls, chain: Chain) -> str:
        return inverse(chain, chain.input())


def inverse(chain: Chain, truth: str) -> str:
    return chain.binary("sub", 1.0, truth, TRUTH)


class Where(Steps, onnx=("Where",)):
    """What is chosen, and 0, are added: what is not chosen may be infinite, or no number."""

    @classmethod
    def expand(cls, chain: Chain) -> str:
        truth, dtype = chain.input(0), chain.edit.tensors[chain.result].dtype
        chosen = chain.binary("keep", chain.input(1), truth, dtype)
        other = chain.binary("keep", chain.input(2), inverse(chain, truth), dtype)
        return chain.binary("add", chosen, other, dtype)


class Nothing(Steps, onnx=("IsNaN",)):
    @classmethod
    def expand(cls, chain: Chain) -> str:
        x = chain.input()
        return inverse(chain, chain.binary("equal", x, x, TRUTH))
