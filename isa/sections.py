"""What the sections of a binary hold, to and from bytes; elf.py lays them out.

Names, symbols and options are JSON, so that `readelf -p` shows them; what is mostly bytes (host
models, debug map) is MessagePack. Both are decoded into declared types only.
"""

import struct
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
import numpy as np

from .core import IsaError
from .image import ISA_VERSION, Debug, Floor, HostPart, Image, Symbol, Unit

T = TypeVar("T")

NOTE_OWNER = b"dnncc\0"
NOTE_HEAD = struct.Struct("<III")
NOTE_ALIGN = 4
VERSION, TOOL, TARGET, TARGET_SHA256, OPTIONS, DRAM_BYTES = range(0xD9CC01, 0xD9CC07)
"""Types of the entries in .note.dnncc; readelf takes the small numbers for those of others."""


class DebugColumns(msgspec.Struct, forbid_unknown_fields=True):
    """Debug as .dnncc.debug holds it: int32 columns as little-endian bytes."""

    nodes: tuple[str, ...]
    steps: tuple[str, ...]
    node_of: bytes
    step_of: bytes
    units: tuple[Unit, ...] = ()
    floors: tuple[Floor, ...] = ()


def plain(value: Any) -> Any:
    """NumPy numbers as Python's, for the encoders."""
    if isinstance(value, np.generic):
        return value.item()
    raise IsaError(f"a value of type {type(value).__name__} cannot be written: {value!r}")


def json_bytes(value: Any) -> bytes:
    """Raises IsaError for what JSON cannot hold."""
    try:
        return msgspec.json.encode(value, enc_hook=plain, order="deterministic")
    except (UnicodeEncodeError, TypeError, OverflowError, RecursionError) as error:
        raise IsaError(f"a value cannot be written: {error}") from None


def decode(section: str, decoder: Callable[[bytes], T], data: bytes) -> T:
    """decoder(data), with whatever is wrong as an IsaError that names the section."""
    try:
        return decoder(data)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        reason = str(error).split("\n")[0]
        raise IsaError(f"{section} is malformed: {reason}") from None


def encode_symbols(image: Image) -> bytes:
    return json_bytes(image.symbols)


def decode_symbols(data: bytes) -> tuple[Symbol, ...]:
    decoder = msgspec.json.Decoder(tuple[Symbol, ...])
    return decode(".dnncc.symbols", decoder.decode, data)


def encode_host(image: Image) -> bytes:
    return msgspec.msgpack.encode(image.host)


def decode_host(data: bytes) -> tuple[HostPart, ...]:
    return decode(".host", msgspec.msgpack.Decoder(tuple[HostPart, ...]).decode, data)


def encode_debug(image: Image) -> bytes:
    debug = image.debug
    if debug is None:
        return msgspec.msgpack.encode(None)
    node_of, step_of = (c.astype("<i4").tobytes() for c in (debug.node_of, debug.step_of))
    columns = DebugColumns(debug.nodes, debug.steps, node_of, step_of, debug.units, debug.floors)
    return msgspec.msgpack.encode(columns)


def decode_debug(data: bytes) -> Debug | None:
    decoder = msgspec.msgpack.Decoder(DebugColumns | None)
    found = decode(".dnncc.debug", decoder.decode, data)
    if found is None:
        return None
    columns = numbers(found.node_of), numbers(found.step_of)
    return Debug(found.nodes, found.steps, *columns, found.units, found.floors)


def numbers(column: bytes) -> Any:
    return decode(".dnncc.debug", lambda data: np.frombuffer(data, "<i4"), column)


def encode_note(image: Image) -> bytes:
    target = image.target.encode()
    entries = (
        (VERSION, ISA_VERSION.to_bytes(4, "little")),
        (TOOL, image.tool.encode()),
        (TARGET, target),
        (TARGET_SHA256, sha256(target).digest()),
        (OPTIONS, json_bytes(image.options)),
        (DRAM_BYTES, image.dram_bytes.to_bytes(8, "little")),
    )
    return b"".join(note_entry(kind, content) for kind, content in entries)


def note_entry(kind: int, content: bytes) -> bytes:
    head = NOTE_HEAD.pack(len(NOTE_OWNER), len(content), kind)
    return head + padded(NOTE_OWNER) + padded(content)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % NOTE_ALIGN)


def decode_note(data: bytes) -> dict[int, bytes]:
    """The entries by type. Raises IsaError unless each of ours is there once, and nothing else."""
    found = list(note_entries(data))
    if [kind for kind, _ in found] != list(range(VERSION, DRAM_BYTES + 1)):
        raise IsaError(".note.dnncc is malformed: entries are missing or unknown")
    entries = dict(found)
    if sha256(entries[TARGET]).digest() != entries[TARGET_SHA256]:
        raise IsaError(".note.dnncc is malformed: the target does not have its checksum")
    if len(entries[VERSION]) != 4 or len(entries[DRAM_BYTES]) != 8:
        raise IsaError(".note.dnncc is malformed: an entry has a wrong size")
    return entries


def note_entries(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if at + NOTE_HEAD.size > len(data):
            raise IsaError(".note.dnncc is malformed: an entry is cut off")
        owner_bytes, size, kind = NOTE_HEAD.unpack_from(data, at)
        start = at + NOTE_HEAD.size
        owner = data[start : start + len(NOTE_OWNER)]
        start += len(padded(NOTE_OWNER))
        at = start + size + -size % NOTE_ALIGN
        if owner_bytes != len(NOTE_OWNER) or owner != NOTE_OWNER or at > len(data):
            raise IsaError(".note.dnncc is malformed: an entry is not ours or is cut off")
        yield kind, data[start : start + size]


def decode_text(data: bytes) -> str:
    return decode(".note.dnncc", bytes.decode, data)


def decode_options(data: bytes) -> dict[str, Any]:
    return decode(".note.dnncc", msgspec.json.Decoder(dict[str, Any]).decode, data)
