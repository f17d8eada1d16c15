"""DianNao, ShiDianNao and systolic arrays: peak rates, and cycles as their papers count them."""

import numpy as np

from dnncc.targets import Target, dataflow, load, loads

from .figures import Chapter, Figure, Table

DIANNAO = "T. Chen et al., ASPLOS 2014: 452 GOP/s, in units of 2^30, without the third stage."
SHIDIANNAO = "Z. Du et al., ISCA 2015: 8 x 8 PEs at 1 GHz, 194 GOP/s."
SCALE_SIM = (
    "A. Samajdar et al., ISPASS 2020: a fold of V vectors on an array of R x C that it fills takes "
    "2 R + C + V - 2 cycles."
)
DIANNAO_PEAK, SHIDIANNAO_PEAK = 452.0, 194.0
BINARY_GIGA = 2**30


def cycles(target: Target, work: dataflow.Work) -> int:
    """Of an array that chooses its own parameters."""
    flow = dataflow.model(target)
    return int(flow.cycles(target, work, flow.choose(target, work)))


# DianNao

DIANNAO_LAYERS = {  # from the paper's Table 1: filters, channels, rows, columns, filter
    "CLASS1": (20, 960, 1, 1, 1, 1),
    "CLASS3": (100, 200, 1, 1, 1, 1),
    "CONV1": (48, 32, 367, 492, 9, 9),
    "CONV3": (200, 108, 29, 29, 4, 4),
    "CONV4": (512, 16, 26, 26, 7, 7),
}


def diannao() -> Chapter:
    target = load("diannao-like")
    adds = target.array.rows * (target.array.cols - 1)
    peak = (target.pes + adds) * target.clock_mhz * 1e6 / BINARY_GIGA
    figures = tuple(
        Figure(
            name,
            cycles(target, nfu_work(sizes)),
            nfu_cycles(sizes),
            0.01,
            0,
            NFU_REASONS.get(name, ""),
        )
        for name, sizes in DIANNAO_LAYERS.items()
    )
    return Chapter(
        "DianNao",
        DIANNAO,
        (
            Table("Peak, GOP/s", (Figure("256 products, 240 sums", peak, DIANNAO_PEAK, 0.01),)),
            Table("Cycles of a layer", figures, (NFU_NOTE,)),
        ),
    )


NFU_NOTE = (
    "Not measurements: outputs * ceil(filters / 16) * ceil(channels * taps / 16), which is what "
    "the loops of the paper's Figure 5 take where memories keep up. Sizes are those of its Table "
    "1, without padding."
)
ONCE = "the first weights, and the pipeline once, which the loops do not count."
NFU_REASONS = {
    "CLASS1": ONCE,
    "CLASS3": ONCE,
    "CONV3": "a row of 16 inputs holds whole taps only, so that 108 channels take 7 rows.",
}


def nfu_cycles(sizes: tuple[int, ...]) -> int:
    filters, channels, rows, columns, r, s = sizes
    return rows * columns * -(-filters // 16) * -(-channels * r * s // 16)


def nfu_work(sizes: tuple[int, ...]) -> dataflow.Work:
    return dataflow.Work.of(**dict(zip(("k", "c", "p", "q", "r", "s"), sizes, strict=True)))


# ShiDianNao

SHIDIANNAO_LAYERS = {  # filters, channels, rows, columns, filter
    "LeNet-5 C1": (6, 1, 28, 28, 5, 5),
    "LeNet-5 C3": (16, 6, 10, 10, 5, 5),
    "LeNet-5 F5": (120, 400, 1, 1, 1, 1),
    "3x3, 16 to 16": (16, 16, 32, 32, 3, 3),
}


def shidiannao() -> Chapter:
    target = load("shidiannao-like")
    peak = 2 * target.pes * target.clock_mhz / 1e3
    figures = tuple(
        Figure(name, pes_cycles(target, sizes), pe_cycles(sizes), 0.10, 0, PE_REASON)
        for name, sizes in SHIDIANNAO_LAYERS.items()
    )
    return Chapter(
        "ShiDianNao",
        SHIDIANNAO,
        (
            Table(
                "Peak, GOP/s",
                (Figure("64 MACs", peak, SHIDIANNAO_PEAK, 0.01, 0, PEAK_REASON),),
            ),
            Table("Cycles of a layer", figures, (PE_NOTE,)),
        ),
    )


PEAK_REASON = (
    "a MAC is two operations here; 194 is three for each of 64 PEs, whose comparators for pooling "
    "are then counted too, and two more."
)
PE_NOTE = (
    "Not measurements: blocks * filters * (channels * taps + 8), as a PE makes one output of a "
    "block of 8 x 8 and their way out takes 8 cycles; of a fully connected layer ceil(outputs / "
    "64) * inputs. Mapped as the chip does: one filter at a time, or one output per PE."
)
PE_REASON = "blocks at the edges send fewer psums out, which takes fewer cycles."


def pe_cycles(sizes: tuple[int, ...]) -> int:
    filters, channels, rows, columns, r, s = sizes
    if rows == columns == 1:
        return -(-filters // 64) * channels
    return -(-rows // 8) * -(-columns // 8) * filters * (channels * r * s + 8)


def pes_cycles(target: Target, sizes: tuple[int, ...]) -> int:
    """With the chip's parameters: rows and columns of a set, and sets."""
    whole = sizes[2] > 1 or sizes[3] > 1
    params = np.array([8, 8, 1] if whole else [1, 1, 64], np.int64)
    return int(dataflow.model(target).cycles(target, nfu_work(sizes), params))


# Systolic arrays

FOLDS = ((16, 16, 64), (16, 16, 1000), (13, 7, 100), (8, 32, 40), (32, 8, 256))
"""Rows, columns, vectors."""


def systolic() -> Chapter:
    return Chapter(
        "Systolic arrays, a fold",
        SCALE_SIM,
        (
            Table("Weight stationary, cycles", tuple(weights_stay(*fold) for fold in FOLDS)),
            Table(
                "Output stationary, cycles",
                tuple(outputs_stay(*fold) for fold in FOLDS),
                ("V is the length of the sums; R + C cycles of skew, R to shift the psums out.",),
            ),
        ),
    )


def weights_stay(rows: int, cols: int, vectors: int) -> Figure:
    target = sized("gemmini-like", rows, cols)
    ours = cycles(target, dataflow.Work.matmul(vectors, rows, cols))
    return fold_figure(rows, cols, vectors, ours)


def outputs_stay(rows: int, cols: int, depth: int) -> Figure:
    target = sized("gemmini-like-os", rows, cols)
    ours = cycles(target, dataflow.Work.matmul(rows, depth, cols))
    return fold_figure(rows, cols, depth, ours)


def fold_figure(rows: int, cols: int, length: int, ours: int) -> Figure:
    name = f"{rows} x {cols}, V = {length}"
    return Figure(name, ours, 2 * rows + cols + length - 2, 0, 0)


def sized(name: str, rows: int, cols: int) -> Target:
    """The target with another array."""
    return loads(f'extends = "{name}"\n[array]\nrows = {rows}\ncols = {cols}\n')
