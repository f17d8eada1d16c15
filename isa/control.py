"""Order between the engines and the host; these run in the issue unit, in program order."""

from .core import U16, Instruction


class Fence(Instruction, opcode=0x01, engine="control"):
    """Issue nothing more until the waits of this instruction are satisfied."""


class Host(Instruction, opcode=0x02, engine="control"):
    """Wait, then have the host run its part number `part` on tensors in DRAM; then go on."""

    part: U16 = 0


class Halt(Instruction, opcode=0x03, engine="control"):
    """Wait, then end the program. It is the last instruction."""
