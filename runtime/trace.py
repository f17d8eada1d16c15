"""A run as a trace that Perfetto and Chrome's about:tracing show.

Rows are engines, what the host does, and ONNX nodes; counters are DRAM's rate and the bytes that
are in use of each scratchpad; an arrow goes from an instruction to each one that it held up.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dnncc.isa import core
from dnncc.isa import program as programs

from .accesses import Accesses, Counts, Ints
from .findings import ARROW, brief
from .placement import homes
from .timing import CAUSE_OF_ENGINE, Timeline, awaited
from .verification import Verification

Event = dict[str, Any]
PROCESS = 1
CONTROL_ROW = len(core.ENGINES) + 1
NODE_ROW = CONTROL_ROW + 1
CLOSE = 0.5
"""Cycles from the end of a slice to an arrow that leaves it: arrows begin inside of a slice."""


def trace(about: Verification, timeline: Timeline) -> dict[str, Any]:
    """The JSON object of the trace-event format; times are in microseconds of the target."""
    events = [
        *rows(about, timeline),
        *slices(about, timeline),
        *node_slices(about, timeline),
        *arrows(about.program, timeline),
        *bandwidth(timeline),
        *occupancy(about, timeline),
    ]
    period = 1 / about.target.clock_mhz
    for event in events:
        for key in ("ts", "dur"):
            if key in event:
                event[key] *= period
    other = {"target": about.target.name, "cycles": timeline.cycles, "tool": about.image.tool}
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": other}


def rows(about: Verification, timeline: Timeline) -> Iterator[Event]:
    """Names of the process and of the rows that have anything in them, in the order to show."""
    yield meta("process_name", 0, {"name": f"dnncc on {about.target.name}"})
    names = [*core.ENGINES, "host and fences", "ONNX nodes"]
    used = {e + 1 for e in np.unique(timeline.engine).tolist() if e >= 0}
    for row, name in enumerate(names, 1):
        if row in used or row >= CONTROL_ROW:
            yield meta("thread_name", row, {"name": name})
            yield meta("thread_sort_index", row, {"sort_index": row})


def meta(kind: str, row: int, args: dict[str, Any]) -> Event:
    return {"ph": "M", "pid": PROCESS, "tid": row, "name": kind, "args": args}


def slices(about: Verification, timeline: Timeline) -> Iterator[Event]:
    """One for each instruction."""
    tid = np.where(timeline.engine >= 0, timeline.engine + 1, CONTROL_ROW)
    priced = timeline.prices
    columns = (tid, timeline.start, timeline.end, timeline.issue, priced.macs, priced.bus)
    mnemonics = mnemonics_of(about.program)
    for index, row in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        row_id, start, end, issue, macs, moved = row
        node = about.listing.node(index)
        args = {"instruction": index, "node": node, "issued": issue, "cycles": [start, end]}
        args |= {k: v for k, v in (("macs", macs), ("dram_bytes", moved)) if v}
        name = ARROW.join(map(brief, about.listing.step(index).split(ARROW))) or mnemonics[index]
        yield {
            "ph": "X", "pid": PROCESS, "tid": row_id, "ts": start, "dur": end - start,
            "name": name, "cat": mnemonics[index], "args": args,
        }  # fmt: skip


def mnemonics_of(program: programs.Program) -> list[str]:
    names = np.empty(program.count, object)
    for part in program.parts:
        names[part.indices] = part.cls.mnemonic
    found: list[str] = names.tolist()
    return found


def node_slices(about: Verification, timeline: Timeline) -> Iterator[Event]:
    """From the first instruction of a node that is no load to the first such one of the next."""
    debug = about.image.debug
    if debug is None:
        return
    loads = np.isin(timeline.engine, [core.ENGINES.index("load0"), core.ENGINES.index("load1")])
    chosen = np.flatnonzero(~loads & (debug.node_of >= 0))
    nodes, first = np.unique(debug.node_of[chosen], return_index=True)
    order = np.argsort(first)
    starts = np.minimum.accumulate(timeline.start[chosen][first[order]][::-1])[::-1]
    ends = np.append(starts[1:], timeline.cycles)
    for node, start, end in zip(nodes[order].tolist(), starts.tolist(), ends.tolist(), strict=True):
        yield {
            "ph": "X", "pid": PROCESS, "tid": NODE_ROW, "ts": start, "dur": end - start,
            "name": brief(debug.nodes[node]), "cat": "node",
            "args": {"node": debug.nodes[node], "cycles": [start, end]},
        }  # fmt: skip


def arrows(program: programs.Program, timeline: Timeline) -> Iterator[Event]:
    """From what was waited for to what began late for it."""
    queues = [np.flatnonzero(timeline.engine == e) for e in range(len(core.ENGINES))]
    waited = awaited(program, queues)
    ends = np.where(waited >= 0, timeline.end[waited], -1)
    culprit = ends.argmax(axis=1)
    late = np.take_along_axis(timeline.stalls, CAUSE_OF_ENGINE[culprit][:, None], axis=1)[:, 0]
    held = np.flatnonzero((late > 0) & (timeline.engine >= 0) & (ends.max(axis=1) >= 0))
    source = waited[held, culprit[held]]
    columns = (held, source, timeline.engine[held], timeline.engine[source], late[held])
    for i, j, to, of, cycles in zip(*(c.tolist() for c in columns), strict=True):
        same = {"pid": PROCESS, "cat": "wait", "id": i, "name": f"held up {cycles} cycles"}
        leaves = max(int(timeline.end[j]) - CLOSE, float(timeline.start[j]))
        yield {**same, "ph": "s", "tid": of + 1, "ts": leaves}
        yield {**same, "ph": "f", "bp": "e", "tid": to + 1, "ts": int(timeline.start[i])}


def bandwidth(timeline: Timeline) -> Iterator[Event]:
    """Bytes per cycle on the DRAM links, whole bursts, at each change."""
    moved = np.flatnonzero((timeline.prices.bus > 0) & (timeline.end > timeline.start))
    start, end = timeline.start[moved], timeline.end[moved]
    rate = timeline.prices.bus[moved] / (end - start)
    reads = timeline.prices.read[moved] > 0
    series = {
        kind: steps([start[m], end[m]], [rate[m], -rate[m]])
        for kind, m in (("read", reads), ("written", ~reads))
    }
    for kind, (times, values) in series.items():
        yield from counter(f"DRAM bytes per cycle {kind}", "bytes", times, np.round(values, 3))


def steps(times: Sequence[Any], changes: Sequence[Any]) -> tuple[Any, Any]:
    """A sum's value from each time on, of what changes it when."""
    at, where = np.unique(np.concatenate(times), return_inverse=True)
    total = np.zeros(len(at))
    np.add.at(total, where, np.concatenate(changes))
    return at, np.cumsum(total)


def counter(name: str, unit: str, times: Any, values: Any) -> Iterator[Event]:
    for time, value in zip(times.tolist(), values.tolist(), strict=True):
        yield {"ph": "C", "pid": PROCESS, "tid": 0, "ts": time, "name": name, "args": {unit: value}}


def occupancy(about: Verification, timeline: Timeline) -> Iterator[Event]:
    """Bytes of buffers in each scratchpad, each from its first use to its last."""
    units = about.image.debug.units if about.image.debug else ()
    first, last = uses(about.accesses, homes(about.accesses, about.image), timeline, len(units))
    for memory in about.target.memories:
        mine = np.array([u.memory == memory.id for u in units], np.bool_) & (last >= 0)
        size = np.array([u.stop - u.start for u in units], np.int64)[mine]
        if mine.any():
            times, values = steps([first[mine], last[mine]], [size, -size])
            yield from counter(f"{memory.name} in use", "bytes", times, values)


def uses(found: Accesses, home: Counts, timeline: Timeline, units: int) -> tuple[Ints, Ints]:
    """When each unit is first and last touched; -1 where it never is."""
    rows = np.flatnonzero(home >= 0)
    first, last = np.full(units, timeline.cycles), np.full(units, -1)
    np.minimum.at(first, home[rows], timeline.start[found.instruction[rows]])
    np.maximum.at(last, home[rows], timeline.end[found.instruction[rows]])
    return first, last
