"""VGG-16 on the Eyeriss chip: what the model says without any published figure.

Mappings are our own choice, or come from a TOML file, with the names of JSSC 2017, Table II:

    ["CONV1-1"]
    m = 64
    n = 1
    e = 27
    p = 16
    q = 1
    r = 1
    t = 2
    ifmap_zeros = 0.0
    ofmap_zeros = 0.4

Zeros, which only shorten feature maps in DRAM, are none where they are not given.
"""

import tomllib
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from dnncc.targets import Target, dataflow, load

from .eyeriss import Ints, Mapping, Result, Zeros, coded, run, shortage
from .figures import aligned
from .layers import Layer, vgg16

BATCH = 3
HEAD = (
    *("", "MACs, G", "PEs", "processing, ms", "total, ms", "GLB, MB", "DRAM, MB"),
    *(*Mapping._fields, "zeros in, out"),
)
ABOUT = (
    "The thirteen convolutions of VGG-16, a batch of 3, on `eyeriss-jssc17`: 200 MHz core, 60 MHz "
    "link. Traffic of the GLB is that of ifmaps and psums. Total is processing, and feature maps "
    "over the link. No figure of the chip is used."
)


@dataclass(frozen=True, slots=True)
class Given:
    """What a file says of a layer."""

    mapping: Mapping
    zeros: tuple[float, float]


class MappingError(ValueError):
    """A file of mappings that cannot be used; one line."""


def text(path: Path | None = None, layers: tuple[Layer, ...] | None = None) -> str:
    """The table, with mappings of a file for the layers that it has."""
    chip = load("eyeriss-jssc17")
    chosen = layers or vgg16(BATCH)
    given = read(path, {layer.name for layer in chosen}) if path else {}
    cases = [
        (layer, given.get(layer.name) or Given(choose(chip, layer), (0, 0))) for layer in chosen
    ]
    results = [checked(chip, *case) for case in cases]
    rows = [cells(*case, result) for case, result in zip(cases, results, strict=True)]
    said = f"Mappings of {path.name}." if path else "Mappings are of our own choice."
    lines = aligned([HEAD, *rows, summed(results)])
    short = [
        f"{layer.name}: {why}" for layer, g in cases if (why := shortage(chip, layer, g.mapping))
    ]
    warned = ["", f"Not as we take the chip: {'; '.join(short)}."] if short else []
    return "\n".join(["## Eyeriss, VGG-16", "", f"{ABOUT} {said}", "", *lines, *warned]) + "\n"


def checked(chip: Target, layer: Layer, given: Given) -> Result:
    """Raises MappingError where the mapping does not fit on the array."""
    before, after = given.zeros
    result = run(chip, layer, given.mapping, Zeros(coded(before), coded(after)))
    if result.problem:
        raise MappingError(f"{layer.name}: {result.problem}")
    return result


def cells(layer: Layer, given: Given, result: Result) -> tuple[str, ...]:
    zeros = ", ".join(f"{z:.3g}" for z in given.zeros)
    return (layer.name, *measured(result), *map(str, given.mapping), zeros)


def measured(result: Result) -> tuple[str, ...]:
    return (
        f"{result.macs / 1e9:.2f}",
        str(result.active_pes),
        f"{result.processing_ms:,.1f}",
        f"{result.total_ms:,.1f}",
        f"{result.glb_mb:,.1f}",
        f"{result.dram_mb:,.1f}",
    )


def summed(results: list[Result]) -> tuple[str, ...]:
    """PEs are the mean over the total latency."""
    total = sum(r.total_ms for r in results)
    return (
        "sum",
        f"{sum(r.macs for r in results) / 1e9:.2f}",
        f"{sum(r.active_pes * r.total_ms for r in results) / total:.0f}",
        f"{sum(r.processing_ms for r in results):,.1f}",
        f"{total:,.1f}",
        f"{sum(r.glb_mb for r in results):,.1f}",
        f"{sum(r.dram_mb for r in results):,.1f}",
        *[""] * (len(Mapping._fields) + 1),
    )


# Files


def read(path: Path, names: set[str]) -> dict[str, Given]:
    """By layer. Raises MappingError, OSError."""
    try:
        document = tomllib.loads(path.read_text())
    except ValueError as error:
        raise MappingError(f"{path}: not TOML: {error}") from None
    found = {str(name).upper().replace("_", "-"): table for name, table in document.items()}
    for name in found.keys() - names:
        raise MappingError(f"{path}: there is no layer {name}")
    return {name: given_of(f"{path}: {name}", table) for name, table in found.items()}


def given_of(where: str, table: Any) -> Given:
    known = {*Mapping._fields, "ifmap_zeros", "ofmap_zeros"}
    if not isinstance(table, dict) or set(table) - known or set(Mapping._fields) - set(table):
        raise MappingError(f"{where}: takes {', '.join(Mapping._fields)}, ifmap_ and ofmap_zeros")
    sizes = [table[name] for name in Mapping._fields]
    if not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise MappingError(f"{where}: sizes are integers from 1")
    zeros = table.get("ifmap_zeros", 0), table.get("ofmap_zeros", 0)
    if not all(isinstance(z, int | float) and 0 <= z <= 1 for z in zeros):
        raise MappingError(f"{where}: zeros are 0..1")
    return Given(Mapping(*sizes), zeros)


# Choice


def choose(chip: Target, layer: Layer) -> Mapping:
    """The mapping of least total latency, then of least words from the memory and from DRAM."""
    found = [with_filters(chip, layer, mapping) for mapping in candidates(chip, layer)]
    fitting = [mapping for mapping in found if mapping.m]
    return min(fitting, key=lambda mapping: price(chip, layer, mapping))


def price(chip: Target, layer: Layer, mapping: Mapping) -> tuple[float, float]:
    result = run(chip, layer, mapping, Zeros())
    return round(result.total_ms, 3), result.glb_mb + result.dram_mb


def candidates(chip: Target, layer: Layer, most: int = 200) -> list[Mapping]:
    """Legal ones that are the quickest to process, but for the memory's size; m is not set."""
    flow, grid = dataflow.model(chip), wishes(layer)
    rows = grid[flow.legal(chip, layer.work(), grid)]
    rows = rows[banked(chip, layer, rows)]
    quickest = np.argsort(flow.cycles(chip, layer.work(), rows), kind="stable")[:most]
    return [Mapping(0, n, e, p, q, r, t) for e, p, q, r, t, n in rows[quickest].tolist()]


def wishes(layer: Layer) -> Ints:
    """int64 [candidates, 6]: set_rows, filters, channels, sets_c, sets_k, images."""
    evened = {-(-layer.outputs // strips) for strips in range(1, layer.outputs + 1)}
    strips = sorted(e for e in evened if e <= 56)
    sizes = (strips, (4, 8, 12, 16, 24), (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4))
    grid = list(product(*sizes, range(1, layer.batch + 1)))
    return np.array(grid, np.int64)


def banked(chip: Target, layer: Layer, rows: Ints) -> Any:
    """Which leave room for the psums of the filters of one pass: bool [candidates]."""
    found = [Mapping(p * t, n, e, p, q, r, t) for e, p, q, r, t, n in rows.tolist()]
    return np.array([not shortage(chip, layer, mapping) for mapping in found], np.bool_)


def with_filters(chip: Target, layer: Layer, mapping: Mapping) -> Mapping:
    """As many filters, a multiple of a pass's, as the memory has room for; 0 if none fits."""
    step, most = mapping.p * mapping.t, layer.filters // layer.groups
    for count in range(-(-most // step), 0, -1):
        wider = mapping._replace(m=min(count * step, most))
        if not shortage(chip, layer, wider):
            return wider
    return mapping._replace(m=0)
