"""Mutated models and binaries: refused in one line, or taken; never anything else."""

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from onnx import ModelProto, helper, numpy_helper

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
WINDOW = ["pads", "strides", "dilations", "kernel_shape", "group", "auto_pad"]


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
    session = load(elf.write(replace(image(), **changes)))
    session.run(None, feeds())
    return True


def damaged(seed: int) -> ModelProto:
    """A model that protobuf takes, with one thing in it that makes no sense."""
    rng = np.random.default_rng(seed)
    model = small_model()
    conv = next(node for node in model.graph.node if node.name == "first")
    kind = rng.integers(4)
    if kind == 0:
        name = str(
            rng.choice(["pads", "strides", "dilations", "kernel_shape", "group", "auto_pad"])
        )
        kept = [a for a in conv.attribute if a.name != name]
        del conv.attribute[:]
        conv.attribute.extend([*kept, helper.make_attribute(name, odd_attribute(rng))])
    elif kind == 1:
        index = int(rng.integers(len(model.graph.initializer)))
        name = model.graph.initializer[index].name
        model.graph.initializer[index].CopyFrom(numpy_helper.from_array(odd_array(rng), name))
    elif kind == 2:
        node = model.graph.node[int(rng.integers(len(model.graph.node)))]
        names = [i for n in model.graph.node for i in (*n.input, *n.output, "")]
        node.input[int(rng.integers(len(node.input)))] = str(rng.choice(names))
    else:
        node = model.graph.node[int(rng.integers(len(model.graph.node)))]
        node.op_type = str(rng.choice(["Conv", "Gemm", "Reshape", "MaxPool", "Concat", "Split"]))
    return model


def odd_attribute(rng: np.random.Generator) -> Any:
    size = int(rng.integers(6))
    odd = [0, -1, 1, 2, 7, 255, 1 << 31, -(1 << 62)]
    scalars: tuple[Any, ...] = ("SAME_UPPER", 1.5, 0)
    return [*map(int, rng.choice(odd, size))] if size else scalars[rng.integers(len(scalars))]


def odd_array(rng: np.random.Generator) -> Any:
    dtype = str(rng.choice(["float32", "int8", "uint8", "int32", "float64", "bool", "int64"]))
    shape = [int(d) for d in rng.choice([0, 1, 2, 3, 4], int(rng.integers(5)))]
    values = [0, 1, -1, np.nan, np.inf, -np.inf, 1e-45, 3e38]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return rng.choice(values, shape).astype(dtype)


def test_models_that_make_no_sense() -> None:
    taken = 0
    for seed in cases():
        try:
            dnncc.compile(damaged(seed), "tpu-like")
            taken += 1
        except CompileError as error:
            assert "\n" not in str(error), f"seed {seed}"
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
    print(f"{taken} of {ROUNDS} damaged models were taken")
