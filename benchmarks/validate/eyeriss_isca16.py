"""The energy of row stationary: Y.-H. Chen, J. Emer, V. Sze, ISCA 2016, Figure 10."""

from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from dnncc.targets import Target, dataflow, loads

from .figures import Chapter, Table, compared
from .layers import Layer, alexnet, alexnet_fc

SOURCE = (
    "Y.-H. Chen, J. Emer, V. Sze, ISCA 2016, Figure 10, in the figures of "
    "github.com/stanford-mast/nn_dataflow's test: AlexNet, a batch of 16, 16 x 16 PEs with 512 B, "
    "a GLB of 128 kB; a MAC is 1, an access to RF 1, array 2, GLB 6, DRAM 200."
)
BATCH = 16
GLB_WORDS = 128 * 1024 // 2
ALU = (1.69, 3.58, 2.39, 1.79, 1.20, 0.60, 0.27, 0.07)  # 1e9, of CONV1-5, FC1-3
DRAM = (2.46, 2.27, 2.02, 1.57, 1.05, 7.78, 3.39, 0.84)
RF = (6.75, 14.33, 9.57, 7.18, 4.78, 2.42, 1.07, 0.26)
TARGET = """
extends = "eyeriss-jssc17"
name = "eyeriss-isca16"
[array]
rows = 16
cols = 16
"""
LAYERS = (*alexnet(BATCH), *alexnet_fc(BATCH))
NAMES = [layer.name for layer in LAYERS]


def chapter() -> Chapter:
    target = loads(TARGET)
    counts = [accesses(target, layer) for layer in LAYERS]
    energy = target.energy
    alu = [energy.mac * c["mac"] / 1e9 for c in counts]
    rf = [energy.rf * c["rf"] / 1e9 for c in counts]
    dram = [energy.dram * traffic(target, layer).words / 1e9 for layer in LAYERS]
    figures = [replace(f, reason=TOO_FEW) for f in compared(NAMES, dram, DRAM, 0.10, 2)]
    return Chapter(
        "Eyeriss, energy",
        SOURCE,
        (
            Table("ALU, 1e9 MACs", compared(NAMES, alu, ALU, 0.10, 2)),
            Table("RF, 1e9 MACs", compared(NAMES, rf, RF, 0.10, 2)),
            Table("DRAM, 1e9 MACs", tuple(figures), (NOTE,)),
        ),
    )


NOTE = (
    "Of a block of images, filters and channels, whose sizes divide the layer's, ifmaps, psums and "
    "filters are in the GLB at once; rows are cut only where a PE set is wider than the array. "
    "Blocks and orders of loops are those of the least energy in DRAM, GLB and array together, as "
    "in the paper. Ifmaps have their padding, as the paper's sizes do; that was settled after "
    "seeing both: without it CONV2 to CONV5 are 13 to 21 % too low. ALU and RF are counts of MACs, "
    "and prove little."
)
TOO_FEW = (
    "blocks of 48 filters, whose psums stay in the GLB, would take 2.46; here ifmaps of all three "
    "channels stay, for blocks of 16 filters, which reads them once instead of twice."
)


def accesses(target: Target, layer: Layer) -> dict[str, float]:
    """MACs, and words of the PEs' own storage, by the dataflow's closed forms."""
    flow, work = dataflow.model(target), layer.work()
    counts = flow.accesses(target, work, flow.choose(target, work))
    rf = sum(float(counts[f"rf_{kind}"]) for kind in ("ifmap", "weight", "psum"))
    return {"mac": float(counts["mac"]), "rf": rf}


@dataclass(frozen=True, slots=True, order=True)
class Traffic:
    """Words from and to DRAM."""

    words: int
    ifmap: int
    weight: int
    psum: int


class Block(NamedTuple):
    """Images, filters, channels and rows of the ofmap that are in the GLB, or in a pass."""

    n: int
    k: int
    c: int
    p: int


def traffic(target: Target, layer: Layer) -> Traffic:
    """Of the least energy, over all blocks and orders of loops."""
    once, p = one_pass(target, layer), -(-layer.outputs // folds(target, layer))
    ranges = (
        divisors(layer.batch),
        divisors(layer.filters // layer.groups),
        divisors(layer.channels // layer.groups),
    )
    blocks = [Block(*sizes, p) for sizes in product(*ranges)]
    found = ((inside(target, layer, b, once), t) for b in blocks for t in orders(layer, b))
    return min((within + target.energy.dram * t.words, t) for within, t in found)[1]


def divisors(extent: int) -> list[int]:
    return [size for size in range(1, extent + 1) if extent % size == 0]


def folds(target: Target, layer: Layer) -> int:
    """Parts that a PE set is cut into, after what fits into the array one above the other."""
    parts = -(-layer.outputs // target.array.cols)
    return -(-parts // min(parts, max(1, target.array.rows // layer.size)))


def one_pass(target: Target, layer: Layer) -> Block:
    """What the PEs work on before they take other filters, by the dataflow's own choice."""
    flow = dataflow.model(target)
    chosen = flow.choose(target, layer.work()).ravel()
    by = dict(zip(flow.PARAMETERS, map(int, chosen), strict=True))
    filters, channels = by["filters"] * by["sets_k"], by["channels"] * by["sets_c"]
    return Block(by["images"], filters, channels, layer.outputs)


def inside(target: Target, layer: Layer, block: Block, once: Block) -> float:
    """Energy of the GLB and of the way to the PEs: ifmaps are read for each pass's filters, psums
    for its channels, and filters for its images and rows."""
    filters, channels = layer.filters // layer.groups, layer.channels // layer.groups
    ifmap = ifmaps(layer, block.p) * passes(filters, block.k, once.k)
    psum = layer.ofmap * (2 * passes(channels, block.c, once.c) - 1)
    strips = -(-layer.outputs // block.p)
    weight = layer.weights * passes(layer.batch, block.n, once.n) * strips
    ways = weight * min(block.p, target.array.cols)
    ways += ifmap * max(1, layer.size // layer.stride)
    return target.energy.glb * (ifmap + psum + weight) + target.energy.noc * ways


def passes(extent: int, block: int, once: int) -> int:
    return extent // block * -(-block // min(block, once))


def orders(layer: Layer, block: Block) -> list[Traffic]:
    """What stays in the GLB in the inner loop: psums, ifmaps or filters."""
    n, k, c, p = block
    rows = (p - 1) * layer.stride + layer.size
    held = n * c * rows * layer.inputs + n * k * p * layer.outputs
    if held + k * c * layer.size**2 > GLB_WORDS:
        return []
    images, filters = layer.batch // n, layer.filters // layer.groups // k
    rounds, strips = layer.channels // layer.groups // c, -(-layer.outputs // p)
    ifmap, psum = ifmaps(layer, p), layer.ofmap
    return [
        total(ifmap * filters, layer.weights * images * strips, psum),
        total(ifmap, layer.weights * images * strips, psum * (2 * rounds - 1)),
        total(ifmap * filters, layer.weights, psum * (2 * rounds - 1)),
    ]


def ifmaps(layer: Layer, strip: int) -> int:
    """Words of all ifmaps, with padding, and the rows that two strips need twice."""
    strips = -(-layer.outputs // strip)
    rows = (layer.outputs - strips) * layer.stride + strips * layer.size
    return layer.batch * layer.channels * rows * layer.inputs


def total(ifmap: int, weight: int, psum: int) -> Traffic:
    return Traffic(ifmap + weight + psum, ifmap, weight, psum)
