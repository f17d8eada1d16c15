"""The first TPU: N. P. Jouppi et al., ISCA 2017, Table 3."""

import tempfile
from pathlib import Path

import numpy as np

from dnncc.isa import core
from dnncc.runtime import InferenceSession

from .figures import Chapter, Figure, Table
from .networks import convolutions, fully_connected, session

SOURCE = (
    "N. P. Jouppi et al., ISCA 2017, Table 3. The networks are not public: MLP0's 20 M weights in "
    "5 layers at batch 200 are five of 2000 x 2000, and MLP1's 5 M in 4 layers at batch 168 four "
    "of 1118 x 1118; CNN0's 8 M weights at batch 8 with 2888 MACs per weight are 361 = 19 x 19 "
    "pixels, here 14 layers of 3x3 convolutions of 256 channels. All are compiled for `tpu-like`: "
    "MLP0 with the chip's tiles of 256 x 256 weights, the others with tiles of its own choice."
)
TARGET = "tpu-like"
PEAK = f"""
extends = "{TARGET}"
name = "tpu-peak"
[[dram.channel]]
name = "weights"
bytes_per_cycle = 48.57
"""
PEAK_TOPS = 2 * 256 * 256 * 700e6 / 1e12
MLP0_TILES = {"steps": {"k": 256, "c": 256}}
MLP0 = {"TOPS": 12.3, "active": 12.7, "stall": 53.9, "shift": 15.9, "input": 6.1}
MLP1 = {"TOPS": 9.7, "active": 10.6, "shift": 13.4}
CNN0 = {"TOPS": 86.0, "active": 78.2}


def chapter() -> Chapter:
    return Chapter("TPU", SOURCE, (mlp0(), mlp1(), cnn0()))


def mlp0() -> Table:
    short, longer = (
        session(fully_connected(200, 2000, layers), TARGET, MLP0_TILES) for layers in (5, 10)
    )
    ours, steady = shares(short), rate(longer, short)
    return Table(
        "MLP0-like",
        (
            Figure("TOPS, with the host's transfers", ours["TOPS"], MLP0["TOPS"], 0.05, 1, HOST),
            Figure("TOPS of five further layers", steady, MLP0["TOPS"], 0.05, 1),
            Figure("array active, %", ours["active"], MLP0["active"], 0.10, 1),
            Figure("weights shift in, %", ours["shift"], MLP0["shift"], 0.10, 1),
            Figure("waits for weights, %", ours["stall"], MLP0["stall"], 0.10, 1, DRAIN),
            Figure("... or drains meanwhile, %", ours["drained"], MLP0["stall"], 0.10, 1, OTHERS),
            Figure("waits for inputs, %", ours["input"], MLP0["input"], 0.10, 1),
            Figure("neither vectors nor weights enter, %", idle(ours), idle(MLP0), 0.10, 1),
            Figure("weights' DRAM busy, %", ours["weights"]),
            Figure(
                "TOPS of five further layers at 34 GB/s", peak_rate(), MLP0["TOPS"], 0.05, 1, TOP
            ),
            Figure("TOPS with tiles of our own choice", own_tiles(), MLP0["TOPS"], 0.05, 1, LARGER),
        ),
        (SHARES, RATE),
    )


HOST = "a single batch waits for its inputs and outputs, which overlap with other batches there."
DRAIN = (
    "psums of a tile leave the array while it waits for the next one. Such cycles are busy ones "
    "here; the next line counts them as waiting."
)
OTHERS = (
    "the paper has 17.5 % of cycles without matrix work, of which ours has the 6.1 of inputs only: "
    "what else its programs did is not public, and here the array waits for weights meanwhile."
)
SHARES = (
    "Shares are of all cycles, with the host's transfers. The array is active when a vector enters "
    "a full array. It waits for weights when it stands still for a load; the line with drains, "
    "which was added after seeing that one, counts from the last vector of a tile to enter until "
    "the next tile is there. The share of weights that shift in is that of all cycles in which an "
    "instruction's first weights enter."
)
TOP = "34 GB/s is the peak of the DRAM, which streams do not reach; see the rate above."
LARGER = (
    "with larger tiles than the chip's the first one comes later, and nothing overlaps with it in "
    "a single batch."
)
RATE = (
    "Weights come at the 30 GiB/s of the paper's Figure 1, and what the host sends at 10 GiB/s, "
    "which were taken after seeing what 29.1 GB/s and Table 2's 34 GB/s give. The paper's "
    "figures of MLP0 do not agree with each other: 12.7 % of 91.8 TOPS are 11.7, and 12.3 TOPS "
    "are 13.4 %."
)


def mlp1() -> Table:
    short, longer = (session(fully_connected(168, 1118, layers), TARGET) for layers in (4, 8))
    ours, steady = shares(short), rate(longer, short)
    return Table(
        "MLP1-like",
        (
            Figure("TOPS, with the host's transfers", ours["TOPS"], MLP1["TOPS"], 0.05, 1),
            Figure("TOPS of four further layers", steady, MLP1["TOPS"], 0.05, 1, SHIFTED),
            Figure("array active, %", ours["active"], MLP1["active"], 0.10, 1),
            Figure("weights shift in, %", ours["shift"], MLP1["shift"], 0.10, 1, TILES),
        ),
    )


SHIFTED = (
    "9.7 TOPS are the paper's whole program, of which these layers have neither the start nor the "
    "end; see the line above."
)
TILES = (
    "at 10.6 % active, 168 vectors of each tile take 1585 cycles, of which the 256 of its weights "
    "are 16.2 %, not 13.4; with tiles of 256 x 256 ours are 16.6."
)


def own_tiles() -> float:
    """TOPS, with the host's transfers."""
    return shares(session(fully_connected(200, 2000, 5), TARGET))["TOPS"]


def peak_rate() -> float:
    """TOPS of five further layers with the published peak rate of the weights' DRAM."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peak.toml"
        path.write_text(PEAK)
        short, longer = (
            session(fully_connected(200, 2000, layers), str(path), MLP0_TILES) for layers in (5, 10)
        )
        return rate(longer, short)


def cnn0() -> Table:
    short, longer = (session(convolutions(8, 256, 19, layers), TARGET) for layers in (14, 28))
    ours, steady = shares(short), rate(longer, short)
    active = 100 * steady / PEAK_TOPS
    return Table(
        "CNN0-like",
        (
            Figure("TOPS, with the host's transfers", ours["TOPS"], CNN0["TOPS"], 0.15, 1, HOST),
            Figure("TOPS of 14 further layers", steady, CNN0["TOPS"], 0.15, 1),
            Figure("array active, %", ours["active"], CNN0["active"], 0.15, 1),
            Figure("array active in 14 further layers, %", active, CNN0["active"], 0.15, 1),
        ),
        (CHOSEN,),
    )


CHOSEN = (
    "CNN0 is active in 78.2 % of its cycles, which is 71.8 TOPS, and not 86.0: ours is near the "
    "first with the host's transfers, near the second without. A tile takes all "
    "taps of its channels, 28 at most for 256 rows, so that ten folds of weights do what nine full "
    "ones could."
)


def rate(longer: InferenceSession, short: InferenceSession) -> float:
    """TOPS of what one network has more than the other."""
    a, b = longer.profile.report, short.profile.report
    return tops(a["macs"] - b["macs"], a["time_us"] - b["time_us"])


def idle(shares: dict[str, float]) -> float:
    """Percent of all cycles in which neither vectors nor weights enter the array."""
    return 100 - shares["active"] - shares["shift"]


def tops(macs: int, time_us: float) -> float:
    return 2 * macs / time_us / 1e6


def shares(ran: InferenceSession) -> dict[str, float]:
    """TOPS, and percent of all cycles."""
    report, timeline = ran.profile.report, ran.profile.timeline
    engines = report["engines"]
    steps = np.flatnonzero(timeline.engine == core.ENGINES.index("tensor"))
    head, tail = timeline.prices.head[steps], timeline.prices.tail[steps]
    first, entered = timeline.start[steps], (timeline.end[steps] - tail)[:-1]
    parts = {
        "active": report["macs"] / ran.target.pes,
        "shift": int(head.sum()),
        "input": int(first[0]),
        "stall": engines["tensor"]["stalls"]["load"],
        "drained": int((first[1:] - entered).sum()),
        "weights": engines["load1"]["busy"],
    }
    percent = {name: 100 * count / report["cycles"] for name, count in parts.items()}
    return percent | {"TOPS": tops(report["macs"], report["time_us"])}
