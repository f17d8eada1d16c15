"""ArgMax and ArgMin as steps of the vector engine."""

from __future__ import annotations

import numpy as np

from .chain import Chain
from .lanes import LONG
from .steps import Steps

WHOLE = np.dtype(np.int32)


class Extremum(Steps, onnx=("ArgMax", "ArgMin")):
    """Elements that are the extremum score 1 for the last index of theirs to be chosen, up to the
    count for the first, others 0; the greatest score tells the index. It is stored as int64, int32
    until then; where all is NaN, it is the first or the last.
    """

    @classmethod
    def expand(cls, chain: Chain) -> str:
        x = chain.input()
        rank, last = len(chain.shape(x)), chain.attr("select_last_index", 0)
        axis = chain.attr("axis", 0) % rank
        count = chain.shape(x)[axis]
        best = chain.reduce(chain.node.op[-3:].lower(), x, (axis,))
        ramp = np.arange(1, count + 1) if last else np.arange(count, 0, -1)
        shape = [count if i == axis else 1 for i in range(rank)]
        scores = chain.constant(ramp.reshape(shape), WHOLE)
        hits = chain.binary("keep", scores, chain.binary("equal", x, best, WHOLE), WHOLE)
        score = chain.binary("max", chain.reduce("max", hits, (axis,)), 1.0, WHOLE)
        above, below = (score, 1.0) if last else (float(count), score)
        index = chain.binary("sub", above, below, WHOLE)
        shaped = chain.reshaped(index, chain.shape(chain.result))
        return chain.emit("cast", (shaped,), chain.shape(shaped), LONG)
