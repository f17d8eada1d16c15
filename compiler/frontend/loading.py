"""A ModelProto from a file, with its external data: checked before it is allocated."""

import os
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, external_data_helper

from ..diagnostics import CompileError

PROTOBUF_LIMIT = 1 << 31
DATA_FIELDS = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
)


def load_model(path: Path) -> ModelProto:
    """Read, decode, and bring in external data, none of it from outside the model's folder."""
    file = str(path)
    model = decode(read(path), file)
    for tensor in external_tensors(model):
        load_external(tensor, path, file)
    return model


def read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if path.is_dir() or size >= PROTOBUF_LIMIT:
            raise CompileError(
                "not an ONNX file", file=str(path), hint="give a .onnx file below 2 GB"
            )
        data = path.read_bytes()
    except OSError as error:
        raise CompileError(error.strerror or str(error), file=str(path)) from None
    if not data:
        raise CompileError("the file is empty", file=str(path), hint="give an ONNX model")
    return data


def decode(data: bytes, file: str) -> ModelProto:
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's own DecodeError, whichever implementation runs
        raise CompileError(
            "not an ONNX model, or a truncated one", file=file, hint="export or download it again"
        ) from None
    if not model.graph.node and not model.graph.output:
        raise CompileError("not an ONNX model: it has no graph", file=file)
    return model


def external_tensors(model: ModelProto) -> list[TensorProto]:
    tensors = external_data_helper._get_all_tensors(model)
    return [t for t in tensors if external_data_helper.uses_external_data(t)]


def load_external(tensor: TensorProto, path: Path, file: str) -> None:
    """Replace the reference by the bytes it names."""
    info = {entry.key: entry.value for entry in tensor.external_data}
    location, expected = str(info.get("location", "")), tensor_bytes(tensor, file)
    source = inside(path.parent, location, tensor.name, file)
    offset, length = int(info.get("offset", 0)), int(info.get("length", expected))
    if length != expected or offset < 0 or offset + length > source.stat().st_size:
        raise CompileError(
            f"external data of tensor '{tensor.name}' is {expected} bytes by its shape, but "
            f"'{location}' does not hold them at offset {offset}",
            file=file,
            hint="copy the whole data file",
        )
    with source.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def inside(folder: Path, location: str, name: str, file: str) -> Path:
    """The file at `location`, which must be a regular file in `folder`, links followed."""
    root = os.path.realpath(folder)
    found = os.path.realpath(os.path.join(root, location))
    if os.path.commonpath([root, found]) != root:
        raise CompileError(
            f"external data of tensor '{name}' is outside the model's folder: '{location}'",
            file=file,
            hint="move the data file beside the model",
        )
    if not os.path.isfile(found):
        raise CompileError(
            f"external data of tensor '{name}' is missing: '{location}'",
            file=file,
            hint="put the data file beside the model",
        )
    return Path(found)


def tensor_bytes(tensor: TensorProto, file: str) -> int:
    """Bytes that the declared type and shape ask for."""
    count = 1
    for dim in tensor.dims:
        if dim < 0:
            raise CompileError(f"tensor '{tensor.name}' has a negative dimension", file=file)
        count *= dim
    return (count * element_bits(tensor, file) + 7) // 8


def element_bits(tensor: TensorProto, file: str) -> int:
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError):
        raise CompileError(
            f"tensor '{tensor.name}' has the unknown element type {tensor.data_type}", file=file
        ) from None
    narrow = (TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1)
    return 4 if tensor.data_type in narrow else 8 * int(dtype.itemsize)


def check_tensor(tensor: TensorProto, file: str) -> None:
    """The data is as long as the shape says; strings are not tensors here."""
    if tensor.data_type == TensorProto.STRING:
        raise CompileError(f"tensor '{tensor.name}' holds strings", file=file)
    expected = tensor_bytes(tensor, file)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != expected:
            raise CompileError(
                f"tensor '{tensor.name}' holds {len(tensor.raw_data)} bytes, "
                f"its shape {tuple(tensor.dims)} asks for {expected}",
                file=file,
            )
    elif expected and not any(len(getattr(tensor, field)) for field in DATA_FIELDS):
        raise CompileError(f"tensor '{tensor.name}' has no data", file=file)
