"""The ISA manual, docs/isa.md, made from the instruction classes.

python -m dnncc.isa.manual > docs/isa.md
"""

from collections.abc import Iterator
from inspect import getdoc

from .core import DTYPE_NAMES, ENGINES, Field, Instruction, instruction_set
from .elf import MACHINE
from .image import ISA_VERSION
from .lines import value_text
from .short import TEMPLATES, short_dtype
from .vector import PARAMS

INTRODUCTION = """# The instruction set

Version {version}. Made by `python -m dnncc.isa.manual` from the classes in isa/; do not edit.

## The machine

DRAM, up to fifteen on-chip memories, and engines that run side by side:
{engines}.
The issue unit hands the instructions out in program order to the engines' queues, and runs the
control instructions itself; each engine takes those of its queue in order. An instruction works on
one tile: its size, its strides and its zero points are fields, and the engine walks the tile.

**Addresses.** DRAM is addressed by byte, with 32 bits. An on-chip address holds the memory's number
(1..15, as the target numbers its memories) in its top 4 bits and a byte offset in the other 28;
assembly writes `memory:offset`. Only load and store engines reach DRAM. Strides are in elements.

**Waits.** Each engine retires its instructions in order and counts them. The header of each
instruction has a byte for every engine: 0 waits for nothing; n >= 1 waits until all but the last
n - 1 of the instructions issued to that engine before this one are retired. In assembly: `@tensor`
is n = 1, `@tensor-2` is n = 3. A wait points backwards in program order, so no program deadlocks.
Accesses to the same bytes that no wait orders are a race: the program is wrong.

**Encoding.** An instruction is a multiple of 8 bytes, little-endian, without gaps: the opcode, the
header, the fields in the order of the tables below, then reserved bytes, which are 0. Decoding is
strict: a value out of its range, an undefined opcode, a non-zero reserved byte, a NaN or infinity
in a float field, a program that does not end with its only `halt`, are errors.

**Short form.** Tiles of a layer differ in little but addresses. Each class names the fields that
move; an instruction in short form has bit 7 of its opcode set, then a byte with the number of a
template, the waits, the moving fields, and zeros to a whole word. All else is that of the template:
the latest instruction of the class in full form that was given the same number, which the upper
seven bits of its queue byte hold. A program has one encoding: within a class, shapes (all that is
not waits or moving fields) are numbered in order of appearance, modulo {templates}; the short form
is taken wherever the template has the instruction's shape. Assembly does not show the form.

**Element types**, as fields called `*dtype` number them: {dtypes}.

**Arithmetic.** Sums of products are exact, in int32 that wraps. Requantisation is
`saturate(rint(float32(psum + bias) * scale) + zero)` with ties to even, or TFLite's multiplier and
shift. Parameter tables: {params}.

## The container

ELF64, little-endian, type EXEC, e_machine {machine:#x} (unassigned), e_flags the ISA version.

| section | holds |
|---|---|
| `.text` | the instructions |
| `.rodata` | packed weights and parameter tables; the first bytes of DRAM |
| `.symtab`, `.strtab` | the model's inputs and outputs (global), inner tensors (local) |
| `.note.dnncc` | ISA and tool version, the target file and its SHA-256, options, DRAM bytes |
| `.dnncc.symbols` | the same tensors with type, shape, strides, scale, zero, head, real, as JSON |
| `.dnncc.debug` | for each instruction the ONNX node and the tile step, as MessagePack |
| `.host` | what the host runs, as ONNX models, as MessagePack |
| `.dnncc.sum` | SHA-256 of each section and of the file before it |

`dnncc-objdump -d` prints all of a binary as assembly, and `dnncc-as` makes the same bytes of it.
"""


def markdown() -> str:
    """The whole manual."""
    table = instruction_set().values()
    parts = [introduction(), header_table(next(iter(table))), index(), *map(section, table)]
    return "\n".join(parts)


def introduction() -> str:
    return INTRODUCTION.format(
        version=ISA_VERSION,
        engines=", ".join(ENGINES),
        dtypes=", ".join(f"{n} {name}" for n, name in enumerate(DTYPE_NAMES)),
        params=" or ".join(f"({', '.join(dtype.names or ())})" for dtype in PARAMS.values()),
        machine=MACHINE,
        templates=TEMPLATES,
    )


def header_names() -> tuple[str, ...]:
    return ("queue", *(f"after_{engine}" for engine in ENGINES))


def header_table(any_class: type[Instruction]) -> str:
    """The bytes that all instructions start with."""
    rows = ["## The header", "", "| byte | field | meaning |", "|---|---|---|"]
    rows.append("| 0 | opcode | which instruction |")
    for field in any_class.layout:
        if field.name in header_names():
            rows.append(f"| {field.offset} | {field.name} | {header_meaning(field.name)} |")
    return "\n".join([*rows, ""])


def header_meaning(name: str) -> str:
    if name == "queue":
        return "bit 0: which of the engine's queues, load0 or load1; bits 1..7: template"
    return f"wait for {name.removeprefix('after_')}"


def index() -> str:
    rows = ["## Instructions", "", "| opcode | mnemonic | engine | bytes |", "|---|---|---|---|"]
    for opcode, cls in instruction_set().items():
        link = f"[`{cls.mnemonic}`](#{cls.mnemonic})"
        rows.append(f"| {opcode:#04x} | {link} | {cls.engine} | {cls.record.itemsize} |")
    return "\n".join([*rows, ""])


def section(cls: type[Instruction]) -> str:
    title = f"### {cls.mnemonic}"
    facts = (
        f"Opcode {cls.opcode:#04x}, {cls.engine}, {cls.record.itemsize} bytes.{short_facts(cls)}"
    )
    own = [field for field in cls.layout if field.name not in header_names()]
    rows = [title, "", facts, "", *paragraphs(cls), ""]
    if own:
        rows += ["| byte | field | type | default | values |", "|---|---|---|---|---|"]
        rows += [field_row(field) for field in own]
    return "\n".join([*rows, "", *illegal(cls)])


def short_facts(cls: type[Instruction]) -> str:
    if not cls.moving:
        return ""
    fields = ", ".join(cls.moving)
    return f" Short form: {short_dtype(cls).itemsize} bytes, with {fields}."


def paragraphs(cls: type[Instruction]) -> list[str]:
    """The lines of the docstring."""
    return (getdoc(cls) or "").splitlines()


def field_row(field: Field) -> str:
    kind = field.kind
    default = "required" if field.default is None else value_text(kind, field.default)
    code = kind.dtype.str.lstrip("<|")
    bits = f"{code[0]}{8 * kind.dtype.itemsize}"
    values = ", ".join(f"{n} {name}" for n, name in enumerate(kind.names)) or kind.limits()
    return f"| {field.offset} | {field.name} | {bits} | {default} | {values} |"


def illegal(cls: type[Instruction]) -> Iterator[str]:
    """What its `faults` name."""
    one = cls.from_records(cls.records(1, **{name: 1 << 28 for name in required(cls)}))
    faults = [words for _, words in one.faults()]
    if faults:
        yield f"Illegal if: {'; '.join(faults)}."
        yield ""


def required(cls: type[Instruction]) -> list[str]:
    return [field.name for field in cls.layout if field.default is None]


if __name__ == "__main__":
    print(markdown(), end="")
