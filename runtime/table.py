"""A report as text for terminals."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .columns import drawn

Row = dict[str, Any]

SUFFIXES = (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))
COLUMNS = ("layer", "steps", "cycles", "%", "bound", "MACs", "util", "DRAM B", "energy")
GAP_COLUMNS = ("layer", "cycles", "bound", "by")
SHORTER = {
    "fill_drain": "fill",
    "vector_tail": "vector",
    "exposed_dma": "DMA",
    "dram_latency": "latency",
}

WIDEST = (28, 18)
"""The most columns of text that names and steps take."""


def summary(report: Row) -> str:
    """The totals, a few lines."""
    target, energy = report["target"], report["energy"]
    busy = ", ".join(
        f"{name} {share(row['busy'], report['cycles'])}" for name, row in report["engines"].items()
    )
    lines = [
        f"target       {target['name']}, {target['dataflow'].replace('_', ' ')}, "
        f"{target['peak_macs_per_cycle']} PEs at {target['clock_mhz']:g} MHz",
        f"cycles       {report['cycles']:,} = {report['time_us']:,.1f} us",
        f"MACs         {short(report['macs'])}, utilisation {report['utilisation']:.1%}",
        *bound_lines(report),
        f"busy         {busy}",
        f"DRAM         {short(report['dram_read_bytes'])}B read, "
        f"{short(report['dram_written_bytes'])}B written",
        f"energy       {short(energy['total'])} {energy['unit']}: {levels(energy)}",
        f"code         {report['instructions']:,} instructions, {short(report['code_bytes'])}B; "
        f"constants {short(report['weight_bytes'])}B",
    ]
    return "\n".join([*lines, *zero_lines(report), *host_lines(report)])


def zero_lines(report: Row) -> list[str]:
    """What zeros among the values save, where they have been counted."""
    if "zeros" not in report:
        return []
    less = report["zeros"]
    gated, energy = less["gated_macs"], less["energy"]
    return [
        f"zeros        {short(gated)} MACs gated, {share(gated, report['accesses']['mac'])}; DRAM "
        f"{short(less['dram_read_bytes'])}B read, {short(less['dram_written_bytes'])}B written; "
        f"energy {short(energy['total'])} {energy['unit']}",
    ]


def bound_lines(report: Row) -> list[str]:
    """How far above the bound a run is, and why: the largest causes first."""
    if "bound" not in report:
        return []
    least, cycles = report["bound"], report["cycles"]
    limit = "the array" if least["limit"] == "array" else "DRAM"
    worth = {cause: n for cause, n in report["gap"].items() if 1000 * abs(n) >= least["cycles"]}
    causes = sorted(worth.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{c.replace('_', ' ')} {share(n, least['cycles'])}" for c, n in causes)
    return [
        f"bound        {least['cycles']:,} by {limit}, {times(cycles, least['cycles'])}"
        + (f": {parts}" if parts else "")
    ]


def times(cycles: int, bound: int) -> str:
    return f"{cycles / bound:.2f}x" if bound else "-"


def levels(energy: Row) -> str:
    total = energy["total"]
    return ", ".join(f"{name} {share(value, total)}" for name, value in energy["by_level"].items())


def host_lines(report: Row) -> list[str]:
    """One line per ONNX node that the host runs, and tensor that the runtime converts."""
    nodes = [node for part in report["host_parts"] for node in part["nodes"]]
    lines = [printable(f"on the host  {node['node']}: {node['reason']}") for node in nodes]
    return [*lines, *map(converted_line, report["converted"]), *host_time(report)]


def converted_line(row: Row) -> str:
    name, count = printable(row["tensor"]), f"{row['elements']:,} elements"
    return f"converted    {row['kind']} {name}, {count} held as {row['held']}, not in the cycles"


def host_time(report: Row) -> list[str]:
    """What ran the host parts and for how long, after a run."""
    runners = Counter(part["runner"] for part in report["host_parts"] if "runner" in part)
    if not runners:
        return []
    who = ", ".join(f"{runner} ran {count}" for runner, count in runners.items())
    inputs = max(part["inputs"] for part in report["host_parts"])
    total = f"{report['host_seconds'] * 1e3:,.1f} ms of this computer for {inputs:,} inputs"
    return [f"host time    {total}, not in the cycles; {who}"]


def table(report: Row, width: int = 100) -> str:
    """The layers, one line each, and their sum; plain text of at most `width` columns."""
    rows = [cells(r, layer_name(r["node"]), r["op"], report["cycles"]) for r in report["layers"]]
    rows.append(cells(report, "total", "", report["cycles"]))
    return drawn(COLUMNS, WIDEST, rows, width)


def gap_table(report: Row, width: int = 120) -> str:
    """The cycles of each layer above its bound, by cause; "" for a binary without bounds."""
    if "bound" not in report:
        return ""
    rows = [*report["layers"], report]
    causes = [c for c in report["gap"] if any(row["gap"][c] for row in rows)]
    names = [*(layer_name(row["node"]) for row in report["layers"]), "total"]
    lines = [
        (name, f"{row['cycles']:,}", f"{row['bound']['cycles']:,}", row["bound"]["limit"],
         *(short(row["gap"][cause]) for cause in causes))
        for name, row in zip(names, rows, strict=True)
    ]  # fmt: skip
    headings = (*GAP_COLUMNS, *(SHORTER.get(cause, cause) for cause in causes))
    return drawn(headings, WIDEST[:1], lines, width)


def layer_name(label: str) -> str:
    """A layer in a narrow column: the end of its first node's name, and how many are fused in.

    A name may itself be several, joined by ";", as TensorFlow's converter makes them.
    """
    nodes = printable(label).split(" + ")
    more = f" +{len(nodes) - 1}" if nodes[1:] else ""
    name, room = nodes[0].split(";")[0] or "(none)", WIDEST[0] - len(more)
    return (name if len(name) <= room else "…" + name[1 - room :]) + more


def cells(row: Row, name: str, steps: str, cycles: int) -> Sequence[str]:
    traffic = row["dram_read_bytes"] + row["dram_written_bytes"]
    return (
        name,
        steps,
        f"{row['cycles']:,}",
        share(row["cycles"], cycles),
        times(row["cycles"], row["bound"]["cycles"]) if "bound" in row else "-",
        short(row["macs"]),
        f"{row['utilisation']:.1%}",
        short(traffic),
        short(row["energy"]["total"]),
    )


def share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def short(value: float) -> str:
    """Three significant digits and a decimal suffix: 12.3M."""
    suffix, unit = next((p for p in reversed(SUFFIXES) if abs(value) >= p[1]), SUFFIXES[0])
    scaled = value / unit
    digits = f"{scaled:.0f}" if scaled >= 100 or value == int(value) < 1000 else f"{scaled:.3g}"
    return digits + suffix


def printable(text: str) -> str:
    """Names come from the binary: what would move a terminal's cursor is shown as "?"."""
    return "".join(c if c.isprintable() else "?" for c in text)


def stalls(report: Row) -> str:
    """Per engine the share of all cycles that it is busy, and that it stalls, by cause."""
    rows = []
    for name, row in report["engines"].items():
        causes = {c: n for c, n in row["stalls"].items() if n}
        shares = [f"busy {share(row['busy'], report['cycles'])}"]
        shares += [f"{cause} {share(n, report['cycles'])}" for cause, n in causes.items()]
        rows.append(f"{name:8s} {', '.join(shares)}")
    return "\n".join(rows)
