"""Gemmini: cycles of whole GEMMs in RTL simulation, from memory to memory."""

from .figures import Chapter, Figure, Table
from .networks import gemm, session

SOURCE = (
    "Verilator cycles of GemminiRocketConfig, 16x16 int8, weight stationary, as recorded in "
    "github.com/yonseicasl/NPUsim; here int8 products compiled by dnncc for `gemmini-like`."
)
CYCLES = {(64, 64, 64): 3_810, (256, 256, 256): 69_653, (512, 512, 64): 74_413}
"""By (rows of the left matrix, columns of the right one, the sum's length)."""
SLOW = (
    "`gemmini-like` streams 16 bytes per cycle from DRAM. The RTL has 16 requests of 64 bytes in "
    "flight, 1024 bytes per round trip of a memory whose latency is not published, and its core "
    "computes the tiling and issues the instructions; neither is modelled."
)

LUCK = (
    "Memory is too fast here, as the smallest product shows, and the compiler's tiles are not "
    "those of Gemmini's library; with these, 80 x 96 at a time, the larger two take 77,956 and"
    " 88,014 cycles, 12 and 18 % too many. Take the agreement of the larger two for partly luck."
)


def chapter() -> Chapter:
    figures = tuple(
        Figure(" x ".join(map(str, shape)), cycles(shape), published, 0.10, 0, SLOW)
        for shape, published in CYCLES.items()
    )
    return Chapter("Gemmini, GEMM", SOURCE, (Table("Cycles", figures, (LUCK,)),))


def cycles(shape: tuple[int, int, int]) -> int:
    return session(gemm(*shape), "gemmini-like").profile.cycles
