"""NVDLA: frames per second of ResNet-50 in the primer's seven configurations (nvdla.org)."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from .figures import Chapter, Figure, Table
from .networks import resnet50, session

SOURCE = (
    "nvdla.org, the primer's table: ResNet-50 in int8 at 1 GHz, without on-chip SRAM. ResNet-50 is "
    "compiled by dnncc, batch 1, for `nvdla-like-full` with the array, the convolution buffer and "
    "the SDRAM rate of each row."
)


class Configuration(NamedTuple):
    """`rows` x `cols` multipliers (atomic K x C), the buffer's KiB, GB/s of SDRAM; lanes of the
    single-point processor as in the hardware's spec files; the published frames per second."""

    rows: int
    cols: int
    kib: int
    rate: float
    lanes: int
    fps: float


CONFIGURATIONS = (
    Configuration(32, 64, 512, 20, 16, 269),
    Configuration(32, 32, 256, 15, 8, 153),
    Configuration(16, 32, 256, 10, 4, 93),
    Configuration(8, 32, 256, 5, 1, 46),
    Configuration(8, 16, 256, 2, 1, 20),
    Configuration(8, 8, 128, 1, 1, 7.3),
    Configuration(4, 8, 128, 0.5, 1, 3.6),
)
RESNET50_MACS = 3.86e9
NOTES = (
    "Weights come at rows * cols / 16 words per cycle, so that a stripe of 16 hides them, as in "
    "the chip. `joins_taps` is on, as the chip has it for images: of ResNet-50's layers it only "
    "speeds up the first one. "
    "There is neither Winograd nor weight compression in dnncc.",
)


def chapter(configurations: tuple[Configuration, ...] = CONFIGURATIONS) -> Chapter:
    figures = *map(figure, configurations), one_by_one(configurations[0])
    return Chapter("NVDLA, ResNet-50", SOURCE, (Table("Frames per second", figures, NOTES),))


def figure(c: Configuration) -> Figure:
    report = measure(c)
    why = reason(c, report["dram_bus_bytes"])
    return Figure(f"{c.rows * c.cols} MACs", 1e6 / report["time_us"], c.fps, 0.25, reason=why)


def one_by_one(c: Configuration) -> Figure:
    """As if the chip took a filter's taps one by one in the first layer, too."""
    rate = 1e6 / measure(c, joins="false")["time_us"]
    return Figure(f"{c.rows * c.cols} MACs, taps one by one", rate, c.fps, 0.25, reason=IMAGES)


def reason(c: Configuration, moved: int) -> str:
    """Why it may miss."""
    if c.rows * c.cols > 64:
        return ADDS
    computing, moving = RESNET50_MACS / (c.rows * c.cols) / 1e6, moved / c.rate / 1e6
    rate = 1e3 / (computing + moving)
    return (
        f"{FEW_BYTES} In the published time {1e3 * c.rate / c.fps:.0f} MB come from SDRAM at most; "
        f"dnncc moves {moved / 1e6:.0f}. {computing:.0f} ms of MACs and {moving:.0f} ms of these "
        f"bytes are {rate:.1f} frames per second in sequence."
    )


IMAGES = "3 channels of 64 are taken at a time in the first layer, which the chip has a mode for."
ADDS = (
    "residual sums are instructions of one lane here, where the chip's single-point processor adds "
    "while results pass through. The primer does not say how wide it is, and its buffer of 256 KiB "
    "is not that of the spec file with one lane."
)
FEW_BYTES = (
    "the published times of the two with 128 KiB are those of MACs and moves one after the other, "
    "or of nearly twice our bytes, where loads of the next tile overlap with computing here, and "
    "tiles are the compiler's; nothing published tells which."
)


def measure(configuration: Configuration, joins: str = "true") -> dict[str, Any]:
    """The report of one frame."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nvdla.toml"
        path.write_text(target_text(configuration, joins))
        return session(resnet50(), str(path)).profile.report


def target_text(c: Configuration, joins: str) -> str:
    """The target file: `nvdla-like-full`, scaled."""
    return f"""
extends = "nvdla-like-full"
name = "nvdla-{c.rows * c.cols}"

[array]
rows = {c.rows}
cols = {c.cols}
weight_words_per_cycle = {max(1, c.rows * c.cols // 16)}
joins_taps = {joins}

[[memory]]
name = "cbuf"
bytes = {c.kib * 1024}
bytes_per_cycle = {16 * c.cols}

[[memory]]
name = "cacc"
bytes_per_cycle = {max(8 * c.rows, 8)}

[[dram.channel]]
name = "dbb"
bytes_per_cycle = {float(c.rate)}

[vector]
lanes = {c.lanes}

[vector.pool]
inputs_per_cycle = {max(1, c.lanes // 2)}
"""
