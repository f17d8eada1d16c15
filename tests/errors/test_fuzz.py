"""Mutated models and binaries: refused in one line, or taken; never anything else."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import dnncc
from dnncc.diagnostics import CompileError
from dnncc.frontend.loading import decode
from dnncc.isa import elf
from dnncc.isa.core import IsaError
from dnncc.isa.image import Image
from dnncc.runtime import RunError, load
from tests.errors.small import feeds, small_image, small_model

ROUNDS = 200
SEED = 2024


def mutated(data: bytes, seed: int) -> bytes:
    """Bytes changed, a piece cut out, a piece repeated, or the end lost."""
    rng = np.random.default_rng(seed)
    bad = bytearray(data)
    start = int(rng.integers(len(bad)))
    stop = min(len(bad), start + int(rng.integers(1, 16)))
    kind = rng.integers(6)
    if kind == 0:
        del bad[start:stop]
    elif kind == 1:
        bad[start:start] = bad[start:stop]
    elif kind == 2:
        del bad[start:]
    else:
        for place in rng.integers(0, len(bad), int(rng.integers(1, 4))):
            bad[place] = int(rng.integers(256))
    return bytes(bad)


def cases() -> Iterator[int]:
    return iter(range(SEED, SEED + ROUNDS))


def test_models() -> None:
    data = small_model().SerializeToString()
    taken = 0
    for seed in cases():
        try:
            dnncc.compile(decode(mutated(data, seed), "fuzz.onnx"), "tpu-like")
            taken += 1
        except CompileError as error:
            assert "\n" not in str(error), f"seed {seed}"
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
    print(f"{taken} of {ROUNDS} mutated models were taken")


@cache
def image() -> Image:
    return small_image()


def test_files() -> None:
    """The checksums see every change."""
    data = elf.write(image())
    for seed in cases():
        bad = mutated(data, seed)
        if bad != data:
            with pytest.raises(RunError) as caught:
                load(bad)
            assert "\n" not in str(caught.value), f"seed {seed}"


@pytest.mark.parametrize("part", ["text", "rodata", "target"])
def test_contents(part: str) -> None:
    """Mutations under right checksums get further: they are refused, or they run to an end."""
    whole = getattr(image(), part)
    taken = 0
    for seed in cases():
        bad = mutated(whole.encode() if part == "target" else whole, seed)
        try:
            taken += runs(bad.decode() if part == "target" else bad, part)
        except (RunError, IsaError, UnicodeDecodeError) as error:
            assert "\n" not in str(error), f"seed {seed}"
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
    print(f"{taken} of {ROUNDS} binaries with another {part} ran")


def runs(contents: str | bytes, part: str) -> bool:
    changes = {part: contents}
    session = load(elf.write(replace(image(), **changes)))  # type: ignore[arg-type]
    session.run(None, feeds())
    return True
