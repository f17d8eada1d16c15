"""What is plain without a look at bytes is what a look at every byte finds."""

from typing import Any

import numpy as np
import pytest

from dnncc.isa import core, dma, tensor, vector
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.runtime import accesses, handovers, loading, verification
from tests.e2e.running import compiled
from tests.runtime.test_faults import RESNET, SPEECH, changed

Findings = list[tuple[str, str]]

FIELDS: dict[Any, tuple[str, ...]] = {
    dma.Load: ("dram", "spad", "d3", "d2", "spad_s2", "dram_s2"),
    dma.Store: ("dram", "spad", "d3", "d2", "spad_s2", "dram_s2"),
    tensor.Tensor: ("ifmap", "weight", "psum", "k", "p"),
    vector.Requantize: ("psum", "params", "out"),
}


def lifetimes(image: images.Image) -> tuple[Findings, int]:
    """What is found, and in how many rows bytes were looked at."""
    program = programs.Program.decode(image.text)
    made = verification.Verification(program, image, loading.target_of(image))
    return [(f.check, f.text) for f in made.lifetimes()], len(made.handovers.rest)


def looked_at(image: images.Image, monkeypatch: pytest.MonkeyPatch) -> Findings:
    """The same, with a look at all bytes."""

    def nothing(found: accesses.Accesses, home: Any, kinds: Any) -> handovers.Handovers:
        return handovers.Handovers(np.zeros(0, np.int64), np.arange(len(found)))

    with monkeypatch.context() as patch:
        patch.setattr(verification, "handovers", nothing)
        return lifetimes(image)[0]


def spoilt(image: images.Image, rng: np.random.Generator) -> images.Image:
    """One field of one instruction is a little more or less."""
    parts = [p for p in programs.Program.decode(image.text).parts if p.cls in FIELDS]
    part = parts[rng.integers(len(parts))]
    name, by = str(rng.choice(FIELDS[part.cls])), int(rng.choice([-16, -2, -1, 1, 2, 64]))
    old = part.records[name]
    row = int(rng.integers(len(old)))
    value = int(np.clip(int(old[row]) + by, 0, np.iinfo(old.dtype).max >> 1))
    return changed(image, int(part.indices[row]), **{name: value})


@pytest.mark.parametrize("model", [RESNET, SPEECH])
@pytest.mark.parametrize("target", ["eyeriss-like", "tpu-like", "diannao-like"])
def test_clean_programs_need_few_looks(
    model: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for tiles in a ring of rows, which several loads have made."""
    session = compiled(model, target).session
    found, looks = lifetimes(session.image)
    assert found == looked_at(session.image, monkeypatch) == []
    parts = [p for p in session.program.parts if p.cls is tensor.Tensor]
    rings = sum(np.count_nonzero(p.records["ring"]) for p in parts)
    assert looks < 0.2 * session.program.count + 2 * rings


@pytest.mark.parametrize("model", [RESNET, SPEECH])
def test_spoilt_programs_are_found_out_all_the_same(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, faults = np.random.default_rng(5), 0
    for _ in range(100):
        image = spoilt(compiled(model, "eyeriss-like").session.image, rng)
        try:
            found = lifetimes(image)[0]
        except (core.IsaError, IndexError, ValueError):  # of which the verifier tells before
            continue
        assert found == looked_at(image, monkeypatch)
        faults += bool(found)
    assert faults > 15


@pytest.mark.parametrize("seed", range(6))
def test_what_is_found_does_not_depend_on_how_much_is_looked_at_together(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = compiled(RESNET, "eyeriss-like").session.image
    image = spoilt(image, np.random.default_rng(seed)) if seed else image
    try:
        program, target = programs.Program.decode(image.text), loading.target_of(image)
    except core.IsaError:
        return  # then there is nothing to look at
    once = verification.Verification(program, image, target)
    found, handed = once.findings(), once.handovers
    monkeypatch.setattr(handovers, "CHUNK", 40)
    again = verification.Verification(program, image, target)
    for name in ("instruction", "is_write", "memory", "start", "stop", "run", "sizes", "strides"):
        np.testing.assert_array_equal(getattr(again.accesses, name), getattr(once.accesses, name))
    assert again.findings() == found
    assert {*again.handovers.made} == {*handed.made}
    np.testing.assert_array_equal(again.handovers.rest, handed.rest)
