"""The container: an ELF64 file, little-endian, which `readelf -a` reads.

    ELF header | program headers | sections | section headers | .dnncc.sum

e_machine is 0xD9CC, in the range that the ELF registry leaves unassigned; e_flags is the ISA
version. The program headers load .rodata at DRAM byte 0 and .text above DRAM, in an address space
of its own. `.dnncc.sum` is the end of the file and holds the SHA-256 of each section and of all
that stands before it, so that no byte changes unseen. Offsets and sizes are checked before use,
nothing is executed, and the same image gives the same bytes.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from . import sections
from .core import DRAM, IsaError, address
from .image import ISA_VERSION, MOST_DRAM, Image, Symbol, check_image

MACHINE = 0xD9CC
TEXT_BASE = MOST_DRAM
ALIGN = 64

IDENT = b"\x7fELF\x02\x01\x01\xff" + bytes(8)
"""64-bit, little-endian, version 1, ABI "standalone"."""

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")

EXEC = 2
PROGBITS, SYMTAB, STRTAB, NOTE = 1, 2, 3, 7
WRITE, ALLOC, EXECUTE = 1, 2, 4
LOAD_SEGMENT, NOTE_SEGMENT = 1, 4
RUNS, WRITES, READS = 1, 2, 4
ABSOLUTE = 0xFFF1
LOCAL, GLOBAL, OBJECT = 0, 1, 1

SUM = ".dnncc.sum"
NAMES = (
    "", ".text", ".rodata", ".symtab", ".strtab", ".note.dnncc", ".dnncc.symbols", ".dnncc.debug",
    ".host", ".shstrtab", SUM,
)  # fmt: skip


class Section(Struct, frozen=True):
    """A section with its header's fields; `offset` and `size` are places in the file."""

    name: str
    type: int
    flags: int
    address: int
    data: bytes
    link: int = 0
    info: int = 0
    align: int = 1
    entry: int = 0


class Sums(msgspec.Struct, forbid_unknown_fields=True):
    """SHA-256, in hex, of each section's bytes and of the file up to .dnncc.sum."""

    file: str
    sections: dict[str, str]


def write(image: Image) -> bytes:
    """The file's bytes. Raises IsaError for an image that `read` would refuse."""
    check_image(image)
    found = list(build(image))
    offsets, end = place(found)
    table = end + -end % 8
    last = table + SECTION.size * len(NAMES)
    sums = checksums(found, [])
    headers = section_headers(found, [*offsets, last], len(sums))
    segments = b"".join(program_headers(image, found, offsets))
    parts = [header(table, len(segments) // SEGMENT.size) + segments]
    ends = [len(parts[0]), *(o + len(s.data) for s, o in zip(found[1:], offsets[1:], strict=True))]
    for section, start, end in zip(found[1:], offsets[1:], ends[:-1], strict=True):
        parts += [bytes(start - end), section.data]
    parts += [bytes(table - ends[-1]), headers]
    return b"".join([*parts, checksums(found, parts)])


def build(image: Image) -> Iterator[Section]:
    """All sections but the sums, in the order of NAMES."""
    symbols, strings, local = symbol_table(image)
    yield Section("", 0, 0, 0, b"", align=0)
    yield Section(".text", PROGBITS, ALLOC | EXECUTE, TEXT_BASE, image.text, align=ALIGN)
    yield Section(".rodata", PROGBITS, ALLOC, 0, image.rodata, align=ALIGN)
    link, entry = NAMES.index(".strtab"), SYMBOL.size
    yield Section(".symtab", SYMTAB, 0, 0, symbols, link, local, 8, entry)
    yield Section(".strtab", STRTAB, 0, 0, strings)
    yield Section(".note.dnncc", NOTE, 0, 0, sections.encode_note(image), align=4)
    yield Section(".dnncc.symbols", PROGBITS, 0, 0, sections.encode_symbols(image))
    yield Section(".dnncc.debug", PROGBITS, 0, 0, sections.encode_debug(image))
    yield Section(".host", PROGBITS, 0, 0, sections.encode_host(image))
    yield Section(".shstrtab", STRTAB, 0, 0, "\0".join((*NAMES, "")).encode())


def symbol_table(image: Image) -> tuple[bytes, bytes, int]:
    """.symtab, .strtab, and how many entries are local: ELF wants them first."""
    order = sorted(image.symbols, key=lambda symbol: symbol.kind != "tensor")
    local = 1 + sum(symbol.kind == "tensor" for symbol in order)
    strings = bytearray(1)
    entries = [bytes(SYMBOL.size)]
    for symbol in order:
        entries.append(symbol_entry(symbol, len(strings), len(image.rodata)))
        strings += symbol.name.encode(errors="replace") + b"\0"
    return b"".join(entries), bytes(strings), local


def symbol_entry(symbol: Symbol, name: int, rodata_bytes: int) -> bytes:
    constant = symbol.memory == DRAM and symbol.stop <= rodata_bytes
    home = NAMES.index(".rodata") if constant else ABSOLUTE
    bind = LOCAL if symbol.kind == "tensor" else GLOBAL
    value = address(symbol.memory, symbol.address) if symbol.memory else symbol.address
    return SYMBOL.pack(name, bind << 4 | OBJECT, 0, home, value, symbol.bytes)


def place(found: Sequence[Section]) -> tuple[list[int], int]:
    """Each section's offset in the file, and where the last one ends."""
    segments = 3
    end = HEADER.size + segments * SEGMENT.size
    offsets = [0]
    for section in found[1:]:
        end += -end % section.align
        offsets.append(end)
        end += len(section.data)
    return offsets, end


def section_headers(found: Sequence[Section], offsets: Sequence[int], sum_bytes: int) -> bytes:
    rows = [(s, len(s.data)) for s in found]
    rows.append((Section(SUM, PROGBITS, 0, 0, b""), sum_bytes))
    return b"".join(
        SECTION.pack(
            name_offset(s.name), s.type, s.flags, s.address, offset, size, s.link, s.info, s.align,
            s.entry,
        )
        for (s, size), offset in zip(rows, offsets, strict=True)
    )  # fmt: skip


def name_offset(name: str) -> int:
    return len("\0".join(NAMES[: NAMES.index(name)]).encode()) + (name != "")


def program_headers(
    image: Image, found: Sequence[Section], offsets: Sequence[int]
) -> Iterator[bytes]:
    """Segments of DRAM, the program, and the note."""
    plan = (
        (".rodata", LOAD_SEGMENT, READS | WRITES, image.dram_bytes),
        (".text", LOAD_SEGMENT, READS | RUNS, len(image.text)),
        (".note.dnncc", NOTE_SEGMENT, READS, None),
    )
    for name, kind, flags, memory_bytes in plan:
        section, offset = found[NAMES.index(name)], offsets[NAMES.index(name)]
        size = len(section.data)
        memory = size if memory_bytes is None else memory_bytes
        where = section.address
        yield SEGMENT.pack(kind, flags, offset, where, where, size, memory, section.align)


def header(table: int, segments: int) -> bytes:
    names = NAMES.index(".shstrtab")
    sizes = (HEADER.size, SEGMENT.size, segments, SECTION.size, len(NAMES), names)
    return HEADER.pack(IDENT, EXEC, MACHINE, 1, TEXT_BASE, HEADER.size, table, ISA_VERSION, *sizes)


def checksums(found: Sequence[Section], parts: Sequence[bytes]) -> bytes:
    """.dnncc.sum of the file's parts up to it; its size does not depend on the sums."""
    each = {s.name: sha256(s.data).hexdigest() for s in found[1:]}
    whole = sha256()
    for part in parts:
        whole.update(part)
    return msgspec.json.encode(Sums(whole.hexdigest(), each))


def read(data: bytes) -> Image:
    """Parse a file. Raises IsaError, in one line, for anything but what `write` makes."""
    table, segments = check_header(data)
    found = read_sections(data, table)
    check_sums(data, found)
    if segments != 3:
        raise IsaError("the program headers are not those of a dnncc binary")
    note = sections.decode_note(found[".note.dnncc"])
    image = Image(
        text=found[".text"],
        rodata=found[".rodata"],
        dram_bytes=int.from_bytes(note[sections.DRAM_BYTES], "little"),
        target=sections.decode_text(note[sections.TARGET]),
        symbols=sections.decode_symbols(found[".dnncc.symbols"]),
        host=sections.decode_host(found[".host"]),
        debug=sections.decode_debug(found[".dnncc.debug"]),
        tool=sections.decode_text(note[sections.TOOL]),
        options=sections.decode_options(note[sections.OPTIONS]),
    )
    check_image(image)
    return image


def check_header(data: bytes) -> tuple[int, int]:
    """Where the section headers are, and how many program headers there are."""
    if len(data) < HEADER.size or data[:4] != IDENT[:4]:
        raise IsaError("not an ELF file")
    ident, kind, machine, version, entry, _, table, flags, *sizes = HEADER.unpack_from(data)
    if ident != IDENT or kind != EXEC or machine != MACHINE or version != 1 or entry != TEXT_BASE:
        raise IsaError("an ELF file, but not a dnncc binary")
    if flags != ISA_VERSION:
        raise IsaError(f"made for ISA version {flags}; this dnncc reads version {ISA_VERSION}")
    expected = [HEADER.size, SEGMENT.size, sizes[2], SECTION.size, len(NAMES)]
    if sizes[:5] != expected or sizes[5] != NAMES.index(".shstrtab"):
        raise IsaError("the ELF header is not that of a dnncc binary")
    if table + len(NAMES) * SECTION.size > len(data):
        raise IsaError("the file is cut off: its section headers are missing")
    return table, sizes[2]


def read_sections(data: bytes, table: int) -> dict[str, bytes]:
    """The bytes of each section by name; the names are those of NAMES, in order."""
    found = {}
    for number, name in enumerate(NAMES):
        row = SECTION.unpack_from(data, table + number * SECTION.size)
        start, size = row[4], row[5]
        if row[0] != name_offset(name):
            raise IsaError(f"section {number} is not {name}")
        if start + size > len(data):
            raise IsaError(f"the file is cut off: {name} ends at byte {start + size}")
        found[name] = data[start : start + size]
    return found


class Place(NamedTuple):
    """Where a section lies in a file, in bytes."""

    name: str
    offset: int
    size: int


def places(data: bytes) -> list[Place]:
    """The sections of a file that `read` accepts."""
    table, _ = check_header(data)
    rows = [SECTION.unpack_from(data, table + i * SECTION.size) for i in range(len(NAMES))]
    return [Place(name, row[4], row[5]) for name, row in zip(NAMES, rows, strict=True) if name]


def check_sums(data: bytes, found: dict[str, bytes]) -> None:
    sums = sections.decode(SUM, msgspec.json.Decoder(Sums).decode, found[SUM])
    if list(sums.sections) != list(NAMES[1:-1]):
        raise IsaError(f"{SUM} is malformed: it does not name the sections")
    for name, expected in sums.sections.items():
        if sha256(found[name]).hexdigest() != expected:
            raise IsaError(f"checksum of {name} is wrong")
    body = memoryview(data)[: len(data) - len(found[SUM])]
    if not data.endswith(found[SUM]) or sha256(body).hexdigest() != sums.file:
        raise IsaError("checksum of the file is wrong")


def save(image: Image, path: str | os.PathLike[str]) -> None:
    """Write the file in one step: on an error, what was at `path` stays as it was."""
    replace_file(Path(path), write(image))


def load(path: str | os.PathLike[str]) -> Image:
    """Read a file. Raises IsaError for a bad one, OSError where it cannot be read."""
    return read(Path(path).read_bytes())


def replace_file(path: Path, data: bytes) -> None:
    """Through a temporary file in the same folder, then a rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # which its message names
        raise
