"""What dnncc-explain found, as text."""

from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]

NAME = 30
"""Columns of a layer's name."""


def described(found: Row) -> str:
    """The run; then each layer, or the one that is asked for; then changes of the hardware."""
    lines = [f"{found['model']} on {found['target']}", *outcome(found), ""]
    if "node" in found:
        lines += layer_text(found["node"], found)
    else:
        lines += layers_text(found)
    if "hardware" in found:
        lines += ["", *hardware_text(found)]
    return "\n".join(lines)


def outcome(row: Row) -> Iterator[str]:
    """Cycles, what bounds them, and what they are above the bound for."""
    least = row["bound"]
    limit = "the array" if least["limit"] == "array" else "DRAM"
    yield f"{row['cycles']:,} cycles; at least {least['cycles']:,}, by {limit}"
    for cause, count in sorted(row["gap"].items(), key=lambda item: -abs(item[1])):
        if count:
            yield f"  {count:+13,}  {MEANINGS[cause]}"


MEANINGS = {
    "array": "the array: tiles that use it worse, or cycles of another layer's time",
    "fill_drain": "the array fills with weights or drains psums",
    "traffic": "DRAM: bytes beyond those that must be moved, or moved in another layer's time",
    "vector_tail": "the SIMD lanes work alone",
    "ramp": "first tiles come, before any step",
    "exposed_dma": "tiles come or go, and nothing computes",
    "host": "the host has just finished",
    "dram_latency": "a first byte is on its way from DRAM",
    "issue": "the next instruction is not there",
    "waits": "something else is waited for",
}
"""What cycles above a bound are for, by the names of reports."""


def layers_text(found: Row) -> Iterator[str]:
    yield f"{'layer':{NAME}}{'cycles':>12}{'bound':>12}{'by':>7}  largest cause, best change"
    for row in found["layers"]:
        cause, count = max(row["gap"].items(), key=lambda item: item[1])
        why = f"{cause.replace('_', ' ')} {count:,}" if count > 0 else "-"
        least = row["bound"]
        best = best_change(found, row)
        yield (
            f"{shortened(row['node']):{NAME}}{row['cycles']:>12,}{least['cycles']:>12,}"
            f"{least['limit']:>7}  {why}{best}"
        )


def best_change(found: Row, row: Row) -> str:
    """The change of hardware that takes the most cycles off a layer."""
    changes = [c for c in found.get("hardware", ()) if row["node"] in c.get("layers", {})]
    if not changes or not row["cycles"]:
        return ""
    best = min(changes, key=lambda c: int(c["layers"][row["node"]]))
    left = best["layers"][row["node"]] / row["cycles"]
    return f"; {best['change']}: {left:.2f}x" if left < 1 else ""


def layer_text(node: Row, found: Row) -> Iterator[str]:
    yield printable(node["mapping"])
    yield ""
    layer = node["layer"]
    if layer is not None:
        yield from outcome(layer)
        yield ""
        yield from alternatives_text(node["alternatives"], layer["cycles"], found["cycles"])
    yield from channels_text(node["channels"])


def alternatives_text(rows: list[Row], layer: int, run: int) -> Iterator[str]:
    """What other mappings lose, the best of them first."""
    yield f"{'other mappings':44}{'this layer':>18}{'the run':>16}"
    able = [row for row in rows if "refused" not in row]
    for row in sorted(able, key=lambda r: int(r["cycles"])):
        mine = "" if row["layer_cycles"] is None else f"{row['layer_cycles'] - layer:+,} cycles"
        yield f"{row['change']:44}{mine:>18}{row['cycles'] - run:>+16,}"
    for row in rows:
        if "refused" in row:
            yield printable(f"{row['change']:44}  {row['refused']}")


LOOPS = {"k": "output", "c": "input"}


def channels_text(rows: list[Row]) -> Iterator[str]:
    """Per loop the first row is what the layer has."""
    own: Row = {}
    for row in rows:
        if row["loop"] != own.get("loop"):
            own = row
            yield ""
            yield f"{row['count']} {LOOPS[row['loop']]} channels: {row['cycles']:,} array cycles"
            continue
        more = row["count"] / own["count"]
        yield (
            f"  {row['count']:>5} ({more:.2f}x): {row['cycles']:>12,} array cycles"
            f" ({row['cycles'] / max(own['cycles'], 1):.2f}x)"
        )


def hardware_text(found: Row) -> Iterator[str]:
    """One change of the target at a time, all compiled again."""
    label = found.get("node", {}).get("name")
    layer = f"{'this layer':>14}" if label else ""
    yield f"{'with':22}{'cycles':>14}{'':>9}{'energy':>9}{layer}"
    for row in found["hardware"]:
        if "refused" in row:
            yield printable(f"{row['change']:22}  {row['refused']}")
            continue
        share, spent = row["cycles"] / found["cycles"], row["energy"] / found["energy"]
        mine = f"{row['layers'].get(label, 0):>14,}" if label else ""
        yield f"{row['change']:22}{row['cycles']:>14,}{share:>8.2f}x{spent:>8.2f}x{mine}"


def shortened(label: str) -> str:
    """The end of the first node's name, and how many are fused with it."""
    nodes = printable(label).split(" + ")
    more = f" +{len(nodes) - 1}" if nodes[1:] else ""
    name, room = nodes[0].split(";")[0] or "(none)", NAME - 1 - len(more)
    return (name if len(name) <= room else "…" + name[1 - room :]) + more


def printable(text: str) -> str:
    """Names of a model may hold anything; a line has no control codes."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
