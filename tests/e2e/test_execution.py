"""A batch is its inputs one by one; legal orders of execution agree; same in, same out."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnncc
from dnncc.isa import elf
from tests.e2e.running import ODD, TARGETS, Compiled, assert_same, compiled, proto
from tests.models import QUANTISED, find_model, random_feeds

SMALL = tuple(name for name in QUANTISED if not name.startswith(("coral_", "mcunet")))
SCHEDULES = ("random:1", "random:2", "random:3")
BATCH = 3

HASHES = "import dnncc, hashlib, sys\nfrom dnncc.isa import elf\n" + (
    "for target in sys.argv[2:]:\n"
    "    image = dnncc.compile(sys.argv[1], target).image\n"
    "    print(hashlib.sha256(elf.write(image)).hexdigest())\n"
)


@pytest.mark.parametrize("target", [*TARGETS, ODD], ids=lambda t: Path(t).stem)
@pytest.mark.parametrize("name", SMALL)
def test_schedules(name: str, target: str) -> None:
    model = compiled(name, target)
    feeds = random_feeds(proto(name), seed=41)
    expected = model.run(feeds)
    for schedule in SCHEDULES:
        where = f"{name} on {target}, {schedule}, seed 41"
        assert_same(model.run(feeds, schedule), expected, where)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*SMALL, "mcunet_vww_int8", "coral_mobilenet_v1_025_128_int8"])
def test_batches(name: str, target: str) -> None:
    model = compiled(name, target)
    singles = [random_feeds(proto(name), seed) for seed in range(51, 51 + BATCH)]
    together = stacked(singles)
    assert_same(model.run(together), stacked([model.run(f) for f in singles]), f"{name}, {target}")


def test_a_batch_in_any_order() -> None:
    model = compiled(SMALL[0], TARGETS[0])
    feeds = stacked([random_feeds(proto(SMALL[0]), seed) for seed in (61, 62)])
    assert_same(model.run(feeds, SCHEDULES[0]), model.run(feeds), SMALL[0])


def stacked(feeds: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlperf_tiny_ic_resnet8_int8", "mcunet_vww_int8"])
def test_the_same_bytes_in_every_process(name: str) -> None:
    """Python's string hashes differ from process to process."""
    path = find_model(name)
    here = [digest(compiled(name, target)) for target in TARGETS]
    for seed in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", HASHES, str(path), *TARGETS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert not run.returncode, run.stderr
        assert run.stdout.split() == [d for d, _ in here], f"PYTHONHASHSEED={seed}"
    again = [elf.write(dnncc.compile(path, target).image) for target in TARGETS]
    assert again == [data for _, data in here]


def digest(model: Compiled) -> tuple[str, bytes]:
    data = elf.write(model.artifact.image)
    return hashlib.sha256(data).hexdigest(), data
