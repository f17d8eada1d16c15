"""Operators that onnx.reference computes otherwise than ONNX says, as ONNX says."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun


class LRN(OpRun):
    """onnx.reference takes the size of the batch for the number of channels."""

    def _run(self, x: Any, alpha: float, beta: float, bias: float, size: int) -> tuple[Any]:
        before = (size - 1) // 2
        around = [(0, 0)] * x.ndim
        around[1] = (before, size - 1 - before)
        framed = np.pad(x * x, around)
        sums = sum(framed[:, i : i + x.shape[1]] for i in range(size))
        return ((x / (bias + alpha / size * sums) ** beta).astype(x.dtype),)
