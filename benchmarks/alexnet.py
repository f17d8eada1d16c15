"""The convolutions of AlexNet on eyeriss-like, with the mapper's choice, beside the chip's own.

    python -m benchmarks.alexnet

"paper" is the model of the chip with the mappings of Chen et al., JSSC 2017, Table III: processing
and transfers, as in docs/validation.md, where it stands beside what was measured. "ours" is what
the compiled network takes for the same layer, pools not counted. Both have 168 PEs, 108 KiB and a
link of 0.48 GB/s; ours has psums of 32 bits, twice the chip's.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import convolutions
from benchmarks.validate import eyeriss_jssc17
from benchmarks.validate.layers import alexnet

TARGET = "eyeriss-like"


def main() -> None:
    for line in lines(paper(), ours(Path(tempfile.gettempdir()) / "dnncc-networks")):
        print(line)


def lines(paper: list[int], ours: list[int]) -> Iterator[str]:
    yield f"{'layer':<6} {'paper':>12} {'ours':>12} {'paper / ours':>13}"
    names = [layer.name for layer in alexnet(convolutions.BATCH)]
    rows = zip((*names, "sum"), (*paper, sum(paper)), (*ours, sum(ours)), strict=True)
    for name, theirs, own in rows:
        yield f"{name:<6} {theirs:>12,} {own:>12,} {theirs / own:>13.3f}"


def paper() -> list[int]:
    """Cycles of each layer by the model of the chip, with the published mapping."""
    from dnncc.targets import load

    clock = load("eyeriss-jssc17").clock_mhz
    return [round(result.total_ms * clock * 1000) for result in eyeriss_jssc17.measure()]


def ours(cache: Path) -> list[int]:
    """Cycles of each convolution of the compiled network, with pools as layers of their own."""
    import dnncc
    from dnncc.runtime import InferenceSession

    model, apart = str(convolutions.saved("alexnet", cache)), ["attach_lanes"]
    artifact = dnncc.compile(model, TARGET, cache=False, disable=apart)
    layers = InferenceSession(artifact.image).profile.report["layers"]
    return [layer["cycles"] for layer in layers if layer["macs"]]


if __name__ == "__main__":
    main()
