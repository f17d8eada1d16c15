"""Numbers become those of another type: Cast, and quantisation whose scale is computed."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from .chain import REAL, Chain
from .lanes import LONG, NUMBERS
from .logic import TRUTH, inverse
from .match import Refused
from .steps import Steps

UINT8 = np.dtype(np.uint8)
LONGER = {(source, LONG) for source in NUMBERS if source != REAL}


class Cast(Steps, onnx=("Cast",)):
    """To a type that holds every value of the other; from float32 towards zero; to bool, what is
    not 0."""

    @classmethod
    def expand(cls, chain: Chain) -> str:
        x, tensors = chain.input(), chain.edit.tensors
        source, wanted = tensors[x].dtype, tensors[chain.result].dtype
        if source not in NUMBERS or wanted not in NUMBERS and (source, wanted) not in LONGER:
            raise Refused(f"a Cast from {source} to {wanted}")
        if wanted == TRUTH:
            return inverse(chain, chain.binary("equal", x, 0.0, TRUTH))
        if source.kind in "iu" and wanted.kind in "iu" and not np.can_cast(source, wanted):
            raise Refused(f"a Cast from {source} to {wanted}, which wraps")
        if source == REAL and wanted != REAL:
            x = chain.mul(chain.unary("sign", x), chain.unary("floor", chain.unary("abs", x)))
        return chain.emit("cast", (x,), chain.shape(x), wanted)


class DynamicQuantizeLinear(Steps, onnx=("DynamicQuantizeLinear",)):
    """uint8 values, their scale and zero point, from the least and the greatest, and 0.

    scale = (max - min) / 255, or 1 if they are equal; zero = rint(-min / scale); y = rint(x /
    scale) + zero. onnxruntime: core/providers/cpu/quantization/dynamicquantizelinear.cc.
    """

    @classmethod
    def expand(cls, chain: Chain) -> str:
        x = chain.input()
        axes = tuple(range(len(chain.shape(x))))
        least = chain.below(chain.reduce("min", x, axes), 0.0)
        greatest = chain.above(chain.reduce("max", x, axes), 0.0)
        spread = chain.sub(greatest, least)
        is_nothing = chain.sub(1.0, chain.unary("sign", spread))
        scale = chain.add(chain.div(spread, 255.0), is_nothing)
        zero = chain.binary("sub", 0.0, chain.div(least, scale), UINT8)
        steps = chain.unary("round", chain.div(x, scale))
        for name, output in zip((scale, zero), chain.node.outputs[1:], strict=False):
            if output:
                replace(chain, node=replace(chain.node, outputs=(output,))).finish(name)
        return chain.binary("add", steps, zero, UINT8)
