"""Element types of tensors by NumPy's name, and what ONNX calls each in `tensor(...)`."""

from typing import Any

import numpy as np

ONNX_NAMES = {
    "int8": "int8",
    "uint8": "uint8",
    "int16": "int16",
    "uint16": "uint16",
    "int32": "int32",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
    "bool": "bool",
    "float16": "float16",
    "float32": "float",
    "float64": "double",
}
NARROW_NAMES = {
    "bfloat16": "bfloat16",
    "float8_e4m3fn": "float8e4m3fn",
    "float8_e4m3fnuz": "float8e4m3fnuz",
    "float8_e5m2": "float8e5m2",
    "float8_e5m2fnuz": "float8e5m2fnuz",
    "float8_e8m0fnu": "float8e8m0",
    "float4_e2m1fn": "float4e2m1",
    "int4": "int4",
    "uint4": "uint4",
    "int2": "int2",
    "uint2": "uint2",
}
"""Types of the package ml_dtypes, on which onnx depends; an element takes a byte or two."""

ALL_NAMES = ONNX_NAMES | NARROW_NAMES


def element_type(name: str) -> np.dtype[Any]:
    """The dtype of that name, a key of ALL_NAMES. Raises TypeError for another one."""
    if name not in NARROW_NAMES:
        return np.dtype(name)
    import ml_dtypes  # 10 ms, and rarely needed

    narrow: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return narrow
