"""The Eyeriss chip on AlexNet: Y.-H. Chen et al., IEEE JSSC 52(1), 2017, Tables III and V."""

from dataclasses import replace

from dnncc.targets import load

from .eyeriss import Mapping, Result, Zeros, coded, run
from .figures import Chapter, Figure, Table, compared
from .layers import Layer, alexnet

SOURCE = (
    "Y.-H. Chen, T. Krishna, J. S. Emer, V. Sze, IEEE JSSC 52(1), 2017: Table V, a batch of 4, "
    "200 MHz core, 60 MHz link, with the mappings of Table III."
)
BATCH = 4
MAPPINGS = (  # Table III: m, n, e, p, q, r, t
    Mapping(96, 1, 7, 16, 1, 1, 2),
    Mapping(64, 1, 27, 16, 2, 1, 1),
    Mapping(64, 4, 13, 16, 4, 1, 4),
    Mapping(64, 4, 13, 16, 3, 2, 2),
    Mapping(64, 4, 13, 16, 3, 2, 2),
)
IFMAP_KIB = (15.5, 3.8, 7.0, 10.5, 10.5)  # Table III
PSUM_KIB = (72.2, 91.1, 84.5, 84.5, 84.5)
MACS = (0.42, 0.90, 0.60, 0.45, 0.30)  # Table V, G
ACTIVE = (154, 135, 156, 156, 156)
PROCESSING = (16.5, 39.2, 21.8, 16.0, 10.0)  # ms
TOTAL = (20.9, 41.9, 23.6, 18.4, 10.5)  # ms
ZEROS = (0.0001, 0.387, 0.725, 0.793, 0.776)  # of ifmaps
GLB = (18.5, 77.6, 50.2, 37.4, 24.9)  # MB
DRAM = (5.0, 4.0, 3.0, 2.1, 1.3)  # MB
SAVED = {"CONV1": 0.30, "CONV5": 0.75}
"""What the code saves of feature maps in DRAM (section VI). CONV1's ifmaps are not coded."""

LAYERS = alexnet(BATCH)
NAMES = [layer.name for layer in LAYERS]
ODD = (
    "the published traffic is that of q r = 6 and p t = 32, the mapping of CONV4, and not that of "
    "Table III."
)
FAST = (
    "the chip took 7 812 cycles per pass where CONV4 took 8 333 with the same mapping, and 0.5 ms "
    "for feature maps that take 0.9 ms on its link."
)
DRAM_NOTES = (
    "Filters take 16 bits, feature maps 64/3 bits per value that is not zero. The published zeros "
    "of ifmaps are taken to count their padding, as sizes in Table III do; padding is not in DRAM. "
    "The paper does not say so: of the readings that we tried this one agrees best, and the next "
    "table has the plain one. "
    "Zeros of ofmaps are those of the next ifmaps (for CONV2 those after its pooling); of CONV1 "
    "and CONV5 the paper tells what is saved of all feature maps, 30 % and 75 %.",
)


def chapter() -> Chapter:
    results = measure()
    return Chapter(
        "Eyeriss, AlexNet", SOURCE, (*geometry(results), *latency(results), *traffic(results))
    )


def measure(padded: bool = True) -> list[Result]:
    """All layers, on the chip's target; `padded`: the published zeros count padding."""
    chip = load("eyeriss-jssc17")
    cases = zip(LAYERS, MAPPINGS, ratios(padded), strict=True)
    return [run(chip, *case) for case in cases]


def ratios(padded: bool) -> list[Zeros]:
    """Ifmaps by their published zeros, ofmaps by those of the next layer's ifmaps, or by what is
    saved of the layer's feature maps where that is published."""
    later = list(zip(LAYERS[1:], ZEROS[1:], strict=True))
    ifmaps = [1.0, *(coded(stored(layer, z) if padded else z) for layer, z in later)]
    found = []
    for layer, before, after in zip(LAYERS, ifmaps, (*ifmaps[1:], 1.0), strict=True):
        saved = SAVED.get(layer.name)
        found.append(Zeros(before, after if saved is None else left(layer, before, saved)))
    return found


def stored(layer: Layer, zeros: float) -> float:
    """Zeros of ifmaps as they lie in DRAM, of those with the padding, which Table III counts."""
    padded, plain = layer.inputs, layer.inputs - layer.padding
    return 1 - (1 - zeros) * padded**2 / plain**2


def left(layer: Layer, ifmap: float, saved: float) -> float:
    """The coded share of ofmaps, if so much is saved of ifmaps and ofmaps, each moved once."""
    ifmap_words = layer.batch * layer.channels * (layer.inputs - layer.padding) ** 2
    return ((1 - saved) * (ifmap_words + layer.ofmap) - ifmap * ifmap_words) / layer.ofmap


def geometry(results: list[Result]) -> tuple[Table, ...]:
    macs = [r.macs / 1e9 for r in results]
    return (
        Table("Active PEs", compared(NAMES, [r.active_pes for r in results], ACTIVE, 0, 0)),
        Table("MACs, G", compared(NAMES, macs, MACS, 0, 2)),
        Table(
            "Ifmaps in the GLB, KiB", compared(NAMES, [r.ifmap_kib for r in results], IFMAP_KIB, 0)
        ),
        Table("Psums in the GLB, KiB", compared(NAMES, [r.psum_kib for r in results], PSUM_KIB, 0)),
    )


def latency(results: list[Result]) -> tuple[Table, ...]:
    processing, total = [r.processing_ms for r in results], [r.total_ms for r in results]
    totals = list(compared(NAMES, total, TOTAL, 0.09))
    totals[4] = replace(totals[4], reason=FAST)
    return (
        Table(
            "Processing latency, ms",
            (*compared(NAMES, processing, PROCESSING, 0.07), summed(processing, PROCESSING, 0.02)),
            ("No constant is fitted: fill, window, columns and drain of each pass are computed.",),
        ),
        Table(
            "Total latency, ms",
            (*totals, summed(total, TOTAL, 0.03)),
            (
                "Processing, and all feature maps over the link of 0.48 GB/s, which the paper says "
                "do not overlap; filters do.",
            ),
        ),
    )


def traffic(results: list[Result]) -> tuple[Table, ...]:
    glb, dram = [r.glb_mb for r in results], [r.dram_mb for r in results]
    other = [r.dram_mb for r in measure(padded=False)]
    figures = list(compared(NAMES, glb, GLB, 0.01))
    figures[2] = replace(figures[2], reason=ODD)
    figures.append(Figure("CONV3 mapped as CONV4", conv3_as_conv4().glb_mb, GLB[2], 0.01))
    return (
        Table("GLB traffic of ifmaps and psums, MB", tuple(figures)),
        Table(
            "DRAM traffic, MB",
            (*compared(NAMES, dram, DRAM, 0.11), summed(dram, DRAM, 0.03)),
            DRAM_NOTES,
        ),
        Table(
            "DRAM traffic if the published zeros do not count padding, MB",
            (*compared(NAMES, other, DRAM, 0.11), summed(other, DRAM, 0.03)),
        ),
    )


def conv3_as_conv4() -> Result:
    return run(load("eyeriss-jssc17"), LAYERS[2], MAPPINGS[3], Zeros())


def summed(ours: list[float], published: tuple[float, ...], within: float) -> Figure:
    return Figure("sum", sum(ours), round(sum(published), 1), within)
